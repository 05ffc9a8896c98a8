//! The layer that a Vault gives: secrets of its KV engine as settings.
//!
//! A secret's keys are settings, `order.store` or `{"order": {"store": ...}}`, in every spelling that a config
//! server's may have, and with `tradepost.` before them or without. Which secrets are read is as with Spring
//! Cloud Vault, with `tradepost` as the context that all applications share.
//!
//! Source: spring-cloud-vault reference, "Key-Value Backend".

use super::error::{DecryptError, SettingsError};
use crate::settings::Settings;
use config::Config;

/// Where secrets come from, to be read again.
#[derive(Debug, Clone)]
pub(super) struct Source {
    #[cfg(feature = "vault")]
    vault: crate::net::vault::Vault,
    #[cfg(feature = "vault")]
    mount: String,
    #[cfg(feature = "vault")]
    paths: Vec<String>,
    /// The transit engine's mount, and the key's name in it.
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
    use crate::config::remote::{self, Sources};
    use crate::kernel::secret::Secret;
    use crate::net::vault::{Secrets, Trouble, Vault};
    use backon::{BlockingRetryable, ConstantBuilder};
    use serde_json::Value;
    use std::time::{Duration, Instant};

    /// Retry interval while Vault cannot be reached.
    const RETRY: ConstantBuilder = ConstantBuilder::new().with_delay(Duration::from_millis(500)).without_max_times();

    /// The layer, where a Vault is set. None beside a source: it is away, and may be.
    pub(in crate::config) fn layer(settings: &Settings) -> Result<(Option<Source>, Option<Config>), SettingsError> {
        let wanted = &settings.vault;
        let Some(url) = &wanted.url else { return Ok((None, None)) };
        let vault = Vault::open(url, wanted, &settings.tls)?;
        let paths = if wanted.paths.is_empty() { contexts(settings) } else { wanted.paths.clone() };
        let source =
            Source { vault, mount: wanted.mount.clone(), paths, transit: (wanted.transit_mount.clone(), wanted.transit_key.clone()) };
        match source.patiently(Duration::from_secs(wanted.retry_seconds)) {
            Ok(secrets) => {
                if secrets.iter().all(Option::is_none) {
                    // the log has no level yet
                    eprintln!("tradepost: Vault has none of {}", source.names().join(", "));
                }
                let layer = source.build(&secrets)?;
                Ok((Some(source), Some(layer)))
            }
            Err(cause) if wanted.fail_fast => Err(cause.into()),
            Err(cause) => {
                eprintln!("tradepost: started without secrets from Vault: {cause}");
                Ok((Some(source), None))
            }
        }
    }

    /// The weakest first.
    pub(super) fn contexts(settings: &Settings) -> Vec<String> {
        let profiles: Vec<_> = settings.config.profile.split(',').map(str::trim).filter(|p| !matches!(*p, "" | "default")).collect();
        let mut paths: Vec<String> = Vec::new();
        for context in ["tradepost".to_string(), remote::name(settings)] {
            let own = std::iter::once(context.clone()).chain(profiles.iter().map(|profile| format!("{context}/{profile}")));
            paths.extend(own.filter(|path| !paths.contains(path)).collect::<Vec<_>>());
        }
        paths
    }

    impl Source {
        /// As the secrets are now.
        pub(in crate::config) fn read(&self) -> Result<Config, SettingsError> {
            self.build(&self.vault.secrets(&self.paths)?)
        }

        /// What the transit engine has encrypted.
        pub(in crate::config) fn decrypt(&self, ciphertext: &str) -> Result<Secret, DecryptError> {
            let (mount, key) = &self.transit;
            let key = key.as_ref().ok_or(DecryptError::NoKey)?;
            Ok(self.vault.decrypt(mount, key, ciphertext)?)
        }

        /// A Vault that is away or sealed is waited for.
        fn patiently(&self, patience: Duration) -> Result<Vec<Option<Secrets>>, Trouble> {
            let deadline = Instant::now() + patience;
            let mut told = false;
            let warn_once = |cause: &Trouble, _| {
                if !std::mem::replace(&mut told, true) {
                    eprintln!("tradepost: waiting for Vault: {cause}");
                }
            };
            let read = || self.vault.secrets(&self.paths);
            let retry = read.retry(RETRY).sleep(std::thread::sleep).when(|cause| cause.away && Instant::now() < deadline);
            retry.notify(warn_once).call()
        }

        fn names(&self) -> Vec<String> {
            self.paths.iter().map(|path| format!("{}/{path}", self.mount)).collect()
        }

