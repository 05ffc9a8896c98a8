//! A webhook receiver that accepts every delivery and counts deliveries per event.

use actix_web::web::Bytes;
use actix_web::{App, HttpRequest, HttpResponse, HttpServer, web};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A webhook receiver; runs until the test ends.
pub struct Hooks {
    url: String,
    received: Arc<Mutex<BTreeMap<String, usize>>>,
}

impl Hooks {
    /// Starts on the actix system of the test.
    pub fn start() -> Self {
        let received: Arc<Mutex<BTreeMap<String, usize>>> = Arc::default();
        let shared = received.clone();
        let server = HttpServer::new(move || {
            let received = shared.clone();
            App::new().default_service(web::to(move |request: HttpRequest, _: Bytes| {
                let id = request.headers().get("webhook-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_string();
                *received.lock().unwrap().entry(id).or_default() += 1;
                std::future::ready(HttpResponse::NoContent().finish())
            }))
        });
        let server = server.workers(1).disable_signals().bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook", server.addrs()[0]);
        actix_web::rt::spawn(server.run());
        Self { url, received }
    }

    /// Settings that deliver every event to this receiver.
    pub fn settings(&self) -> String {
        // base64 of the text "notasecretnotasecretnota"
        format!("[[notification.webhooks]]\nurl = \"{}\"\nsecret = \"whsec_bm90YXNlY3JldG5vdGFzZWNyZXRub3Rh\"\n", self.url)
    }

    /// Number of distinct events received.
    pub fn events(&self) -> usize {
        self.received.lock().unwrap().len()
    }

    /// Number of requests received, including retries.
    pub fn posts(&self) -> usize {
        self.received.lock().unwrap().values().sum()
    }
}
