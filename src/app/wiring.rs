//! The one place that chooses, for each peer, its service in this process or its generated client.

use crate::edge::auth::{Authenticator, Credentials};
use crate::edge::gateway_middleware::GatewayMiddleware;
use crate::events::asyncapi;
use crate::events::bus::Bus;
use crate::kernel::build;
use crate::kernel::error::StartError;
use crate::kernel::error::{OutOfRange, PartError};
use crate::kernel::module as modules;
use crate::kernel::module::Module;
use crate::modules::inventory::api::{InventoryApi, InventoryClient};
use crate::modules::notification::api::NotificationClient;
use crate::modules::order::api::{OrderApi, OrderClient};
use crate::modules::product::api::{ProductApi, ProductClient};
use crate::net::server_list::{AddressError, Servers};
use crate::ops;
use crate::rpc::contract::Operation;
use crate::rpc::contract::client::Remote;
use crate::rpc::contract::openapi;
use crate::rpc::credentials::ClientCredentials;
use crate::rpc::discovery::eureka::view::View;
use crate::rpc::discovery::{Discovery, Fixed, Loopback, eureka};
use crate::rpc::oidc::OidcClient;
use crate::rpc::resilience::Peers;
use crate::runtime::host::{Host, LazyRef, Parts};
use crate::settings::{PeerMode, Secret, Settings};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// A wired process: everything that its modules serve and run.
pub struct Shop {
    /// The modules, in the order of their start.
    pub modules: Vec<Module>,
    /// What they serve and run.
    pub parts: Parts,
    /// Answers what is no endpoint's, where the gateway runs here.
    pub door: Option<Arc<dyn GatewayMiddleware>>,
    /// Checks access tokens.
    pub authenticator: Authenticator,
    /// Users of the built-in issuer that are announced, with their roles.
    pub demo_users: Vec<(String, String)>,
    /// The registries of `registry.url`, where to register what runs here, and what is known from them.
    pub registries: Option<(Arc<Servers>, Arc<View>)>,
}

/// Why the chosen modules cannot be put together.
#[derive(Debug, thiserror::Error)]
enum WiringError {
    #[error(
        "nobody issues access tokens: set identity.issuer to the issuer's URL (TRADEPOST__IDENTITY__ISSUER), or run the identity module here"
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

impl PartError for WiringError {}

/// The modules to run by these settings; see [`modules::select`].
pub fn select(settings: &Settings) -> Result<Vec<Module>, StartError> {
    let has_address = |module: Module| settings.registry.url.is_some() || settings.peers.contains_key(module.name());
    let chosen = modules::select(&settings.server.modules, has_address)?;
    if settings.identity.issuer.is_none() && !chosen.contains(&Module::Identity) {
        return Err(WiringError::NoIssuer.into());
    }
    Ok(chosen)
}

struct Wiring<'a> {
    host: &'a Host,
    chosen: &'a [Module],
    here: String,
    credentials: Arc<dyn Credentials>,
    registry: Option<Arc<View>>,
    peers: Peers,
}

