//! Typed settings, one struct a concern, in layers: defaults here, then `tradepost.toml`, then a config
//! server, then a Vault, then `TRADEPOST__SECTION__KEY` (or a file that `TRADEPOST__SECTION__KEY_FILE` names), then
//! flags. The highest layer that names a key wins.
//!
//! A key that does not exist or a value that does not fit stops the start, with the key, the layer
//! it came from and what was expected.

mod error;
mod files;
mod keys;
pub mod placeholders;
mod remote;
mod secrets;
mod transit;

pub use error::*;
pub use keys::leaves;
pub use transit::is_decrypted;

use crate::kernel::module::Module;
use crate::settings::Settings;
use config::{Config, ConfigError, Environment, File, FileFormat, Value};
use keys::{flatten, is_known, known_keys, unknown};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};

/// Settings with where each key came from, for the settings page.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The values.
    pub settings: Settings,
    /// Key to layer, for every key that a layer above the defaults names.
    pub origins: BTreeMap<String, String>,
    /// A mark of each value: values may be secrets, and a change must be seen nevertheless.
    marks: BTreeMap<String, u64>,
    layers: Option<Layers>,
}

/// What settings were made of.
#[derive(Debug, Clone)]
struct Layers {
    file: Option<PathBuf>,
    flags: Flags,
    /// Below Vault, the weakest first, and above it.
    below: Vec<Config>,
    above: Config,
    secrets: Option<secrets::Source>,
}

impl From<Settings> for Loaded {
    /// Settings from no layer at all, which cannot be read again.
    fn from(settings: Settings) -> Self {
        Self { settings, origins: BTreeMap::new(), marks: BTreeMap::new(), layers: None }
    }
}

impl Loaded {
    /// Reads the same layers as they are now.
    pub fn again(&self) -> Result<Self, SettingsError> {
        let layers = self.layers.as_ref().ok_or(SettingsError::NotFromFile)?;
        load_with(layers.file.as_deref(), &layers.flags, None, true)
    }

    /// Reads Vault again, and leaves the other layers as they were read.
    pub fn with_secrets_again(&self) -> Result<Self, SettingsError> {
        let layers = self.layers.clone().ok_or(SettingsError::NotFromVault)?;
        let secrets = layers.secrets.as_ref().map(secrets::Source::read).transpose()?;
        layers.merge(secrets)
    }

    /// Keys whose value is another one there.
    pub fn changed(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.marks.keys().chain(other.marks.keys()).collect();
        keys.into_iter().filter(|key| self.marks.get(*key) != other.marks.get(*key)).cloned().collect()
    }

    /// Takes note that this key's value is the other one's from now on.
    pub fn adopt(&mut self, key: &str, other: &Self) {
        fn copy<V: Clone>(to: &mut BTreeMap<String, V>, key: &str, from: &BTreeMap<String, V>) {
            match from.get(key) {
                Some(value) => to.insert(key.to_string(), value.clone()),
                None => to.remove(key),
            };
        }
        copy(&mut self.marks, key, &other.marks);
        copy(&mut self.origins, key, &other.origins);
    }
}

/// What flags set, by key; the highest layer.
pub type Flags = Vec<(&'static str, String)>;

/// Reads all layers. `file` must exist where given; `tradepost.toml` is read where it is there.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Loaded, SettingsError> {
    load_with(file, flags, None, false)
}

/// What file and environment set, for who asks a shop instead of being one: no config server is asked.
pub fn local(file: Option<&Path>) -> Result<Settings, SettingsError> {
    let (below, above) = layers(file, &Vec::new(), None)?;
    Ok(merge([&below], &above)?.settings)
}

/// Settings that a comma makes a list of, where they come as one text.
const LISTS: [&str; 5] = ["server.modules", "server.origins", "gateway.public", "gateway.trusted_proxies", "telemetry.propagation"];

/// What lies below a config server's settings, and what above.
fn layers(file: Option<&Path>, flags: &Flags, environment: Option<config::Map<String, String>>) -> Result<(Config, Config), SettingsError> {
    let source = match file {
        Some(path) => File::from(path).format(FileFormat::Toml).required(true),
        None => File::new("tradepost.toml", FileFormat::Toml).required(false),
    };
    // as they are: a password of digits is no number. What is one is read from its text in the end
    let environment = files::read(environment)?;
    let variables = Environment::with_prefix("TRADEPOST").prefix_separator("__").separator("__").source(Some(environment.all.clone()));
    let mut lists = variables.clone().try_parsing(true).list_separator(",");
    for list in LISTS {
        lists = lists.with_list_parse_key(list);
    }
    let lists = Config::builder().add_source(lists).build().map_err(explain)?;
    let mut above = Config::builder().add_source(variables);
    for list in LISTS {
        if let Ok(items) = lists.get::<Value>(list) {
            above = above.set_override(list, items).map_err(explain)?;
        }
    }
    let below = Config::builder().add_source(source).build().map_err(explain)?;
    let above = above.build().and_then(|above| environment.mark(above)).map_err(explain)?;
    Ok((below, flagged(above, flags)?))
}

