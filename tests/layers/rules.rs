//! The rules: layers, circles, modules, wiring.

use crate::graph::{self, Edge, Sources};

/// A folder of `src/`, or `modules/`.
pub struct Layer {
    pub name: &'static str,
    pub holds: &'static str,
}

/// Each layer may use those above it.
pub const LAYERS: [Layer; 13] = [
    Layer { name: "kernel", holds: "clock, money, SKU, page, problem, errors, secret, URI, the table of modules" },
    Layer { name: "settings", holds: "typed settings, one struct per concern" },
    Layer { name: "net", holds: "TLS, the HTTP client, server lists, Vault" },
    Layer { name: "observe", holds: "logs, metrics, traces, exporters" },
    Layer { name: "rpc", holds: "contracts, generated clients, discovery, resilience, OIDC client" },
    Layer { name: "data", holds: "SQLite, MySQL, MongoDB, leases, snapshots" },
    Layer { name: "events", holds: "event envelope, outbox, inbox, relay, bus, AsyncAPI" },
    Layer { name: "edge", holds: "listener, request pipeline, authentication, limits" },
    Layer { name: "config", holds: "loading of settings: files, environment, config server, Vault" },
    Layer { name: "runtime", holds: "the services of a process, and what a module gets" },
    Layer { name: "ops", holds: "actuator, console, API documents, refresh" },
    Layer { name: "modules", holds: "the modules of the shop, and the invariants" },
    Layer { name: "app", holds: "wiring, serving, and the commands" },
];

/// The place of a file's layer; none for `src/lib.rs`, which declares them.
fn rank(file: &str) -> Option<usize> {
    let name = match file.split('/').collect::<Vec<_>>()[..] {
        ["modules", ..] => "modules",
        ["src", "lib.rs"] => return None,
        ["src", folder, _, ..] => folder,
        _ => panic!("{file} is in no layer"),
    };
    Some(LAYERS.iter().position(|layer| layer.name == name).unwrap_or_else(|| panic!("{file}: there is no layer {name}")))
}

/// The module of a file in `modules/`.
fn module(file: &str) -> Option<&str> {
    let (module, _) = file.strip_prefix("modules/")?.split_once('/')?;
    Some(module)
}

/// What breaks a rule, one line each.
pub fn violations(sources: &Sources) -> Vec<String> {
    let edges = graph::edges(sources);
    let at = |edge: &Edge| format!("{}:{}: {}", edge.from, edge.line, edge.path);
    let mut wrong = Vec::new();
    for edge in &edges {
        let (Some(from), Some(to)) = (rank(&edge.from), rank(&edge.to)) else {
            if edge.to == "src/lib.rs" && !edge.module_only {
                wrong.push(format!("{}: src/lib.rs only declares the layers", at(edge)));
            }
            continue;
        };
        if to > from {
            wrong.push(format!("{}: layer {} uses layer {}, which is below it", at(edge), LAYERS[from].name, LAYERS[to].name));
        }
        if let (Some(from), Some(to)) = (module(&edge.from), module(&edge.to))
            && from != to
            && edge.to != format!("modules/{to}/api.rs")
        {
            wrong.push(format!("{}: module {from} uses more of module {to} than its contract", at(edge)));
        }
    }
    for edge in edges.iter().filter(|edge| edge.from != "src/app/wiring.rs" && !edge.from.starts_with("src/rpc/")) {
        let builds = edge.path.ends_with("::build") && edge.to.ends_with("/mod.rs") && module(&edge.to) != module(&edge.from);
        if edge.path.ends_with("client::Remote") || builds {
            wrong.push(format!("{}: only src/app/wiring.rs builds modules and chooses local or remote peers", at(edge)));
        }
    }
    for circle in graph::circles(&edges) {
        wrong.push(format!("files use each other in a circle: {}", circle.join(", ")));
        for edge in edges.iter().filter(|edge| !edge.module_only && circle.contains(&edge.from) && circle.contains(&edge.to)) {
            wrong.push(format!("    {} -> {}", at(edge), edge.to));
        }
    }
    wrong
}
