//! The table of modules: what there is, what is compiled in, who needs whom, and who starts first.

use crate::kernel::error::PartError;

/// A module of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Module {
    /// Where instances register and are found: a Eureka server.
    Registry,
    /// Where applications find their settings: a Spring Cloud Config server.
    ConfigServer,
    /// The front door: routes, limits, tokens.
    Gateway,
    /// Issuer of access tokens, for development.
    Identity,
    /// The catalogue.
    Product,
    /// Stock and reservations.
    Inventory,
    /// Orders.
    Order,
    /// Inbox, mail, webhooks.
    Notification,
}

impl Module {
    /// Every module there is.
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

    /// Its row in the table.
    fn row(self) -> Row {
        // who calls nobody, is looked for at the shop's own port and has no events leaves these out
        const PLAIN: Row = Row { name: "", application: "", port: None, compiled: false, events: false, needs: &[], asks: &[] };
        match self {
            Module::Registry => {
                Row { name: "registry", application: "EUREKA-SERVER", port: Some(8761), compiled: cfg!(feature = "registry"), ..PLAIN }
            }
            Module::ConfigServer => {
                let compiled = cfg!(feature = "config-server");
                Row { name: "config-server", application: "CONFIG-SERVER", port: Some(8888), compiled, ..PLAIN }
            }
            Module::Gateway => Row { name: "gateway", application: "API-GATEWAY", compiled: cfg!(feature = "gateway"), ..PLAIN },
            Module::Identity => Row { name: "identity", application: "IDENTITY-SERVICE", compiled: cfg!(feature = "identity"), ..PLAIN },
            Module::Product => {
                Row { name: "product", application: "PRODUCT-SERVICE", compiled: cfg!(feature = "product"), events: true, ..PLAIN }
            }
            Module::Inventory => Row {
                name: "inventory",
                application: "INVENTORY-SERVICE",
                compiled: cfg!(feature = "inventory"),
                events: true,
                needs: &[Module::Product],
                asks: &[Module::Order],
                ..PLAIN
            },
            Module::Order => Row {
                name: "order",
                application: "ORDER-SERVICE",
                compiled: cfg!(feature = "order"),
                events: true,
                needs: &[Module::Product, Module::Inventory],
                ..PLAIN
            },
            Module::Notification => {
                let compiled = cfg!(feature = "notification");
                Row { name: "notification", application: "NOTIFICATION-SERVICE", compiled, events: true, ..PLAIN }
            }
        }
    }

    /// Its name: in settings, in `--modules`, and its Cargo feature.
    pub fn name(self) -> &'static str {
        self.row().name
    }

    /// The name of its instances in a registry: the one that the Spring system's routes and clients use.
    pub fn application(self) -> &'static str {
        self.row().application
    }

    /// The port where its clients look for it when it has a process to itself, if not that of the shop.
    pub fn port(self) -> Option<u16> {
        self.row().port
    }

    /// The module of this name.
    pub fn by_name(name: &str) -> Option<Module> {
        Module::ALL.into_iter().find(|module| module.name() == name)
    }

    /// Whether this build has its code.
    pub fn compiled(self) -> bool {
        self.row().compiled
    }

    /// Whether it tells or hears events, and so needs a bus: whoever owns data does.
    pub fn has_events(self) -> bool {
        self.row().events
    }

    /// Peers whose contracts it calls to do its work. They start first and stop last.
    pub fn needs(self) -> &'static [Module] {
        self.row().needs
    }

    /// Peers that it asks from a worker only, and can do without for a while: no part of the start order.
    pub fn asks(self) -> &'static [Module] {
        self.row().asks
    }
}

/// What there is to say of a module; see the methods of [`Module`] of these names.
#[derive(Clone, Copy)]
struct Row {
    name: &'static str,
    application: &'static str,
    port: Option<u16>,
    compiled: bool,
    events: bool,
    needs: &'static [Module],
    asks: &'static [Module],
}

/// What a process of these modules is called in traces: as in a registry, where it runs one.
pub fn service(chosen: &[Module]) -> String {
    match chosen {
        [module] => module.application().to_lowercase(),
        _ => "tradepost".into(),
    }
}

