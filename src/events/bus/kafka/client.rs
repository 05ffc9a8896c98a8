//! What every client of the brokers is: its configuration by our settings, and an ear for what it says of a
//! connection that fails, since librdkafka names its own settings and we name ours.

use crate::kernel::error::OutOfRange;
use crate::kernel::error::StoreError;
use crate::settings::{Bus, SaslMechanism, Secret, Tls};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why the settings of the brokers cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum BusError {
    #[error("bus.url: `{url}`; expected kafka://host:port[,host:port]")]
    Url { url: String },
    #[error(transparent)]
    Partitions(OutOfRange),
    #[error("{key} is missing: bus.security is \"{protocol}\"")]
    Missing { key: &'static str, protocol: String },
    #[error("bus.username and bus.password need bus.security = \"sasl_ssl\" or \"sasl_plaintext\"")]
    LoginUnused,
    #[error("{key}: \"{value}\" is not compiled into this build (--features kafka-tls)")]
    NotCompiledIn { key: &'static str, value: String },
    #[error("tls.cert and tls.key belong together; one of them is missing")]
    HalfAPair,
    #[error("{key}: {}: {cause}", .path.display())]
    Read {
        key: &'static str,
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("{key}: {}: the path is no UTF-8", .path.display())]
    Path { key: &'static str, path: PathBuf },
}

impl From<BusError> for StoreError {
    fn from(error: BusError) -> Self {
        StoreError::Broken(error.to_string())
    }
}

/// What a client needs to reach the brokers of `bus.url`; otherwise which setting is wrong.
pub(super) fn config(bus: &Bus, tls: &Tls) -> Result<ClientConfig, BusError> {
    let brokers = bus.url.strip_prefix("kafka://").unwrap_or_default().trim_end_matches('/');
    let named = |broker: &str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if !brokers.split(',').all(named) {
        return Err(BusError::Url { url: bus.url.clone() });
    }
    if bus.partitions == 0 {
        return Err(BusError::Partitions(OutOfRange::new("bus.partitions", 0, "1 or more")));
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "tradepost").set("socket.timeout.ms", "10000");
    config.set("reconnect.backoff.max.ms", "2000");
    let protocol = spelled(bus.security);
    config.set("security.protocol", &protocol);
    if bus.security.encrypts() {
        encrypt(&mut config, &protocol, tls)?;
    }
    match (bus.security.logs_in(), &bus.username, &bus.password) {
        (true, Some(username), Some(password)) => log_in(&mut config, bus.sasl_mechanism, username, password)?,
        (true, None, _) => return Err(BusError::Missing { key: "bus.username", protocol }),
        (true, _, None) => return Err(BusError::Missing { key: "bus.password", protocol }),
        (false, None, None) => {}
        (false, ..) => return Err(BusError::LoginUnused),
    }
    Ok(config)
}

/// A setting's value as it is written in settings.
fn spelled(value: impl serde::Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(String::from)).unwrap_or_default()
}

fn encrypt(config: &mut ClientConfig, protocol: &str, tls: &Tls) -> Result<(), BusError> {
    if !cfg!(feature = "kafka-tls") {
        return Err(BusError::NotCompiledIn { key: "bus.security", value: protocol.into() });
    }
    if tls.cert.is_some() != tls.key.is_some() {
        return Err(BusError::HalfAPair);
    }
    for (setting, path, key) in [
        ("ssl.ca.location", &tls.ca, "tls.ca"),
        ("ssl.certificate.location", &tls.cert, "tls.cert"),
        ("ssl.key.location", &tls.key, "tls.key"),
    ] {
        if let Some(path) = path {
            config.set(setting, readable(path, key)?);
        }
    }
    Ok(())
}

fn readable<'a>(path: &'a Path, key: &'static str) -> Result<&'a str, BusError> {
    std::fs::read(path).map_err(|cause| BusError::Read { key, path: path.into(), cause })?;
    path.to_str().ok_or_else(|| BusError::Path { key, path: path.into() })
}

fn log_in(config: &mut ClientConfig, mechanism: SaslMechanism, username: &str, password: &Secret) -> Result<(), BusError> {
    let name = spelled(mechanism);
    if mechanism != SaslMechanism::Plain && !cfg!(feature = "kafka-tls") {
        return Err(BusError::NotCompiledIn { key: "bus.sasl_mechanism", value: name });
    }
    config.set("sasl.mechanism", name).set("sasl.username", username).set("sasl.password", password.expose());
    Ok(())
}

/// What librdkafka refuses when a client is made, by our names: a file that is no certificate, for instance.
pub(super) fn refused(cause: impl ToString) -> StoreError {
    let ours = [("ssl.ca.location", "tls.ca"), ("ssl.certificate.location", "tls.cert"), ("ssl.key.location", "tls.key")];
    StoreError::Broken(ours.iter().fold(cause.to_string(), |text, (theirs, ours)| text.replace(theirs, ours)))
}

/// Hears what a client says of its connections, and remembers what to do about it.
#[derive(Clone, Default)]
pub(super) struct Ear(Arc<Mutex<Option<&'static str>>>);

impl Ear {
    /// What to do, as far as is known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        *self.0.lock()
    }

    /// A failure with what to do about it.
    pub(super) fn explain(&self, cause: impl ToString) -> StoreError {
        super::unavailable(match self.advice() {
            Some(advice) => format!("{}: {advice}", cause.to_string()),
            None => cause.to_string(),
        })
    }
}

/// Classified by message text: librdkafka has one code for all TLS errors, and reports codes only to a client that is
/// polled, which one that reads metadata is not.
fn advice(said: &str) -> Option<&'static str> {
    let any = |words: &[&str]| words.iter().any(|word| said.contains(word));
    if any(&["SASL", "Authentication failed"]) {
        Some("the brokers refuse bus.username, bus.password or bus.sasl_mechanism")
    } else if any(&["certificate verify failed", "Failed to verify broker certificate"]) {
        Some("the brokers' certificate is not from an authority of tls.ca, or not for the host in bus.url")
    } else if any(&["security.protocol", "PLAINTEXT broker listener"]) {
        Some("the brokers' listener is not what bus.security says")
    } else if any(&["SSL handshake failed", "SSL alert"]) {
        Some("TLS with the brokers failed; they may ask for a certificate: tls.cert and tls.key")
    } else {
        None
    }
}

impl ClientContext for Ear {
    // the same was in the log
    fn error(&self, _: KafkaError, _: &str) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, said: &str) {
        let advice = advice(said);
        if advice.is_some() {
            *self.0.lock() = advice;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, advice, "{said}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, advice, "{said}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{said}"),
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{said}"),
        }
    }
}

