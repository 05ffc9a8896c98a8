//! Two instances of a service, of which one takes connections and breaks them off.

use super::support::{Front, Upstream, front_on};
use crate::rpc::discovery::eureka::instance::{Application, Applications, Instance, Port, Status};
use crate::rpc::discovery::eureka::view::View;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Accepts, reads a little, and hangs up; counts how often.
fn broken() -> (u16, Arc<AtomicUsize>) {
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

/// The shop's own routes before a broken instance and a good one.
fn pair(upstream: &Upstream) -> (Front, Arc<AtomicUsize>) {
    let (port, count) = broken();
    let good = upstream.url.rsplit(':').next().unwrap().parse().unwrap();
    let view = View::new("1", [("order", "ORDER-SERVICE")].into(), Duration::ZERO);
    let application = vec![Application { name: "ORDER-SERVICE".into(), instance: vec![instance(port), instance(good)] }];
    view.replace(Applications { version: 1, hash: String::new(), application });
    (front_on(upstream, "", &[], |_| {}, Arc::new(view)), count)
}

#[actix_web::test]
async fn a_dead_instance_gets_a_trial_now_and_then_and_nothing_else() {
    let upstream = Upstream::start("up");
    let (front, attempts) = pair(&upstream);
    let (since, mut answered, mut met) = (Instant::now(), 0, 0);
    while met == 0 || since.elapsed() < Duration::from_millis(2500) || answered <= 10 * met {
        assert_eq!(front.get("/api/v1/orders").await.status, 200, "what meets it is answered by the other");
        answered += 1;
        assert!(since.elapsed() < Duration::from_secs(180), "it is met {met} times among {answered}");
        met = attempts.load(Ordering::SeqCst);
        // ejected for 1 s, then for 2, 4, ... after a single request on trial each
        let trials = (since.elapsed().as_secs_f64() + 1.0).log2().floor() as usize;
        assert!(met <= 1 + trials, "{met} attempts at it among {answered}");
    }
}

#[actix_web::test]
async fn an_order_whose_answer_was_lost_is_sent_again_if_it_has_a_key() {
    let upstream = Upstream::start("up");
    for keyed in [true, false] {
        let (front, attempts) = pair(&upstream);
        let mut statuses = Vec::new();
        while attempts.load(Ordering::SeqCst) == 0 {
            let mut request = front.request("POST", "/api/v1/orders");
            if keyed {
                request = request.insert_header(("idempotency-key", "k"));
            }
            statuses.push(request.send_body("{}").await.unwrap().status().as_u16());
        }
        assert_eq!(statuses.pop(), Some(if keyed { 200 } else { 502 }), "with a key: {keyed}");
        assert!(statuses.iter().all(|status| *status == 200), "{statuses:?}");
    }
}
