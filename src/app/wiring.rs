//! The one place that chooses, for each peer, its service in this process or its generated client.

use crate::edge::auth::Authenticator;
use crate::edge::exchanges::HttpExchangeLog;
use crate::edge::gateway_middleware::GatewayMiddleware;
use crate::events::asyncapi;
use crate::events::bus::Bus;
use crate::kernel::build;
use crate::kernel::error::StartError;
use crate::kernel::error::{ComponentError, OutOfRange};
use crate::kernel::module;
use crate::kernel::module::Module;
use crate::modules::contracts::inventory::{InventoryApi, InventoryClient};
use crate::modules::contracts::notification::NotificationClient;
use crate::modules::contracts::order::{OrderApi, OrderClient};
use crate::modules::contracts::product::{ProductApi, ProductClient};
use crate::net::server_list::{AddressError, Servers};
use crate::ops;
use crate::rpc::contract::Operation;
use crate::rpc::contract::client::Remote;
use crate::rpc::contract::openapi;
use crate::rpc::credentials::{ClientCredentials, Credentials};
use crate::rpc::discovery::eureka::view::RegistryView;
use crate::rpc::discovery::{CompositeDiscovery, Discovery, LoopbackDiscovery, StaticDiscovery, eureka};
use crate::rpc::oidc::OidcClient;
use crate::rpc::resilience::Peers;
use crate::runtime::{Host, LazyRef, Parts};
use crate::settings::{PeerMode, Secret, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A wired process: its modules, with what they serve and run.
pub struct Shop {
    /// In the order of their start.
    pub modules: Vec<Module>,
    pub parts: Parts,
    pub authenticator: Authenticator,
    pub exchanges: Arc<HttpExchangeLog>,
    /// Set if the gateway runs here.
    pub gateway: Option<Arc<dyn GatewayMiddleware>>,
    /// Users of the built-in issuer that the start screen shows, with their roles.
    pub demo_users: Vec<(String, String)>,
    /// The registries of `registry.url`, and the instances known from them.
    pub registries: Option<(Arc<Servers>, Arc<RegistryView>)>,
}

/// Why the chosen modules cannot be put together.
#[derive(Debug, thiserror::Error)]
enum WiringError {
    #[error(
        "no issuer of access tokens: set identity.issuer to the issuer's URL (TRADEPOST__IDENTITY__ISSUER), or run the identity module here"
    )]
    NoIssuer,
    #[error("registry.url: {0}")]
    Registry(#[source] AddressError),
    #[error("bus.url: `{url}` is not among the buses compiled in: {BUSES}")]
    Bus { url: String },
    #[cfg(not(feature = "identity"))]
    #[error("identity.issuer is not set")]
    NoBuiltInIssuer,
}

impl ComponentError for WiringError {}

/// A module that is compiled in. `modules/mod.rs` and this table are the two places that name its feature.
struct Registration {
    module: Module,
    build: fn(&mut Wiring) -> Result<(), StartError>,
    describe_events: Option<fn(&mut asyncapi::Document)>,
    /// Reverts the last migration of a store on a server. Returns its version.
    revert: fn(&Settings) -> Result<Option<String>, StartError>,
}

