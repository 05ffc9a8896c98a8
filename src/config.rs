//! Typed settings, one struct a concern, in layers: defaults here, then `tradepost.toml`, then
//! `TRADEPOST__SECTION__KEY`, then flags. The highest layer that names a key wins.
//!
//! A key that does not exist or a value that does not fit stops the start, with the key, the layer
//! it came from and what was expected.

use crate::platform::resilience::Resilience;
use config::{Config, ConfigError, Environment, File, FileFormat, Value, ValueKind};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A value that is used and never shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps it.
    pub fn new(value: impl Into<String>) -> Self {
        Secret(value.into())
    }

    /// The value itself: for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("******")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("******")
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Secret)
    }
}

/// Whether this is somebody's desk or somebody's shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// The built-in issuer with its demo users may run.
    #[default]
    Development,
    /// It may not, unless forced.
    Production,
}

/// How calls between modules of this process travel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum PeerMode {
    /// As function calls, wherever the peer runs here.
    #[default]
    InProcess,
    /// Through the generated client over HTTP, even to this very process.
    Http,
}

/// `server.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Server {
    /// Address to listen on.
    pub host: String,
    /// Port to listen on; 0 takes any free one and prints it.
    pub port: u16,
    /// How clients reach us, where that differs from `http://host:port`.
    pub public_url: Option<String>,
    /// HTTP worker threads; 0 means one a core.
    pub workers: usize,
    /// Largest request body, in bytes.
    pub body_limit: usize,
    /// Longest time for one request, in seconds.
    pub request_seconds: u64,
    /// Longest time for finishing what runs at shutdown, in seconds.
    pub shutdown_seconds: u64,
    /// Origins that browsers may call from; `*` for any. Tokens travel in a header, never in a cookie.
    pub origins: Vec<String>,
    /// Development or production.
    pub profile: Profile,
    /// Modules to run, of those compiled in; empty for all.
    pub modules: Vec<String>,
    /// In-process or http.
    pub peers: PeerMode,
    /// Test aid: generated clients send each repeatable call twice.
    pub send_twice: bool,
}

impl Default for Server {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 5294,
            public_url: None,
            workers: 0,
            body_limit: 1 << 20,
            request_seconds: 10,
            shutdown_seconds: 20,
            origins: vec!["*".into()],
            profile: Profile::Development,
            modules: Vec::new(),
            peers: PeerMode::InProcess,
            send_twice: false,
        }
    }
}

/// `data.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Data {
    /// Folder of the embedded stores, the bus and the built-in issuer's keys.
    pub dir: PathBuf,
    /// Load the demo catalogue into an empty shop at the first start.
    pub demo: bool,
}

impl Default for Data {
    fn default() -> Self {
        Self { dir: "data".into(), demo: true }
    }
}

/// `product.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Product {
    /// URL of its store; by default `sqlite://{data.dir}/product.db`.
    pub store: Option<String>,
}

/// `inventory.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Inventory {
    /// URL of its store; by default `sqlite://{data.dir}/inventory.db`.
    pub store: Option<String>,
    /// A reservation that is neither committed nor released for so long is looked into, in seconds.
    pub reservation_seconds: u64,
    /// `stock.low` is told when a quantity falls to this.
    pub low: i64,
}

impl Default for Inventory {
    fn default() -> Self {
        Self { store: None, reservation_seconds: 60, low: 5 }
    }
}

/// `order.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Order {
    /// URL of its store; by default `sqlite://{data.dir}/order.db`.
    pub store: Option<String>,
    /// An order that is PENDING for so long is taken up by the recovery worker, in seconds.
    pub lease_seconds: u64,
    /// How long the answer to an `Idempotency-Key` is kept, in hours.
    pub idempotency_hours: u64,
    /// Lines in one order at most.
    pub max_lines: usize,
    /// How long placing an order waits for its peers, all steps together, in milliseconds.
    pub peers_ms: u64,
}

impl Default for Order {
    fn default() -> Self {
        Self { store: None, lease_seconds: 15, idempotency_hours: 48, max_lines: 1000, peers_ms: 900 }
    }
}

