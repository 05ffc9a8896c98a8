//! Shared code of the benches: servers, load generator, test data, statistics, machine description.
#![allow(dead_code, reason = "each bench uses a part of it")]

pub mod bare;
pub mod goods;
pub mod load;
pub mod numbers;
pub mod process;
pub mod report;
