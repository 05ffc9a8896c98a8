//! Operations: actuator, console, API documents, refresh of settings.

pub mod actuator;
pub mod console;
pub mod docs;
pub mod refresh;
pub mod resilience;
