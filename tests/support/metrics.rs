//! A strict parser of `/actuator/prometheus` (Prometheus text format 0.0.4).

use super::client::Client;
use actix_web::http::Method;
use std::collections::{BTreeMap, BTreeSet};

pub type Labels = BTreeMap<String, String>;

/// All series with their values.
pub struct Metrics {
    series: BTreeMap<(String, Labels), f64>,
    types: BTreeMap<String, String>,
    text: String,
}

impl Metrics {
    /// Scrapes this process; panics if the text violates the format.
    pub async fn of(client: &Client) -> Self {
        let response = client.send(Method::GET, "/actuator/prometheus", &[], "").await.expect(200);
        assert_eq!(response.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        Self::parse(&response.text).unwrap_or_else(|wrong| panic!("{wrong}\n{}", response.text))
    }

    /// Checks the format: each family has one HELP and one TYPE line before its samples, the samples of a family are
    /// contiguous, each series occurs once, and histogram buckets are cumulative up to the count.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self { series: BTreeMap::new(), types: BTreeMap::new(), text: text.into() };
        if !text.ends_with('\n') {
            return Err("the last line has no line feed".into());
        }
        let (mut with_help, mut family) = (BTreeSet::new(), String::new());
        for line in text.lines() {
            let wrong = |what: &str| format!("{what}: {line}");
            if let Some(help) = line.strip_prefix("# HELP ") {
                let name = help.split_once(' ').ok_or_else(|| wrong("no help"))?.0;
                with_help.insert(name.to_string()).then_some(()).ok_or_else(|| wrong("second HELP line"))?;
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').ok_or_else(|| wrong("no type"))?;
                if !with_help.contains(name) || !["counter", "gauge", "histogram"].contains(&kind) {
                    return Err(wrong("HELP line missing or type unknown"));
                }
                family = name.into();
                if all.types.insert(family.clone(), kind.into()).is_some() {
                    return Err(wrong("second TYPE line"));
                }
            } else {
                let (name, labels, value) = sample(line).ok_or_else(|| wrong("not a sample"))?;
                let suffix = name.strip_prefix(&family).ok_or_else(|| wrong("sample of another family"))?;
                let histogram = all.types.get(&family).is_some_and(|kind| kind == "histogram");
                if !(if histogram { ["_bucket", "_sum", "_count"].contains(&suffix) } else { suffix.is_empty() }) {
                    return Err(wrong("invalid suffix for this family"));
                }
                if all.series.insert((name, labels), value).is_some() {
                    return Err(wrong("duplicate series"));
                }
            }
        }
        all.check_histograms()?;
        Ok(all)
    }

    fn check_histograms(&self) -> Result<(), String> {
        let mut buckets: BTreeMap<(String, Labels), Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), count) in &self.series {
            let histogram = name.strip_suffix("_bucket").filter(|name| self.types.contains_key(*name));
            let Some(histogram) = histogram else { continue };
            let mut labels = labels.clone();
            let end =
                labels.remove("le").and_then(|end| end.parse().ok()).ok_or_else(|| format!("a bucket of {name} has no `le` label"))?;
            buckets.entry((histogram.to_string(), labels)).or_default().push((end, *count));
        }
        for ((name, labels), mut all) in buckets {
            all.sort_by(|a, b| a.0.total_cmp(&b.0));
            let count = self.series.get(&(format!("{name}_count"), labels.clone())).copied();
            let rises = all.windows(2).all(|two| two[0].1 <= two[1].1);
            if !rises || all.last().map(|(end, n)| (*end, Some(*n))) != Some((f64::INFINITY, count)) {
                return Err(format!("the buckets of {name}{labels:?} do not add up to {count:?}: {all:?}"));
            }
        }
        Ok(())
    }

    /// The sum of all series with this name and at least these labels; `None` if there is none.
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let has = |of: &Labels| labels.iter().all(|(label, value)| of.get(*label).is_some_and(|is| is == value));
        let found = self.series.iter().filter(|((is, of), _)| is == name && has(of)).map(|(_, value)| *value);
        found.reduce(|sum, value| sum + value)
    }

    /// Like `sum`, but panics if no series matches.
    #[track_caller]
    pub fn get(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.sum(name, labels).unwrap_or_else(|| panic!("no {name} {labels:?} in\n{}", self.text))
    }

    /// All values of a label.
    pub fn values(&self, label: &str) -> BTreeSet<&str> {
        self.series.keys().filter_map(|(_, labels)| labels.get(label).map(String::as_str)).collect()
    }

    /// All series without their values.
    pub fn series(&self) -> BTreeSet<&(String, Labels)> {
        self.series.keys().collect()
    }
}

/// `name{label="value",...} 1.5`
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let (series, value) = line.rsplit_once(' ')?;
    let (name, mut rest) = match series.split_once('{') {
        Some((name, rest)) => (name, rest.strip_suffix('}')?),
        None => (series, ""),
    };
    let word = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let mut labels = Labels::new();
    while !rest.is_empty() {
        let (label, quoted) = rest.split_once("=\"")?;
        let (value, after) = unquote(quoted)?;
        if !word(label) || labels.insert(label.into(), value).is_some() {
            return None;
        }
        rest = after.strip_prefix(',').unwrap_or(after);
    }
    word(name).then_some((name.into(), labels, value.parse().ok()?))
}

/// Reads a quoted label value; returns it and the text after the closing quote.
fn unquote(text: &str) -> Option<(String, &str)> {
    let (mut value, mut chars) = (String::new(), text.char_indices());
    loop {
        match chars.next()? {
            (at, '"') => return Some((value, &text[at + 1..])),
            (_, '\\') => value.push(match chars.next()?.1 {
                'n' => '\n',
                c @ ('"' | '\\') => c,
                _ => return None,
            }),
            (_, c) => value.push(c),
        }
    }
}

#[test]
fn metrics_parse_invalid_text_fails() {
    let head = "# HELP a words\n# TYPE a counter\n";
    let parsed = Metrics::parse(&format!("{head}a{{b=\"c\\\"}} 2\",d=\"\"}} 1.5\n")).unwrap();
    assert_eq!(parsed.get("a", &[("b", "c\"} 2"), ("d", "")]), 1.5);
    let broken = ["a 1\n", "# HELP a words\na 1\n", "# TYPE a counter\na 1\n"].map(str::to_string);
    let wrong = ["a 1", "a one\n", "a 1\na 1\n", "b 1\n", "a_sum 1\n", "a{b=c} 1\n", "a{b=\"c} 1\n", "a{b=\"\\x\"} 1\n", "a{b-=\"c\"} 1\n"];
    for text in broken.into_iter().chain(wrong.map(|line| format!("{head}{line}"))) {
        assert!(Metrics::parse(&text).is_err(), "{text}");
    }
    let histogram =
        |all| format!("# HELP h words\n# TYPE h histogram\nh_bucket{{le=\"1\"}} 1\nh_bucket{{le=\"+Inf\"}} {all}\nh_sum 3\nh_count 2\n");
    assert!(Metrics::parse(&histogram(2)).is_ok() && Metrics::parse(&histogram(3)).is_err());
}