/// `again`: a process runs on what was read before. Then nothing is waited for, and a server that is away is an
/// error whatever `fail_fast` says: what it gave would be taken for withdrawn.
fn load_with(
    file: Option<&Path>,
    flags: &Flags,
    environment: Option<config::Map<String, String>>,
    again: bool,
) -> Result<Loaded, SettingsError> {
    let (below, above) = layers(file, flags, environment)?;
    let mut below = vec![below];
    let mut loaded = merge(&below, &above)?;
    let ask = |loaded: &Loaded| {
        let mut settings = loaded.settings.clone();
        if again {
            (settings.config.fail_fast, settings.config.retry_seconds) = (true, 0);
            (settings.vault.fail_fast, settings.vault.retry_seconds) = (true, 0);
        }
        settings
    };
    if let Some(remote) = remote::layer(&ask(&loaded))? {
        below.push(remote);
        loaded = merge(&below, &above)?;
    }
    let (source, secrets) = secrets::layer(&ask(&loaded))?;
    Layers { file: file.map(Path::to_path_buf), flags: flags.clone(), below, above, secrets: source }.merge(secrets)
}

impl Layers {
    fn merge(self, secrets: Option<Config>) -> Result<Loaded, SettingsError> {
        let decrypt = |_: &str, text: &str| transit::decrypt(self.secrets.as_ref(), text).map(Some);
        let mut loaded = merge_with(self.below.iter().chain(&secrets), &self.above, &decrypt)?;
        loaded.layers = Some(self);
        Ok(loaded)
    }
}

fn flagged(environment: Config, flags: &Flags) -> Result<Config, SettingsError> {
    let mut builder = Config::builder().add_source(environment);
    for (key, value) in flags {
        let value: Value = match *key {
            "server.modules" => value.split(',').map(|m| m.trim().to_string()).filter(|m| !m.is_empty()).collect::<Vec<_>>().into(),
            _ => value.as_str().into(),
        };
        let value = Value::new(Some(&"the command line".to_string()), value.kind);
        builder = builder.set_override(key, value).map_err(explain)?;
    }
    builder.build().map_err(explain)
}

/// The layers, the weakest first, on the defaults; what is encrypted stays so.
fn merge<'a>(layers: impl IntoIterator<Item = &'a Config>, strongest: &Config) -> Result<Loaded, SettingsError> {
    merge_with(layers, strongest, &transit::before_vault)
}

fn merge_with<'a>(
    layers: impl IntoIterator<Item = &'a Config>,
    strongest: &Config,
    decrypt: &transit::Decrypt<'_>,
) -> Result<Loaded, SettingsError> {
    let mut above = Config::builder();
    for layer in layers {
        above = above.add_source(layer.clone());
    }
    let mut above = above.add_source(strongest.clone()).build().map_err(explain)?;
    transit::replace("", &mut above.cache, decrypt)?;
    let mut origins = BTreeMap::new();
    flatten("", &above.cache, &mut |key, value| {
        origins.insert(key.to_string(), value.origin().unwrap_or("the environment").to_string());
    });
    let known = known_keys()?;
    if let Some((key, origin)) = origins.iter().find(|(key, _)| !is_known(key, &known)) {
        return Err(unknown(key, origin, &known));
    }
    let defaults = Config::try_from(&Settings::default()).map_err(explain)?;
    let all = Config::builder().add_source(defaults).add_source(above).build().map_err(explain)?;
    let mut marks = BTreeMap::new();
    flatten("", &all.cache, &mut |key, value| {
        marks.insert(key.to_string(), mark(value));
    });
    let mut settings: Settings = all.try_deserialize().map_err(|error| misfit(error, &origins))?;
    if !origins.contains_key("server.port")
        && let Some(port) = alone(&settings.server.modules).and_then(Module::port)
    {
        settings.server.port = port;
        origins.insert("server.port".into(), format!("the default of {}", settings.server.modules.join(",")));
    }
    Ok(Loaded { settings, origins, marks, layers: None })
}

/// The same for `7` and `"7"`: layers spell values in their own ways.
fn mark(value: &Value) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    value.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The module that has a process to itself, where one has.
fn alone(wanted: &[String]) -> Option<Module> {
    let mut here = Module::ALL.into_iter().filter(|m| if wanted.is_empty() { m.compiled() } else { wanted.iter().any(|w| w == m.name()) });
    here.next().filter(|_| here.next().is_none())
}

/// With a Vault among the layers, or files with single values, no value is repeated: it may be a secret, or a piece of one.
fn misfit(error: ConfigError, origins: &BTreeMap<String, String>) -> SettingsError {
    let hides = |origin: &&String| origin.starts_with("vault ") || files::is_origin(origin);
    let Some(hidden) = origins.values().find(hides) else { return explain(error) };
    let (key, expected) = match &error {
        ConfigError::Type { key, expected, .. } => (key.as_deref(), *expected),
        ConfigError::At { key, .. } => (key.as_deref(), "another form"),
        _ => (None, "another form"),
    };
    let key = key.unwrap_or("a key");
    let named = key.split(['[', ' ']).next().unwrap_or(key);
    let origin = origins.iter().find(|(name, _)| name.starts_with(named)).map_or(hidden, |(_, origin)| origin);
    SettingsError::Misfit { key: key.to_string(), origin: origin.clone(), expected }
}

