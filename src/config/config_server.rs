//! The config server's layer: a client of Spring Cloud Config's protocol.
//!
//! Only keys below `tradepost.` are read; other applications may share the same files.
//!
//! Source: spring-cloud-config `ConfigServerConfigDataLoader`.

use super::error::{ConfigServerError, SettingsError, ValueError};
use super::layer_builder::LayerBuilder;
use super::placeholders;
use crate::kernel::module::{self, Module};
use crate::kernel::uri::encode_component;
use crate::net::server_list::{RegistryError, Servers};
use crate::settings::{ConfigClient, Settings};
use actix_web::http::Method;
use backon::{ConstantBuilder, Retryable};
use config::Config;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::time::{Duration, Instant};

const PREFIX: &str = "tradepost.";
/// Retry interval while the config server cannot be reached.
const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

#[derive(Deserialize)]
struct EnvironmentResponse {
    #[serde(default, rename = "propertySources")]
    sources: Vec<PropertySource>,
}

#[derive(Deserialize)]
struct PropertySource {
    /// The file, as the server names it.
    name: String,
    source: Map<String, Value>,
}

/// `None` without `config.server`, or if the server is unreachable and `fail_fast` is off.
pub(super) fn layer(settings: &Settings) -> Result<Option<Config>, SettingsError> {
    let client = &settings.config;
    let Some(url) = &client.server else { return Ok(None) };
    // the server's certificate may be trusted by `tls.ca` only
    crate::net::tls::start_if_needed(settings)?;
    let servers = Servers::parse(url.expose()).map_err(ConfigServerError::from)?;
    let (path, timeout) = (path(settings), Duration::from_secs(client.retry_seconds));
    let address = servers.addresses().collect::<Vec<_>>().join(", ");
    // the first load happens before the process has a runtime, a reload inside one: use a separate runtime
    let fetched = std::thread::spawn(move || actix_web::rt::System::new().block_on(fetch(&servers, &path, timeout)));
    match fetched.join().map_err(|_| SettingsError::ConfigServerPanicked)? {
        Ok(response) => build(&response, &address).map(Some),
        Err(cause) if client.fail_fast => Err(cause.into()),
        Err(cause) => {
            // logging is not configured yet
            eprintln!("tradepost: started without the config server: {cause}");
            Ok(None)
        }
    }
}

fn path(settings: &Settings) -> String {
    let ConfigClient { profile, label, .. } = &settings.config;
    let name = application_name(settings);
    let label = label.as_ref().map(|label| format!("/{}", encode_component(&label.replace('/', "(_)")))).unwrap_or_default();
    format!("/{}/{}{label}", encode_component(&name), encode_component(profile))
}

/// The application to request settings for.
pub(super) fn application_name(settings: &Settings) -> String {
    settings.config.name.clone().unwrap_or_else(|| default_application_name(&settings.server.modules))
}

fn default_application_name(selected: &[String]) -> String {
    let mut modules: Vec<Module> = selected.iter().filter_map(|name| Module::by_name(name)).collect();
    if selected.is_empty() {
        modules = Module::ALL.into_iter().filter(|module| module.is_compiled_in()).collect();
    }
    module::service_name(&modules)
}

async fn fetch(servers: &Servers, path: &str, timeout: Duration) -> Result<EnvironmentResponse, ConfigServerError> {
    let deadline = Instant::now() + timeout;
    let mut warned = false;
    let warn_once = |cause: &RegistryError, _| {
        if !std::mem::replace(&mut warned, true) {
            eprintln!("tradepost: waiting for the config server: {cause}");
        }
    };
    let request = || servers.call(Method::GET, path, None);
    let response = request.retry(RETRY).when(|_| Instant::now() < deadline).notify(warn_once).await?;
    match response.status {
        200 => serde_json::from_slice(&response.body).map_err(|cause| ConfigServerError::MalformedResponse { path: path.into(), cause }),
        404 => Err(ConfigServerError::NoLabel { path: path.into() }),
        status => Err(ConfigServerError::Status { path: path.into(), status }),
    }
}

