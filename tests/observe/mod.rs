//! What operators look at: alert rules, dashboards, and what both ask of Prometheus.
//! `deploy/prometheus` and `deploy/grafana` are read as they are shipped.

mod boards;
mod files;
mod prometheus;
mod promql;
mod rules;