/// Why these modules cannot run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SelectError {
    /// A name that is no module's.
    #[error("there is no module `{name}`; this build has: {compiled}")]
    Unknown {
        /// The name.
        name: String,
        /// The modules of this build.
        compiled: String,
    },
    /// A module that this build has not got.
    #[error("module `{name}` is not compiled into this build, which has: {compiled}; build with --features svc-{name}")]
    NotCompiled {
        /// Its name.
        name: String,
        /// The modules of this build.
        compiled: String,
    },
    /// A build without modules.
    #[error("this build has no module; build with --features all-in-one, or with a module's name")]
    Empty,
    /// A peer that cannot be called.
    #[error(
        "module `{module}` calls `{peer}`, which runs neither here nor at a known address; add it to --modules, set peers.{peer} (TRADEPOST__PEERS__{}), or set registry.url",
        .peer.to_uppercase()
    )]
    NoPeer {
        /// The module.
        module: &'static str,
        /// Its peer.
        peer: &'static str,
    },
    /// Modules of which none can start first: a defect of ours.
    #[error("modules need each other in a circle: {0:?}")]
    Circle(Vec<Module>),
}

impl PartError for SelectError {}

/// The modules to run, in the order of their start.
///
/// `wanted` empty means all that are compiled in. Refused: a name that is no module, a module that
/// is not compiled in, and a module whose peer is neither among them nor given an address.
pub fn select(wanted: &[String], has_address: impl Fn(Module) -> bool) -> Result<Vec<Module>, SelectError> {
    let compiled: Vec<_> = Module::ALL.into_iter().filter(|m| m.compiled()).collect();
    let names = |modules: &[Module]| modules.iter().map(|m| m.name()).collect::<Vec<_>>().join(", ");
    let mut chosen = Vec::new();
    for name in wanted {
        let module = Module::by_name(name);
        let module = module.ok_or_else(|| SelectError::Unknown { name: name.clone(), compiled: names(&compiled) })?;
        if !module.compiled() {
            return Err(SelectError::NotCompiled { name: name.clone(), compiled: names(&compiled) });
        }
        if !chosen.contains(&module) {
            chosen.push(module);
        }
    }
    if wanted.is_empty() {
        chosen = compiled;
    }
    if chosen.is_empty() {
        return Err(SelectError::Empty);
    }
    for module in &chosen {
        for peer in module.needs().iter().chain(module.asks()) {
            if !chosen.contains(peer) && !has_address(*peer) {
                return Err(SelectError::NoPeer { module: module.name(), peer: peer.name() });
            }
        }
    }
    order(&chosen, Module::needs)
}

/// Dependencies first. A cycle is refused.
fn order(chosen: &[Module], needs: impl Fn(Module) -> &'static [Module]) -> Result<Vec<Module>, SelectError> {
    let mut rest: Vec<Module> = chosen.to_vec();
    let mut started = Vec::new();
    while !rest.is_empty() {
        let ready = rest.iter().position(|m| needs(*m).iter().all(|peer| !rest.contains(peer)));
        let Some(index) = ready else {
            return Err(SelectError::Circle(rest));
        };
        started.push(rest.remove(index));
    }
    Ok(started)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pick(names: &[&str], addresses: &[Module]) -> Result<Vec<Module>, SelectError> {
        select(&names.iter().map(|n| n.to_string()).collect::<Vec<_>>(), |m| addresses.contains(&m))
    }

    #[test]
    #[cfg(feature = "all-in-one")]
    fn all_start_with_their_needs_first() {
        let all = pick(&[], &[]).unwrap();
        let at = |m| all.iter().position(|x| *x == m).unwrap();
        assert!(at(Module::Product) < at(Module::Inventory) && at(Module::Inventory) < at(Module::Order));
    }

    #[test]
    #[cfg(feature = "all-in-one")]
    fn a_part_needs_addresses_for_the_rest() {
        let refused = pick(&["order"], &[]).unwrap_err();
        assert_eq!(refused, SelectError::NoPeer { module: "order", peer: "product" });
        assert!(refused.to_string().contains("TRADEPOST__PEERS__PRODUCT"), "{refused}");
        assert_eq!(pick(&["order"], &[Module::Product, Module::Inventory]).unwrap(), [Module::Order]);
        assert!(matches!(pick(&["basket"], &[]), Err(SelectError::Unknown { name, .. }) if name == "basket"));
    }

    #[test]
    fn a_circle_is_refused() {
        let needs = |m: Module| -> &'static [Module] {
            match m {
                Module::Order => &[Module::Inventory],
                _ => &[Module::Order],
            }
        };
        assert!(matches!(order(&[Module::Order, Module::Inventory], needs), Err(SelectError::Circle(_))));
    }
}
