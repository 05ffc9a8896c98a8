//! The Vault layer: secrets of a KV engine as settings.
//!
//! A secret's keys are settings, `order.store` or `{"order": {"store": ...}}`, in the same spellings as a config
//! server's keys, with or without the prefix `tradepost.`. The secrets' paths follow Spring Cloud Vault, with
//! `tradepost` as the shared context.
//!
//! Source: spring-cloud-vault reference, "Key-Value Backend".

use super::error::{DecryptError, SettingsError};
use crate::settings::Settings;
use config::Config;

/// The Vault and its paths, kept for reloads.
#[derive(Debug, Clone)]
pub(super) struct Source {
    #[cfg(feature = "vault")]
    vault: crate::net::vault::Vault,
    #[cfg(feature = "vault")]
    mount: String,
    #[cfg(feature = "vault")]
    paths: Vec<String>,
    /// Mount of the transit engine and the name of its key.
    #[cfg(feature = "vault")]
    transit: (String, Option<String>),
}

#[cfg(not(feature = "vault"))]
impl Source {
    pub(super) fn read(&self) -> Result<Config, SettingsError> {
        Err(SettingsError::NotFromVault)
    }

    pub(super) fn decrypt(&self, _: &str) -> Result<crate::kernel::secret::Secret, DecryptError> {
        Err(DecryptError::NotCompiledIn)
    }
}

#[cfg(not(feature = "vault"))]
pub(super) fn layer(settings: &Settings) -> Result<(Option<Source>, Option<Config>), SettingsError> {
    match settings.vault.url {
        None => Ok((None, None)),
        Some(_) => Err(SettingsError::NoVault),
    }
}

#[cfg(feature = "vault")]
pub(super) use with_vault::layer;

#[cfg(feature = "vault")]
mod with_vault {
    use super::{Config, DecryptError, Settings, SettingsError, Source};
    use crate::config::config_server::application_name;
    use crate::config::layer_builder::LayerBuilder;
    use crate::kernel::secret::Secret;
    use crate::net::vault::{Secrets, Vault, VaultRequestError};
    use backon::{BlockingRetryable, ConstantBuilder};
    use serde_json::Value;
    use std::time::{Duration, Instant};

    /// Retry interval while Vault cannot be reached.
    const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

    /// Both are `None` without `vault.url`. The layer is `None` if Vault is unreachable and `fail_fast` is off.
    pub(in crate::config) fn layer(settings: &Settings) -> Result<(Option<Source>, Option<Config>), SettingsError> {
        let client = &settings.vault;
        let Some(url) = &client.url else { return Ok((None, None)) };
        let vault = Vault::open(url, client, &settings.tls)?;
        let paths = if client.paths.is_empty() { default_paths(settings) } else { client.paths.clone() };
        let transit = (client.transit_mount.clone(), client.transit_key.clone());
        let source = Source { vault, mount: client.mount.clone(), paths, transit };
        match source.read_until_deadline(Duration::from_secs(client.retry_seconds)) {
            Ok(secrets) => {
                if secrets.iter().all(Option::is_none) {
                    // logging is not configured yet
                    eprintln!("tradepost: Vault has none of {}", source.names().join(", "));
                }
                let layer = source.build(&secrets)?;
                Ok((Some(source), Some(layer)))
            }
            Err(cause) if client.fail_fast => Err(cause.into()),
            Err(cause) => {
                eprintln!("tradepost: started without secrets from Vault: {cause}");
                Ok((Some(source), None))
            }
        }
    }

    /// Weakest first.
    pub(super) fn default_paths(settings: &Settings) -> Vec<String> {
        let profiles: Vec<_> = settings.config.profile.split(',').map(str::trim).filter(|p| !matches!(*p, "" | "default")).collect();
        let mut paths: Vec<String> = Vec::new();
        for context in ["tradepost".to_string(), application_name(settings)] {
            let context_paths = std::iter::once(context.clone()).chain(profiles.iter().map(|profile| format!("{context}/{profile}")));
            paths.extend(context_paths.filter(|path| !paths.contains(path)).collect::<Vec<_>>());
        }
        paths
    }

    impl Source {
        pub(in crate::config) fn read(&self) -> Result<Config, SettingsError> {
            self.build(&self.vault.secrets(&self.paths)?)
        }

        pub(in crate::config) fn decrypt(&self, ciphertext: &str) -> Result<Secret, DecryptError> {
            let (mount, key) = &self.transit;
            let key = key.as_ref().ok_or(DecryptError::NoKey)?;
            Ok(self.vault.decrypt(mount, key, ciphertext)?)
        }

        /// Retries while Vault is unreachable or sealed.
        fn read_until_deadline(&self, timeout: Duration) -> Result<Vec<Option<Secrets>>, VaultRequestError> {
            let deadline = Instant::now() + timeout;
            let mut warned = false;
            let warn_once = |cause: &VaultRequestError, _| {
                if !std::mem::replace(&mut warned, true) {
                    eprintln!("tradepost: waiting for Vault: {cause}");
                }
            };
            let read = || self.vault.secrets(&self.paths);
            let retry = read.retry(RETRY).sleep(std::thread::sleep).when(|cause| cause.is_transient && Instant::now() < deadline);
            retry.notify(warn_once).call()
        }

