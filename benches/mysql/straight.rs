//! Upper limit: an order's transactions, sent directly to the server.
//!
//! The statements are those of the shop from the server's log, one per round trip, as plain text without ORM,
//! validation or encoding. Each connection places one order after another:
//!
//! | database  | one transaction per row                                                           |
//! | --------- | --------------------------------------------------------------------------------- |
//! | order     | INSERT order, INSERT lines, SELECT their ids                                      |
//! | inventory | INSERT reservation, n x UPDATE stock, SELECT remaining stock, INSERT outbox       |
//! | order     | UPDATE order, INSERT outbox                                                       |
//!
//! In the background, on another connection and in groups as in the shop: both outboxes are read and emptied,
//! events are written to the customer's inbox, reservations are committed and orders are marked as settled.
//! The bus and the price query are omitted on purpose: they do not use this server.

use super::{INVENTORY, NOTIFICATION, ORDER, Outcome, SKUS, SUBJECT, goods};
use diesel_async::{AsyncConnection, AsyncMysqlConnection, SimpleAsyncConnection};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::{Duration, Instant};
use uuid::Uuid;

/// The shop's session settings.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; SET SESSION autocommit = 0, lc_messages = 'en_US'";
/// Delay before the background work of a group, to coalesce more orders.
const COALESCE_WINDOW: Duration = Duration::from_millis(10);

/// State shared by the connections of a run.
#[derive(Default)]
struct Work {
    next: Cell<usize>,
    latencies_us: RefCell<Vec<u32>>,
    /// Orders placed but not settled: number and SKUs.
    placed: RefCell<Vec<(Uuid, Vec<String>)>>,
    over: Cell<bool>,
}

/// Places orders with `lines` lines over this number of connections.
pub fn run(url: &str, connections: usize, lines: usize, time: Duration) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    tokio::task::LocalSet::new().block_on(&runtime, async {
        let work = Rc::new(Work::default());
        let mut conns = Vec::new();
        for _ in 0..connections {
            conns.push(connect(url).await);
        }
        let background = tokio::task::spawn_local(settle_in_background(connect(url).await, work.clone()));
        let started = Instant::now();
        let clients: Vec<_> = conns
            .into_iter()
            .map(|mut conn| {
                let work = work.clone();
                tokio::task::spawn_local(async move {
                    while started.elapsed() < time {
                        place(&mut conn, lines, &work).await;
                    }
                })
            })
            .collect();
        for client in clients {
            client.await.unwrap();
        }
        let took = started.elapsed();
        work.over.set(true);
        background.await.unwrap();
        let latencies_us = work.latencies_us.take();
        Outcome { good: latencies_us.len(), took, latencies_us, ..Outcome::default() }
    })
}

async fn connect(url: &str) -> AsyncMysqlConnection {
    let mut conn = AsyncMysqlConnection::establish(url).await.unwrap();
    conn.batch_execute(SESSION).await.unwrap();
    conn
}

