//! What several benches need: servers, a load, goods to order, numbers, and what a report says of the machine.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod bare;
pub mod goods;
pub mod load;
pub mod numbers;
pub mod process;
pub mod report;