impl ConsumerContext for Ear {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Security;

    fn kafka(security: Security) -> Bus {
        Bus { url: "kafka://127.0.0.1:9092".into(), security, ..Bus::default() }
    }

    #[test]
    fn a_setting_that_does_not_fit_the_others_is_named() {
        let refused = |bus: &Bus, tls: &Tls| config(bus, tls).map(drop).unwrap_err().to_string();
        let named = Bus { username: Some("shop".into()), password: Some(Secret::new("hidden")), ..kafka(Security::Plaintext) };
        assert!(refused(&named, &Tls::default()).contains("need bus.security"));
        assert!(refused(&kafka(Security::SaslPlaintext), &Tls::default()).contains("bus.username is missing"));
        let nameless = Bus { password: None, security: Security::SaslPlaintext, ..named.clone() };
        assert!(refused(&nameless, &Tls::default()).contains("bus.password is missing"));
        let plain = Bus { security: Security::SaslPlaintext, sasl_mechanism: SaslMechanism::Plain, ..named.clone() };
        assert_eq!(config(&plain, &Tls::default()).unwrap().get("sasl.mechanism"), Some("PLAIN"));
        let scram = Bus { security: Security::SaslPlaintext, ..named };
        let ssl = kafka(Security::Ssl);
        if cfg!(feature = "kafka-tls") {
            assert_eq!(config(&scram, &Tls::default()).unwrap().get("sasl.mechanism"), Some("SCRAM-SHA-512"));
            let nowhere = Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() };
            assert!(refused(&ssl, &nowhere).contains("tls.ca: /nowhere.pem"));
            let half = Tls { cert: Some("/nowhere.pem".into()), ..Tls::default() };
            assert!(refused(&ssl, &half).contains("tls.cert and tls.key belong together"));
        } else {
            for (bus, key) in [(scram, "bus.sasl_mechanism"), (ssl, "bus.security")] {
                let said = refused(&bus, &Tls::default());
                assert!(said.contains(key) && said.contains("--features kafka-tls"), "{said}");
            }
        }
    }
}
