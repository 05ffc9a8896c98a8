//! What can be said without a server; the rest is in `tests/mysql/`.

use super::connections::Trouble;
use diesel::result::{DatabaseErrorKind, Error};

#[test]
fn the_servers_words_say_what_a_transaction_comes_to() {
    for (words, trouble) in [
        ("Deadlock found when trying to get lock; try restarting transaction", Some(Trouble::Conflict)),
        ("Lock wait timeout exceeded; try restarting transaction", Some(Trouble::Conflict)),
        ("Record has changed since last read in table 'stock'", Some(Trouble::Conflict)),
        ("Input/output error: Connection refused (os error 111)", Some(Trouble::Lost)),
        ("Driver error: `Connection to the server is closed.'", Some(Trouble::Lost)),
        ("Server shutdown in progress", Some(Trouble::Lost)),
        ("The MySQL server is running with the --read-only option so it cannot execute this statement", Some(Trouble::Lost)),
        ("The MySQL server is running with the --super-read-only option so it cannot execute this statement", Some(Trouble::Lost)),
        ("Query execution was interrupted, maximum statement execution time exceeded", Some(Trouble::Stopped)),
        ("Duplicate entry 'a' for key 'stock_sku'", None),
    ] {
        let error = Error::DatabaseError(DatabaseErrorKind::Unknown, Box::new(words.to_string()));
        assert_eq!(Trouble::of(&error), trouble, "{words}");
    }
    assert_eq!(Trouble::of(&Error::NotFound), None);
}

/// What is wrong with the way there is said before anything is sent, by the setting's name.
#[test]
fn a_way_that_leads_nowhere_is_refused_with_its_setting() {
    use crate::settings::{MySqlUrl, Secret, Tls};
    let to = |url: &str, tls| super::way::to(&MySqlUrl { url: Secret::new(url), tls }, "order").map(drop).unwrap_err().to_string();
    for asked in ["?require_ssl=true", "?ssl-mode=REQUIRED"] {
        let said = to(&format!("mysql://shop:hidden@127.0.0.1/orders{asked}"), None);
        assert!(said.contains("order.store") && said.contains("mysql.ssl_mode") && !said.contains("hidden"), "{said}");
    }
    let said = to("mysql://127.0.0.1/orders", Some(Tls { ca: Some("/nowhere.pem".into()), ..Tls::default() }));
    let expected = if cfg!(feature = "tls") { ["tls.ca", "/nowhere.pem"] } else { ["mysql.ssl_mode", "--features tls"] };
    assert!(expected.iter().all(|part| said.contains(part)), "{said}");
    #[cfg(feature = "tls")]
    {
        let dir = tempfile::tempdir().unwrap();
        let empty = Some(dir.path().join("empty.pem"));
        std::fs::write(dir.path().join("empty.pem"), "nothing").unwrap();
        let said = to("mysql://127.0.0.1/orders", Some(Tls { ca: empty.clone(), ..Tls::default() }));
        assert!(said.contains("tls.ca") && said.contains("expected certificates in PEM"), "{said}");
        let said = to("mysql://127.0.0.1/orders", Some(Tls { cert: empty, ..Tls::default() }));
        assert!(said.contains("tls.key is missing"), "{said}");
    }
}
