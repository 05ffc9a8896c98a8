//! Scenarios: the behaviour of the shop, by area.

mod actuator;
mod events;
mod front_door;
mod http2;
mod idempotency;
mod invariants;
mod inventory;
mod limits;
mod lists;
mod metrics;
mod model;
mod money;
mod operations;
mod orders;
mod oversell;
mod products;
mod routes;
mod up;
