//! The issuer as clients see it: over HTTP, through the edge.

mod flows;
mod start;
pub(super) mod support;
