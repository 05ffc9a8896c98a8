//! Tests of the issuer over HTTP, through the edge.

mod flows;
mod start;
pub(super) mod support;
