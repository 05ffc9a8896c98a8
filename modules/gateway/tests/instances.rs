//! A service with two instances: one accepts connections and closes them without a response.

use super::support::{TestGateway, Upstream, start_gateway_with_discovery};
use crate::rpc::discovery::eureka::instance::{Application, Applications, Instance, Port, Status};
use crate::rpc::discovery::eureka::view::RegistryView;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Starts the broken instance; returns its port and its connection count.
fn broken_instance() -> (u16, Arc<AtomicUsize>) {
    let (listener, count) = (TcpListener::bind("127.0.0.1:0").unwrap(), Arc::new(AtomicUsize::new(0)));
    let (port, counted) = (listener.local_addr().unwrap().port(), count.clone());
    std::thread::spawn(move || {
        for mut connection in listener.incoming().flatten() {
            counted.fetch_add(1, Ordering::SeqCst);
            let _ = std::io::Read::read(&mut connection, &mut [0; 4096]);
        }
    });
    (port, count)
}

fn instance(port: u16) -> Instance {
    Instance {
        instance_id: format!("i-{port}"),
        host_name: "127.0.0.1".into(),
        app: "ORDER-SERVICE".into(),
        status: Status::Up,
        port: Some(Port { number: port, enabled: true }),
        ..Instance::default()
    }
}

/// A gateway with the built-in routes, a broken instance and a healthy one.
fn gateway_with_broken_instance(upstream: &Upstream) -> (TestGateway, Arc<AtomicUsize>) {
    let (port, count) = broken_instance();
    let healthy = upstream.url.rsplit(':').next().unwrap().parse().unwrap();
    let view = RegistryView::new("1", [("order", "ORDER-SERVICE")].into(), Duration::ZERO);
    let application = vec![Application { name: "ORDER-SERVICE".into(), instance: vec![instance(port), instance(healthy)] }];
    view.replace(Applications { version: 1, hash: String::new(), application });
    (start_gateway_with_discovery(upstream, "", &[], |_| {}, Arc::new(view)), count)
}

#[actix_web::test]
async fn broken_instance_receives_trial_requests_only() {
    let upstream = Upstream::start("up");
    let (gateway, attempts) = gateway_with_broken_instance(&upstream);
    let (since, mut requests, mut attempted) = (Instant::now(), 0, 0);
    while attempted == 0 || since.elapsed() < Duration::from_millis(2500) || requests <= 10 * attempted {
        assert_eq!(gateway.get("/api/v1/orders").await.status, 200, "the healthy instance responds");
        requests += 1;
        assert!(since.elapsed() < Duration::from_secs(180), "{attempted} attempts among {requests} requests");
        attempted = attempts.load(Ordering::SeqCst);
        // ejected for 1 s, then for 2 s, 4 s, ... after one trial request each
        let trials = (since.elapsed().as_secs_f64() + 1.0).log2().floor() as usize;
        assert!(attempted <= 1 + trials, "{attempted} attempts among {requests} requests");
    }
}

#[actix_web::test]
async fn order_with_lost_response_is_retried_only_with_key() {
    let upstream = Upstream::start("up");
    for keyed in [true, false] {
        let (gateway, attempts) = gateway_with_broken_instance(&upstream);
        let mut statuses = Vec::new();
        while attempts.load(Ordering::SeqCst) == 0 {
            let mut request = gateway.request("POST", "/api/v1/orders");
            if keyed {
                request = request.insert_header(("idempotency-key", "k"));
            }
            statuses.push(request.send_body("{}").await.unwrap().status().as_u16());
        }
        assert_eq!(statuses.pop(), Some(if keyed { 200 } else { 502 }), "with a key: {keyed}");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
}
