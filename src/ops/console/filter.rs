//! The query of the trace list.

use crate::kernel::problem::Problem;
use actix_web::HttpRequest;
use actix_web::web::Query;
use serde::Deserialize;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Filter {
    /// Part of a name, a module or a trace id.
    pub(super) q: String,
    /// If present, with any value: failed traces only.
    pub(super) errors: Option<String>,
}

impl Filter {
    pub(super) fn parse(request: &HttpRequest) -> Result<Self, Problem> {
        let expected = |_| Problem::invalid_field("query", "expected q and errors, each once at most");
        Query::<Self>::from_query(request.query_string()).map(Query::into_inner).map_err(expected)
    }
}