/// `notification.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Notification {
    /// URL of its store; by default `sqlite://{data.dir}/notification.db`.
    pub store: Option<String>,
    /// Mail server, e.g. `smtp://user:password@host:587?tls=required`; none sends no mail.
    pub smtp: Option<Secret>,
    /// Sender of mail.
    pub from: String,
    /// Receivers of signed webhooks.
    pub webhooks: Vec<Webhook>,
    /// Attempts at a delivery before it is a dead letter.
    pub attempts: u32,
    /// Pause after the first failed attempt, in milliseconds; it doubles with each further one.
    pub backoff_ms: u64,
}

impl Default for Notification {
    fn default() -> Self {
        Self { store: None, smtp: None, from: "Tradepost <shop@localhost>".into(), webhooks: Vec::new(), attempts: 8, backoff_ms: 1000 }
    }
}

/// One receiver of webhooks.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// Where to POST.
    pub url: String,
    /// Signing secret in Standard Webhooks form: `whsec_` and base64.
    pub secret: Secret,
    /// Event types it wants; empty for all.
    #[serde(default)]
    pub events: Vec<String>,
}

/// `bus.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Bus {
    /// `local://`: durable, in `data.dir`.
    pub url: String,
}

impl Default for Bus {
    fn default() -> Self {
        Self { url: "local://".into() }
    }
}

/// `identity.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// Issuer of access tokens, e.g. a Keycloak realm's URL; none means the built-in one.
    pub issuer: Option<String>,
    /// What tokens must name in `aud`.
    pub audience: String,
    /// Our own client, for calls between services.
    pub client_id: String,
    /// Its secret; with the built-in issuer one is made at first start.
    pub client_secret: Option<Secret>,
    /// Run the built-in issuer outside development.
    pub force: bool,
    /// Life of an access token of the built-in issuer, in seconds.
    pub access_seconds: u64,
    /// Life of a refresh token of the built-in issuer, in seconds.
    pub refresh_seconds: u64,
    /// Users of the built-in issuer; none means the demo users.
    pub users: Vec<User>,
    /// Further clients of the built-in issuer.
    pub clients: Vec<Client>,
}

impl Default for Identity {
    fn default() -> Self {
        Self {
            issuer: None,
            audience: "tradepost".into(),
            client_id: "tradepost-service".into(),
            client_secret: None,
            force: false,
            access_seconds: 1800,
            refresh_seconds: 36_000,
            users: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// A user of the built-in issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct User {
    /// Login name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Address for mail.
    pub email: Option<String>,
    /// Realm roles: `customer`, `admin`.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// A client of the built-in issuer.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Client {
    /// Client id.
    pub id: String,
    /// Its secret; none makes it a public client, which must use PKCE.
    pub secret: Option<Secret>,
    /// Exact redirect URIs; one that ends with `*` matches by prefix on loopback only.
    #[serde(default)]
    pub redirect_uris: Vec<String>,
    /// Realm roles of its service account; none means it has no service account.
    #[serde(default)]
    pub roles: Vec<String>,
}

/// `registry.*`: where this process registers and finds its peers, and how the registry module keeps them.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Registry {
    /// Eureka base, e.g. `http://user:password@127.0.0.1:8761/eureka`; several by comma. None: no registry is used.
    pub url: Option<Secret>,
}

/// `gateway.*`
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Gateway {
    /// Route file in Spring Cloud Gateway's form; none means the built-in routes of the shop.
    pub routes: Option<PathBuf>,
}

/// `log.*`
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    /// Default level and per-target ones: `info,tradepost::order=debug`.
    pub level: String,
    /// `auto` (human on a terminal, JSON otherwise), `human` or `json`.
    pub format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs)]
pub enum LogFormat {
    Auto,
    Human,
    Json,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".into(), format: LogFormat::Auto }
    }
}

/// All settings.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
#[allow(missing_docs)]
pub struct Settings {
    pub server: Server,
    pub data: Data,
    pub product: Product,
    pub inventory: Inventory,
    pub order: Order,
    pub notification: Notification,
    pub bus: Bus,
    pub identity: Identity,
    pub registry: Registry,
    pub gateway: Gateway,
    pub log: Log,
    pub resilience: Resilience,
    /// An address for each module that runs elsewhere: `peers.product = "http://host:port"`.
    pub peers: BTreeMap<String, String>,
}

/// Settings with where each key came from, for the settings page.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Key to layer, for every key that a layer above the defaults names.
    pub origins: BTreeMap<String, String>,
}

