//! Gateway is the front door: it routes requests to modules and enforces what is common to all.

use crate::platform::host::{Host, Parts, StartError};

/// Builds the module with what runs beside it.
pub fn build(_host: &Host) -> Result<Parts, StartError> {
    Ok(Parts::default())
}
