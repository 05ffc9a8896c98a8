//! Tests without a server; the others are in `tests/mysql/`.

use super::error::ErrorClass;
use diesel::result::{DatabaseErrorKind, Error};

#[test]
fn error_message_of_the_server_is_classified() {
    for (message, class) in [
        ("Deadlock found when trying to get lock; try restarting transaction", Some(ErrorClass::Conflict)),
        ("Lock wait timeout exceeded; try restarting transaction", Some(ErrorClass::Conflict)),
        ("Record has changed since last read in table 'stock'", Some(ErrorClass::Conflict)),
        ("Input/output error: Connection refused (os error 111)", Some(ErrorClass::Lost)),
        ("Driver error: `Connection to the server is closed.'", Some(ErrorClass::Lost)),
        ("Server shutdown in progress", Some(ErrorClass::Lost)),
        ("The MySQL server is running with the --read-only option so it cannot execute this statement", Some(ErrorClass::Lost)),
        ("The MySQL server is running with the --super-read-only option so it cannot execute this statement", Some(ErrorClass::Lost)),
        ("Query execution was interrupted, maximum statement execution time exceeded", Some(ErrorClass::Stopped)),
        ("Duplicate entry 'a' for key 'stock_sku'", None),
    ] {
        let error = Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(message.to_string()));
        assert_eq!(ErrorClass::of(&error), class, "{message}");
    }
    assert_eq!(ErrorClass::of(&Error::NotFound), None);
}

#[test]
fn local_socket_of_the_server_is_used_only_if_the_url_asks_for_it() {
    use crate::settings::{MySqlUrl, Secret};
    let prefers_socket = |query: &str| {
        let server = MySqlUrl { url: Secret::new(format!("mysql://127.0.0.1:13306/orders{query}")), tls: None };
        super::connect_options::connect_options(&server, "order").unwrap().prefer_socket()
    };
    assert_eq!(["", "?pool_min=1", "?prefer_socket=false", "?prefer_socket=true"].map(prefers_socket), [false, false, false, true]);
}

/// Before any connection, with the setting's name.
#[test]
fn invalid_connect_options_are_rejected_with_their_setting() {
    use crate::settings::{MySqlUrl, Secret, Tls};
    let error_of = |url: &str, tls| {
        super::connect_options::connect_options(&MySqlUrl { url: Secret::new(url), tls }, "order").map(drop).unwrap_err().to_string()
    };
    for query in ["?require_ssl=true", "?ssl-mode=REQUIRED"] {
        let error = error_of(&format!("mysql://shop:hidden@127.0.0.1/orders{query}"), None);
        assert!(error.contains("order.store") && error.contains("mysql.ssl_mode") && !error.contains("hidden"), "{error}");
    }
    let error = error_of("mysql://127.0.0.1/orders", Some(Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() }));
    let expected = if cfg!(feature = "tls") { ["tls.ca", "/nowhere.pem"] } else { ["mysql.ssl_mode", "--features tls"] };
    assert!(expected.iter().all(|part| error.contains(part)), "{error}");
    #[cfg(feature = "tls")]
    {
        let dir = tempfile::tempdir().unwrap();
        let empty = Some(dir.path().join("empty.pem"));
        std::fs::write(dir.path().join("empty.pem"), "nothing").unwrap();
        let error = error_of("mysql://127.0.0.1/orders", Some(Tls { ca: empty.clone(), ..Tls::default() }));
        assert!(error.contains("tls.ca") && error.contains("expected certificates in PEM"), "{error}");
        let error = error_of("mysql://127.0.0.1/orders", Some(Tls { cert: empty, ..Tls::default() }));
        assert!(error.contains("tls.key is missing"), "{error}");
    }
}
