//! Tests of the issuer's start: its files, and the settings that it rejects.

use super::super::issuer_url;
use super::support::TestIssuer;
use crate::settings::{Profile, Secret};

#[test]
fn first_start_generates_secret_with_owner_only_permissions() {
    let issuer = TestIssuer::new();
    let first = issuer.build().unwrap();
    let restarted = issuer.build().unwrap();
    assert_eq!(first.issuer, "http://127.0.0.1:5294/realms/spring-cloud-microservices-realm");
    assert_eq!(issuer_url("http://127.0.0.1:5294/"), first.issuer);
    assert_eq!(first.client_secret.expose(), restarted.client_secret.expose());
    assert_eq!(first.client_secret.expose().len(), 43);
    assert_eq!(first.demo_users.len(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let secret = issuer.settings.data.dir.join("identity/service-secret");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(issuer.build().err().unwrap().to_string().contains("chmod 600"));
    }
}

#[test]
fn start_outside_development_fails_with_instructions() {
    let start_error = |change: &dyn Fn(&mut TestIssuer)| {
        let mut issuer = TestIssuer::new().with_key();
        change(&mut issuer);
        issuer.build().err().map(|e| e.to_string())
    };
    for host in ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"] {
        assert_eq!(start_error(&|d| d.settings.server.host = host.into()), None, "{host}");
    }
    let mut errors = Vec::new();
    for host in ["0.0.0.0", "::", "192.168.1.7", "shop.example", "127.0.0.1.evil.example"] {
        errors.push(format!("at {host}: {}", start_error(&|d| d.settings.server.host = host.into()).unwrap()));
    }
    errors.push(format!("in production: {}", start_error(&|d| d.settings.server.profile = Profile::Production).unwrap()));
    let forced = |d: &mut TestIssuer| {
        d.settings.identity.allow_in_production = true;
        d.settings.server.host = "0.0.0.0".into();
    };
    assert_eq!(start_error(&forced), None);
    let production = |d: &mut TestIssuer| {
        forced(d);
        d.settings.server.profile = Profile::Production;
    };
    errors.push(format!("forced, in production: {}", start_error(&production).unwrap()));
    insta::assert_snapshot!("outside_development", errors.join("\n"));
    let with_users = |d: &mut TestIssuer| {
        production(d);
        d.settings.identity.users = vec![TestIssuer::user("bob", "a long one")];
    };
    assert_eq!(start_error(&with_users), None);
}

#[test]
fn start_with_invalid_settings_fails_before_writing_files() {
    type Change = fn(&mut TestIssuer);
    let cases: [Change; 5] = [
        |d| d.settings.identity.users = vec![TestIssuer::user("bob", "x"), TestIssuer::user("bob", "y")],
        |d| d.settings.identity.access_seconds = 0,
        |d| d.settings.identity.refresh_seconds = u64::MAX,
        |d| d.settings.identity.audience = String::new(),
        |d| d.settings.identity.client_id = "tradepost-demo".into(),
    ];
    let mut errors = Vec::new();
    for change in cases {
        let mut issuer = TestIssuer::new();
        change(&mut issuer);
        errors.push(issuer.build().err().unwrap().to_string());
        assert!(!issuer.settings.data.dir.exists(), "{errors:?}");
    }
    let mut issuer = TestIssuer::new();
    issuer.settings.identity.client_secret = Some(Secret::new(""));
    errors.push(issuer.build().err().unwrap().to_string());
    insta::assert_snapshot!("start_errors", errors.join("\n"));
}
