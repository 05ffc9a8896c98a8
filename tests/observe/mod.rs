//! Monitoring: alert rules, dashboards, and the queries of both. `deploy/prometheus` and `deploy/grafana` are read as
//! they are shipped.

mod boards;
mod files;
mod prometheus;
mod promql;
mod rules;
