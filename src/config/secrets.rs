//! The layer that a Vault gives: secrets of its KV engine as settings.
//!
//! A secret's keys are settings, `order.store` or `{"order": {"store": ...}}`, in every spelling that a config
//! server's may have, and with `tradepost.` before them or without. Which secrets are read is as with Spring
//! Cloud Vault, with `tradepost` as the context that all applications share.
//!
//! Source: spring-cloud-vault reference, "Key-Value Backend".

use super::Settings;
use config::Config;

/// Where secrets come from, to be read again.
#[derive(Debug, Clone)]
pub(super) struct Source {
    #[cfg(feature = "vault")]
    vault: crate::platform::vault::Vault,
    #[cfg(feature = "vault")]
    mount: String,
    #[cfg(feature = "vault")]
    paths: Vec<String>,
}

#[cfg(not(feature = "vault"))]
impl Source {
    pub(super) fn read(&self) -> Result<Config, String> {
        Err("this build knows no Vault".into())
    }
}

#[cfg(not(feature = "vault"))]
pub(super) fn layer(settings: &Settings) -> Result<(Option<Source>, Option<Config>), String> {
    match settings.vault.url {
        None => Ok((None, None)),
        Some(_) => Err("vault.url is set, and this build knows no Vault: build with --features vault".into()),
    }
}

#[cfg(feature = "vault")]
pub(super) use with_vault::layer;

#[cfg(feature = "vault")]
mod with_vault {
    use super::{Config, Settings, Source};
    use crate::config::remote::{self, Sources};
    use crate::platform::vault::{Secrets, Trouble, Vault};
    use serde_json::Value;
    use std::time::{Duration, Instant};

    /// Between two attempts while Vault is away.
    const PAUSE: Duration = Duration::from_millis(500);

    /// The layer, where a Vault is set. None beside a source: it is away, and may be.
    pub(in crate::config) fn layer(settings: &Settings) -> Result<(Option<Source>, Option<Config>), String> {
        let wanted = &settings.vault;
        let Some(url) = &wanted.url else { return Ok((None, None)) };
        let vault = Vault::open(url, wanted, &settings.tls)?;
        let paths = if wanted.paths.is_empty() { contexts(settings) } else { wanted.paths.clone() };
        let source = Source { vault, mount: wanted.mount.clone(), paths };
        match source.patiently(Duration::from_secs(wanted.retry_seconds)) {
            Ok(secrets) => {
                if secrets.iter().all(Option::is_none) {
                    // the log has no level yet
                    eprintln!("tradepost: Vault has none of {}", source.names().join(", "));
                }
                let layer = source.build(&secrets)?;
                Ok((Some(source), Some(layer)))
            }
            Err(cause) if wanted.fail_fast => Err(cause.to_string()),
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
        pub(in crate::config) fn read(&self) -> Result<Config, String> {
            self.build(&self.vault.secrets(&self.paths).map_err(|cause| cause.to_string())?)
        }

        /// A Vault that is away or sealed is waited for.
        fn patiently(&self, patience: Duration) -> Result<Vec<Option<Secrets>>, Trouble> {
            let deadline = Instant::now() + patience;
            let mut told = false;
            loop {
                match self.vault.secrets(&self.paths) {
                    Err(cause) if cause.away && Instant::now() < deadline => {
                        if !told {
                            eprintln!("tradepost: waiting for Vault: {cause}");
                            told = true;
                        }
                        std::thread::sleep(PAUSE);
                    }
                    other => return other,
                }
            }
        }

        fn names(&self) -> Vec<String> {
            self.paths.iter().map(|path| format!("{}/{path}", self.mount)).collect()
        }

        fn build(&self, secrets: &[Option<Secrets>]) -> Result<Config, String> {
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
    fn put(sources: &mut Sources, index: usize, origin: &str, key: &str, value: &Value) -> Result<(), String> {
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
