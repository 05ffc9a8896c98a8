//! A peer that answers nothing, or not in time, and remembers what it was asked.

use actix_web::{App, HttpRequest, HttpResponse, HttpServer, dev::ServerHandle, web};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Asked {
    pub path: String,
    pub headers: BTreeMap<String, String>,
}

/// The peer, on a port of its own.
pub struct Silent {
    pub url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    server: ServerHandle,
}

impl Silent {
    /// Starts one that keeps every caller waiting.
    pub fn start() -> Self {
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let record = asked.clone();
        let server = HttpServer::new(move || {
            let record = record.clone();
            App::new().default_service(web::route().to(move |request: HttpRequest| {
                let headers = request.headers().iter().map(|(k, v)| (k.to_string(), v.to_str().unwrap_or_default().to_string())).collect();
                record.lock().unwrap().push(Asked { path: request.path().to_string(), headers });
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
        Self { url, asked, server: handle }
    }

    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    pub async fn stop(self) {
        self.server.stop(false).await;
    }
}
