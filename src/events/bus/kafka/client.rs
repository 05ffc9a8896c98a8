//! Configuration of all clients of the brokers, and advice on connection errors: librdkafka's messages name its own
//! settings, ours name Tradepost's.

use super::error::{BusError, unavailable};
use crate::kernel::error::{OutOfRange, StoreError};
use crate::settings::{Bus, KafkaSaslMechanism, Secret, Tls};
use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;
use rdkafka::{ClientConfig, ClientContext};
use std::path::Path;
use std::sync::Arc;

/// The configuration of a client from settings.
pub(super) fn config(bus: &Bus, tls: &Tls) -> Result<ClientConfig, BusError> {
    let brokers = bus.url.strip_prefix("kafka://").unwrap_or_default().trim_end_matches('/');
    let has_host_and_port = |broker: &str| {
        broker.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok_and(|port| port > 0))
    };
    if !brokers.split(',').all(has_host_and_port) {
        return Err(BusError::Url { url: bus.url.clone() });
    }
    if bus.partitions == 0 {
        return Err(BusError::Partitions(OutOfRange::new("bus.partitions", 0, "1 or more")));
    }
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", brokers).set("client.id", "tradepost").set("socket.timeout.ms", "10000");
    config.set("reconnect.backoff.max.ms", "2000");
    let protocol = setting_value(bus.security);
    config.set("security.protocol", &protocol);
    if bus.security.uses_tls() {
        encrypt(&mut config, &protocol, tls)?;
    }
    match (bus.security.uses_sasl(), &bus.username, &bus.password) {
        (true, Some(username), Some(password)) => log_in(&mut config, bus.sasl_mechanism, username, password)?,
        (true, None, _) => return Err(BusError::Missing { key: "bus.username", protocol }),
        (true, _, None) => return Err(BusError::Missing { key: "bus.password", protocol }),
        (false, None, None) => {}
        (false, ..) => return Err(BusError::LoginUnused),
    }
    Ok(config)
}

/// A value as it is written in settings.
fn setting_value(value: impl serde::Serialize) -> String {
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

fn log_in(config: &mut ClientConfig, mechanism: KafkaSaslMechanism, username: &str, password: &Secret) -> Result<(), BusError> {
    let name = setting_value(mechanism);
    if mechanism != KafkaSaslMechanism::Plain && !cfg!(feature = "kafka-tls") {
        return Err(BusError::NotCompiledIn { key: "bus.sasl_mechanism", value: name });
    }
    config.set("sasl.mechanism", name).set("sasl.username", username).set("sasl.password", password.expose());
    Ok(())
}

/// An error from the creation of a client (an invalid certificate file, for instance), with our setting names.
pub(super) fn invalid_config(cause: impl ToString) -> StoreError {
    let names = [("ssl.ca.location", "tls.ca"), ("ssl.certificate.location", "tls.cert"), ("ssl.key.location", "tls.key")];
    StoreError::Internal(names.iter().fold(cause.to_string(), |text, (librdkafka, ours)| text.replace(librdkafka, ours)))
}

/// Logs a client's messages, and remembers advice on its last connection error.
#[derive(Clone, Default)]
pub(super) struct ConnectionObserver(Arc<Mutex<Option<&'static str>>>);

impl ConnectionObserver {
    /// Advice for the operator, if known.
    pub(super) fn advice(&self) -> Option<&'static str> {
        *self.0.lock()
    }

    /// An error, with advice if known.
    pub(super) fn explain(&self, cause: impl ToString) -> StoreError {
        unavailable(match self.advice() {
            Some(advice) => format!("{}: {advice}", cause.to_string()),
            None => cause.to_string(),
        })
    }
}

/// Classified by message text: librdkafka has one code for all TLS errors, and reports codes only to a client that is
/// polled; a client that only reads metadata is not.
fn advice(message: &str) -> Option<&'static str> {
    let contains_any = |texts: &[&str]| texts.iter().any(|text| message.contains(text));
    if contains_any(&["SASL", "Authentication failed"]) {
        Some("the brokers reject bus.username, bus.password or bus.sasl_mechanism")
    } else if contains_any(&["certificate verify failed", "Failed to verify broker certificate"]) {
        Some("the brokers' certificate is not from an authority of tls.ca, or not for the host in bus.url")
    } else if contains_any(&["security.protocol", "PLAINTEXT broker listener"]) {
        Some("the brokers' listener does not match bus.security")
    } else if contains_any(&["SSL handshake failed", "SSL alert"]) {
        Some("TLS with the brokers failed; they may require a client certificate: tls.cert and tls.key")
    } else {
        None
    }
}

impl ClientContext for ConnectionObserver {
    // `log` gets the same message
    fn error(&self, _: KafkaError, _: &str) {}

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        let advice = advice(message);
        if advice.is_some() {
            *self.0.lock() = advice;
        }
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical | RDKafkaLogLevel::Error => {
                tracing::error!(target: "librdkafka", facility, advice, "{message}");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(target: "librdkafka", facility, advice, "{message}"),
            RDKafkaLogLevel::Notice | RDKafkaLogLevel::Info => tracing::info!(target: "librdkafka", facility, "{message}"),
            RDKafkaLogLevel::Debug => tracing::debug!(target: "librdkafka", facility, "{message}"),
        }
    }
}

impl ConsumerContext for ConnectionObserver {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::KafkaSecurityProtocol;

    fn kafka(security: KafkaSecurityProtocol) -> Bus {
        Bus { url: "kafka://127.0.0.1:9092".into(), security, ..Bus::default() }
    }

    #[test]
    fn inconsistent_setting_is_named_in_the_error() {
        let error_of = |bus: &Bus, tls: &Tls| config(bus, tls).map(drop).unwrap_err().to_string();
        let named = Bus { username: Some("shop".into()), password: Some(Secret::new("hidden")), ..kafka(KafkaSecurityProtocol::Plaintext) };
        assert!(error_of(&named, &Tls::default()).contains("need bus.security"));
        assert!(error_of(&kafka(KafkaSecurityProtocol::SaslPlaintext), &Tls::default()).contains("bus.username is missing"));
        let nameless = Bus { password: None, security: KafkaSecurityProtocol::SaslPlaintext, ..named.clone() };
        assert!(error_of(&nameless, &Tls::default()).contains("bus.password is missing"));
        let plain = Bus { security: KafkaSecurityProtocol::SaslPlaintext, sasl_mechanism: KafkaSaslMechanism::Plain, ..named.clone() };
        assert_eq!(config(&plain, &Tls::default()).unwrap().get("sasl.mechanism"), Some("PLAIN"));
        let scram = Bus { security: KafkaSecurityProtocol::SaslPlaintext, ..named };
        let ssl = kafka(KafkaSecurityProtocol::Ssl);
        if cfg!(feature = "kafka-tls") {
            assert_eq!(config(&scram, &Tls::default()).unwrap().get("sasl.mechanism"), Some("SCRAM-SHA-512"));
            let nowhere = Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() };
            assert!(error_of(&ssl, &nowhere).contains("tls.ca: /nowhere.pem"));
            let half = Tls { cert: Some("/nowhere.pem".into()), ..Tls::default() };
            assert!(error_of(&ssl, &half).contains("tls.cert and tls.key belong together"));
        } else {
            for (bus, key) in [(scram, "bus.sasl_mechanism"), (ssl, "bus.security")] {
                let error = error_of(&bus, &Tls::default());
                assert!(error.contains(key) && error.contains("--features kafka-tls"), "{error}");
            }
        }
    }
}
