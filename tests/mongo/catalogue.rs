//! The catalogue's pages use an index; none scans all documents.

use super::{Database, url};
use crate::support::stores::on_documents;
use crate::support::{Shape, Shop, on_system};
use mongodb::bson::oid::ObjectId;
use mongodb::bson::{Document, doc};
use serde_json::json;

/// The server's error code for an unknown command.
const NO_SUCH_COMMAND: i32 = 59;

/// The server's query plan; none if the server has no `explain`.
fn explained(url: &str, command: Document) -> Option<String> {
    let answer =
        on_documents(url, |database| async move { database.run_command(doc! { "explain": command, "verbosity": "queryPlanner" }).await });
    match answer {
        Ok(plan) => Some(plan.to_string()),
        Err(cause) => match cause.kind.as_ref() {
            mongodb::error::ErrorKind::Command(c) if c.code == NO_SUCH_COMMAND => None,
            _ => panic!("{cause}"),
        },
    }
}

#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn catalogue_pages_use_an_index() {
    on_system(async {
        let mut shop = Shop::start(Shape::Local, |_| {}).await;
        let (c, url) = (&shop.client, url(&shop));
        for n in 0..5 {
            c.post(&c.admin, "/api/v1/products", json!({ "skuCode": format!("s{n}"), "name": "n", "price": 1 })).await.expect(201);
        }
        let live = doc! { "$exists": false };
        let page = doc! { "find": "products", "filter": { "deleted": live.clone() }, "sort": { "_id": 1 }, "skip": 2, "limit": 2 };
        let after =
            doc! { "find": "products", "filter": { "deleted": live, "_id": { "$gt": ObjectId::new() } }, "sort": { "_id": 1 }, "limit": 3 };
        let count = doc! { "aggregate": "products", "cursor": {}, "pipeline": [{ "$match": { "skuCode": { "$gte": "" } } }, { "$group": { "_id": 1, "n": { "$sum": 1 } } }] };
        let prices = doc! { "find": "products", "filter": { "skuCode": { "$in": ["s1", "s2"] } } };
        let waiting = doc! { "find": "products", "filter": { "waitingSince": { "$gte": mongodb::bson::DateTime::from_millis(0) } }, "sort": { "waitingSince": 1 } };
        for command in [page, after, count, prices, waiting] {
            match explained(&url, command.clone()) {
                Some(plan) => assert!(plan.contains("IXSCAN") && !plan.contains("COLLSCAN"), "{command}: {plan}"),
                None => println!("this server does not explain: {command}"),
            }
        }
        shop.stop().await;
        shop.clear();
    });
}

/// A URL must name a database, and the server does not learn unnecessary details.
#[test]
#[ignore = "needs a MongoDB: .ci/mongo.sh"]
fn url_without_a_database_is_rejected_with_its_key() {
    let database = Database::fresh();
    let server = database.0.rsplit_once('/').unwrap().0;
    let refused =
        tradepost::data::mongodb::Db::open_without_checks(&tradepost::settings::Secret::new(server), "product", &database.settings());
    let said = refused.map(drop).unwrap_err().to_string();
    assert!(said.contains("product.store") && said.contains("names no database"), "{said}");
}
