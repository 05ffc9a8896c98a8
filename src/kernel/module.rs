//! The module table: names, ports, dependencies, and start order.

use crate::kernel::error::ComponentError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// A Eureka server.
    Registry,
    /// A Spring Cloud Config server.
    ConfigServer,
    /// The front door: routes, rate limits, token checks.
    Gateway,
    /// OIDC issuer for development.
    Identity,
    /// The product catalogue.
    Product,
    /// Stock and reservations.
    Inventory,
    Order,
    /// Inbox, mail, webhooks.
    Notification,
}

impl Module {
    pub const ALL: [Module; 8] = [
        Module::Registry,
        Module::ConfigServer,
        Module::Gateway,
        Module::Identity,
        Module::Product,
        Module::Inventory,
        Module::Order,
        Module::Notification,
    ];

    fn info(self) -> ModuleInfo {
        const DEFAULT: ModuleInfo = ModuleInfo {
            name: "",
            application: "",
            default_port: None,
            compiled: false,
            events: false,
            required_peers: &[],
            optional_peers: &[],
        };
        match self {
            Module::Registry => ModuleInfo {
                name: "registry",
                application: "EUREKA-SERVER",
                default_port: Some(8761),
                compiled: cfg!(feature = "registry"),
                ..DEFAULT
            },
            Module::ConfigServer => {
                let compiled = cfg!(feature = "config-server");
                ModuleInfo { name: "config-server", application: "CONFIG-SERVER", default_port: Some(8888), compiled, ..DEFAULT }
            }
            Module::Gateway => ModuleInfo { name: "gateway", application: "API-GATEWAY", compiled: cfg!(feature = "gateway"), ..DEFAULT },
            Module::Identity => {
                ModuleInfo { name: "identity", application: "IDENTITY-SERVICE", compiled: cfg!(feature = "identity"), ..DEFAULT }
            }
            Module::Product => {
                ModuleInfo { name: "product", application: "PRODUCT-SERVICE", compiled: cfg!(feature = "product"), events: true, ..DEFAULT }
            }
            Module::Inventory => ModuleInfo {
                name: "inventory",
                application: "INVENTORY-SERVICE",
                compiled: cfg!(feature = "inventory"),
                events: true,
                required_peers: &[Module::Product],
                optional_peers: &[Module::Order],
                ..DEFAULT
            },
            Module::Order => ModuleInfo {
                name: "order",
                application: "ORDER-SERVICE",
                compiled: cfg!(feature = "order"),
                events: true,
                required_peers: &[Module::Product, Module::Inventory],
                ..DEFAULT
            },
            Module::Notification => {
                let compiled = cfg!(feature = "notification");
                ModuleInfo { name: "notification", application: "NOTIFICATION-SERVICE", compiled, events: true, ..DEFAULT }
            }
        }
    }

    /// Name in settings and in `--modules`, and Cargo feature.
    pub fn name(self) -> &'static str {
        self.info().name
    }

    /// Application name in the registry, the same as in the Spring system.
    pub fn application_name(self) -> &'static str {
        self.info().application
    }

    /// Default port of a process that runs only this module, if it differs from `server.port`'s default.
    pub fn default_port(self) -> Option<u16> {
        self.info().default_port
    }

    pub fn by_name(name: &str) -> Option<Module> {
        Module::ALL.into_iter().find(|module| module.name() == name)
    }

    /// Whether the module is compiled into this build.
    pub fn is_compiled_in(self) -> bool {
        self.info().compiled
    }

    /// Whether the module publishes or consumes events, and therefore needs a bus.
    pub fn has_events(self) -> bool {
        self.info().events
    }

    /// Peers that the module calls while it serves requests. They start first and stop last.
    pub fn required_peers(self) -> &'static [Module] {
        self.info().required_peers
    }

    /// Peers that only a background worker calls, and that may be unavailable for a while. They do not affect the start
    /// order.
    pub fn optional_peers(self) -> &'static [Module] {
        self.info().optional_peers
    }
}

/// One entry of the module table; the methods of [`Module`] describe the fields.
#[derive(Clone, Copy)]
struct ModuleInfo {
    name: &'static str,
    application: &'static str,
    default_port: Option<u16>,
    compiled: bool,
    events: bool,
    required_peers: &'static [Module],
    optional_peers: &'static [Module],
}

/// Service name of a process in traces: the application name of its only module, or `tradepost`.
pub fn service_name(modules: &[Module]) -> String {
    match modules {
        [module] => module.application_name().to_lowercase(),
        _ => "tradepost".into(),
    }
}

