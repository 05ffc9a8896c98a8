//! A shop that uses Kafka with TLS and authentication. `.ci/kafka.sh` starts a broker with these listeners: the port of
//! `TRADEPOST_TEST_KAFKA` plus 2 requires a client certificate, plus 3 a login.

use super::kafka::wait_until_notified;
use crate::support::stores::certificates;
use crate::support::{Shape, Shop, on_system, wait_for};
use std::path::PathBuf;
use tradepost::events::bus::kafka::KafkaBus;
use tradepost::settings::{Bus, KafkaSaslMechanism, KafkaSecurityProtocol, Secret, Settings, Tls};

fn file(name: &str) -> Option<PathBuf> {
    Some(certificates().expect("TRADEPOST_TEST_CERTIFICATES: a folder of certificates.sh").join(name))
}

fn listener(after: u16) -> String {
    let (host, port) =
        std::env::var("TRADEPOST_TEST_KAFKA").unwrap().rsplit_once(':').map(|(h, p)| (h.to_string(), p.to_string())).unwrap();
    format!("kafka://{host}:{}", port.parse::<u16>().unwrap() + after)
}

fn logged_in(settings: &mut Settings, mechanism: KafkaSaslMechanism) {
    let password = std::env::var("TRADEPOST_TEST_KAFKA_PASSWORD").unwrap();
    settings.bus = Bus {
        url: listener(3),
        security: KafkaSecurityProtocol::SaslSsl,
        sasl_mechanism: mechanism,
        username: Some("shop".into()),
        password: Some(Secret::new(password)),
        ..settings.bus.clone()
    };
    settings.tls.ca = file("ca.pem");
}

fn certified(settings: &mut Settings) {
    settings.bus = Bus { url: listener(2), security: KafkaSecurityProtocol::Ssl, ..settings.bus.clone() };
    settings.tls = Tls { ca: file("ca.pem"), cert: file("client.pem"), key: file("client.key") };
}

/// Places an order, waits for its notification, and checks that the audit finds nothing pending.
async fn works(change: impl FnOnce(&mut Settings)) {
    let mut shop = Shop::start(Shape::Local, change).await;
    let c = &shop.client;
    c.stocked("s", "1", 10).await;
    let order = c.order(&[("s", 1)]).await.expect(201).json()["orderNumber"].clone();
    wait_until_notified(&shop, &order, 1).await;
    shop.assert_sound().await;
    shop.stop().await;
}

/// The shop accepts orders, and its health names the wrong setting.
async fn health_names_setting(change: impl FnOnce(&mut Settings), word: &str) {
    let mut shop = Shop::start(Shape::Local, change).await;
    let c = &shop.client;
    c.stocked("s", "1", 10).await;
    c.order(&[("s", 1)]).await.expect(201);
    wait_for("health names the setting", || async {
        let bus = c.get(&c.admin, "/actuator/health/readiness").await.expect(200).json()["components"]["bus"].clone();
        let named = bus["status"] == "DOWN" && bus["details"]["state"].as_str().unwrap().contains(word);
        if named { Ok(()) } else { Err(format!("{word}: {bus}")) }
    })
    .await;
    shop.stop().await;
}

#[test]
#[ignore = "needs a Kafka with TLS: .ci/kafka.sh"]
fn events_with_tls_and_sasl_are_delivered() {
    on_system(async {
        for mechanism in [KafkaSaslMechanism::Plain, KafkaSaslMechanism::ScramSha256, KafkaSaslMechanism::ScramSha512] {
            works(|settings| logged_in(settings, mechanism)).await;
        }
    });
}

#[test]
#[ignore = "needs a Kafka with TLS: .ci/kafka.sh"]
fn broker_with_client_auth_accepts_our_certificate() {
    on_system(works(certified));
}

#[test]
#[ignore = "needs a Kafka with TLS: .ci/kafka.sh"]
fn broker_refusal_is_reported_with_its_setting() {
    on_system(async {
        let scram = |settings: &mut Settings| logged_in(settings, KafkaSaslMechanism::ScramSha512);
        let forgotten = |settings: &mut Settings| {
            scram(settings);
            settings.bus.password = Some(Secret::new("another"));
        };
        health_names_setting(forgotten, "bus.password").await;
        let stranger = |settings: &mut Settings| {
            scram(settings);
            settings.tls.ca = file("other-ca.pem");
        };
        health_names_setting(stranger, "tls.ca").await;
        let nameless = |settings: &mut Settings| {
            certified(settings);
            (settings.tls.cert, settings.tls.key) = (None, None);
        };
        health_names_setting(nameless, "tls.cert").await;
        let unencrypted = |settings: &mut Settings| {
            certified(settings);
            settings.bus.url = listener(0);
        };
        health_names_setting(unencrypted, "bus.security").await;
    });
}

/// The setting is wrong, not the broker: the process does not start.
#[test]
fn invalid_certificate_file_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, "nothing").unwrap();
    let bus = Bus { url: "kafka://127.0.0.1:9".into(), security: KafkaSecurityProtocol::Ssl, ..Bus::default() };
    let said = KafkaBus::open(&bus, &Tls { ca: Some(ca), ..Tls::default() }).map(drop).unwrap_err().to_string();
    assert!(said.contains("tls.ca"), "{said}");
}
