//! The dashboard: who is registered and how the registry is, as plain HTML that needs no script.

use super::Registry;
use super::leases::Preservation;
use crate::platform::clock::rfc3339;
use crate::platform::discovery::eureka::instance::{Instance, Status};
use crate::platform::html::escape;
use crate::platform::problem::Problem;
use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

const STYLE: &str = "
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --paper: #fff; --ground: #eef1f5; --line: #d3d9e1; --accent: #1f5fbf; --good: #1b6e3c; --goodground: #e2f4e8; --bad: #a5161f; --badground: #fdecec; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8ecf2; --soft: #a3aebc; --paper: #1b222c; --ground: #11161d; --line: #3a4552; --accent: #7fb0ff; --good: #8fdcab; --goodground: #17351f; --bad: #ffb3b3; --badground: #3a1d20; } }
* { box-sizing: border-box; }
body { margin: 0; padding: 1.5rem; background: var(--ground); color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 72rem; margin: 0 auto; display: grid; gap: 1.25rem; }
h1 { margin: 0; font-size: 1.6rem; }
h2 { margin: 0 0 .5rem; font-size: 1.1rem; overflow-wrap: anywhere; }
section { padding: 1.25rem; background: var(--paper); border: 1px solid var(--line); border-radius: .75rem; overflow-x: auto; }
dl { display: flex; flex-wrap: wrap; gap: .5rem 2.5rem; margin: 0; }
dt { color: var(--soft); font-size: .85rem; }
dd { margin: 0; font-weight: 600; font-variant-numeric: tabular-nums; }
table { width: 100%; border-collapse: collapse; }
th, td { padding: .45rem .75rem .45rem 0; text-align: left; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-size: .85rem; font-weight: 600; }
td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
tr:last-child td { border-bottom: 0; }
.state { display: inline-block; padding: 0 .6rem; border-radius: 1rem; font-size: .85rem; font-weight: 600; color: var(--bad); background: var(--badground); white-space: nowrap; }
.up { color: var(--good); background: var(--goodground); }
.warning { padding: .75rem 1rem; border-radius: .5rem; color: var(--bad); background: var(--badground); margin: 0; }
.soft { color: var(--soft); margin: 0; }
a { color: var(--accent); }
";

/// Answers with the page.
pub(super) fn show(registry: &Registry, _: &HttpRequest) -> Result<HttpResponse, Problem> {
    let now = (registry.clock)();
    let leases = registry.leases();
    let mut apps: BTreeMap<String, Vec<Arc<Instance>>> = BTreeMap::new();
    for entry in leases.entries() {
        apps.entry(entry.instance.app.clone()).or_default().push(entry.instance.clone());
    }
    let preservation = leases.preservation(now);
    drop(leases);
    let mut body = format!("<h1>Service registry</h1>\n{}", summary(registry, &apps, preservation, now));
    if apps.is_empty() {
        body.push_str("<section><p class=\"soft\">No instance is registered. Clients register at <code>/eureka</code>.</p></section>\n");
    }
    for (name, instances) in &apps {
        body.push_str(&application(name, instances, now));
    }
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>Service registry - Tradepost</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n"
    );
    let policy = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'";
    Ok(HttpResponse::Ok()
        .content_type("text/html; charset=utf-8")
        .insert_header((header::CONTENT_SECURITY_POLICY, policy))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body(page))
}

fn summary(registry: &Registry, apps: &BTreeMap<String, Vec<Arc<Instance>>>, state: Preservation, now: i64) -> String {
    let instances = apps.values().flatten();
    let up = instances.clone().filter(|instance| instance.status == Status::Up).count();
    // nothing is due yet: that nobody is evicted means nothing then
    let preserving = state.on && state.expected > 0;
    let mut html = String::from("<section aria-label=\"The registry\">\n<dl>\n");
    for (name, value) in [
        ("Uptime", duration(now - registry.started)),
        ("Applications", apps.len().to_string()),
        ("Instances", format!("{} ({up} up)", instances.count())),
        ("Renewals in the last minute", format!("{} of {} expected", state.renewed, state.expected)),
        ("Self-preservation", if preserving { "on" } else { "off" }.into()),
        (
            "Other registries",
            if registry.peers.is_empty() {
                "none".into()
            } else {
                registry.peers.iter().map(|peer| peer.address()).collect::<Vec<_>>().join(", ")
            },
        ),
    ] {
        let _ = writeln!(html, "<div><dt>{name}</dt><dd>{}</dd></div>", escape(&value));
    }
    html.push_str("</dl>\n</section>\n");
    if preserving {
        html.push_str("<p class=\"warning\" role=\"status\">Too many renewals are missing. As long as the network may be to blame, nobody is evicted: some of the instances below may be gone.</p>\n");
    }
    html
}

fn application(name: &str, instances: &[Arc<Instance>], now: i64) -> String {
    let mut html = format!(
        "<section>\n<h2>{}</h2>\n<table>\n<thead><tr><th scope=\"col\">Instance</th><th scope=\"col\">State</th><th scope=\"col\">Last renewal</th><th scope=\"col\">Zone</th><th scope=\"col\">Version</th><th scope=\"col\">Links</th></tr></thead>\n<tbody>\n",
        escape(name)
    );
    for instance in instances {
        let lease = &instance.lease_info;
        let age = now - lease.last_renewal_timestamp;
        let ended = if age > lease.duration_in_secs.saturating_mul(1000) { ", lease ended" } else { "" };
        let class = if instance.status == Status::Up { "state up" } else { "state" };
        let set = if instance.overridden_status == Status::Unknown { "" } else { " (set by hand)" };
        let metadata = |key| instance.metadata.get(key).map_or_else(|| "-".to_string(), |value| escape(value));
        let _ = writeln!(
            html,
            "<tr><td>{}</td><td><span class=\"{class}\">{}</span>{set}</td><td><time datetime=\"{}\">{} ago</time>{ended}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escape(&instance.instance_id),
            instance.status.name(),
            rfc3339(lease.last_renewal_timestamp),
            duration(age),
            metadata("zone"),
            metadata("version"),
            links(instance)
        );
    }
    html.push_str("</tbody>\n</table>\n</section>\n");
    html
}

/// Only what leads to a page: an instance may say anything of itself, `javascript:` included.
fn links(instance: &Instance) -> String {
    let all = [("home", &instance.home_page_url), ("status", &instance.status_page_url), ("health", &instance.health_check_url)];
    let link = |(name, url): (&str, &Option<String>)| {
        let url = url.as_deref().filter(|url| url.starts_with("http://") || url.starts_with("https://"))?;
        Some(format!("<a href=\"{}\" rel=\"noreferrer\">{name}</a>", escape(url)))
    };
    all.into_iter().filter_map(link).collect::<Vec<_>>().join(" ")
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
