//! When the issuer starts, what it leaves on the disk, and when it refuses.

use super::super::issuer_url;
use super::support::Desk;
use crate::settings::{Profile, Secret};

#[test]
fn the_first_start_makes_key_and_secret_for_its_owner_alone() {
    let desk = Desk::new();
    let first = desk.build().unwrap();
    let again = desk.build().unwrap();
    assert_eq!(first.issuer, "http://127.0.0.1:5294/realms/spring-cloud-microservices-realm");
    assert_eq!(issuer_url("http://127.0.0.1:5294/"), first.issuer);
    assert_eq!(first.client_secret.expose(), again.client_secret.expose());
    assert_eq!(first.client_secret.expose().len(), 43);
    assert_eq!(first.demo_users.len(), 2);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let secret = desk.settings.data.dir.join("identity/service-secret");
        assert_eq!(std::fs::metadata(&secret).unwrap().permissions().mode() & 0o777, 0o600);
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(desk.build().err().unwrap().to_string().contains("chmod 600"));
    }
}

#[test]
fn outside_development_it_refuses_and_says_what_to_do() {
    let refused = |change: &dyn Fn(&mut Desk)| {
        let mut desk = Desk::new().with_key();
        change(&mut desk);
        desk.build().err().map(|e| e.to_string())
    };
    for host in ["127.0.0.1", "127.8.8.8", "::1", "[::1]", "localhost"] {
        assert_eq!(refused(&|d| d.settings.server.host = host.into()), None, "{host}");
    }
    let mut said = Vec::new();
    for host in ["0.0.0.0", "::", "192.168.1.7", "shop.example", "127.0.0.1.evil.example"] {
        said.push(format!("at {host}: {}", refused(&|d| d.settings.server.host = host.into()).unwrap()));
    }
    said.push(format!("in production: {}", refused(&|d| d.settings.server.profile = Profile::Production).unwrap()));
    let forced = |d: &mut Desk| {
        d.settings.identity.force = true;
        d.settings.server.host = "0.0.0.0".into();
    };
    assert_eq!(refused(&forced), None);
    let production = |d: &mut Desk| {
        forced(d);
        d.settings.server.profile = Profile::Production;
    };
    said.push(format!("forced, in production: {}", refused(&production).unwrap()));
    insta::assert_snapshot!("outside_development", said.join("\n"));
    let with_users = |d: &mut Desk| {
        production(d);
        d.settings.identity.users = vec![Desk::user("bob", "a long one")];
    };
    assert_eq!(refused(&with_users), None);
}

#[test]
fn settings_that_cannot_be_meant_stop_the_start_before_anything_is_written() {
    type Change = fn(&mut Desk);
    let cases: [Change; 5] = [
        |d| d.settings.identity.users = vec![Desk::user("bob", "x"), Desk::user("bob", "y")],
        |d| d.settings.identity.access_seconds = 0,
        |d| d.settings.identity.refresh_seconds = u64::MAX,
        |d| d.settings.identity.audience = String::new(),
        |d| d.settings.identity.client_id = "tradepost-demo".into(),
    ];
    let mut said = Vec::new();
    for change in cases {
        let mut desk = Desk::new();
        change(&mut desk);
        said.push(desk.build().err().unwrap().to_string());
        assert!(!desk.settings.data.dir.exists(), "{said:?}");
    }
    let mut desk = Desk::new();
    desk.settings.identity.client_secret = Some(Secret::new(""));
    said.push(desk.build().err().unwrap().to_string());
    insta::assert_snapshot!("start_errors", said.join("\n"));
}
