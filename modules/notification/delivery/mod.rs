//! Deliveries to receivers outside: mail, webhooks, and the worker that sends.

mod address;
mod attempt;
mod courier;
mod mail;
mod receivers;
mod template;
mod webhook;

pub(super) use address::masked;
pub(super) use courier::Courier;
pub(super) use receivers::Receivers;
