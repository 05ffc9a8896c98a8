//! The layer that a config server gives: Spring Cloud Config's protocol, seen from the client.
//!
//! Only keys below `tradepost.` are ours; applications share their files with others. Keys are taken in
//! every spelling of Spring's relaxed binding: `lease_seconds`, `lease-seconds`, `leaseSeconds`.
//!
//! Source: spring-cloud-config `ConfigServerConfigDataLoader`.

use super::error::{ConfigServerError, SettingsError, ValueError};
use super::keys::{is_known, known_keys, unknown};
use super::{explain, placeholders};
use crate::kernel::module::Module;
use crate::kernel::uri::encode_component;
use crate::net::server_list::{RegistryError, Servers};
use crate::settings::Resilience;
use crate::settings::{ConfigClient, Settings};
use actix_web::http::Method;
use backon::{ConstantBuilder, Retryable};
use config::builder::DefaultState;
use config::{Config, ConfigBuilder, Value as Setting, ValueKind};
use serde::Deserialize;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

const PREFIX: &str = "tradepost.";
/// Retry interval while the config server cannot be reached.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

#[derive(Deserialize)]
struct Answer {
    #[serde(default, rename = "propertySources")]
    sources: Vec<Source>,
}

/// One file, as the server names it.
#[derive(Deserialize)]
struct Source {
    name: String,
    source: Map<String, Value>,
}

/// The layer, where a config server is set.
pub(super) fn layer(settings: &Settings) -> Result<Option<Config>, SettingsError> {
    let client = &settings.config;
    let Some(url) = &client.server else { return Ok(None) };
    // it may be one that only `tls.ca` vouches for
    crate::net::tls::before_start(settings)?;
    let servers = Servers::parse(url.expose()).map_err(ConfigServerError::from)?;
    let (path, patience, address) =
        (path(settings), Duration::from_secs(client.retry_seconds), servers.addresses().collect::<Vec<_>>().join(", "));
    // settings are read before the process has a runtime, or beside one: this one is its own
    let asked = std::thread::spawn(move || actix_web::rt::System::new().block_on(fetch(&servers, &path, patience)));
    match asked.join().map_err(|_| SettingsError::ConfigServerPanicked)? {
        Ok(answer) => build(&answer, &address).map(Some),
        Err(cause) if client.fail_fast => Err(cause.into()),
        Err(cause) => {
            // the log has no level yet
            eprintln!("tradepost: started without the config server: {cause}");
            Ok(None)
        }
    }
}

fn path(settings: &Settings) -> String {
    let ConfigClient { profile, label, .. } = &settings.config;
    let name = name(settings);
    let label = label.as_ref().map(|label| format!("/{}", encode_component(&label.replace('/', "(_)")))).unwrap_or_default();
    format!("/{}/{}{label}", encode_component(&name), encode_component(profile))
}

/// Whose settings these are.
pub(super) fn name(settings: &Settings) -> String {
    settings.config.name.clone().unwrap_or_else(|| application(&settings.server.modules))
}

/// A process of one module is that application; one of several is the shop.
fn application(chosen: &[String]) -> String {
    let mut modules: Vec<Module> = chosen.iter().filter_map(|name| Module::by_name(name)).collect();
    if chosen.is_empty() {
        modules = Module::ALL.into_iter().filter(|module| module.compiled()).collect();
    }
    match modules.as_slice() {
        [one] => one.application().to_lowercase(),
        _ => "tradepost".into(),
    }
}

async fn fetch(servers: &Servers, path: &str, patience: Duration) -> Result<Answer, ConfigServerError> {
    let deadline = Instant::now() + patience;
    let mut told = false;
    let warn_once = |cause: &RegistryError, _| {
        if !std::mem::replace(&mut told, true) {
            eprintln!("tradepost: waiting for the config server: {cause}");
        }
    };
    let ask = || servers.call(Method::GET, path, None);
    let answer = ask.retry(RETRY).when(|_| Instant::now() < deadline).notify(warn_once).await?;
    match answer.status {
        200 => serde_json::from_slice(&answer.body).map_err(|cause| ConfigServerError::NotUnderstood { path: path.into(), cause }),
        404 => Err(ConfigServerError::NoLabel { path: path.into() }),
        status => Err(ConfigServerError::Status { path: path.into(), status }),
    }
}

