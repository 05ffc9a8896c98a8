//! The contracts of all modules: compiled in every build, so that a peer can call a module that runs elsewhere.

#[path = "inventory/api.rs"]
pub mod inventory;
#[path = "notification/api.rs"]
pub mod notification;
#[path = "order/api.rs"]
pub mod order;
#[path = "product/api.rs"]
pub mod product;