/// The modules of this build, dependencies first. The issuer is built before them.
const MODULES: &[Registration] = &[
    #[cfg(feature = "product")]
    Registration {
        module: Module::Product,
        build: |wiring| {
            let (service, parts) = crate::modules::product::build(wiring.host)?;
            wiring.add(parts, |local| local.product = Some(service));
            Ok(())
        },
        describe_events: Some(crate::modules::product::describe),
        revert: |_| Ok(None),
    },
    #[cfg(feature = "inventory")]
    Registration {
        module: Module::Inventory,
        build: |wiring| {
            let order = LazyRef::default();
            let (service, parts) = crate::modules::inventory::build(wiring.host, wiring.product()?, order.clone())?;
            wiring.order_for_inventory = Some(order);
            wiring.add(parts, |local| local.inventory = Some(service));
            Ok(())
        },
        describe_events: Some(crate::modules::inventory::describe),
        revert: |settings| crate::modules::inventory::STORE.revert(settings),
    },
    #[cfg(feature = "order")]
    Registration {
        module: Module::Order,
        build: |wiring| {
            let (service, parts) = crate::modules::order::build(wiring.host, wiring.product()?, wiring.inventory()?)?;
            wiring.add(parts, |local| local.order = Some(service));
            Ok(())
        },
        describe_events: Some(crate::modules::order::describe),
        revert: |settings| crate::modules::order::STORE.revert(settings),
    },
    #[cfg(feature = "notification")]
    Registration {
        module: Module::Notification,
        build: |wiring| {
            wiring.parts.append(crate::modules::notification::build(wiring.host)?.1);
            Ok(())
        },
        describe_events: Some(crate::modules::notification::describe),
        revert: |settings| crate::modules::notification::STORE.revert(settings),
    },
    #[cfg(feature = "registry")]
    Registration {
        module: Module::Registry,
        build: |wiring| {
            wiring.parts.append(crate::modules::registry::build(wiring.host)?);
            Ok(())
        },
        describe_events: None,
        revert: |_| Ok(None),
    },
    #[cfg(feature = "config-server")]
    Registration {
        module: Module::ConfigServer,
        build: |wiring| {
            let alone = wiring.chosen.len() == 1;
            wiring.parts.append(crate::modules::config_server::build(wiring.host, &wiring.authenticator, alone)?);
            Ok(())
        },
        describe_events: None,
        revert: |_| Ok(None),
    },
    #[cfg(feature = "gateway")]
    Registration {
        module: Module::Gateway,
        build: |wiring| {
            let names = wiring.names_behind_gateway();
            let discovery = wiring.discovery_for_gateway();
            let built = crate::modules::gateway::build(wiring.host, discovery, &names, wiring.peers.breakers.clone())?;
            wiring.parts.append(built.parts);
            wiring.gateway = Some(built.middleware);
            Ok(())
        },
        describe_events: None,
        revert: |_| Ok(None),
    },
];

/// The modules to run by these settings; see [`module::select`].
pub fn select(settings: &Settings) -> Result<Vec<Module>, StartError> {
    let has_address = |module: Module| settings.registry.url.is_some() || settings.peers.contains_key(module.name());
    let chosen = module::select(&settings.server.modules, has_address)?;
    if settings.identity.issuer.is_none() && !chosen.contains(&Module::Identity) {
        return Err(WiringError::NoIssuer.into());
    }
    Ok(chosen)
}

/// The services of modules that run in this process.
#[derive(Default)]
struct Local {
    product: Option<Arc<dyn ProductApi>>,
    inventory: Option<Arc<dyn InventoryApi>>,
    order: Option<Arc<dyn OrderApi>>,
}

/// The state of [`build`].
struct Wiring<'a> {
    host: &'a Host,
    chosen: &'a [Module],
    own_url: String,
    credentials: Arc<dyn Credentials>,
    authenticator: Authenticator,
    view: Option<Arc<RegistryView>>,
    peers: Peers,
    parts: Parts,
    local: Local,
    /// Inventory calls order from a background service, and starts before it.
    order_for_inventory: Option<LazyRef<dyn OrderApi>>,
    gateway: Option<Arc<dyn GatewayMiddleware>>,
}

/// Builds the chosen modules, dependencies first. `own_url` is the address of this process.
pub fn build(host: &Host, chosen: Vec<Module>, own_url: String) -> Result<Shop, StartError> {
    let identity = &host.settings.identity;
    let mut parts = Parts::default();
    let Issuer { url, client_secret, demo_users } = issuer(host, &mut parts)?;
    let oidc = Arc::new(OidcClient::new(&url, identity.backchannel.as_deref()));
    let credentials = Arc::new(ClientCredentials::new(oidc.clone(), &identity.client_id, client_secret.expose()));
    if identity.issuer.is_some() {
        let credentials = credentials.clone();
        parts.reloadable(&["identity.client_secret"], move |settings| {
            credentials.set_secret(settings.identity.client_secret.as_ref().map(Secret::expose).unwrap_or_default());
            Ok(())
        });
    }
    let registries = registries(&host.settings)?;
    let view = registries.as_ref().map(|servers| watch(&host.settings, servers, &mut parts));
    let mut parties = identity.authorized_parties.clone();
    if !parties.is_empty() {
        parties.push(identity.client_id.clone());
    }
    let mut wiring = Wiring {
        host,
        chosen: &chosen,
        own_url,
        credentials,
        authenticator: Authenticator::new(oidc, &identity.audience).with_authorized_parties(parties),
        view: view.clone(),
        peers: Peers::new(host.settings.resilience.clone(), &host.metrics)?,
        parts,
        local: Local::default(),
        order_for_inventory: None,
        gateway: None,
    };
    for registration in MODULES.iter().filter(|registration| chosen.contains(&registration.module)) {
        (registration.build)(&mut wiring)?;
    }
    // every process shows the circuit breakers of these peers, also if it does not call them
    for peer in [Module::Product, Module::Inventory, Module::Order] {
        wiring.peers.of(peer.name())?;
    }
    if let Some(order) = wiring.order_for_inventory.take() {
        order.set(wiring.order()?);
    }
    wiring.parts.append(ops::resilience::parts(&wiring.peers.breakers));
    let Wiring { parts, authenticator, gateway, .. } = wiring;
    Ok(Shop { modules: chosen, parts, authenticator, exchanges: Arc::default(), gateway, demo_users, registries: registries.zip(view) })
}

