//! A server that accepts only TLS: `.ci/stores.sh` starts one with certificates from openssl, and names their folder in
//! `TRADEPOST_TEST_CERTIFICATES`.

use super::{Database, at, migrating};
use crate::support::stores::{self, certificates};
use crate::support::{on_system, process::Process, wait_for};
use diesel_async::RunQueryDsl;
use diesel_migrations::{EmbeddedMigrations, embed_migrations};
use std::path::PathBuf;
use tradepost::data::mysql::Db;
use tradepost::kernel::error::StoreError;
use tradepost::settings::{MySqlUrl, Tls};

const ORDER: EmbeddedMigrations = embed_migrations!("migrations/order/mysql");

fn file(name: &str) -> Option<PathBuf> {
    Some(certificates().expect("TRADEPOST_TEST_CERTIFICATES: their folder").join(name))
}

fn trusting(ca: &str) -> Tls {
    Tls { ca: file(ca), ..Tls::default() }
}

fn open(database: &Database, tls: Option<Tls>) -> Result<Db, StoreError> {
    Db::open(&MySqlUrl { tls, ..database.server() }, "order", &migrating(), ORDER)
}

/// Returns why the store cannot be opened. A permanent error is not retried, so it takes less than half a minute.
#[track_caller]
fn refused(outcome: Result<Db, StoreError>) -> String {
    let said = outcome.map(drop).unwrap_err().to_string();
    assert!(said.contains("the order store is not available"), "{said}");
    said
}

#[derive(diesel::QueryableByName)]
#[diesel(check_for_backend(diesel::mysql::Mysql))]
struct Status {
    #[diesel(sql_type = diesel::sql_types::Text, column_name = "Value")]
    value: String,
}

/// Checks every connection, not only the first: none uses the Unix socket.
#[test]
#[ignore = "needs a MySQL with TLS: .ci/stores.sh"]
fn every_connection_is_encrypted() {
    let database = Database::fresh();
    let db = open(&database, Some(trusting("ca.pem"))).unwrap();
    on_system(async move {
        let query = async |c: &mut _| {
            let status: Status = diesel::sql_query("SHOW SESSION STATUS LIKE 'Ssl_cipher'").get_result(c).await?;
            Ok::<_, StoreError>(status.value)
        };
        let cipher = db.read(query).await.unwrap();
        println!("cipher: {cipher}");
        assert!(!cipher.is_empty());
    });
}

#[test]
#[ignore = "needs a MySQL with TLS: .ci/stores.sh"]
fn refused_connection_names_the_setting_to_change() {
    let database = Database::fresh();
    let stranger = refused(open(&database, Some(trusting("other-ca.pem"))));
    assert!(stranger.contains("set tls.ca"), "{stranger}");
    let unencrypted = refused(open(&database, None));
    assert!(unencrypted.contains("mysql.ssl_mode = \"verify_identity\""), "{unencrypted}");
    // The certificate is for 127.0.0.1 alone.
    let elsewhere = at(database.url().expose().replace("127.0.0.1", "localhost"));
    let elsewhere = MySqlUrl { tls: Some(trusting("ca.pem")), ..elsewhere };
    let misnamed = refused(Db::open(&elsewhere, "order", &migrating(), ORDER));
    assert!(misnamed.contains("name the server in its URL"), "{misnamed}");
}

/// The server authenticates us by our certificate.
#[test]
#[ignore = "needs a MySQL with TLS: .ci/stores.sh"]
fn user_with_required_certificate_connects() {
    let database = Database::fresh();
    let user = format!("u{}", &uuid::Uuid::new_v4().simple().to_string()[..12]);
    database.run(&format!("CREATE USER {user} IDENTIFIED BY 'hidden' REQUIRE X509; GRANT ALL ON *.* TO {user}"));
    let known = at(database.url().expose().replace("root@", &format!("{user}:hidden@")));
    let open = |tls| Db::open(&MySqlUrl { tls: Some(tls), ..known.clone() }, "order", &migrating(), ORDER);
    let said = refused(open(trusting("ca.pem")));
    assert!(said.contains("Access denied") && !said.contains("hidden"), "{said}");
    let mut tls = trusting("ca.pem");
    (tls.cert, tls.key) = (file("client.pem"), file("client.key"));
    open(tls).map(drop).unwrap();
    database.run(&format!("DROP USER {user}"));
}

/// The binary with these settings: migrate, serve, order, audit.
#[test]
#[ignore = "needs a MySQL with TLS: .ci/stores.sh"]
fn shop_on_a_tls_only_server_works() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let shop = Process::start(data.path(), &[]);
        let c = shop.client().await;
        c.stocked("s", "2.50", 10).await;
        let order = c.order(&[("s", 2)]).await.expect(201).json()["orderNumber"].clone();
        wait_for("the order has a notification", || async {
            let page = c.get(&c.alice, "/api/v1/notifications").await.expect(200).json();
            if page["content"][0]["orderNumber"] == order { Ok(()) } else { Err(page.to_string()) }
        })
        .await;
        let (clean, said) = shop.audit();
        assert!(clean, "{said}");
        assert_eq!(shop.terminate(), Some(0));
        stores::Stores::of(data.path()).drop_all();
    });
}
