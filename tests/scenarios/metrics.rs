//! Metrics at `/actuator/prometheus`.

use crate::chaos::sql::Sql;
use crate::support::client::{Client, order};
use crate::support::metrics::Metrics;
use crate::support::{Shape, Shop, on_system, stores, wait_for};
use actix_web::http::Method;
use futures_util::{StreamExt, stream};
use serde_json::json;
use std::collections::BTreeSet;
use tradepost::kernel::module::Module;

/// A client of the process that runs this module.
fn at(shop: &Shop, module: Module) -> Client {
    shop.member(module).map_or_else(|| shop.client.clone(), |url| shop.client.at(&url))
}

scenario! {
    /// Orders are counted by outcome and reason; the value of placed orders is summed.
    async fn orders_metric_counts_by_outcome_and_reason(shop) {
        let c = &shop.client;
        c.stocked("m", "2.50", 10).await;
        let first = c.order(&[("m", 2)]).await.expect(201).json()["id"].as_i64().unwrap();
        let second = c.order(&[("m", 4)]).await.expect(201).json()["id"].as_i64().unwrap();
        c.order(&[("m", 1000)]).await.expect(400);
        c.order(&[("no-such-sku", 1), ("m", 1000)]).await.expect(400);
        c.order(&[("m", 0)]).await.expect(400); // invalid input is not counted
        c.post(&c.alice, &format!("/api/v1/orders/{first}/cancel"), json!(null)).await.expect(200);
        c.delete(&c.admin, &format!("/api/v1/orders/{second}")).await.expect(200);
        c.delete(&c.admin, &format!("/api/v1/orders/{second}")).await.expect(404); // counted once

        let shown = Metrics::of(&at(shop, Module::Order)).await;
        let outcomes = [
            ("placed", "none", 2.0),
            ("rejected", "insufficient_stock", 1.0),
            ("rejected", "unknown_product", 1.0),
            ("rejected", "expired", 0.0),
            ("unavailable", "peer_unavailable", 0.0),
            ("unavailable", "store_unavailable", 0.0),
            ("cancelled", "by_customer", 1.0),
            ("cancelled", "by_admin", 1.0),
        ];
        for (outcome, reason, count) in outcomes {
            assert_eq!(shown.get("tradepost_orders_total", &[("outcome", outcome), ("reason", reason)]), count, "{outcome} {reason}");
        }
        assert_eq!(shown.get("tradepost_orders_total", &[]), 6.0);
        assert_eq!(shown.get("tradepost_order_value_total", &[]), 15.0);
    }
}

scenario! {
    /// Stock is exposed in sums, grouped by the threshold of `stock.low`, soon after a change.
    async fn stock_metrics_are_grouped_by_state(shop) {
        let c = &shop.client;
        let low = shop.settings.inventory.low_stock_threshold;
        c.stocked("many", "1", low + 3).await;
        c.stocked("few", "1", low).await;
        c.stocked("none", "1", 2).await;
        let gone = c.stocked("gone", "1", 7).await["id"].as_i64().unwrap();
        c.delete(&c.admin, &format!("/api/v1/inventory/{gone}")).await.expect(200);
        c.order(&[("none", 2), ("many", 1)]).await.expect(201);

        let inventory = at(shop, Module::Inventory);
        wait_for("the metrics show the sale", || async {
            let shown = Metrics::of(&inventory).await;
            let of = |name: &str, label: &str, value: &str| shown.get(name, &[(label, value)]);
            let skus = ["available", "low", "out"].map(|state| of("tradepost_stock_skus", "state", state));
            let pieces = ["available", "held", "sold"].map(|state| of("tradepost_stock_units", "state", state));
            let broken = ["INV-1", "INV-2"].map(|invariant| of("tradepost_stock_violations", "invariant", invariant));
            assert_eq!(broken, [0.0; 2]);
            let right = skus == [1.0; 3] && pieces == [2.0 * low as f64 + 2.0, 0.0, 3.0];
            if right { Ok(()) } else { Err(format!("{skus:?} {pieces:?}")) }
        })
        .await;
    }
}

scenario! {
    /// A SKU that violates an invariant is counted once per invariant, also if only a comparison with the reservations
    /// finds it.
    async fn stock_violations_are_counted(shop) {
        let c = &shop.client;
        c.stocked("broken", "1", 5).await;
        c.stocked("whole", "1", 5).await;
        if stores::server().is_some() {
            return;
        }
        let inventory = at(shop, Module::Inventory);
        let mut stock = Sql::open(shop.data.path(), "inventory");
        let mut assert_counted = async |change: &str, expected: [f64; 2]| {
            stock.run(&format!("PRAGMA ignore_check_constraints = ON; UPDATE stock SET {change} WHERE sku_code = 'broken'"));
            wait_for(&format!("{change}: {expected:?}"), || async {
                let shown = Metrics::of(&inventory).await;
                let counted = ["INV-1", "INV-2"].map(|invariant| shown.get("tradepost_stock_violations", &[("invariant", invariant)]));
                if counted == expected { Ok(()) } else { Err(format!("{counted:?}")) }
            })
            .await;
        };
        assert_counted("quantity = 3, held = 2", [1.0, 0.0]).await;
        assert_counted("quantity = 6, held = -1", [1.0, 1.0]).await;
        assert_counted("quantity = 5, held = 0", [0.0, 0.0]).await;
    }
}