/// What flags set, by key; the highest layer.
pub type Flags = Vec<(&'static str, String)>;

/// Reads all layers. `file` must exist where given; `tradepost.toml` is read where it is there.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Loaded, String> {
    load_with(file, flags, None)
}

fn load_with(file: Option<&Path>, flags: &Flags, environment: Option<config::Map<String, String>>) -> Result<Loaded, String> {
    let source = match file {
        Some(path) => File::from(path).format(FileFormat::Toml).required(true),
        None => File::new("tradepost.toml", FileFormat::Toml).required(false),
    };
    let mut environment =
        Environment::with_prefix("TRADEPOST").prefix_separator("__").separator("__").try_parsing(true).source(environment);
    for list in ["server.modules", "server.origins"] {
        environment = environment.list_separator(",").with_list_parse_key(list);
    }
    let above = Config::builder().add_source(source).add_source(environment);
    let mut above = above.build().map_err(explain)?;
    let mut origins = BTreeMap::new();
    flatten("", &above.cache, &mut |key, value| {
        origins.insert(key.to_string(), value.origin().unwrap_or("the environment").to_string());
    });
    let known = known_keys()?;
    if let Some((key, origin)) = origins.iter().find(|(key, _)| !is_known(key, &known)) {
        let near = closest(key, &known).map(|k| format!("; did you mean `{k}`?")).unwrap_or_default();
        return Err(format!("unknown setting `{key}` in {origin}{near}"));
    }
    if !flags.is_empty() {
        let mut builder = Config::builder().add_source(above);
        for (key, value) in flags {
            let value: Value = match *key {
                "server.modules" => value.split(',').map(|m| m.trim().to_string()).filter(|m| !m.is_empty()).collect::<Vec<_>>().into(),
                _ => value.as_str().into(),
            };
            builder = builder.set_override(key, value).map_err(explain)?;
            origins.insert((*key).to_string(), "the command line".into());
        }
        above = builder.build().map_err(explain)?;
    }
    let defaults = Config::try_from(&Settings::default()).map_err(explain)?;
    let all = Config::builder().add_source(defaults).add_source(above).build().map_err(explain)?;
    let settings = all.try_deserialize().map_err(explain)?;
    Ok(Loaded { settings, origins })
}

fn explain(error: ConfigError) -> String {
    format!("settings: {error}")
}

/// Every key there is: those of the defaults, written out in full.
fn known_keys() -> Result<BTreeSet<String>, String> {
    let defaults = serde_json::to_value(Settings::default()).map_err(|e| e.to_string())?;
    let mut keys = BTreeSet::new();
    leaves("", &defaults, &mut |key, _| {
        keys.insert(key.to_string());
    });
    Ok(keys)
}

/// Visits every value that is no table, with its dotted key.
pub fn leaves(prefix: &str, value: &serde_json::Value, visit: &mut impl FnMut(&str, &serde_json::Value)) {
    match value {
        serde_json::Value::Object(members) => {
            for (key, inner) in members {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                leaves(&path, inner, visit);
            }
        }
        leaf => visit(prefix, leaf),
    }
}

fn is_known(key: &str, known: &BTreeSet<String>) -> bool {
    let is_module = |name: &str| crate::modules::Module::by_name(name).is_some();
    // what can be set for one peer is what can be set for all
    let is_override =
        |key: &str| key.split_once('.').is_some_and(|(module, k)| is_module(module) && known.contains(&format!("resilience.{k}")));
    known.contains(key)
        || key.strip_prefix("peers.").is_some_and(is_module)
        || key.strip_prefix("resilience.peers.").is_some_and(is_override)
}

fn closest<'a>(key: &str, known: &'a BTreeSet<String>) -> Option<&'a String> {
    let near = known.iter().map(|candidate| (strsim::damerau_levenshtein(key, candidate), candidate));
    near.filter(|(distance, _)| *distance <= 4).min_by_key(|(distance, _)| *distance).map(|(_, candidate)| candidate)
}

fn flatten(prefix: &str, value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match &value.kind {
        ValueKind::Table(table) => {
            for (key, inner) in table {
                let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
                flatten(&path, inner, visit);
            }
        }
        _ if prefix.is_empty() => {}
        _ => visit(prefix, value),
    }
}