fn build(answer: &Answer, address: &str) -> Result<Config, SettingsError> {
    let look_up = |key: &str| {
        let found = answer.sources.iter().find_map(|source| source.source.get(key)).map(plain);
        found.or_else(|| std::env::var(key).ok())
    };
    let mut sources = Sources::new()?;
    for (index, source) in answer.sources.iter().enumerate() {
        let origin = format!("config server {address} ({})", source.name);
        for (key, value) in &source.source {
            if let Some(failed) = key.strip_prefix("invalid.").filter(|key| key.starts_with(PREFIX)) {
                return Err(SettingsError::Value { key: failed.into(), origin, cause: ValueError::NotDecrypted });
            }
            let Some(ours) = key.strip_prefix(PREFIX) else { continue };
            let value =
                || resolved(value, &look_up).map_err(|cause| SettingsError::Value { key: key.clone(), origin: origin.clone(), cause });
            sources.put(index, &origin, ours, value)?;
        }
    }
    sources.finish()
}

/// A layer in the making, of sources with flat keys.
pub(super) struct Sources {
    names: Names,
    taken: BTreeMap<String, usize>,
    builder: ConfigBuilder<DefaultState>,
}

impl Sources {
    pub(super) fn new() -> Result<Self, SettingsError> {
        Ok(Self { names: Names::new()?, taken: BTreeMap::new(), builder: Config::builder() })
    }

    /// Takes a key of a source, the strongest source first; its value is asked for where it counts.
    pub(super) fn put(
        &mut self,
        source: usize,
        origin: &str,
        key: &str,
        value: impl FnOnce() -> Result<Value, SettingsError>,
    ) -> Result<(), SettingsError> {
        let names = &self.names;
        let origin = origin.to_string();
        let Some((setting, rest)) = names.find(key) else { return Err(unknown(key, &origin, &names.keys)) };
        // the strongest source that names a setting has all of it, as for Spring's lists
        if *self.taken.entry(setting.clone()).or_insert(source) != source {
            return Ok(());
        }
        let list = names.lists.contains(&setting) && rest.is_empty();
        let kind = match value()? {
            Value::String(text) if list => ValueKind::Array(
                text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(|part| Setting::new(Some(&origin), part)).collect(),
            ),
            Value::String(text) => ValueKind::String(text),
            Value::Bool(value) => ValueKind::Boolean(value),
            Value::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => ValueKind::I64(whole),
                (None, Some(broken)) => ValueKind::Float(broken),
                (None, None) => ValueKind::String(number.to_string()),
            },
            _ => return Ok(()),
        };
        let place = format!("{setting}{rest}");
        let builder = std::mem::take(&mut self.builder);
        self.builder =
            builder.set_override(&place, Setting::new(Some(&origin), kind)).map_err(|_| unknown(&place, &origin, &names.keys))?;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Config, SettingsError> {
        self.builder.build().map_err(explain)
    }
}

fn resolved(value: &Value, look_up: &dyn Fn(&str) -> Option<String>) -> Result<Value, ValueError> {
    match value {
        Value::String(text) if text.starts_with("{cipher}") => Err(ValueError::Encrypted),
        Value::String(text) => Ok(Value::String(placeholders::resolve(text, look_up)?)),
        other => Ok(other.clone()),
    }
}