#[allow(dead_code, reason = "which of these a build needs depends on its modules")]
impl Wiring<'_> {
    /// Adds a built module, and its service for the modules that call it.
    fn add(&mut self, parts: Parts, service: impl FnOnce(&mut Local)) {
        self.parts.append(parts);
        service(&mut self.local);
    }

    fn product(&self) -> Result<Arc<dyn ProductApi>, StartError> {
        let remote = |remote| Arc::new(ProductClient(remote)) as Arc<dyn ProductApi>;
        self.peer(Module::Product, self.local.product.as_ref(), ProductClient::local, remote)
    }

    fn inventory(&self) -> Result<Arc<dyn InventoryApi>, StartError> {
        let remote = |remote| Arc::new(InventoryClient(remote)) as Arc<dyn InventoryApi>;
        self.peer(Module::Inventory, self.local.inventory.as_ref(), InventoryClient::local, remote)
    }

    fn order(&self) -> Result<Arc<dyn OrderApi>, StartError> {
        let remote = |remote| Arc::new(OrderClient(remote)) as Arc<dyn OrderApi>;
        self.peer(Module::Order, self.local.order.as_ref(), OrderClient::local, remote)
    }

    /// The local service of a peer if it runs here and calls are function calls; its generated client otherwise.
    fn peer<T: ?Sized>(
        &self,
        module: Module,
        service: Option<&Arc<T>>,
        local: impl Fn(Arc<T>) -> Arc<T>,
        client: impl Fn(Arc<Remote>) -> Arc<T>,
    ) -> Result<Arc<T>, StartError> {
        match service {
            Some(service) if self.host.settings.server.peers == PeerMode::InProcess => Ok(local(service.clone())),
            _ => self.remote(module).map(client),
        }
    }

    fn remote(&self, module: Module) -> Result<Arc<Remote>, StartError> {
        let settings = &self.host.settings;
        let discovery: Arc<dyn Discovery> = match &self.view {
            _ if self.chosen.contains(&module) => Arc::new(LoopbackDiscovery { url: self.own_url.clone(), modules: vec![module.name()] }),
            Some(view) if !settings.peers.contains_key(module.name()) => view.clone(),
            _ => Arc::new(StaticDiscovery(settings.peers.clone())),
        };
        let credentials = self.credentials.clone();
        let (name, peer) = (module.name(), self.peers.of(module.name())?);
        Ok(Arc::new(Remote { module: name, peer, discovery, credentials, send_twice: settings.server.send_twice }))
    }

    /// The instances of all modules, for the gateway. Modules of this process are at its own address.
    fn discovery_for_gateway(&self) -> Arc<dyn Discovery> {
        let own = LoopbackDiscovery { url: self.own_url.clone(), modules: self.names_behind_gateway() };
        let mut all: Vec<Arc<dyn Discovery>> = vec![Arc::new(own), Arc::new(StaticDiscovery(self.host.settings.peers.clone()))];
        all.extend(self.view.as_ref().map(|view| view.clone() as Arc<dyn Discovery>));
        Arc::new(CompositeDiscovery(all))
    }

    /// The modules that the gateway calls within this process.
    fn names_behind_gateway(&self) -> Vec<&'static str> {
        self.chosen.iter().filter(|module| **module != Module::Gateway).map(|module| module.name()).collect()
    }
}

fn registries(settings: &Settings) -> Result<Option<Arc<Servers>>, StartError> {
    let registry = &settings.registry;
    let Some(url) = &registry.url else { return Ok(None) };
    for (key, seconds) in [("renew", registry.renew_seconds), ("lease", registry.lease_seconds), ("fetch", registry.fetch_seconds)] {
        if !(1..=86_400).contains(&seconds) {
            return Err(OutOfRange::new(format!("registry.{key}_seconds"), seconds, "1 to 86400").into());
        }
    }
    Ok(Some(Arc::new(Servers::parse(url.expose()).map_err(WiringError::Registry)?)))
}

