//! A server whose answer to COMMIT is lost: the shop answers what is stored.

use crate::support::{Shape, Shop, on_system, wait_for};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use tradepost::settings::Secret;

/// Forwards to a server. Loses the answer to one COMMIT: of the next transaction that sends the marker.
#[derive(Clone, Default)]
struct Proxy(Arc<Mutex<Option<&'static str>>>);

impl Proxy {
    /// Returns the address; runs until the process ends.
    fn start(&self, server: String) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let proxy = self.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().map(Result::unwrap) {
                let server = TcpStream::connect(&server).unwrap();
                proxy.carry(client, server);
            }
        });
        address
    }

    fn carry(&self, client: TcpStream, server: TcpStream) {
        let committing = Arc::new(AtomicBool::new(false));
        let (proxy, losing) = (self.clone(), committing.clone());
        let (mut from_client, mut to_server) = (client.try_clone().unwrap(), server.try_clone().unwrap());
        std::thread::spawn(move || {
            let mut marked = false;
            pump(&mut from_client, &mut to_server, |bytes| {
                marked |= proxy.0.lock().unwrap().is_some_and(|marker| contains(bytes, marker));
                if marked && contains(bytes, "COMMIT") {
                    proxy.0.lock().unwrap().take();
                    losing.store(true, Ordering::SeqCst);
                }
                true
            });
        });
        let (mut from_server, mut to_client) = (server, client);
        // the answer to COMMIT arrives, so that the server has committed; then the connection ends
        std::thread::spawn(move || pump(&mut from_server, &mut to_client, |_| !committing.load(Ordering::SeqCst)));
    }

    fn lose_commit_of(&self, marker: &'static str) {
        *self.0.lock().unwrap() = Some(marker);
    }

    fn has_lost_it(&self) -> bool {
        self.0.lock().unwrap().is_none()
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Copies until the end, or until `pass` rejects.
fn pump(from: &mut TcpStream, to: &mut TcpStream, mut pass: impl FnMut(&[u8]) -> bool) {
    let mut buffer = [0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        if !pass(&buffer[..n]) || to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

#[test]
#[ignore = "needs a MySQL: .ci/stores.sh"]
fn order_whose_commit_was_not_answered_is_answered_as_stored() {
    on_system(async {
        let proxy = Proxy::default();
        let mut shop = Shop::start(Shape::Local, |settings| {
            let url = settings.order.store.as_ref().unwrap().expose().to_string();
            let server = url.strip_prefix("mysql://").unwrap().split('/').next().unwrap().rsplit('@').next().unwrap().to_string();
            settings.order.store = Some(Secret::new(url.replace(&server, &proxy.start(server.clone()))));
        })
        .await;
        let c = shop.client.clone();
        c.stocked("s", "1", 10).await;
        // the customer's name is a value of the first transaction, the order's end state one of the second
        for marker in ["alice", "PLACED"] {
            proxy.lose_commit_of(marker);
            let order = c.order(&[("s", 1)]).await.expect(201).json();
            assert!(proxy.has_lost_it(), "{marker}: no commit was lost, so nothing was tested");
            assert_eq!(order["status"], "PLACED", "{marker}");
        }
        wait_for("no order is unsettled", || async {
            let health = c.get(&c.admin, "/actuator/health").await.json();
            let orders = &health["components"]["orderStore"]["details"];
            if orders["pending"] == 0 && orders["unsettled"] == 0 { Ok(()) } else { Err(health.to_string()) }
        })
        .await;
        assert_eq!(c.get(&c.admin, "/api/v1/orders").await.json()["totalElements"], 2);
        shop.assert_sound().await;
        shop.stop().await;
        shop.clear();
    });
}
