//! `tradepost up --split`: the whole shop with one or several processes per module, behind the gateway.
//!
//! Every process runs this executable; its environment selects the module. The processes discover each other through
//! the registry; clients need only the gateway's address.
//!
//! With one process per module, the shop stops when one process ends. With several, the others go on, and the ended
//! process restarts on the same port.

mod error;
mod member;
mod plan;
mod shared_settings;
mod split;

pub use error::UpError;
pub use plan::Plan;
pub use split::Split;