impl Settings {
    /// The file behind a module's store, where that is SQLite; what else the URL may name is said in the error.
    pub fn sqlite_path(&self, module: &str, url: Option<&str>) -> Result<PathBuf, String> {
        match url {
            None => Ok(self.data.dir.join(format!("{module}.db"))),
            Some(url) => match url.strip_prefix("sqlite://") {
                Some(path) => Ok(PathBuf::from(path.replace("{data.dir}", &self.data.dir.to_string_lossy()))),
                None => Err(format!(
                    "{module}.store: `{}` is not among the backends compiled in: sqlite://",
                    url.split("://").next().unwrap_or_default()
                )),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Option<config::Map<String, String>> {
        Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn the_highest_layer_wins() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "[server]\nport = 1\nhost = \"0.0.0.0\"\n[peers]\nproduct = \"http://p\"\n").unwrap();
        let loaded = load_with(
            Some(&file),
            &vec![("server.port", "3".into())],
            env(&[("TRADEPOST__SERVER__PORT", "2"), ("TRADEPOST__SERVER__MODULES", "order,product")]),
        )
        .unwrap();
        assert_eq!((loaded.settings.server.port, loaded.settings.server.host.as_str()), (3, "0.0.0.0"));
        assert_eq!(loaded.settings.server.modules, ["order", "product"]);
        assert_eq!(loaded.settings.peers["product"], "http://p");
        assert_eq!(loaded.origins["server.port"], "the command line");
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_layer() {
        let unknown = load_with(None, &vec![], env(&[("TRADEPOST__SERVER__PROT", "2")])).unwrap_err();
        assert!(unknown.contains("server.prot") && unknown.contains("environment") && unknown.contains("server.port"), "{unknown}");
        let wrong = load_with(None, &vec![], env(&[("TRADEPOST__SERVER__PORT", "many")])).unwrap_err();
        assert!(wrong.contains("server.port") && wrong.contains("environment"), "{wrong}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "[order]\nlease_seconds = \"soon\"\n").unwrap();
        let wrong = load_with(Some(&file), &vec![], env(&[])).unwrap_err();
        assert!(wrong.contains("lease_seconds") && wrong.contains("t.toml"), "{wrong}");
    }

    /// The example file: every key there is, each with its default.
    #[test]
    fn the_example_names_every_setting_with_its_default() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tradepost.example.toml");
        let loaded = load_with(Some(&example), &vec![], env(&[])).unwrap();
        let value = |settings: &Settings| serde_json::to_value(settings).unwrap();
        assert_eq!(value(&loaded.settings), value(&Settings::default()));

        let text = std::fs::read_to_string(&example).unwrap();
        let mut section = String::new();
        let mut named = BTreeSet::new();
        for line in text.lines() {
            if let Some(name) = line.strip_prefix('[') {
                section = name.trim_end_matches(']').into();
            } else if let Some((key, _)) = line.trim_start_matches("# ").split_once(" = ") {
                named.insert(format!("{section}.{key}"));
            }
        }
        let missing: Vec<_> = known_keys().unwrap().into_iter().filter(|key| !named.contains(key)).collect();
        assert!(missing.is_empty(), "the example lacks {missing:?}");
        let unknown: Vec<_> = named.into_iter().filter(|key| !is_known(key, &known_keys().unwrap())).collect();
        assert!(unknown.is_empty(), "the example names {unknown:?}, which are no settings");
    }

    #[test]
    fn what_holds_for_all_peers_can_differ_for_one() {
        let set = |key: &str| load_with(None, &vec![], env(&[(key, "7")]));
        let loaded = set("TRADEPOST__RESILIENCE__PEERS__PRODUCT__OPEN_SECONDS").unwrap();
        let own = |module: &str| loaded.settings.resilience.peers[module].open_seconds;
        assert_eq!((own("product"), own("inventory"), loaded.settings.resilience.open_seconds), (Some(7), Some(30), 50));
        assert_eq!(set("TRADEPOST__RESILIENCE__CALL_MS").unwrap().settings.resilience.call_ms, 7);
        for unknown in ["TRADEPOST__RESILIENCE__PEERS__BASKET__CALL_MS", "TRADEPOST__RESILIENCE__PEERS__ORDER__OPEN_MS"] {
            assert!(set(unknown).unwrap_err().contains("unknown setting `resilience.peers."), "{unknown}");
        }
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("whsec_abc");
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "****** \"******\"");
    }
}
