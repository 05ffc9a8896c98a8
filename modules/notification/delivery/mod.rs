//! Deliveries to external receivers: mail, webhooks, and the worker that sends them.

mod address;
mod attempt;
mod mail;
mod receivers;
mod template;
mod webhook;
mod worker;

pub(super) use address::masked;
pub(super) use receivers::Receivers;
pub(super) use worker::DeliveryWorker;
