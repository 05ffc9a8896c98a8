//! Why the commands that talk to a running shop fail.

use super::retail::FileError;
use crate::observe::trace::export::target::TargetError;
use actix_web::error::PayloadError;
use awc::error::SendRequestError;
use std::io;
use std::path::PathBuf;

/// Why the shop, or its issuer, gave no answer that can be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum ShopError {
    /// Nothing listens there.
    #[error("no shop answers at {url}: start one with `tradepost` ({cause})")]
    Absent {
        url: String,
        #[source]
        cause: SendRequestError,
    },
    /// No answer within the time of one request.
    #[error("the shop at {url} did not answer in time")]
    Timeout { url: String },
    /// The connection ended before the answer.
    #[error("the shop at {url} broke off: {cause}")]
    BrokeOff {
        url: String,
        #[source]
        cause: SendRequestError,
    },
    /// The connection ended within the answer.
    #[error("the shop broke off its answer: {0}")]
    AnswerBrokeOff(#[source] PayloadError),
    /// The same at the issuer.
    #[error("{url} broke off its answer: {cause}")]
    TokenBrokeOff {
        url: String,
        #[source]
        cause: PayloadError,
    },
    /// An answer without a token.
    #[error("{url} gave no token: {cause}")]
    NoToken {
        url: String,
        #[source]
        cause: serde_json::Error,
    },
    /// A refused login.
    #[error("{url} gave user `{user}` no token: {status} {reason}")]
    TokenRefused { url: String, user: String, status: u16, reason: String },
    /// Something that should be readable.
    #[error("reading {path}: {answer}")]
    NotRead { path: String, answer: String },
    /// An answer of another form.
    #[error("reading {path}: {cause}")]
    Unreadable {
        path: String,
        #[source]
        cause: serde_json::Error,
    },
}

/// Why a command did not do all that it should.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say what the fields are")]
pub enum DemoError {
    /// The shop.
    #[error(transparent)]
    Shop(#[from] ShopError),
    /// The file's content.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file itself.
    #[error("cannot read {}: {cause}", .path.display())]
    Read {
        path: PathBuf,
        #[source]
        cause: io::Error,
    },
    /// An import that ended early.
    #[error("the import stopped, run it again to go on: {0}")]
    Stopped(#[source] PostError),
    /// Single products.
    #[error("the shop refused {count} products or stock rows")]
    Refused { count: usize },
    /// A replay without stock.
    #[error("the shop has no stock to sell: fill it first with `tradepost import FILE`")]
    NoStock,
    /// A replay whose end is not known.
    #[error("the stock could not be audited: {cause}")]
    NotAudited { cause: String },
    /// A replay after which the stock is wrong.
    #[error("the stock of {skus} SKUs is not what the orders add up to")]
    StockDiffers { skus: usize },
    /// Dead letters, one of which was refused; `sent` is what was printed of those before.
    #[error("{sent}dead letter {id}: {answer}")]
    LetterRefused { sent: String, id: i64, answer: String },
    /// Dead letters that may not be read.
    #[error("the shop does not show its dead letters: {answer}")]
    NoLetters { answer: String },
    /// An order that may not be read.
    #[error("order {number}: {answer}")]
    NoOrder { number: String, answer: String },
    /// An order without a trace.
    #[error("order {number} tells of no trace: only administrators see it, and orders of older versions have none")]
    NoTraceOfOrder { number: String },
    /// Traces that may not be read.
    #[error("the shop does not show its traces: {answer}")]
    NoTraces { answer: String },
    /// An answer that is no trace.
    #[error("{whose} answer is no trace: {cause}")]
    NoTrace {
        whose: &'static str,
        #[source]
        cause: serde_json::Error,
    },
    /// The setting of Zipkin.
    #[error(transparent)]
    Zipkin(#[from] TargetError),
    /// Zipkin is away.
    #[error("Zipkin at {base} does not answer: {cause}")]
    ZipkinAbsent {
        base: String,
        #[source]
        cause: SendRequestError,
    },
    /// Zipkin's answer ended early.
    #[error("Zipkin broke off its answer: {0}")]
    ZipkinBrokeOff(#[source] PayloadError),
    /// Zipkin refuses.
    #[error("Zipkin at {base} answered {status}")]
    ZipkinStatus { base: String, status: u16 },
    /// A trace that is nowhere.
    #[error("{0}")]
    UnknownTrace(String),
}

/// Why a product or stock row was not sent, nor any further one.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// No answer.
    #[error(transparent)]
    Shop(#[from] ShopError),
    /// The user may not.
    #[error("POST {path}: {answer}; an import needs an admin")]
    Forbidden {
        /// Where it was sent.
        path: String,
        /// The shop's answer.
        answer: String,
    },
    /// The shop is too busy.
    #[error("POST {path}: {answer}")]
    Busy {
        /// Where it was sent.
        path: String,
        /// The shop's answer.
        answer: String,
    },
}
