//! filled below

mod resilience;
