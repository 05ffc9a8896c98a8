//! Errors of the commands that call a running shop.

use super::retail::FileError;
use crate::observe::trace::export::target::TargetError;
use actix_web::error::PayloadError;
use awc::error::SendRequestError;
use std::io;
use std::path::PathBuf;

/// Errors of a call to the shop or its issuer: no usable response.
#[derive(Debug, thiserror::Error)]
pub enum ShopError {
    #[error("no shop answers at {url}: start one with `tradepost` ({cause})")]
    Unreachable {
        url: String,
        #[source]
        cause: SendRequestError,
    },
    #[error("the shop at {url} did not respond in time")]
    Timeout { url: String },
    #[error("the shop at {url} closed the connection: {cause}")]
    Disconnected {
        url: String,
        #[source]
        cause: SendRequestError,
    },
    #[error("the shop's response is incomplete: {0}")]
    IncompleteResponse(#[source] PayloadError),
    #[error("{url}: the response is incomplete: {cause}")]
    IncompleteTokenResponse {
        url: String,
        #[source]
        cause: PayloadError,
    },
    #[error("{url}: the response has no token: {cause}")]
    MalformedToken {
        url: String,
        #[source]
        cause: serde_json::Error,
    },
    #[error("{url} rejected the login of user `{user}`: {status} {reason}")]
    LoginRejected { url: String, user: String, status: u16, reason: String },
    #[error("reading {path}: {response}")]
    ReadFailed { path: String, response: String },
    #[error("reading {path}: {cause}")]
    MalformedResponse {
        path: String,
        #[source]
        cause: serde_json::Error,
    },
}

#[derive(Debug, thiserror::Error)]
pub enum DemoError {
    #[error(transparent)]
    Shop(#[from] ShopError),
    #[error(transparent)]
    File(#[from] FileError),
    #[error("cannot read {}: {cause}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("cannot write {}: {cause}", .path.display())]
    Write {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    #[error("lines skipped: {count}; --report FILE lists them, --allow-skips accepts them")]
    LinesSkipped { count: usize },
    #[error("the import stopped; run it again to resume: {0}")]
    Stopped(#[source] PostError),
    #[error("the shop rejected {count} products or stock rows")]
    ProductsRejected { count: usize },
    #[error("the shop has no stock to sell: fill it first with `tradepost import FILE`")]
    NoStock,
    #[error("the stock could not be audited: {cause}")]
    AuditFailed { cause: String },
    #[error("the stock of {skus} SKUs does not match the orders")]
    StockMismatch { skus: usize },
    /// `printed` lists the dead letters replayed before.
    #[error("{printed}dead letter {id}: {response}")]
    ReplayRejected { printed: String, id: i64, response: String },
    #[error("cannot list the dead letters: {response}")]
    DeadLettersUnavailable { response: String },
    #[error("order {number}: {response}")]
    OrderUnavailable { number: String, response: String },
    #[error("order {number} has no trace id: only administrators see it, and orders of older versions have none")]
    OrderWithoutTrace { number: String },
    #[error("cannot read the trace: {response}")]
    TracesUnavailable { response: String },
    #[error("{source_name}: the response is not a trace: {cause}")]
    MalformedTrace {
        source_name: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    #[error(transparent)]
    Zipkin(#[from] TargetError),
    #[error("Zipkin at {base} does not respond: {cause}")]
    ZipkinUnreachable {
        base: String,
        #[source]
        cause: SendRequestError,
    },
    #[error("Zipkin's response is incomplete: {0}")]
    IncompleteZipkinResponse(#[source] PayloadError),
    #[error("Zipkin at {base} returned {status}")]
    ZipkinStatus { base: String, status: u16 },
    #[error("{0}")]
    UnknownTrace(String),
}

/// Errors that every further product of an import would get as well.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    #[error(transparent)]
    Shop(#[from] ShopError),
    #[error("POST {path}: {response}; an import needs an admin")]
    Forbidden { path: String, response: String },
    #[error("POST {path}: {response}")]
    Busy { path: String, response: String },
}