/// Why a selection of modules cannot run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    #[error("there is no module `{name}`; this build has: {compiled}")]
    Unknown {
        name: String,
        /// Names of the modules in this build.
        compiled: String,
    },
    #[error("module `{name}` is not compiled into this build, which has: {compiled}; build with --features svc-{name}")]
    NotCompiled {
        name: String,
        /// Names of the modules in this build.
        compiled: String,
    },
    #[error("this build has no module; build with --features all-in-one, or with a module's name")]
    Empty,
    /// A peer that is neither local nor has an address.
    #[error(
        "module `{module}` calls `{peer}`, which runs neither here nor at a known address; add it to --modules, set peers.{peer} (TRADEPOST__PEERS__{}), or set registry.url",
        .peer.to_uppercase()
    )]
    NoPeer { module: &'static str, peer: &'static str },
    /// No module can start first: a bug in the module table.
    #[error("the dependencies of modules form a cycle: {0:?}")]
    Cycle(Vec<Module>),
}

impl ComponentError for SelectError {}

/// Returns the modules to run in start order. Empty `wanted` selects all modules that are compiled in.
///
/// Rejects an unknown module, a module that is not compiled in, and a required peer that is neither selected nor has an
/// address.
pub fn select(wanted: &[String], has_address: impl Fn(Module) -> bool) -> Result<Vec<Module>, SelectError> {
    let compiled: Vec<_> = Module::ALL.into_iter().filter(|m| m.is_compiled_in()).collect();
    let names = |modules: &[Module]| modules.iter().map(|m| m.name()).collect::<Vec<_>>().join(", ");
    let mut selected = Vec::new();
    for name in wanted {
        let module = Module::by_name(name);
        let module = module.ok_or_else(|| SelectError::Unknown { name: name.clone(), compiled: names(&compiled) })?;
        if !module.is_compiled_in() {
            return Err(SelectError::NotCompiled { name: name.clone(), compiled: names(&compiled) });
        }
        if !selected.contains(&module) {
            selected.push(module);
        }
    }
    if wanted.is_empty() {
        selected = compiled;
    }
    if selected.is_empty() {
        return Err(SelectError::Empty);
    }
    for module in &selected {
        for peer in module.required_peers().iter().chain(module.optional_peers()) {
            if !selected.contains(peer) && !has_address(*peer) {
                return Err(SelectError::NoPeer { module: module.name(), peer: peer.name() });
            }
        }
    }
    start_order(&selected, Module::required_peers)
}

/// Sorts topologically, dependencies first.
fn start_order(selected: &[Module], dependencies: impl Fn(Module) -> &'static [Module]) -> Result<Vec<Module>, SelectError> {
    let mut rest: Vec<Module> = selected.to_vec();
    let mut order = Vec::new();
    while !rest.is_empty() {
        let ready = rest.iter().position(|m| dependencies(*m).iter().all(|peer| !rest.contains(peer)));
        let Some(index) = ready else {
            return Err(SelectError::Cycle(rest));
        };
        order.push(rest.remove(index));
    }
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn select_named(names: &[&str], addresses: &[Module]) -> Result<Vec<Module>, SelectError> {
        select(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>(), |m| addresses.contains(&m))
    }

    #[test]
    #[cfg(feature = "all-in-one")]
    fn select_all_starts_dependencies_first() {
        let all = select_named(&[], &[]).unwrap();
        let position = |m| all.iter().position(|x| *x == m).unwrap();
        assert!(position(Module::Product) < position(Module::Inventory) && position(Module::Inventory) < position(Module::Order));
    }

    #[test]
    #[cfg(feature = "all-in-one")]
    fn select_without_peer_or_its_address_is_rejected() {
        let refused = select_named(&["order"], &[]).unwrap_err();
        assert_eq!(refused, SelectError::NoPeer { module: "order", peer: "product" });
        assert!(refused.to_string().contains("TRADEPOST__PEERS__PRODUCT"), "{refused}");
        assert_eq!(select_named(&["order"], &[Module::Product, Module::Inventory]).unwrap(), [Module::Order]);
        assert!(matches!(select_named(&["basket"], &[]), Err(SelectError::Unknown { name, .. }) if name == "basket"));
    }

    #[test]
    fn start_order_with_cycle_is_rejected() {
        let dependencies = |m: Module| -> &'static [Module] {
            match m {
                Module::Order => &[Module::Inventory],
                _ => &[Module::Order],
            }
        };
        assert!(matches!(start_order(&[Module::Order, Module::Inventory], dependencies), Err(SelectError::Cycle(_))));
    }
}
