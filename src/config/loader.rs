//! Reads the layers in their order, and reads them again while the process runs.

use super::error::SettingsError;
use super::merge::{Merged, merge, merge_with};
use super::{config_server, transit, value_files, vault};
use crate::settings::Settings;
use config::{Config, Environment, File, FileFormat, Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

#[derive(Debug, Clone)]
pub struct Loaded {
    pub settings: Settings,
    /// Layer by key, for every key that a layer above the defaults sets.
    pub origins: BTreeMap<String, String>,
    fingerprints: BTreeMap<String, u64>,
    layers: Option<Layers>,
}

#[derive(Debug, Clone)]
struct Layers {
    file: Option<PathBuf>,
    flags: Flags,
    /// The layers below Vault, weakest first.
    below: Vec<Config>,
    /// The layer above Vault: environment and command line.
    above: Config,
    vault: Option<vault::Source>,
}

impl From<Settings> for Loaded {
    /// Settings that come from no layer cannot be reloaded.
    fn from(settings: Settings) -> Self {
        Self { settings, origins: BTreeMap::new(), fingerprints: BTreeMap::new(), layers: None }
    }
}

impl Loaded {
    /// Reads all layers again.
    pub fn reload(&self) -> Result<Self, SettingsError> {
        let layers = self.layers.as_ref().ok_or(SettingsError::NotFromFile)?;
        load_with(layers.file.as_deref(), &layers.flags, None, true)
    }

    /// Reads only Vault again; the other layers keep their values.
    pub fn reload_secrets(&self) -> Result<Self, SettingsError> {
        let layers = self.layers.clone().ok_or(SettingsError::NotFromVault)?;
        let secrets = layers.vault.as_ref().map(vault::Source::read).transpose()?;
        layers.merge(secrets)
    }

    /// Keys with different values in the two.
    pub fn changed_keys(&self, other: &Self) -> Vec<String> {
        let keys: BTreeSet<&String> = self.fingerprints.keys().chain(other.fingerprints.keys()).collect();
        keys.into_iter().filter(|key| self.fingerprints.get(*key) != other.fingerprints.get(*key)).cloned().collect()
    }

    /// Marks the other value of this key as applied: `changed_keys` no longer reports it.
    pub fn accept(&mut self, key: &str, other: &Self) {
        fn copy<V: Clone>(to: &mut BTreeMap<String, V>, key: &str, from: &BTreeMap<String, V>) {
            match from.get(key) {
                Some(value) => to.insert(key.to_string(), value.clone()),
                None => to.remove(key),
            };
        }
        copy(&mut self.fingerprints, key, &other.fingerprints);
        copy(&mut self.origins, key, &other.origins);
    }
}

/// Values that the command line sets, by key.
pub type Flags = Vec<(&'static str, String)>;

/// Reads all layers. `file` must exist if it is given; `tradepost.toml` is optional.
pub fn load(file: Option<&Path>, flags: &Flags) -> Result<Loaded, SettingsError> {
    load_with(file, flags, None, false)
}

/// Reads file and environment only, without config server and Vault: for commands that call a running shop.
pub fn load_local(file: Option<&Path>) -> Result<Settings, SettingsError> {
    let (below, above) = read_local(file, &Vec::new(), None)?;
    Ok(merge([&below], &above)?.settings)
}

/// Settings that environment variables set as lists separated by commas.
const LISTS: [&str; 5] = ["server.modules", "server.origins", "gateway.public", "gateway.trusted_proxies", "telemetry.propagation"];

/// The layers below and above the config server. `environment` replaces the environment of the process.
fn read_local(file: Option<&Path>, flags: &Flags, environment: Option<Map<String, String>>) -> Result<(Config, Config), SettingsError> {
    let source = match file {
        Some(path) => File::from(path).format(FileFormat::Toml).required(true),
        None => File::new("tradepost.toml", FileFormat::Toml).required(false),
    };
    // variables stay text: a password of digits is not a number. Deserialization converts the text of a numeric setting
    let environment = value_files::read(environment)?;
    let variables = Environment::with_prefix("TRADEPOST").prefix_separator("__").separator("__").source(Some(environment.all.clone()));
    let mut lists = variables.clone().try_parsing(true).list_separator(",");
    for list in LISTS {
        lists = lists.with_list_parse_key(list);
    }
    let lists = Config::builder().add_source(lists).build()?;
    let mut above = Config::builder().add_source(variables);
    for list in LISTS {
        if let Ok(items) = lists.get::<Value>(list) {
            above = above.set_override(list, items)?;
        }
    }
    let below = Config::builder().add_source(source).build()?;
    let above = environment.set_origins(above.build()?)?;
    Ok((below, set_flags(above, flags)?))
}

/// On a reload no server is waited for, and an unreachable server is an error even with `fail_fast = false`:
/// otherwise its values would count as withdrawn.
pub(super) fn load_with(
    file: Option<&Path>,
    flags: &Flags,
    environment: Option<Map<String, String>>,
    is_reload: bool,
) -> Result<Loaded, SettingsError> {
    let (below, above) = read_local(file, flags, environment)?;
    let mut below = vec![below];
    let mut merged = merge(&below, &above)?;
    let client_settings = |merged: &Merged| {
        let mut settings = merged.settings.clone();
        if is_reload {
            (settings.config.fail_fast, settings.config.retry_seconds) = (true, 0);
            (settings.vault.fail_fast, settings.vault.retry_seconds) = (true, 0);
        }
        settings
    };
    if let Some(layer) = config_server::layer(&client_settings(&merged))? {
        below.push(layer);
        merged = merge(&below, &above)?;
    }
    let (source, secrets) = vault::layer(&client_settings(&merged))?;
    Layers { file: file.map(Path::to_path_buf), flags: flags.clone(), below, above, vault: source }.merge(secrets)
}

impl Layers {
    fn merge(self, secrets: Option<Config>) -> Result<Loaded, SettingsError> {
        let decrypt = |_: &str, text: &str| transit::decrypt(self.vault.as_ref(), text).map(Some);
        let Merged { settings, origins, fingerprints } = merge_with(self.below.iter().chain(&secrets), &self.above, &decrypt)?;
        Ok(Loaded { settings, origins, fingerprints, layers: Some(self) })
    }
}

fn set_flags(environment: Config, flags: &Flags) -> Result<Config, SettingsError> {
    let mut builder = Config::builder().add_source(environment);
    for (key, value) in flags {
        let value: Value = match *key {
            "server.modules" => value.split(',').map(|m| m.trim().to_string()).filter(|m| !m.is_empty()).collect::<Vec<_>>().into(),
            _ => value.as_str().into(),
        };
        let value = Value::new(Some(&"the command line".to_string()), value.kind);
        builder = builder.set_override(key, value)?;
    }
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::keys::{is_known, known_keys};
    use crate::kernel::secret::Secret;
    use std::collections::BTreeSet;

    fn env(pairs: &[(&str, &str)]) -> Option<Map<String, String>> {
        Some(pairs.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect())
    }

    #[test]
    fn key_in_several_layers_takes_highest() {
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
    fn unknown_key_or_wrong_value_is_reported_with_its_layer() {
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
    fn single_module_listens_on_its_default_port() {
        let port = |pairs: &[(&str, &str)]| load_with(None, &vec![], env(pairs), false).unwrap().settings.server.port;
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "registry")]), 8761);
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "registry"), ("TRADEPOST__SERVER__PORT", "5294")]), 5294);
        assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", "config-server")]), 8888);
        for modules in ["gateway", "order", "registry,gateway"] {
            assert_eq!(port(&[("TRADEPOST__SERVER__MODULES", modules)]), 5294, "{modules}");
        }
        let loaded = load_with(None, &vec![("server.modules", "registry".into())], env(&[]), false).unwrap();
        assert_eq!((loaded.settings.server.port, loaded.origins["server.port"].as_str()), (8761, "the default of registry"));
        assert_eq!(load_with(None, &vec![], env(&[]), false).unwrap().settings.server.port, 5294);
    }

    #[test]
    fn environment_numbers_and_lists_are_parsed_and_password_of_digits_stays_text() {
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

    #[test]
    fn example_file_has_every_key_with_its_default() {
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
        assert!(unknown.is_empty(), "the example names {unknown:?}, which are not settings");
    }

    #[test]
    fn resilience_override_applies_to_one_peer() {
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
    fn secret_in_debug_and_json_is_masked() {
        let secret = Secret::new("whsec_abc");
        assert_eq!(format!("{secret:?} {}", serde_json::to_string(&secret).unwrap()), "****** \"******\"");
    }
}
