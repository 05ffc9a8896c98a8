//! `/actuator/metrics`: the metrics of `/actuator/prometheus` with Micrometer's names and in its JSON.
//!
//! Reverses Micrometer's naming convention for Prometheus: `http_server_requests_seconds` becomes `http.server.requests`
//! with the unit seconds. A histogram has COUNT and TOTAL_TIME, but no MAX. Spring's metrics of process, machine and disk
//! are not in the registry and are added here.

use super::exchange::negotiate_media_type;
use super::process::{self, CpuSampler};
use crate::kernel::problem::Problem;
use crate::kernel::uri::query_pairs;
use crate::rpc::contract::{Endpoint, RequiredRole};
use actix_web::HttpResponse;
use actix_web::http::Method;
use prometheus::TextEncoder;
use prometheus::proto::{Metric, MetricFamily, MetricType};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

type Tag = (String, String);

/// All metrics in Prometheus' text format.
pub(super) fn exposition(registry: &prometheus::Registry) -> Result<HttpResponse, Problem> {
    let text = TextEncoder::new().encode_to_string(&registry.gather()).map_err(Problem::internal)?;
    Ok(HttpResponse::Ok().content_type("text/plain; version=0.0.4; charset=utf-8").body(text))
}

struct Meter {
    description: String,
    unit: Option<&'static str>,
    samples: Vec<Sample>,
}

/// The values of one combination of tags, by statistic.
struct Sample {
    tags: Vec<Tag>,
    values: Vec<(&'static str, f64)>,
}

pub(super) struct Meters {
    registry: prometheus::Registry,
    cpu_sampler: CpuSampler,
    folder: Option<PathBuf>,
}

pub(super) fn endpoints(meters: &Arc<Meters>) -> [Endpoint; 2] {
    let (listed, shown) = (meters.clone(), meters.clone());
    let list = Endpoint::raw("actuator", "metrics", Method::GET, "/actuator/metrics", RequiredRole::Admin, move |_, request, _| {
        let names: Vec<String> = listed.all().into_keys().collect();
        async move { Ok(negotiate_media_type(&request, HttpResponse::Ok().json(json!({ "names": names })))) }
    });
    let path = "/actuator/metrics/{requiredMetricName}";
    let one = Endpoint::raw("actuator", "metric", Method::GET, path, RequiredRole::Admin, move |_, request, _| {
        let name = request.match_info().get("requiredMetricName").unwrap_or_default();
        let response = shown.one(name, request.query_string()).map(|meter| negotiate_media_type(&request, HttpResponse::Ok().json(meter)));
        async move { response }
    });
    [list, one]
}

impl Meters {
    pub(super) fn new(registry: prometheus::Registry, folder: Option<PathBuf>) -> Self {
        Self { registry, cpu_sampler: CpuSampler::new(), folder }
    }

    fn all(&self) -> BTreeMap<String, Meter> {
        let mut all = self.process_meters();
        for family in self.registry.gather() {
            let (name, unit) = micrometer_name(family.name(), family.get_field_type());
            let samples: Vec<_> = family.get_metric().iter().map(|metric| sample(&family, metric, unit)).collect();
            // a counter with the name of a histogram adds nothing to it
            let has_more_statistics = all.get(&name).is_none_or(|known| statistics(&known.samples) < statistics(&samples));
            if has_more_statistics && !samples.is_empty() {
                all.insert(name, Meter { description: family.help().to_string(), unit, samples });
            }
        }
        all
    }

    /// Micrometer's `ProcessorMetrics`, `UptimeMetrics` and `DiskSpaceMetrics`.
    fn process_meters(&self) -> BTreeMap<String, Meter> {
        let usage = self.cpu_sampler.usage();
        let start_and_uptime = process::start_and_uptime();
        let count = std::thread::available_parallelism().ok().map(|count| count.get() as f64);
        let disk = self.folder.as_deref().and_then(|folder| Some((process::disk(folder)?, folder.display().to_string())));
        let path: Vec<Tag> = disk.iter().map(|(_, path)| ("path".to_string(), path.clone())).collect();
        let gauges = [
            ("process.cpu.usage", "Share of all processors that this process used lately, 0 to 1.", None, Some(usage.process)),
            ("system.cpu.usage", "Share of all processors that was used lately, 0 to 1.", None, Some(usage.system)),
            ("system.cpu.count", "Processors that this process may use.", None, count),
            ("system.load.average.1m", "Average number of running and runnable processes over one minute.", None, process::load_average()),
            ("process.uptime", "Uptime of this process.", Some("seconds"), start_and_uptime.map(|(_, uptime)| uptime)),
            (
                "process.start.time",
                "Start time of this process since the Unix epoch.",
                Some("seconds"),
                start_and_uptime.map(|(start, _)| start),
            ),
            ("disk.free", "Usable space on the disk of the data folder.", Some("bytes"), disk.as_ref().map(|(disk, _)| disk.free as f64)),
            ("disk.total", "Size of the disk of the data folder.", Some("bytes"), disk.as_ref().map(|(disk, _)| disk.total as f64)),
        ];
        let known = gauges.into_iter().filter_map(|(name, description, unit, value)| {
            let tags = if name.starts_with("disk.") { path.clone() } else { Vec::new() };
            let samples = vec![Sample { tags, values: vec![("VALUE", value?)] }];
            Some((name.to_string(), Meter { description: description.into(), unit, samples }))
        });
        known.collect()
    }