        pub(super) fn build(&self, secrets: &[Option<Secrets>]) -> Result<Config, SettingsError> {
            let mut sources = Sources::new()?;
            for (index, (name, found)) in self.names().iter().zip(secrets).enumerate().rev() {
                let origin = format!("vault {name}");
                for (key, value) in found.iter().flatten() {
                    put(&mut sources, index, &origin, key.strip_prefix("tradepost.").unwrap_or(key), value)?;
                }
            }
            sources.finish()
        }
    }

    /// A value, or those in it. Unlike a config server's, they are taken as they are: `${` may stand in a password.
    fn put(sources: &mut Sources, index: usize, origin: &str, key: &str, value: &Value) -> Result<(), SettingsError> {
        match value {
            Value::Object(members) => members.iter().try_for_each(|(name, inner)| {
                let inner_key = if key == "tradepost" { name.clone() } else { format!("{key}.{name}") };
                put(sources, index, origin, &inner_key, inner)
            }),
            Value::Array(items) => {
                let mut items = items.iter().enumerate();
                items.try_for_each(|(place, inner)| put(sources, index, origin, &format!("{key}[{place}]"), inner))
            }
            plain => sources.put(index, origin, key, || Ok(plain.clone())),
        }
    }
}

#[cfg(all(test, feature = "vault"))]
mod tests {
    use super::{Settings, Source, with_vault::contexts};
    use crate::config::merge;
    use crate::net::vault;
    use crate::settings::{Secret, Tls, Vault};
    use serde_json::{Value, json};

    #[test]
    fn the_application_is_stronger_than_what_all_share_and_a_profile_than_none() {
        let mut settings = Settings::default();
        settings.server.modules = vec!["order".into()];
        assert_eq!(contexts(&settings), ["tradepost", "order-service"]);
        settings.config.profile = "default, prod,eu".into();
        assert_eq!(
            contexts(&settings),
            ["tradepost", "tradepost/prod", "tradepost/eu", "order-service", "order-service/prod", "order-service/eu"]
        );
        settings.server.modules = vec!["order".into(), "product".into()];
        assert_eq!(contexts(&settings), ["tradepost", "tradepost/prod", "tradepost/eu"]);
    }

    fn settings(secrets: &[Value]) -> Result<crate::config::Loaded, crate::config::SettingsError> {
        let token = Vault { token: Some(Secret::new("t")), ..Vault::default() };
        let vault = vault::Vault::open("http://127.0.0.1:9", &token, &Tls::default())?;
        let paths = (0..secrets.len()).map(|n| format!("s{n}")).collect();
        let found: Vec<_> = secrets.iter().map(|secret| secret.as_object().cloned()).collect();
        Source { vault, mount: "secret".into(), paths, transit: Default::default() }.build(&found).and_then(|layer| merge([], &layer))
    }

    #[test]
    fn keys_are_flat_or_nested_with_our_name_before_them_or_without() {
        let loaded = settings(&[
            json!({ "order.max_lines": "7", "order.peers_ms": 5, "notification": { "from": "weak", "attempts": 3 } }),
            json!(null),
            json!({
                "tradepost.order.lease-seconds": 33, "tradepost": { "gateway": { "rate": "900" } }, "order.maxLines": 8,
                "server.modules": "order, product", "gateway.public": ["/a", "/b"],
                "notification": { "from": "${not} a ${place:holder}", "webhooks": [{ "url": "http://r", "secret": "whsec_x" }] } }),
        ])
        .unwrap();
        let s = &loaded.settings;
        assert_eq!((s.order.max_lines, s.order.peers_ms, s.order.lease_seconds, s.gateway.rate), (8, 5, 33, 900));
        assert_eq!((s.notification.from.as_str(), s.notification.attempts), ("${not} a ${place:holder}", 3));
        assert_eq!(s.notification.webhooks[0].secret.expose(), "whsec_x");
        assert_eq!((s.server.modules.join(","), s.gateway.public.join(",")), ("order,product".into(), "/a,/b".into()));
        assert_eq!(loaded.origins["order.max_lines"], "vault secret/s2");
        assert_eq!(loaded.origins["notification.attempts"], "vault secret/s0");
    }

    #[test]
    fn a_key_that_does_not_exist_is_named_with_its_secret_and_without_its_value() {
        for (secret, expected) in [
            (json!({ "order.stoer": "topsecret" }), "unknown setting `order.stoer` in vault secret/s0; did you mean `order.store`?"),
            (json!({ "password": "topsecret" }), "unknown setting `password` in vault secret/s0"),
            (json!({ "order.lease_seconds": "topsecret" }), "lease_seconds"),
            (json!({ "notification.webhooks": "[{\"secret\": \"whsec_topsecret\", \"url\": \"http://r\"}]" }), "notification.webhooks"),
        ] {
            let said = settings(&[secret]).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains("vault secret/s0") && !said.contains("topsecret"), "{said}");
        }
    }
}
