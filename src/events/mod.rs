//! Events: envelope, outbox, inbox, relay, bus, AsyncAPI.

pub mod asyncapi;
pub mod bus;
pub mod event;
#[cfg(feature = "mongodb")]
pub mod mongodb;
#[cfg(any(feature = "store", feature = "mongodb"))]
pub mod relay;

/// Outbox and inbox in SQL, compiled once per backend.
#[cfg(feature = "sqlite")]
#[path = "sql"]
pub mod sqlite {
    use crate::data::sqlite as backend;
    pub mod inbox;
    pub mod outbox;
}
#[cfg(feature = "mysql")]
#[path = "sql"]
#[allow(clippy::duplicate_mod, reason = "compiled once per backend")]
pub mod mysql {
    use crate::data::mysql as backend;
    pub mod inbox;
    pub mod outbox;
}
