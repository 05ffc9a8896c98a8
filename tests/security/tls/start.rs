//! A process without a valid certificate does not start, and names the wrong setting.

use super::HERE;
use crate::support::certs::Authority;
use crate::support::process::tradepost;
use crate::support::{on_system, wait_until};
use std::path::{Path, PathBuf};

fn refused(pair: (&Path, &Path), more: &[(&str, &str)]) -> Result<String, String> {
    let data = tempfile::tempdir().unwrap();
    let output = tradepost(&["serve", "--modules", "registry", "--port", "0", "--data", data.path().to_str().unwrap()])
        .env("TRADEPOST__IDENTITY__ISSUER", "http://127.0.0.1:9/realms/none")
        .env("TRADEPOST__SERVER__EXIT_ON_STDIN_EOF", "true")
        .env("TRADEPOST__SERVER__TLS_CERT", pair.0)
        .env("TRADEPOST__SERVER__TLS_KEY", pair.1)
        .envs(more.iter().copied())
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() { Err(format!("it started: {said}")) } else { Ok(said) }
}

#[test]
fn invalid_certificate_pair_stops_the_start_with_its_setting() {
    on_system(async {
        let authority = Authority::new();
        let (one, two) = (authority.issue("one", HERE), authority.issue("two", HERE));
        let expired = authority.issue_expired("expired", HERE);
        let nothing = PathBuf::from("/nowhere.pem");
        let required = [("TRADEPOST__SERVER__TLS_CLIENT", "required")];
        let wrong_ca = [required[0], ("TRADEPOST__SERVER__TLS_CLIENT_CA", one.1.to_str().unwrap())];
        for (what, pair, more, said) in [
            ("no such file", (&nothing, &one.1), &[][..], "server.tls_cert: cannot read /nowhere.pem"),
            ("a key for a certificate", (&one.1, &one.1), &[], "expected certificates in PEM"),
            ("a certificate for a key", (&one.0, &one.0), &[], "expected a private key in PEM"),
            ("another's key", (&one.0, &two.1), &[], "does not belong to the certificate"),
            ("no authority for clients", (&one.0, &one.1), &required, "server.tls_client_ca is not set"),
            ("a key for an authority", (&one.0, &one.1), &wrong_ca, "server.tls_client_ca: "),
        ] {
            let answer = refused((pair.0, pair.1), more).unwrap_or_else(|e| panic!("{what}: {e}"));
            assert!(answer.contains("server.tls_") && answer.contains(said), "{what}: {answer}");
            assert!(!answer.contains("PRIVATE KEY"), "{what}: {answer}");
        }
        wait_until("the expired certificate is refused", || {
            let answer = refused((&expired.0, &expired.1), &[])?;
            if answer.contains("server.tls_cert: ") && answer.contains("the certificate has expired") { Ok(()) } else { Err(answer) }
        })
        .await;
    });
}
