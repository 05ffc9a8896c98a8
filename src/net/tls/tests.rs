//! TLS without a certificate. Tests with certificates are in `tests/security/tls`.

use super::start;
use crate::net::http::http;
use crate::settings::{ClientCertificates, Settings};

#[test]
fn https_to_closed_port_returns_connect_error() {
    actix_web::rt::System::new().block_on(async {
        let error = http().get("https://127.0.0.1:1/").send().await.err();
        assert!(matches!(error, Some(awc::error::SendRequestError::Connect(_))), "{error:?}");
    });
}

#[test]
fn inconsistent_settings_are_rejected_with_their_key() {
    let error = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        start(&settings).err().unwrap().to_string()
    };
    for (expected, change) in [
        ("server.tls_cert is set and server.tls_key is not", (|s| s.server.tls_cert = Some("none.pem".into())) as fn(&mut Settings)),
        ("server.tls_key is set and server.tls_cert is not", |s| s.server.tls_key = Some("none.pem".into())),
        ("tls.cert is set and tls.key is not", |s| s.tls.cert = Some("none.pem".into())),
        ("server.tls_cert is not set", |s| s.server.tls_client = ClientCertificates::Required),
        ("server.tls_cert is not set", |s| s.server.tls_client_ca = Some("none.pem".into())),
        ("server.tls_cert: cannot read none.pem", |s| {
            (s.server.tls_cert, s.server.tls_key) = (Some("none.pem".into()), Some("none.pem".into()))
        }),
        ("tls.ca: cannot read none.pem", |s| s.tls.ca = Some("none.pem".into())),
    ] {
        let error = error(change);
        assert!(error.starts_with(expected), "{error}");
    }
}