scenario! {
    /// Every process exposes its build, resource usage, served requests and queue lengths in the Prometheus format.
    async fn every_process_exposes_its_metrics(shop) {
        let c = &shop.client;
        c.stocked("m", "1", 1).await;
        c.order(&[("m", 1)]).await.expect(201);
        c.get(&c.alice, "/api/v1/orders/1").await.expect(200);
        for module in Module::ALL {
            let shown = Metrics::of(&at(shop, module)).await;
            assert_eq!(shown.get("tradepost_build_info", &[("version", env!("CARGO_PKG_VERSION"))]), 1.0);
            assert_eq!(shown.values("commit").len(), 1);
            let of = |name: &str| shown.get(&format!("process_{name}"), &[]);
            assert!(of("cpu_seconds_total") > 0.0 && of("resident_memory_bytes") > (1 << 20) as f64);
            assert!((3.0..of("max_fds")).contains(&of("open_fds")), "{} of {}", of("open_fds"), of("max_fds"));
            assert!(of("threads") >= 2.0, "{}", of("threads"));
            // no test run takes longer than a day
            let now = tradepost::kernel::clock::now_ms() as f64 / 1000.0;
            assert!((now - 86_400.0..=now).contains(&of("start_time_seconds")), "{} at {now}", of("start_time_seconds"));
        }
        let order = Metrics::of(&at(shop, Module::Order)).await;
        let served = [("uri", "/api/v1/orders/{id}"), ("method", "GET"), ("status", "200")];
        for name in ["http_server_requests_seconds_count", "http_server_requests_total"] {
            assert_eq!(order.get(name, &served), 1.0, "{name}");
        }
        assert!(!order.values("uri").contains("/api/v1/orders/1"));
        let queue = if stores::server().is_some() { "order-transactions" } else { "order-writer" };
        assert_eq!(order.get("tradepost_queue_capacity", &[("queue", queue)]), 4096.0);
        let connections = |state| order.get("tradepost_pool_connections", &[("store", "order"), ("state", state)]);
        assert!(connections("idle") + connections("in_use") >= 1.0 && connections("in_use") <= connections("max"));
        wait_for("all queues are empty", || async {
            let order = Metrics::of(&at(shop, Module::Order)).await;
            let waiting = [order.get("tradepost_queue_depth", &[("queue", queue)]), order.get("tradepost_pool_waiting", &[("store", "order")])];
            if waiting == [0.0; 2] { Ok(()) } else { Err(format!("{waiting:?}")) }
        })
        .await;
        // in `split` the six other processes register; a single process does not register
        let up = if shop.member(Module::Registry).is_some() { 6.0 } else { 0.0 };
        wait_for("all processes are registered, with renewals expected every 5 s", || async {
            let registry = Metrics::of(&at(shop, Module::Registry)).await;
            let instances = ["UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"].map(|s| registry.get("tradepost_registry_instances", &[("status", s)]));
            let renewals = registry.get("tradepost_registry_renewals_expected_per_minute", &[]);
            // expected renewals in the first minutes depend on the registration times
            let right = instances == [up, 0.0, 0.0, 0.0, 0.0] && (0.0..=12.0 * up).contains(&renewals);
            if right { Ok(()) } else { Err(format!("{instances:?} {renewals}")) }
        })
        .await;
    }
}

/// Attempts of peer calls are counted by the contract's path, if the calls use HTTP.
#[test]
fn peer_call_attempts_over_http_are_counted() {
    on_system(async {
        for shape in [Shape::Local, Shape::Loopback] {
            // a long lease: resuming a slow order would add calls
            let mut shop = Shop::start(shape, |settings| settings.order.lease_seconds = 60).await;
            let c = &shop.client;
            c.stocked("m", "1", 1).await;
            c.order(&[("m", 1)]).await.expect(201);
            let shown = Metrics::of(c).await;
            let name = "http_client_requests_seconds_count";
            let reserved = [
                ("client_name", "inventory"),
                ("uri", "/api/v1/inventory/reservations"),
                ("method", "POST"),
                ("status", "200"),
                ("outcome", "SUCCESS"),
            ];
            // in loopback a call that may be repeated is sent twice
            let expected = if shape == Shape::Loopback { Some(2.0) } else { None };
            assert_eq!(shown.sum(name, &reserved), expected, "{shape:?}");
            shop.stop().await;
        }
    });
}