/// Runs one transaction with one round trip per statement.
async fn transaction(conn: &mut AsyncMysqlConnection, database: &str, statements: &[String]) {
    for statement in statements {
        let statement = statement.replace("{db}", database);
        conn.batch_execute(&statement).await.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
    conn.batch_execute("COMMIT").await.unwrap();
}

async fn place(conn: &mut AsyncMysqlConnection, lines: usize, work: &Work) {
    let n = work.next.replace(work.next.get() + 1);
    let skus: Vec<String> = (0..lines).map(|line| goods::sku(goods::pick(n, line, SKUS))).collect();
    let (started, number) = (Instant::now(), Uuid::now_v7());
    let rows: Vec<String> = skus.iter().map(|sku| format!("(LAST_INSERT_ID(), '{sku}', 1, '19.99')")).collect();
    transaction(
        conn,
        ORDER,
        &[
            format!(
                "INSERT INTO {{db}}.orders (order_number, customer, customer_name, email, status, total, reason, lease_until, created_at)
                 VALUES ('{number}', '{SUBJECT}', 'alice', 'alice@example.com', 'PENDING', '19.99', NULL, 1900000000000, 1900000000000)"
            ),
            format!("INSERT INTO {{db}}.order_lines (order_id, sku_code, quantity, price) VALUES {}", rows.join(", ")),
            "SELECT id, order_id FROM {db}.order_lines WHERE id = LAST_INSERT_ID()".into(),
        ],
    )
    .await;
    let quantities: BTreeMap<&String, i32> = skus.iter().map(|sku| (sku, 1)).collect();
    let mut reserve = vec![format!(
        "INSERT IGNORE INTO {{db}}.reservations (order_number, state, `lines`, expires_at) VALUES ('{number}', 'HELD', '{}', 1900000000000)",
        serde_json::to_string(&quantities).unwrap()
    )];
    reserve.extend(quantities.keys().map(|sku| {
        format!(
            "UPDATE {{db}}.stock SET quantity = quantity - 1, held = held + 1 WHERE sku_code = '{sku}' AND quantity >= 1 AND removed = 0"
        )
    }));
    let listed = quantities.keys().map(|sku| format!("'{sku}'")).collect::<Vec<_>>().join(", ");
    reserve.push(format!(
        "SELECT id, sku_code, quantity, held, sold, received FROM {{db}}.stock WHERE removed = 0 AND sku_code IN ({listed})"
    ));
    reserve.push(outbox(number, 350));
    transaction(conn, INVENTORY, &reserve).await;
    let ended = format!(
        "UPDATE {{db}}.orders SET status = 'PLACED', settle = 'COMMIT', reason = NULL WHERE order_number = '{number}' AND status = 'PENDING'"
    );
    transaction(conn, ORDER, &[ended, outbox(number, 430 + 50 * lines)]).await;
    work.latencies_us.borrow_mut().push(started.elapsed().as_micros() as u32);
    work.placed.borrow_mut().push((number, skus));
}

/// An INSERT of an event with the size of the shop's events.
fn outbox(number: Uuid, length: usize) -> String {
    format!("INSERT INTO {{db}}.outbox (body) VALUES ('{{\"orderNumber\":\"{number}\",\"data\":\"{:x<1$}\"}}')", "", length - 60)
}

/// The background work of placed orders, in groups.
async fn settle_in_background(mut conn: AsyncMysqlConnection, work: Rc<Work>) {
    loop {
        let over = work.over.get();
        let group: Vec<_> = {
            let mut placed = work.placed.borrow_mut();
            let count = placed.len().min(200);
            placed.drain(..count).collect()
        };
        if group.is_empty() && over {
            return;
        }
        if group.is_empty() {
            tokio::time::sleep(COALESCE_WINDOW).await;
            continue;
        }
        settle_group(&mut conn, &group).await;
    }
}

async fn settle_group(conn: &mut AsyncMysqlConnection, group: &[(Uuid, Vec<String>)]) {
    for database in [INVENTORY, ORDER] {
        // a relay deletes the rows that it published; here no other process writes to the outbox
        let seqs = "SELECT seq, body FROM {db}.outbox ORDER BY seq LIMIT 500";
        let delete = format!("DELETE FROM {{db}}.outbox ORDER BY seq LIMIT {}", group.len());
        transaction(conn, database, &[seqs.into()]).await;
        transaction(conn, database, &[delete]).await;
    }
    let mut inserts = Vec::new();
    for (number, _) in group {
        let events = [Uuid::now_v7(), Uuid::now_v7()];
        inserts.extend(
            events.map(|event| format!("INSERT IGNORE INTO {{db}}.inbox (event_id, applied_at) VALUES ('{event}', 1900000000000)")),
        );
        inserts.push(format!(
            "INSERT INTO {{db}}.notifications (event_id, customer, type, order_number, title, message, created_at, `read`)
             VALUES ('{}', '{SUBJECT}', 'order.placed', '{number}', 'Order placed', 'Your order {number} is placed: 1 line, 19.99 in all.', 1900000000000, 0)",
            events[1]
        ));
    }
    transaction(conn, NOTIFICATION, &inserts).await;
    let numbers = group.iter().map(|(number, _)| format!("'{number}'")).collect::<Vec<_>>().join(", ");
    let mut sold: BTreeMap<&String, usize> = BTreeMap::new();
    for sku in group.iter().flat_map(|(_, skus)| skus) {
        *sold.entry(sku).or_default() += 1;
    }
    let mut settle = vec![
        format!(
            "SELECT order_number, state, `lines` FROM {{db}}.reservations WHERE order_number IN ({numbers}) ORDER BY order_number FOR UPDATE"
        ),
        format!("UPDATE {{db}}.reservations SET state = 'COMMITTED' WHERE order_number IN ({numbers})"),
    ];
    settle.extend(
        sold.iter().map(|(sku, n)| format!("UPDATE {{db}}.stock SET held = held - {n}, sold = sold + {n} WHERE sku_code = '{sku}'")),
    );
    transaction(conn, INVENTORY, &settle).await;
    let settled = format!("UPDATE {{db}}.orders SET settle = NULL WHERE order_number IN ({numbers}) AND settle = 'COMMIT'");
    transaction(conn, ORDER, &[settled]).await;
}
