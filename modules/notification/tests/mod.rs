//! Tests of the whole module: from events on the bus to inbox, stream, mail and webhooks.

mod deliveries;
mod inbox;
mod mail;
mod stream;
mod support;