fn build(response: &EnvironmentResponse, address: &str) -> Result<Config, SettingsError> {
    let lookup = |key: &str| {
        let found = response.sources.iter().find_map(|source| source.source.get(key)).map(plain_text);
        found.or_else(|| std::env::var(key).ok())
    };
    let mut builder = LayerBuilder::new()?;
    for (index, source) in response.sources.iter().enumerate() {
        let origin = format!("config server {address} ({})", source.name);
        for (key, value) in &source.source {
            if let Some(failed) = key.strip_prefix("invalid.").filter(|key| key.starts_with(PREFIX)) {
                return Err(SettingsError::Value { key: failed.into(), origin, cause: ValueError::DecryptionFailed });
            }
            let Some(setting) = key.strip_prefix(PREFIX) else { continue };
            let value = || {
                resolve_placeholders(value, &lookup).map_err(|cause| SettingsError::Value {
                    key: key.clone(),
                    origin: origin.clone(),
                    cause,
                })
            };
            builder.set(index, &origin, setting, value)?;
        }
    }
    builder.finish()
}

fn resolve_placeholders(value: &Value, lookup: &dyn Fn(&str) -> Option<String>) -> Result<Value, ValueError> {
    match value {
        Value::String(text) if text.starts_with("{cipher}") => Err(ValueError::Encrypted),
        Value::String(text) => Ok(Value::String(placeholders::resolve(text, lookup)?)),
        other => Ok(other.clone()),
    }
}

fn plain_text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::merge::{Merged, merge};
    use serde_json::json;

    fn settings(sources: Value) -> Result<Merged, SettingsError> {
        let response = serde_json::from_value(json!({ "name": "order-service", "propertySources": sources })).unwrap();
        build(&response, "http://c:8888").and_then(|layer| merge([], &layer))
    }

    #[test]
    fn key_in_any_spelling_is_accepted_and_strongest_source_wins() {
        let loaded = settings(json!([
            { "name": "file:order-service-prod.yml", "source": { "tradepost.order.lease-seconds": 33, "tradepost.gateway.public[0]": "/a" } },
            { "name": "file:order-service.yml", "source": {
                "tradepost.order.leaseSeconds": 21, "tradepost.order.maxLines": "77", "tradepost.order.PEER_TIMEOUT_MS": 5,
                "tradepost.gateway.public[0]": "/b", "tradepost.gateway.public[1]": "/c", "spring.application.name": "x" } },
            { "name": "file:application.yml", "source": {
                "tradepost.peers.config-server": "http://${shop.host:none}:1", "shop.host": "h", "tradepost.server.modules": "order, product",
                "tradepost.resilience.peers.product.callMs": 9, "tradepost.identity.clients[0].id": "c", "tradepost.identity.clients[0].redirectUris[0]": "http://r" } },
        ]))
        .unwrap();
        let s = &loaded.settings;
        assert_eq!((s.order.lease_seconds, s.order.max_lines, s.order.peer_timeout_ms), (33, 77, 5));
        assert_eq!(s.gateway.public, ["/a"]);
        assert_eq!(s.server.modules, ["order", "product"]);
        assert_eq!(s.peers["config-server"], "http://h:1");
        assert_eq!(s.resilience.peers["product"].call_ms, Some(9));
        assert_eq!(s.identity.clients[0].redirect_uris, ["http://r"]);
        assert_eq!(loaded.origins["order.lease_seconds"], "config server http://c:8888 (file:order-service-prod.yml)");
    }

    #[test]
    fn unusable_value_is_reported_with_its_source() {
        for (key, value, expected) in [
            ("tradepost.order.lease-minutes", json!(1), "unknown setting `order.lease-minutes`"),
            ("tradepost.a b", json!(1), "unknown setting `a b`"),
            ("tradepost.order.lease-seconds", json!("soon"), "lease_seconds"),
            ("tradepost.registry.password", json!("{cipher}00"), "no key for it"),
            ("invalid.tradepost.registry.password", json!("<n/a>"), "could not decrypt"),
            ("tradepost.log.level", json!("${tradepost.log.level}"), "refers to itself"),
        ] {
            let error = settings(json!([{ "name": "file:x.yml", "source": { key: value } }])).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("file:x.yml"), "{key}: {error}");
        }
    }

    #[test]
    fn process_requests_settings_of_its_application() {
        let requested_path = |modules: &[&str], change: fn(&mut ConfigClient)| {
            let mut settings = Settings::default();
            settings.server.modules = modules.iter().map(|m| m.to_string()).collect();
            change(&mut settings.config);
            path(&settings)
        };
        assert_eq!(requested_path(&["order"], |_| {}), "/order-service/default");
        assert_eq!(requested_path(&["order", "product"], |c| c.profile = "prod,eu".into()), "/tradepost/prod%2Ceu");
        assert_eq!(requested_path(&["order"], |c| c.label = Some("team/x".into())), "/order-service/default/team%28_%29x");
    }
}
