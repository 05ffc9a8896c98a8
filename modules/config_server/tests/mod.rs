//! The config server, part by part and as its clients see it.

mod answers;
#[cfg(feature = "config-cipher")]
mod encryption;
mod files;
mod git;

use super::{ConfigServer, http};
use crate::config::{ConfigServer as Settings, Secret};
use crate::platform::auth::Authenticator;
use crate::platform::web::{Edge, configure};
use actix_web::App;
use actix_web::body::to_bytes;
use actix_web::dev::Service;
use actix_web::test as web_test;
use actix_web::test::TestRequest;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// `tradepost:pw`
const BASIC: (&str, &str) = ("authorization", "Basic dHJhZGVwb3N0OnB3");

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (path, text) in files {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

fn settings(folder: &Path) -> Settings {
    Settings { folder: Some(folder.into()), password: Some(Secret::new("pw")), ..Settings::default() }
}

#[derive(Debug)]
struct Answer {
    status: u16,
    kind: String,
    text: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Names of the sources without their folder.
    fn names(&self) -> Vec<String> {
        let name = |source: &Value| {
            let name = source["name"].as_str().unwrap();
            let number = name.split_once("(document ").map(|(_, number)| number.trim_end_matches(')')).unwrap_or_default();
            let file = name.split("' via").next().unwrap().split(" (doc").next().unwrap().trim_end_matches(']');
            format!("{}{number}", file.rsplit('/').next().unwrap())
        };
        self.json()["propertySources"].as_array().unwrap_or_else(|| panic!("{self:?}")).iter().map(name).collect()
    }

    /// A key's strongest value.
    fn value(&self, key: &str) -> Value {
        let answer = self.json();
        let sources = answer["propertySources"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        sources.iter().find_map(|source| source["source"].get(key)).cloned().unwrap_or_default()
    }
}

async fn send(settings: &Settings, request: TestRequest) -> Answer {
    let data = tempfile::tempdir().unwrap();
    let authenticator =
        Authenticator::new(std::sync::Arc::new(crate::platform::auth::reach::Reach::new("http://127.0.0.1:9", None)), "tradepost");
    let server = Arc::new(ConfigServer::new(settings, data.path(), authenticator.clone()).unwrap());
    let endpoints = http::endpoints(&server, true);
    let edge = Arc::new(Edge {
        authenticator,
        operator: None,
        exchanges: Arc::default(),
        body_limit: 1 << 20,
        timeout: Duration::from_secs(60),
        origins: vec![],
        door: None,
        leaving: Default::default(),
    });
    let service = web_test::init_service(App::new().configure(move |app| configure(app, &endpoints, &edge))).await;
    let response = service.call(request.to_request()).await.unwrap();
    let kind = response.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_string()).unwrap_or_default();
    let status = response.status().as_u16();
    let body = to_bytes(response.into_body()).await.ok().unwrap();
    Answer { status, kind, text: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(settings: &Settings, path: &str) -> Answer {
    send(settings, TestRequest::get().uri(path).insert_header(BASIC)).await
}
