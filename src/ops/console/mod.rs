//! The console: recent traces of this process, for an administrator with a browser.
//!
//! | path | content |
//! | --- | --- |
//! | `/console/traces` | the latest traces; `q` and `errors` filter them |
//! | `/console/traces/{traceId}` | one trace as a waterfall |
//! | `/console/traces.json`, `/console/traces/{traceId}.json` | the same as JSON, a trace in Zipkin's format |
//!
//! Administrators only, see [`access`]. Plain HTML without scripts.

mod access;
mod filter;
mod participant;
mod trace;
mod traces;

use crate::edge::auth::Authenticator;
use crate::kernel::html;
use crate::kernel::problem::Problem;
use crate::observe::trace::export::Exports;
use crate::observe::trace::export::trace_buffer::{Spans, TraceBuffer};
use crate::observe::trace::export::zipkin::Span;
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use filter::Filter;
use opentelemetry::trace::TraceId;
use std::sync::Arc;
use traces::Summary;

struct Console {
    memory: Arc<TraceBuffer>,
    service: String,
    guard: access::AdminGuard,
}

impl Console {
    fn summaries(&self, filter: &Filter) -> Vec<Summary> {
        let all = self.memory.all().into_iter();
        all.map(|(id, spans)| Summary::of(&id, &self.spans(&spans), spans.dropped)).filter(|trace| trace.matches(filter)).collect()
    }

    fn spans(&self, stored: &Spans) -> Vec<Span> {
        stored.spans.iter().filter_map(|span| Span::of(span, &self.service)).collect()
    }

    fn list(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let filter = Filter::parse(request)?;
        Ok(html::respond(traces::page(&self.service, &filter, &self.summaries(&filter))?))
    }

    fn list_json(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(self.summaries(&Filter::parse(request)?)))
    }

    fn one(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let param = request.match_info().get("id").unwrap_or_default();
        let (id, json) = param.strip_suffix(".json").map_or((param, false), |id| (id, true));
        let not_found =
            || Problem::new(404, "no such trace is stored here: it was not sampled, was evicted, or belongs to another process");
        let id = Some(id).filter(|id| (1..=32).contains(&id.len())).and_then(|id| TraceId::from_hex(id).ok()).ok_or_else(not_found)?;
        let stored = self.memory.get(id).ok_or_else(not_found)?;
        let spans = self.spans(&stored);
        if json {
            return Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(spans));
        }
        Ok(html::respond(trace::page(&id.to_string(), &spans, stored.dropped)?))
    }
}

/// No endpoints if traces are not stored.
pub fn endpoints(exports: &Exports, authenticator: &Authenticator) -> Vec<Endpoint> {
    let Some(memory) = exports.memory.clone() else { return Vec::new() };
    let guard = access::AdminGuard::new(authenticator.clone());
    let console = Arc::new(Console { memory, service: exports.service.clone(), guard });
    vec![
        guarded(&console, "traces", "/console/traces", Console::list),
        guarded(&console, "traces_json", "/console/traces.json", Console::list_json),
        guarded(&console, "trace", "/console/traces/{id}", Console::one),
    ]
}

/// Public for the edge, which accepts tokens only; [`access`] also accepts HTTP Basic, for browsers.
fn guarded(
    console: &Arc<Console>,
    name: &'static str,
    path: &'static str,
    handler: fn(&Console, &HttpRequest) -> Result<HttpResponse, Problem>,
) -> Endpoint {
    let console = console.clone();
    Endpoint::raw("console", name, Method::GET, path, RequiredRole::Public, move |_, request, _| {
        let console = console.clone();
        async move {
            console.guard.check(&request).await?;
            handler(&console, &request)
        }
    })
}
