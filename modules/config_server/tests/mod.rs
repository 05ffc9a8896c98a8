//! Tests of the config server.

#[cfg(feature = "config-cipher")]
mod encryption;
mod files;
mod git;
mod responses;

use super::http;
use super::server::ConfigServer;
use crate::edge::web::testing;
use crate::settings::{ConfigServer as Settings, Secret};
use actix_web::test::TestRequest;
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

/// `tradepost:pw`
const BASIC: (&str, &str) = ("authorization", "Basic dHJhZGVwb3N0OnB3");

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
struct Response {
    status: u16,
    kind: String,
    text: String,
}

impl Response {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Names of the property sources, without their folder.
    fn source_names(&self) -> Vec<String> {
        let name = |source: &Value| {
            let name = source["name"].as_str().unwrap();
            let number = name.split_once("(document ").map(|(_, number)| number.trim_end_matches(')')).unwrap_or_default();
            let file = name.split("' via").next().unwrap().split(" (doc").next().unwrap().trim_end_matches(']');
            format!("{}{number}", file.rsplit('/').next().unwrap())
        };
        self.json()["propertySources"].as_array().unwrap_or_else(|| panic!("{self:?}")).iter().map(name).collect()
    }

    /// The value of a key with the highest precedence.
    fn value(&self, key: &str) -> Value {
        let body = self.json();
        let sources = body["propertySources"].as_array().unwrap_or_else(|| panic!("{self:?}"));
        sources.iter().find_map(|source| source["source"].get(key)).cloned().unwrap_or_default()
    }
}

async fn send(settings: &Settings, request: TestRequest) -> Response {
    let data = tempfile::tempdir().unwrap();
    let edge = Arc::new(testing::edge(testing::NO_ISSUER));
    let server = Arc::new(ConfigServer::new(settings, data.path(), edge.authenticator.clone()).unwrap());
    let (status, headers, body) = testing::app(http::endpoints(&server, true), edge).await(request).await;
    let kind = headers.get("content-type").map(|kind| kind.to_str().unwrap().to_string()).unwrap_or_default();
    Response { status, kind, text: String::from_utf8(body.to_vec()).unwrap() }
}

async fn get(settings: &Settings, path: &str) -> Response {
    send(settings, TestRequest::get().uri(path).insert_header(BASIC)).await
}