impl Wiring<'_> {
    fn runs(&self, module: Module) -> bool {
        self.chosen.contains(&module)
    }

    /// Every module's instances for the gateway: those that run here are behind this process's own front door.
    #[cfg(feature = "gateway")]
    fn discovery(&self) -> Arc<dyn Discovery> {
        let here = Loopback { url: self.here.clone(), modules: self.names() };
        let mut known: Vec<Arc<dyn Discovery>> = vec![Arc::new(here), Arc::new(Fixed(self.host.settings.peers.clone()))];
        known.extend(self.registry.as_ref().map(|view| view.clone() as Arc<dyn Discovery>));
        Arc::new(crate::rpc::discovery::FirstOf(known))
    }

    /// What the gateway leads to without leaving this process.
    #[cfg(feature = "gateway")]
    fn names(&self) -> Vec<&'static str> {
        self.chosen.iter().filter(|module| **module != Module::Gateway).map(|module| module.name()).collect()
    }

    fn remote(&self, module: Module) -> Result<Arc<Remote>, StartError> {
        let settings = &self.host.settings;
        let discovery: Arc<dyn Discovery> = match &self.registry {
            _ if self.runs(module) => Arc::new(Loopback { url: self.here.clone(), modules: vec![module.name()] }),
            Some(view) if !settings.peers.contains_key(module.name()) => view.clone(),
            _ => Arc::new(Fixed(settings.peers.clone())),
        };
        let credentials = self.credentials.clone();
        let (name, peer) = (module.name(), self.peers.of(module.name())?);
        Ok(Arc::new(Remote { module: name, peer, discovery, credentials, send_twice: settings.server.send_twice }))
    }

    /// The peer's own service where it runs here and calls are in-process, its client otherwise.
    fn peer<T: ?Sized>(
        &self,
        module: Module,
        here: Option<&Arc<T>>,
        local: impl Fn(Arc<T>) -> Arc<T>,
        client: impl Fn(Arc<Remote>) -> Arc<T>,
    ) -> Result<Arc<T>, StartError> {
        match here {
            Some(service) if self.host.settings.server.peers == PeerMode::InProcess => Ok(local(service.clone())),
            _ => self.remote(module).map(client),
        }
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

/// Knows the instances in these registries from here on.
fn watch(settings: &Settings, servers: &Arc<Servers>, all: &mut Parts) -> Arc<View> {
    let names = Module::ALL.into_iter().map(|module| (module.name(), module.application())).collect();
    let grace = Duration::from_secs(settings.registry.lease_seconds);
    let view = Arc::new(View::new(build::VERSION, names, grace));
    let (servers, kept, every) = (servers.clone(), view.clone(), Duration::from_secs(settings.registry.fetch_seconds));
    all.worker("registry-fetch", move |stop| eureka::keep_fetched(servers, kept, every, stop));
    let shown = view.clone();
    // a registry that is away makes nobody ill: the last known instances stay in use
    all.check("discovery", move || std::future::ready(Ok(json!({ "instances": shown.len() }))));
    view
}

fn join(all: &mut Parts, parts: Parts) {
    all.endpoints.extend(parts.endpoints);
    all.workers.extend(parts.workers);
    all.consumers.extend(parts.consumers);
    all.checks.extend(parts.checks);
    all.reloadable.extend(parts.reloadable);
    all.outboxes.extend(parts.outboxes);
    all.auth_failure_signals.extend(parts.auth_failure_signals);
}

/// Builds the chosen modules, dependencies first. `here` is this process's own address.
pub fn build(host: &Host, chosen: Vec<Module>, here: String) -> Result<Shop, StartError> {
    let identity = &host.settings.identity;
    let mut all = Parts::default();
    let Issuer { url, client_secret, demo_users } = issuer(host, &mut all)?;
    let reach = Arc::new(OidcClient::new(&url, identity.backchannel.as_deref()));
    let credentials = Arc::new(ClientCredentials::new(reach.clone(), &identity.client_id, client_secret.expose()));
    if identity.issuer.is_some() {
        let ours = credentials.clone();
        all.reloadable(&["identity.client_secret"], move |settings| {
            ours.change(settings.identity.client_secret.as_ref().map(Secret::expose).unwrap_or_default());
            Ok(())
        });
    }
    let registries = registries(&host.settings)?;
    let registry = registries.as_ref().map(|servers| watch(&host.settings, servers, &mut all));
    let mut parties = identity.authorized_parties.clone();
    if !parties.is_empty() {
        parties.push(identity.client_id.clone());
    }
    let authenticator = Authenticator::new(reach, &identity.audience).for_parties(parties);
    let peers = Peers::new(host.settings.resilience.clone(), &host.metrics)?;
    let wiring = Wiring { host, chosen: &chosen, here, credentials, registry: registry.clone(), peers };

    let product = build_product(&wiring, &mut all)?;
    let product = wiring
        .peer(Module::Product, product.as_ref(), ProductClient::local, |remote| Arc::new(ProductClient(remote)) as Arc<dyn ProductApi>)?;
    let asked = LazyRef::default();
    let inventory = build_inventory(&wiring, &mut all, &product, &asked)?;
    let inventory = wiring.peer(Module::Inventory, inventory.as_ref(), InventoryClient::local, |remote| {
        Arc::new(InventoryClient(remote)) as Arc<dyn InventoryApi>
    })?;
    let order = build_order(&wiring, &mut all, product, inventory)?;
    asked.set(wiring.peer(Module::Order, order.as_ref(), OrderClient::local, |remote| Arc::new(OrderClient(remote)) as Arc<dyn OrderApi>)?);
    #[cfg(feature = "notification")]
    if wiring.runs(Module::Notification) {
        join(&mut all, crate::modules::notification::build(host)?.1);
    }
    #[cfg(feature = "registry")]
    if wiring.runs(Module::Registry) {
        join(&mut all, crate::modules::registry::build(host)?);
    }
    #[cfg(feature = "config-server")]
    if wiring.runs(Module::ConfigServer) {
        join(&mut all, crate::modules::config_server::build(host, &authenticator, chosen.len() == 1)?);
    }
    #[cfg_attr(not(feature = "gateway"), expect(unused_mut))]
    let mut door: Option<Arc<dyn GatewayMiddleware>> = None;
    #[cfg(feature = "gateway")]
    if wiring.runs(Module::Gateway) {
        let built = crate::modules::gateway::build(host, wiring.discovery(), &wiring.names(), wiring.peers.breakers.clone())?;
        join(&mut all, built.parts);
        door = Some(built.door);
    }
    join(&mut all, ops::resilience::parts(&wiring.peers.breakers));
    Ok(Shop { modules: chosen, parts: all, door, authenticator, demo_users, registries: registries.zip(registry) })
}

/// Whose tokens count, and our own secret there.
struct Issuer {
    url: String,
    client_secret: Secret,
    demo_users: Vec<(String, String)>,
}

/// The one that settings name, or the built-in one.
fn issuer(host: &Host, all: &mut Parts) -> Result<Issuer, StartError> {
    let settings = &host.settings.identity;
    if let Some(url) = settings.issuer.clone() {
        return Ok(Issuer { url, client_secret: settings.client_secret.clone().unwrap_or_default(), demo_users: Vec::new() });
    }
    #[cfg(feature = "identity")]
    {
        let built = crate::modules::identity::build(host)?;
        join(all, built.parts);
        Ok(Issuer { url: built.issuer, client_secret: built.client_secret, demo_users: built.demo_users })
    }
    #[cfg(not(feature = "identity"))]
    {
        let _ = all;
        Err(WiringError::NoBuiltInIssuer.into())
    }
}

fn build_product(wiring: &Wiring, all: &mut Parts) -> Result<Option<Arc<dyn ProductApi>>, StartError> {
    #[cfg(feature = "product")]
    if wiring.runs(Module::Product) {
        let (service, parts) = crate::modules::product::build(wiring.host)?;
        join(all, parts);
        return Ok(Some(service));
    }
    let _ = (wiring, all);
    Ok(None)
}

fn build_inventory(
    wiring: &Wiring,
    all: &mut Parts,
    product: &Arc<dyn ProductApi>,
    order: &LazyRef<dyn OrderApi>,
) -> Result<Option<Arc<dyn InventoryApi>>, StartError> {
    #[cfg(feature = "inventory")]
    if wiring.runs(Module::Inventory) {
        let (service, parts) = crate::modules::inventory::build(wiring.host, product.clone(), order.clone())?;
        join(all, parts);
        return Ok(Some(service));
    }
    let _ = (wiring, all, product, order);
    Ok(None)
}

fn build_order(
    wiring: &Wiring,
    all: &mut Parts,
    product: Arc<dyn ProductApi>,
    inventory: Arc<dyn InventoryApi>,
) -> Result<Option<Arc<dyn OrderApi>>, StartError> {
    #[cfg(feature = "order")]
    if wiring.runs(Module::Order) {
        let (service, parts) = crate::modules::order::build(wiring.host, product, inventory)?;
        join(all, parts);
        return Ok(Some(service));
    }
    let _ = (wiring, all, product, inventory);
    Ok(None)
}

/// Takes back the last migration of every chosen module whose store is on a server; which ones.
#[cfg(feature = "mysql")]
pub fn revert(settings: &Settings, chosen: &[Module]) -> Result<Vec<String>, StartError> {
    let mut reverted = Vec::new();
    for module in chosen {
        let version: Option<String> = match module {
            #[cfg(feature = "inventory")]
            Module::Inventory => crate::modules::inventory::STORE.revert(settings)?,
            #[cfg(feature = "order")]
            Module::Order => crate::modules::order::STORE.revert(settings)?,
            #[cfg(feature = "notification")]
            Module::Notification => crate::modules::notification::STORE.revert(settings)?,
            _ => {
                let _ = settings;
                None
            }
        };
        reverted.extend(version.map(|version| format!("{} {version}", module.name())));
    }
    Ok(reverted)
}

/// What a module's contract says of itself: its OpenAPI, and its calls.
type Contract = (fn(&mut openapi::Document), fn() -> &'static [Arc<Operation>]);

/// A module's contract; none where nobody calls it by one.
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

/// The calls of every contract there is, whatever the features.
pub fn operations() -> Vec<Arc<Operation>> {
    Module::ALL.into_iter().filter_map(contract).flat_map(|(_, operations)| operations()).cloned().collect()
}

/// The AsyncAPI document of the events of all modules that are compiled in.
pub fn asyncapi() -> Value {
    #[allow(unused_mut, reason = "a build may have no module with events")]
    let mut document = asyncapi::Document::default();
    #[cfg(feature = "product")]
    crate::modules::product::describe(&mut document);
    #[cfg(feature = "inventory")]
    crate::modules::inventory::describe(&mut document);
    #[cfg(feature = "order")]
    crate::modules::order::describe(&mut document);
    #[cfg(feature = "notification")]
    crate::modules::notification::describe(&mut document);
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