fn explain(error: ConfigError) -> SettingsError {
    SettingsError::Layer(Box::new(error))
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
            false,
        )
        .unwrap();
        assert_eq!((loaded.settings.server.port, loaded.settings.server.host.as_str()), (3, "0.0.0.0"));
        assert_eq!(loaded.settings.server.modules, ["order", "product"]);
        assert_eq!(loaded.settings.peers["product"], "http://p");
        assert_eq!(loaded.origins["server.port"], "the command line");
    }

    #[test]
    fn a_wrong_key_or_value_is_named_with_its_layer() {
        let unknown = load_with(None, &vec![], env(&[("TRADEPOST__SERVER__PROT", "2")]), false).unwrap_err().to_string();
        assert!(unknown.contains("server.prot") && unknown.contains("environment") && unknown.contains("server.port"), "{unknown}");
        let wrong = load_with(None, &vec![], env(&[("TRADEPOST__SERVER__PORT", "many")]), false).unwrap_err().to_string();
        assert!(wrong.contains("server.port") && wrong.contains("environment"), "{wrong}");
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("t.toml");
        std::fs::write(&file, "[order]\nlease_seconds = \"soon\"\n").unwrap();
        let wrong = load_with(Some(&file), &vec![], env(&[]), false).unwrap_err().to_string();
        assert!(wrong.contains("lease_seconds") && wrong.contains("t.toml"), "{wrong}");
    }

    #[test]
    fn a_registry_of_its_own_is_where_its_clients_look_for_it() {
        let port = |pairs: &[(&str, &str)]| load_with(None, &vec![], env(pairs), false).unwrap().settings.server.port;
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "registry")]), 8761);
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "registry"), ("TRADEPOST__SERVER__PORT", "5294")]), 5294);
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "config-server")]), 8888);
        for others in ["gateway", "order", "registry,gateway"] {
            assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", others)]), 5294, "{others}");
        }
        let loaded = load_with(None, &vec![("server.modules", "registry".into())], env(&[]), false).unwrap();
        assert_eq!((loaded.settings.server.port, loaded.origins["server.port"].as_str()), (8761, "the default of registry"));
        assert_eq!(load_with(None, &vec![], env(&[]), false).unwrap().settings.server.port, 5294);
    }

    #[test]
    fn the_environment_says_numbers_and_lists_and_a_password_of_digits_stays_what_it_is() {
        let loaded = load_with(
            None,
            &vec![],
            env(&[
                ("TRADEPOST__BUS__PASSWORD", "00423"),
                ("TRADEPOST__IDENTITY__CLIENT_SECRET", "1e10"),
                ("TRADEPOST__ORDER__MAX_LINES", "7"),
                ("TRADEPOST__REGISTRY__RENEWAL_THRESHOLD", "0.5"),
                ("TRADEPOST__DATA__DEMO", "false"),
                ("TRADEPOST__GATEWAY__PUBLIC", "/a,/b"),
            ]),
            false,
        );
        let settings = loaded.unwrap().settings;
        let secret = |secret: Option<Secret>| secret.unwrap().expose().to_string();
        assert_eq!((secret(settings.bus.password), secret(settings.identity.client_secret)), ("00423".into(), "1e10".into()));
        assert_eq!((settings.order.max_lines, settings.registry.renewal_threshold, settings.data.demo), (7, 0.5, false));
        assert_eq!(settings.gateway.public, ["/a", "/b"]);
    }

    /// The example file: every key there is, each with its default.
    #[test]
    fn the_example_names_every_setting_with_its_default() {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("tradepost.example.toml");
        let loaded = load_with(Some(&example), &vec![], env(&[]), false).unwrap();
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
        let set = |key: &str| load_with(None, &vec![], env(&[(key, "7")]), false);
        let loaded = set("TRADEPOST__RESILIENCE__PEERS__PRODUCT__OPEN_SECONDS").unwrap();
        let own = |module: &str| loaded.settings.resilience.peers[module].open_seconds;
        assert_eq!((own("product"), own("inventory"), loaded.settings.resilience.open_seconds), (Some(7), Some(30), 50));
        assert_eq!(set("TRADEPOST__RESILIENCE__CALL_MS").unwrap().settings.resilience.call_ms, 7);
        for unknown in ["TRADEPOST__RESILIENCE__PEERS__BASKET__CALL_MS", "TRADEPOST__RESILIENCE__PEERS__ORDER__OPEN_MS"] {
            assert!(set(unknown).unwrap_err().to_string().contains("unknown setting `resilience.peers."), "{unknown}");
        }
    }

    #[test]
    fn a_secret_shows_nothing() {
        let secret = Secret::new("whsec_abc");
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "****** \"******\"");
    }
}