        fn names(&self) -> Vec<String> {
            self.paths.iter().map(|path| format!("{}/{path}", self.mount)).collect()
        }

        pub(super) fn build(&self, secrets: &[Option<Secrets>]) -> Result<Config, SettingsError> {
            let mut builder = LayerBuilder::new()?;
            for (index, (name, found)) in self.names().iter().zip(secrets).enumerate().rev() {
                let origin = format!("vault {name}");
                for (key, value) in found.iter().flatten() {
                    set(&mut builder, index, &origin, key.strip_prefix("tradepost.").unwrap_or(key), value)?;
                }
            }
            builder.finish()
        }
    }

    /// Sets a value, or each value in an object or array. Placeholders are not resolved: a password may contain `${`.
    fn set(builder: &mut LayerBuilder, index: usize, origin: &str, key: &str, value: &Value) -> Result<(), SettingsError> {
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, inner)| {
                let inner_key = if key == "tradepost" { name.clone() } else { format!("{key}.{name}") };
                set(builder, index, origin, &inner_key, inner)
            }),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(position, inner)| set(builder, index, origin, &format!("{key}[{position}]"), inner))
            }
            scalar => builder.set(index, origin, key, || Ok(scalar.clone())),
        }
    }
}

#[cfg(all(test, feature = "vault"))]
mod tests {
    use super::{Settings, Source, with_vault::default_paths};
    use crate::config::SettingsError;
    use crate::config::merge::{Merged, merge};
    use crate::kernel::secret::Secret;
    use crate::net::vault;
    use crate::settings::{Tls, Vault};
    use serde_json::{Value, json};

    #[test]
    fn application_overrides_shared_context_and_profile_overrides_default() {
        let mut settings = Settings::default();
        settings.server.modules = vec!["order".into()];
        assert_eq!(default_paths(&settings), ["tradepost", "order-service"]);
        settings.config.profile = "default, prod,eu".into();
        assert_eq!(
            default_paths(&settings),
            ["tradepost", "tradepost/prod", "tradepost/eu", "order-service", "order-service/prod", "order-service/eu"]
        );
        settings.server.modules = vec!["order".into(), "product".into()];
        assert_eq!(default_paths(&settings), ["tradepost", "tradepost/prod", "tradepost/eu"]);
    }

    fn settings(secrets: &[Value]) -> Result<Merged, SettingsError> {
        let token = Vault { token: Some(Secret::new("t")), ..Vault::default() };
        let vault = vault::Vault::open("http://127.0.0.1:9", &token, &Tls::default())?;
        let paths = (0..secrets.len()).map(|n| format!("s{n}")).collect();
        let found: Vec<_> = secrets.iter().map(|secret| secret.as_object().cloned()).collect();
        Source { vault, mount: "secret".into(), paths, transit: Default::default() }.build(&found).and_then(|layer| merge([], &layer))
    }

    #[test]
    fn keys_flat_or_nested_with_or_without_prefix_are_accepted() {
        let loaded = settings(&[
            json!({ "order.max_lines": "7", "order.peer_timeout_ms": 5, "notification": { "from": "weak", "attempts": 3 } }),
            json!(null),
            json!({
                "tradepost.order.lease-seconds": 33, "tradepost": { "gateway": { "rate": "900" } }, "order.maxLines": 8,
                "server.modules": "order, product", "gateway.public": ["/a", "/b"],
                "notification": { "from": "${not} a ${place:holder}", "webhooks": [{ "url": "http://r", "secret": "whsec_x" }] } }),
        ])
        .unwrap();
        let s = &loaded.settings;
        assert_eq!((s.order.max_lines, s.order.peer_timeout_ms, s.order.lease_seconds, s.gateway.rate), (8, 5, 33, 900));
        assert_eq!((s.notification.from.as_str(), s.notification.attempts), ("${not} a ${place:holder}", 3));
        assert_eq!(s.notification.webhooks[0].secret.expose(), "whsec_x");
        assert_eq!((s.server.modules.join(","), s.gateway.public.join(",")), ("order,product".into(), "/a,/b".into()));
        assert_eq!(loaded.origins["order.max_lines"], "vault secret/s2");
        assert_eq!(loaded.origins["notification.attempts"], "vault secret/s0");
    }

    #[test]
    fn unknown_key_is_reported_with_its_secret_without_its_value() {
        for (secret, expected) in [
            (json!({ "order.stoer": "topsecret" }), "unknown setting `order.stoer` in vault secret/s0; did you mean `order.store`?"),
            (json!({ "password": "topsecret" }), "unknown setting `password` in vault secret/s0"),
            (json!({ "order.lease_seconds": "topsecret" }), "lease_seconds"),
            (json!({ "notification.webhooks": "[{\"secret\": \"whsec_topsecret\", \"url\": \"http://r\"}]" }), "notification.webhooks"),
        ] {
            let error = settings(&[secret]).unwrap_err().to_string();
            assert!(error.contains(expected) && error.contains("vault secret/s0") && !error.contains("topsecret"), "{error}");
        }
    }
}
