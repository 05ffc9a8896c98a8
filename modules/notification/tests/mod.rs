//! The module as a whole: events in by the bus, out by inbox, stream, mail and webhooks.

mod deliveries;
mod inbox;
mod mail;
mod stream;
mod support;
