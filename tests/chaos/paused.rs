//! Two processes on one data folder. One is paused (SIGSTOP) and resumes in the belief that it still holds its leases.
//! Meanwhile the other continues, and no work is done twice.

use super::kill::{assert_notified_once_each, audit_is_clean, no_order_is_left_open, pages};
use crate::support::client::Client;
use crate::support::process::Process;
use crate::support::{on_system, share_keys, wait_for, wait_until};
use serde_json::json;
use std::cell::Cell;
use std::path::Path;
use std::time::Duration;

/// Longer than any short lease or claim; shorter than the timeout of a request.
const PAUSE: Duration = Duration::from_secs(3);

/// Retries an order until it is acknowledged, even if its process is paused.
async fn order(c: &Client, key: &str) {
    wait_for("an order is acknowledged", || async {
        let reply = c.order_with_key(key, &[("s", 1)]).await;
        match reply.status {
            201 => Ok(()),
            // A process that is paused inside a transaction blocks the store until it resumes.
            409 | 503 => Err(format!("{reply:?}")),
            _ => panic!("{reply:?}"),
        }
    })
    .await;
}

async fn wait_until_all_notified(c: &Client, orders: usize) {
    wait_for("every order has a notification", || async {
        let notified = pages(c, "/api/v1/notifications").await.len();
        if notified == orders { Ok(()) } else { Err(format!("{notified} of {orders}")) }
    })
    .await;
}

/// Starts two processes on an empty folder at the same time.
fn start_two(data: &Path) -> [Process; 2] {
    share_keys(data);
    std::thread::scope(|scope| [(); 2].map(|()| scope.spawn(|| Process::start(data, &[]))).map(|one| one.join().unwrap()))
}

#[test]
fn resumed_process_repeats_no_work() {
    on_system(async {
        let data = tempfile::tempdir().unwrap();
        let processes = start_two(data.path());
        let clients = [processes[0].client().await, processes[1].client().await];
        clients[0].stocked("s", "1", 1_000_000).await;
        let count = Cell::new(0);
        let next = || {
            count.set(count.get() + 1);
            format!("key-{}", count.get())
        };
        for victim in [0, 1, 0, 1] {
            let (paused, awake) = (&processes[victim], 1 - victim);
            // This process has worked, so it may hold any lease. Then it is paused, and the other continues alone.
            order(&clients[victim], &next()).await;
            wait_until_all_notified(&clients[awake], count.get()).await;
            // Do not pause it inside a transaction: no other process could write.
            no_order_is_left_open(&clients[awake]).await;
            wait_until("nothing is pending", audit_is_clean(&processes[awake])).await;
            paused.signal("STOP");
            for _ in 0..5 {
                order(&clients[awake], &next()).await;
            }
            wait_until_all_notified(&clients[awake], count.get()).await;
            paused.signal("CONT");

            // Now pause the process while it works.
            let over = Cell::new(false);
            let load = [&clients[0], &clients[1]].map(|c| async {
                while !over.get() {
                    order(c, &next()).await;
                }
            });
            let pause = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                paused.signal("STOP");
                tokio::time::sleep(PAUSE).await;
                paused.signal("CONT");
                tokio::time::sleep(Duration::from_millis(300)).await;
                over.set(true);
            };
            futures_util::future::join(futures_util::future::join_all(load), pause).await;
            // The resumed process must not send any notification again.
            wait_until("the audit is clean", audit_is_clean(&processes[awake])).await;
        }
        let c = &clients[0];
        let orders = pages(c, "/api/v1/orders").await;
        assert_eq!(orders.len(), count.get(), "each key is one order");
        assert_notified_once_each(&orders, &pages(c, "/api/v1/notifications").await);
        assert_eq!(c.get(&c.admin, "/actuator/deadletters").await.expect(200).json(), json!([]));
        println!("{} orders over four pauses", count.get());
        for process in processes {
            assert_eq!(process.terminate(), Some(0));
        }
    });
}

/// An event stream of one process shows events that another process wrote.
#[test]
fn stream_shows_events_of_another_process() {
    on_system(async {
        use futures_util::StreamExt;
        let data = tempfile::tempdir().unwrap();
        let processes = start_two(data.path());
        let clients = [processes[0].client().await, processes[1].client().await];
        clients[0].stocked("s", "1", 10).await;
        let request = tradepost::net::http::http().get(format!("{}/api/v1/notifications/stream", clients[0].url));
        let mut stream = request.bearer_auth(&clients[0].alice).timeout(Duration::from_secs(60)).send().await.unwrap();
        // The first chunk confirms the connection: the stream shows events written from now on.
        let mut text = String::from_utf8(stream.next().await.unwrap().unwrap().to_vec()).unwrap();
        let number = clients[1].order(&[("s", 1)]).await.expect(201).json()["orderNumber"].as_str().unwrap().to_string();
        while !text.contains(&number) {
            text.push_str(std::str::from_utf8(&stream.next().await.expect("the stream ended").unwrap()).unwrap());
        }
        assert!(text.contains("event: order.placed"), "{text}");
    });
}
