//! The console: what this process did lately, for an administrator with a browser and nothing else.
//!
//! | path | what it shows |
//! | --- | --- |
//! | `/console/traces` | the last traces; `q` and `errors` filter them |
//! | `/console/traces/{traceId}` | one of them as a waterfall |
//! | `/console/traces.json`, `/console/traces/{traceId}.json` | the same for programs, a trace in Zipkin's JSON |
//!
//! Administrators only, see [`access`]. Plain HTML without scripts.

mod access;
mod filter;
mod party;
mod trace;
mod traces;

use crate::edge::auth::Authenticator;
use crate::kernel::html;
use crate::kernel::problem::Problem;
use crate::observe::trace::export::Exports;
use crate::observe::trace::export::memory::{Memory, Spans};
use crate::observe::trace::export::zipkin::Span;
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::http::{Method, header};
use actix_web::{HttpRequest, HttpResponse};
use filter::Filter;
use opentelemetry::trace::TraceId;
use std::sync::Arc;
use traces::Summary;

/// What the console shows, and to whom.
struct Console {
    memory: Arc<Memory>,
    service: String,
    access: access::Access,
}

impl Console {
    fn listed(&self, filter: &Filter) -> Vec<Summary> {
        let all = self.memory.all().into_iter();
        all.map(|(id, spans)| Summary::of(&id, &self.spans(&spans), spans.cut)).filter(|trace| trace.matches(filter)).collect()
    }

    fn spans(&self, kept: &Spans) -> Vec<Span> {
        kept.spans.iter().filter_map(|span| Span::of(span, &self.service)).collect()
    }

    fn list(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let filter = Filter::parse(request)?;
        Ok(html::respond(traces::page(&self.service, &filter, &self.listed(&filter))?))
    }

    fn list_json(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(self.listed(&Filter::parse(request)?)))
    }

    fn one(&self, request: &HttpRequest) -> Result<HttpResponse, Problem> {
        let asked = request.match_info().get("id").unwrap_or_default();
        let (id, json) = asked.strip_suffix(".json").map_or((asked, false), |id| (id, true));
        let gone = || Problem::new(404, "no such trace is kept here: it was not sampled, is too old, or is another process's");
        let id = Some(id).filter(|id| (1..=32).contains(&id.len())).and_then(|id| TraceId::from_hex(id).ok()).ok_or_else(gone)?;
        let kept = self.memory.get(id).ok_or_else(gone)?;
        let spans = self.spans(&kept);
        if json {
            return Ok(HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(spans));
        }
        Ok(html::respond(trace::page(&id.to_string(), &spans, kept.cut)?))
    }
}

/// The pages; none where no traces are kept.
pub fn endpoints(exports: &Exports, authenticator: &Authenticator) -> Vec<Endpoint> {
    let Some(memory) = exports.memory.clone() else { return Vec::new() };
    let access = access::Access::new(authenticator.clone());
    let console = Arc::new(Console { memory, service: exports.service.clone(), access });
    vec![
        guarded(&console, "traces", "/console/traces", Console::list),
        guarded(&console, "traces_json", "/console/traces.json", Console::list_json),
        guarded(&console, "trace", "/console/traces/{id}", Console::one),
    ]
}

/// The edge checks no token here: browsers have none, and the console asks for what they can send.
fn guarded(
    console: &Arc<Console>,
    name: &'static str,
    path: &'static str,
    show: fn(&Console, &HttpRequest) -> Result<HttpResponse, Problem>,
) -> Endpoint {
    let console = console.clone();
    Endpoint::raw("console", name, Method::GET, path, RequiredRole::Public, move |_, request, _| {
        let console = console.clone();
        async move {
            console.access.check(&request).await?;
            show(&console, &request)
        }
    })
}