    /// 404 for an unknown name or tag, 400 for a malformed tag.
    fn one(&self, name: &str, query: &str) -> Result<Value, Problem> {
        let mut wanted: BTreeSet<Tag> = BTreeSet::new();
        for (_, tag) in query_pairs(query).filter(|(key, _)| key == "tag") {
            let (key, value) = tag.split_once(':').ok_or_else(|| Problem::invalid_field("tag", "expected key:value"))?;
            wanted.insert((key.to_string(), value.to_string()));
        }
        let mut meter = self.all().remove(name).ok_or_else(|| Problem::new(404, format!("there is no metric {name}")))?;
        meter.samples.retain(|sample| wanted.iter().all(|tag| sample.tags.contains(tag)));
        if meter.samples.is_empty() {
            return Err(Problem::new(404, format!("the metric {name} has no sample with these tags")));
        }
        Ok(meter.to_json(name, &wanted))
    }
}

impl Meter {
    /// The sums of all samples, and the tags that would narrow them further.
    fn to_json(&self, name: &str, wanted: &BTreeSet<Tag>) -> Value {
        let mut sums: BTreeMap<&str, f64> = BTreeMap::new();
        let mut tags: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for sample in &self.samples {
            for (statistic, value) in &sample.values {
                *sums.entry(statistic).or_default() += value;
            }
            for (key, value) in sample.tags.iter().filter(|(key, _)| wanted.iter().all(|(other, _)| other != key)) {
                tags.entry(key).or_default().insert(value);
            }
        }
        let measurements: Vec<_> = sums.iter().map(|(statistic, value)| json!({ "statistic": statistic, "value": value })).collect();
        let tags: Vec<_> = tags.iter().map(|(tag, values)| json!({ "tag": tag, "values": values })).collect();
        let mut body = json!({ "name": name, "description": self.description, "measurements": measurements, "availableTags": tags });
        if let (Some(unit), Value::Object(members)) = (self.unit, &mut body) {
            members.insert("baseUnit".into(), json!(unit));
        }
        body
    }
}

fn statistics(samples: &[Sample]) -> usize {
    samples.first().map_or(0, |sample| sample.values.len())
}

/// Micrometer's name, and the unit, which is a suffix of Prometheus' name.
fn micrometer_name(name: &str, kind: MetricType) -> (String, Option<&'static str>) {
    let name = if kind == MetricType::COUNTER { name.strip_suffix("_total").unwrap_or(name) } else { name };
    let unit = ["seconds", "bytes"].into_iter().find_map(|unit| Some((name.strip_suffix(unit)?.strip_suffix('_')?, unit)));
    let (name, unit) = unit.map_or((name, None), |(rest, unit)| (rest, Some(unit)));
    (name.replace('_', "."), unit)
}

fn sample(family: &MetricFamily, metric: &Metric, unit: Option<&str>) -> Sample {
    let tags = metric.get_label().iter().map(|label| (label.name().replace('_', "."), label.value().to_string()));
    let total = if unit == Some("seconds") { "TOTAL_TIME" } else { "TOTAL" };
    let values = match family.get_field_type() {
        MetricType::COUNTER => vec![("COUNT", metric.get_counter().get_value())],
        MetricType::HISTOGRAM => {
            let histogram = metric.get_histogram();
            vec![("COUNT", histogram.get_sample_count() as f64), (total, histogram.get_sample_sum())]
        }
        MetricType::SUMMARY => vec![("COUNT", metric.get_summary().sample_count() as f64), (total, metric.get_summary().sample_sum())],
        MetricType::GAUGE => vec![("VALUE", metric.get_gauge().get_value())],
        // no metric of this program is untyped
        MetricType::UNTYPED => Vec::new(),
    };
    Sample { tags: tags.collect(), values }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::{HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

    fn meters() -> Meters {
        let registry = Registry::new();
        let requests =
            HistogramVec::new(prometheus::HistogramOpts::new("http_server_requests_seconds", "Requests."), &["uri", "status"]).unwrap();
        for (uri, status, took) in [("/a", "200", 0.5), ("/a", "404", 0.25), ("/b", "200", 1.0), ("/b", "200", 1.0)] {
            requests.with_label_values(&[uri, status]).observe(took);
        }
        let twin = IntCounterVec::new(Opts::new("http_server_requests_total", "The same."), &["uri"]).unwrap();
        twin.with_label_values(&["/a"]).inc();
        let lag = IntGauge::new("tradepost_bus_lag", "Lag.").unwrap();
        lag.set(7);
        let empty = IntCounterVec::new(Opts::new("nothing_yet_total", "None."), &["client_name"]).unwrap();
        for collector in [Box::new(requests) as Box<dyn prometheus::core::Collector>, Box::new(twin), Box::new(lag), Box::new(empty)] {
            registry.register(collector).unwrap();
        }
        Meters::new(registry, Some(".".into()))
    }

    #[test]
    fn micrometer_name_of_prometheus_name_drops_suffixes_and_splits_unit() {
        for (name, kind, expected) in [
            ("http_server_requests_seconds", MetricType::HISTOGRAM, ("http.server.requests", Some("seconds"))),
            ("tradepost_orders_total", MetricType::COUNTER, ("tradepost.orders", None)),
            ("process_cpu_seconds_total", MetricType::COUNTER, ("process.cpu", Some("seconds"))),
            ("process_resident_memory_bytes", MetricType::GAUGE, ("process.resident.memory", Some("bytes"))),
            ("resilience4j_circuitbreaker_state", MetricType::GAUGE, ("resilience4j.circuitbreaker.state", None)),
            ("a_total", MetricType::GAUGE, ("a.total", None)),
        ] {
            let (name, unit) = micrometer_name(name, kind);
            assert_eq!((name.as_str(), unit), expected);
        }
    }

    #[test]
    fn histogram_filtered_by_tags_sums_matching_samples() {
        let meters = meters();
        let all = meters.one("http.server.requests", "").unwrap();
        assert_eq!(
            all,
            json!({
                "name": "http.server.requests", "description": "Requests.", "baseUnit": "seconds",
                "measurements": [{ "statistic": "COUNT", "value": 4.0 }, { "statistic": "TOTAL_TIME", "value": 2.75 }],
                "availableTags": [{ "tag": "status", "values": ["200", "404"] }, { "tag": "uri", "values": ["/a", "/b"] }],
            })
        );
        // Spring Boot Admin sends the first tag twice
        let some = meters.one("http.server.requests", "tag=uri%3A%2Fa&tag=uri:/a&tag=status:200").unwrap();
        assert_eq!((&some["measurements"][0]["value"], &some["availableTags"]), (&json!(1.0), &json!([])));
    }

    #[test]
    fn metric_unknown_name_or_tag_returns_404_malformed_tag_400() {
        let meters = meters();
        for (name, query, status) in [
            ("jvm.memory.used", "", 404),
            ("nothing.yet", "", 404),
            ("http.server.requests", "tag=uri:/c", 404),
            ("http.server.requests", "tag=colour:red", 404),
            ("http.server.requests", "tag=uri", 400),
            ("http.server.requests", "tag=", 400),
        ] {
            assert_eq!(meters.one(name, query).unwrap_err().status, status, "{name}?{query}");
        }
    }

    #[test]
    fn metrics_list_contains_process_and_disk_meters_and_registered_ones() {
        let meters = meters();
        let names: Vec<_> = meters.all().into_keys().collect();
        for name in
            ["process.cpu.usage", "system.cpu.usage", "system.cpu.count", "process.uptime", "disk.free", "disk.total", "tradepost.bus.lag"]
        {
            assert!(names.iter().any(|known| known == name), "{name} in {names:?}");
        }
        assert_eq!(meters.one("tradepost.bus.lag", "").unwrap()["measurements"], json!([{ "statistic": "VALUE", "value": 7.0 }]));
        assert_eq!(meters.one("disk.free", "tag=path:.").unwrap()["baseUnit"], "bytes");
    }
}