fn plain(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

/// Our settings by the form in which Spring compares names.
struct Names {
    known: BTreeMap<String, String>,
    keys: BTreeSet<String>,
    lists: Vec<String>,
}

impl Names {
    fn new() -> Result<Self, SettingsError> {
        let mut keys = known_keys()?;
        let modules = Module::ALL.map(Module::name);
        keys.extend(modules.map(|module| format!("peers.{module}")));
        let common = serde_json::to_value(Resilience::default())?;
        let common: Vec<_> = common.as_object().into_iter().flatten().map(|(key, _)| key.clone()).collect();
        keys.extend(modules.iter().flat_map(|module| common.iter().map(move |key| format!("resilience.peers.{module}.{key}"))));
        let mut lists = Vec::new();
        super::leaves("", &serde_json::to_value(Settings::default())?, &mut |key, value| {
            if value.is_array() {
                lists.push(key.to_string());
            }
        });
        let known = keys.iter().filter(|key| is_known(key, &keys)).map(|key| (uniform(key), key.clone())).collect();
        Ok(Self { known, keys, lists })
    }

    /// A setting and what of it is meant: `notification.webhooks` and `[0].url`.
    fn find(&self, key: &str) -> Option<(String, String)> {
        let (stem, rest) = key.split_at(key.find('[').unwrap_or(key.len()));
        self.known.get(&uniform(stem)).map(|setting| (setting.clone(), snake(rest)))
    }
}

fn uniform(key: &str) -> String {
    key.chars().filter(|c| !matches!(c, '-' | '_')).flat_map(char::to_lowercase).collect()
}

fn snake(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        if c.is_uppercase() {
            out.push('_');
        }
        out.extend(if c == '-' { '_' } else { c }.to_lowercase());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge;
    use serde_json::json;

    fn settings(sources: Value) -> Result<crate::config::Loaded, SettingsError> {
        let answer = serde_json::from_value(json!({ "name": "order-service", "propertySources": sources })).unwrap();
        build(&answer, "http://c:8888").and_then(|layer| merge([], &layer))
    }

    #[test]
    fn every_spelling_of_a_key_is_taken_and_the_strongest_source_wins() {
        let loaded = settings(json!([
            { "name": "file:order-service-prod.yml", "source": { "tradepost.order.lease-seconds": 33, "tradepost.gateway.public[0]": "/a" } },
            { "name": "file:order-service.yml", "source": {
                "tradepost.order.leaseSeconds": 21, "tradepost.order.maxLines": "77", "tradepost.order.PEERS_MS": 5,
                "tradepost.gateway.public[0]": "/b", "tradepost.gateway.public[1]": "/c", "spring.application.name": "x" } },
            { "name": "file:application.yml", "source": {
                "tradepost.peers.config-server": "http://${shop.host:nobody}:1", "shop.host": "h", "tradepost.server.modules": "order, product",
                "tradepost.resilience.peers.product.callMs": 9, "tradepost.identity.clients[0].id": "c", "tradepost.identity.clients[0].redirectUris[0]": "http://r" } },
        ]))
        .unwrap();
        let s = &loaded.settings;
        assert_eq!((s.order.lease_seconds, s.order.max_lines, s.order.peers_ms), (33, 77, 5));
        assert_eq!(s.gateway.public, ["/a"]);
        assert_eq!(s.server.modules, ["order", "product"]);
        assert_eq!(s.peers["config-server"], "http://h:1");
        assert_eq!(s.resilience.peers["product"].call_ms, Some(9));
        assert_eq!(s.identity.clients[0].redirect_uris, ["http://r"]);
        assert_eq!(loaded.origins["order.lease_seconds"], "config server http://c:8888 (file:order-service-prod.yml)");
    }

    #[test]
    fn what_cannot_be_used_is_named_with_its_source() {
        for (key, value, expected) in [
            ("tradepost.order.lease-minutes", json!(1), "unknown setting `order.lease-minutes`"),
            ("tradepost.a b", json!(1), "unknown setting `a b`"),
            ("tradepost.order.lease-seconds", json!("soon"), "lease_seconds"),
            ("tradepost.registry.password", json!("{cipher}00"), "no key for it"),
            ("invalid.tradepost.registry.password", json!("<n/a>"), "could not decrypt"),
            ("tradepost.log.level", json!("${tradepost.log.level}"), "leads back"),
        ] {
            let said = settings(json!([{ "name": "file:x.yml", "source": { key: value } }])).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("file:x.yml"), "{key}: {said}");
        }
    }

    #[test]
    fn a_process_asks_for_its_application() {
        let asked = |modules: &[&str], change: fn(&mut ConfigClient)| {
            let mut settings = Settings::default();
            settings.server.modules = modules.iter().map(|m| m.to_string()).collect();
            change(&mut settings.config);
            path(&settings)
        };
        assert_eq!(asked(&["order"], |_| {}), "/order-service/default");
        assert_eq!(asked(&["order", "product"], |c| c.profile = "prod,eu".into()), "/tradepost/prod%2Ceu");
        assert_eq!(asked(&["order"], |c| c.label = Some("team/x".into())), "/order-service/default/team%28_%29x");
    }
}