/// Adds a service that fetches the instances of these registries.
fn watch(settings: &Settings, servers: &Arc<Servers>, parts: &mut Parts) -> Arc<RegistryView> {
    let names = Module::ALL.into_iter().map(|module| (module.name(), module.application_name())).collect();
    let grace = Duration::from_secs(settings.registry.lease_seconds);
    let view = Arc::new(RegistryView::new(build::VERSION, names, grace));
    let (servers, fetched, every) = (servers.clone(), view.clone(), Duration::from_secs(settings.registry.fetch_seconds));
    parts.worker("registry-fetch", move |stop| eureka::refresh_periodically(servers, fetched, every, stop));
    let known = view.clone();
    // UP also if the registry is down: the last known instances stay in use
    parts.check("discovery", move || std::future::ready(Ok(json!({ "instances": known.len() }))));
    view
}

/// The issuer of access tokens, and the secret of our own client there.
struct Issuer {
    url: String,
    client_secret: Secret,
    demo_users: Vec<(String, String)>,
}

/// The issuer of the settings, or the built-in one.
fn issuer(host: &Host, parts: &mut Parts) -> Result<Issuer, StartError> {
    let settings = &host.settings.identity;
    if let Some(url) = settings.issuer.clone() {
        return Ok(Issuer { url, client_secret: settings.client_secret.clone().unwrap_or_default(), demo_users: Vec::new() });
    }
    #[cfg(feature = "identity")]
    {
        let built = crate::modules::identity::build(host)?;
        parts.append(built.parts);
        Ok(Issuer { url: built.issuer, client_secret: built.client_secret, demo_users: built.demo_users })
    }
    #[cfg(not(feature = "identity"))]
    {
        let _ = parts;
        Err(WiringError::NoBuiltInIssuer.into())
    }
}

/// Reverts the last migration of every chosen module whose store is on a server. Returns their names and versions.
pub fn revert(settings: &Settings, chosen: &[Module]) -> Result<Vec<String>, StartError> {
    let mut reverted = Vec::new();
    for Registration { module, revert, .. } in MODULES.iter().filter(|registration| chosen.contains(&registration.module)) {
        reverted.extend(revert(settings)?.map(|version| format!("{} {version}", module.name())));
    }
    Ok(reverted)
}

/// The OpenAPI description and the operations of a module's contract.
type Contract = (fn(&mut openapi::Document), fn() -> &'static [Arc<Operation>]);

/// A module's contract; none if no module calls it by contract.
fn contract(module: Module) -> Option<Contract> {
    match module {
        Module::Registry | Module::ConfigServer | Module::Gateway | Module::Identity => None,
        Module::Product => Some((ProductClient::describe, ProductClient::operations)),
        Module::Inventory => Some((InventoryClient::describe, InventoryClient::operations)),
        Module::Order => Some((OrderClient::describe, OrderClient::operations)),
        Module::Notification => Some((NotificationClient::describe, NotificationClient::operations)),
    }
}

/// The OpenAPI document of these modules' contracts.
pub fn openapi(modules: &[Module], server: &str) -> Value {
    let mut document = openapi::Document::default();
    for (describe, _) in modules.iter().filter_map(|module| contract(*module)) {
        describe(&mut document);
    }
    document.finish(build::VERSION, server)
}

/// All operations of all contracts, whatever the features.
pub fn operations() -> Vec<Arc<Operation>> {
    Module::ALL.into_iter().filter_map(contract).flat_map(|(_, operations)| operations()).cloned().collect()
}

/// The AsyncAPI document of the events of all modules of this build.
pub fn asyncapi() -> Value {
    let mut document = asyncapi::Document::default();
    MODULES.iter().filter_map(|registration| registration.describe_events).for_each(|describe| describe(&mut document));
    document.finish(build::VERSION)
}

const BUSES: &str = match (cfg!(feature = "sqlite"), cfg!(feature = "kafka")) {
    (true, true) => "local://, kafka://",
    (true, false) => "local://",
    (false, true) => "kafka://",
    (false, false) => "none; build with --features sqlite",
};

/// Opens the bus that settings name.
pub fn bus(settings: &Settings) -> Result<Arc<dyn Bus>, StartError> {
    match settings.bus.url.as_str() {
        #[cfg(feature = "sqlite")]
        "local://" => Ok(Arc::new(crate::events::bus::local::LocalBus::open(&settings.data.dir.join("bus.db"))?)),
        #[cfg(feature = "kafka")]
        url if url.starts_with("kafka://") => Ok(Arc::new(crate::events::bus::kafka::KafkaBus::open(&settings.bus, &settings.tls)?)),
        other => Err(WiringError::Bus { url: other.into() }.into()),
    }
}