/// Exposes pending orders, pending events, refused events and dead letters. Uses file stores, where the test can insert
/// such rows.
#[test]
fn unfinished_work_is_exposed_as_metrics() {
    on_system(async {
        let hour_ago = tradepost::kernel::clock::now_ms() - 3_600_000;
        let mut shop = Shop::start(Shape::Local, |settings| {
            let data = settings.data.dir.clone();
            for store in [&mut settings.order.store, &mut settings.product.store] {
                *store = None;
            }
            settings.bus.url = "local://".into();
            tradepost::app::serve::prepare(tradepost::config::Loaded::from(settings.clone())).unwrap();
            // another process holds the outbox lease and relays nothing
            let elsewhere = format!("INSERT INTO leases VALUES ('outbox', '{}', {})", uuid::Uuid::new_v4(), i64::MAX);
            let mut orders = Sql::open(&data, "order");
            orders.run(&elsewhere);
            // the large gap shows that the metric is computed from sequence numbers, not by counting rows
            orders.run("INSERT INTO outbox (seq, body) VALUES (1, 'x'), (1000000, 'x')");
            orders.run(&format!(
                "INSERT INTO orders (order_number, customer, customer_name, status, total, lease_until, created_at) \
                 VALUES ('{}', 'c', 'c', 'PENDING', '1.00', {}, {hour_ago})",
                uuid::Uuid::new_v4(),
                i64::MAX
            ));
            let mut product = Sql::open(&data, "product");
            product.run(&elsewhere);
            let time = tradepost::kernel::clock::rfc3339(hour_ago);
            product.run(&format!("INSERT INTO outbox (body) VALUES ('{}'), ('later')", event(&time)));
            product.run("INSERT INTO outbox_refused (body, error, refused_at) VALUES ('x', 'y', 1), ('x', 'y', 2), ('x', 'y', 3)");
            Sql::open(&data, "bus").run("INSERT INTO dead_letters (consumer, body, error, died_at) VALUES ('notification', 'x', 'y', 1)");
        })
        .await;
        wait_for("the metrics show all of it", || async {
            let shown = Metrics::of(&shop.client).await;
            let product = [("module", "product")];
            let of = |name: &str, labels: &[(&str, &str)]| shown.sum(name, labels).unwrap_or_default();
            let numbers = [
                of("tradepost_orders_pending", &[]),
                of("tradepost_outbox_pending", &product),
                of("tradepost_outbox_pending", &[("module", "order")]),
                of("tradepost_outbox_refused", &product),
                of("tradepost_dead_letters", &[("group", "notification")]),
            ];
            let ages = [of("tradepost_orders_pending_oldest_seconds", &[]), of("tradepost_outbox_oldest_seconds", &product)];
            let right = numbers == [1.0, 2.0, 1_000_000.0, 3.0, 1.0] && ages.iter().all(|age| (3600.0..7200.0).contains(age));
            if right { Ok(()) } else { Err(format!("{numbers:?} {ages:?}")) }
        })
        .await;
        shop.stop().await;
    });
}

fn event(time: &str) -> String {
    let id = uuid::Uuid::new_v4();
    let event = json!({
        "specversion": "1.0", "id": id, "source": "/tradepost/product", "type": "product.created", "subject": "s", "time": time,
        "datacontenttype": "application/json", "data": {}
    });
    event.to_string()
}

scenario! {
    /// No label has a value that a client supplies: after the first request of each kind, a thousand more add no series.
    /// Background activity such as heartbeats may add a few series.
    async fn client_supplied_values_add_no_series(shop) {
        let c = &shop.client;
        c.stocked("m", "1", 1).await;
        made_up(c, 0).await;
        let members: BTreeSet<String> = Module::ALL.into_iter().map(|module| at(shop, module).url).collect();
        let before = series(c, &members).await;
        stream::iter(1..=1000).for_each_concurrent(8, |n| made_up(c, n)).await;
        let after = series(c, &members).await;
        let new: Vec<_> = after.difference(&before).collect();
        assert!(new.len() < 50, "{} new series: {new:#?}", new.len());
        let made_up: Vec<_> = after.iter().filter(|series| ["made-up", "MADE", "7770"].iter().any(|word| series.contains(word))).collect();
        assert!(made_up.is_empty(), "{made_up:#?}");
    }
}

/// Sends requests with the `n`th made-up value in every place that a client controls.
async fn made_up(c: &Client, n: usize) {
    let sku = format!("made-up-{n}");
    c.get(&c.alice, &format!("/made-up/{n}")).await.expect(404);
    c.get(&c.alice, &format!("/api/v1/orders/{}", 77_700_000 + n)).await.expect(404);
    c.get(&c.alice, &format!("/api/v1/products/{sku}")).await.expect(404);
    let bearer = format!("Bearer {}", c.alice);
    let headers = [("authorization", bearer.as_str()), ("x-made-up", sku.as_str()), ("origin", sku.as_str())];
    c.send(Method::from_bytes(format!("MADE{n}").as_bytes()).unwrap(), "/api/v1/orders", &headers, "").await.expect(405);
    c.with_body(Method::POST, &c.alice, "/api/v1/orders", &[("idempotency-key", &sku)], &order(&[(&sku, 1)])).await.expect(400);
}

/// All series of these processes, with one series per histogram.
async fn series(c: &Client, members: &BTreeSet<String>) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for url in members {
        let shown = Metrics::of(&c.at(url)).await;
        let whole = shown.series().into_iter().filter(|(name, labels)| !labels.contains_key("le") && !name.ends_with("_sum"));
        all.extend(whole.map(|series| format!("{url} {series:?}")));
    }
    all
}
