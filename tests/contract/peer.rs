//! A peer that accepts requests, records them, and never responds.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// A recorded request.
#[derive(Debug, Clone)]
pub struct RecordedRequest {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

pub struct SilentPeer {
    pub url: String,
    requests: Arc<Mutex<Vec<RecordedRequest>>>,
    server: ServerHandle,
}

impl SilentPeer {
    pub fn start() -> Self {
        let requests: Arc<Mutex<Vec<RecordedRequest>>> = Arc::default();
        let record = requests.clone();
        let server = HttpServer::new(move || {
            let record = record.clone();
            App::new().default_service(web::route().to(move |request: HttpRequest| {
                let headers = request.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_string())).collect();
                record.lock().unwrap().push(RecordedRequest { path: request.path().to_string(), headers });
                std::future::pending::<HttpResponse>()
            }))
        })
        .workers(1)
        .disable_signals()
        .bind("127.0.0.1:0")
        .unwrap();
        let url = format!("http://{}", server.addrs()[0]);
        let server = server.run();
        let handle = server.handle();
        actix_web::rt::spawn(server);
        Self { url, requests, server: handle }
    }

    pub fn requests(&self) -> Vec<RecordedRequest> {
        self.requests.lock().unwrap().clone()
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}
