//! The dashboard: instances and state of the registry, as HTML without scripts.

use super::state::Registry;
use crate::kernel::clock::rfc3339;
use crate::kernel::html::render;
use crate::kernel::problem::Problem;
use crate::rpc::discovery::eureka::instance::{Instance, Status};
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use std::collections::BTreeMap;
use std::sync::Arc;

#[derive(Template)]
#[template(path = "registry/templates/dashboard.html")]
struct Dashboard<'a> {
    uptime: String,
    instances: usize,
    /// Number of instances with status UP.
    up: usize,
    renewed: i64,
    expected: i64,
    /// Self-preservation is on: no instance is evicted.
    preserving: bool,
    peers: Vec<String>,
    applications: Vec<Application<'a>>,
}

struct Application<'a> {
    name: &'a str,
    rows: Vec<InstanceRow<'a>>,
}

struct InstanceRow<'a> {
    id: &'a str,
    status: &'static str,
    up: bool,
    overridden: bool,
    renewed_at: String,
    age: String,
    lease_expired: bool,
    zone: &'a str,
    version: &'a str,
    links: Vec<(&'static str, &'a str)>,
}

impl<'a> InstanceRow<'a> {
    fn of(instance: &'a Instance, now: i64) -> Self {
        let lease = &instance.lease_info;
        let age = now - lease.last_renewal_timestamp;
        let metadata = |key| instance.metadata.get(key).map_or("-", String::as_str);
        Self {
            id: &instance.instance_id,
            status: instance.status.name(),
            up: instance.status == Status::Up,
            overridden: instance.overridden_status != Status::Unknown,
            renewed_at: rfc3339(lease.last_renewal_timestamp),
            age: duration(age),
            lease_expired: age > lease.duration_in_secs.saturating_mul(1000),
            zone: metadata("zone"),
            version: metadata("version"),
            links: links(instance),
        }
    }
}

pub(super) fn render_dashboard(registry: &Registry, _: &HttpRequest) -> Result<HttpResponse, Problem> {
    let now = (registry.clock)();
    let leases = registry.leases();
    let mut apps: BTreeMap<String, Vec<Arc<Instance>>> = BTreeMap::new();
    for entry in leases.entries() {
        apps.entry(entry.instance.app.clone()).or_default().push(entry.instance.clone());
    }
    let preservation = leases.self_preservation(now);
    drop(leases);
    let instances = apps.values().flatten();
    let page = render(&Dashboard {
        uptime: duration(now - registry.started),
        instances: instances.clone().count(),
        up: instances.filter(|instance| instance.status == Status::Up).count(),
        renewed: preservation.renewed,
        expected: preservation.expected,
        // no renewals expected yet: self-preservation is not meaningful
        preserving: preservation.active && preservation.expected > 0,
        peers: registry.peers.iter().map(|peer| peer.address()).collect(),
        applications: apps
            .iter()
            .map(|(name, instances)| Application { name, rows: instances.iter().map(|instance| InstanceRow::of(instance, now)).collect() })
            .collect(),
    })?;
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page))
}

/// Only HTTP links: an instance may register any URL, `javascript:` included.
fn links(instance: &Instance) -> Vec<(&'static str, &str)> {
    let all = [("home", &instance.home_page_url), ("status", &instance.status_page_url), ("health", &instance.health_check_url)];
    let is_http = |url: &&str| url.starts_with("http://") || url.starts_with("https://");
    all.into_iter().filter_map(|(name, url)| Some((name, url.as_deref().filter(is_http)?))).collect()
}

fn duration(ms: i64) -> String {
    let seconds = ms.max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3600..86_400 => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3600),
    }
}
