//! Settings of a route file's circuit breakers, as Resilience4j's users write them.

use super::file::{DocumentError, ValueError, duration, find, text};
use crate::settings::BreakerRules;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a `CircuitBreaker` filter goes by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Settings {
    pub(super) rules: BreakerRules,
    /// Longest time for a call (`resilience4j.timelimiter`); a route's own limit goes beside it.
    pub(super) limit: Option<Duration>,
}

impl Default for Settings {
    fn default() -> Self {
        // those of the Spring system
        let rules = BreakerRules { window: 5, min_calls: 5, failure_percent: 50, open: Duration::from_secs(30), half_open_calls: 3 };
        Self { rules, limit: None }
    }
}

/// Of all breakers of a file: by name, and those of the others.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Circuits {
    base: Settings,
    named: BTreeMap<String, Settings>,
}

impl Circuits {
    /// What holds for this one.
    pub(super) fn of(&self, name: &str) -> Settings {
        self.named.get(name).copied().unwrap_or(self.base)
    }

    /// Reads what a document says of them.
    pub(super) fn read(&mut self, document: &Value) -> Result<(), DocumentError> {
        let wrong = |kind: &str, path: String| {
            let key = format!("resilience4j.{kind}.{path}");
            move |source| DocumentError::Setting { key, source }
        };
        let at = |kind: &str, path: &str| find(document, &format!("resilience4j.{kind}.{path}"));
        for (kind, read) in [("circuitbreaker", breaker as fn(&Value, &mut Settings) -> _), ("timelimiter", time_limit)] {
            if let Some(settings) = at(kind, "configs.default") {
                read(settings, &mut self.base).map_err(wrong(kind, "configs.default".into()))?;
            }
            let Some(Value::Object(instances)) = at(kind, "instances") else { continue };
            for (name, settings) in instances {
                // an instance may stand on a named configuration: `baseConfig`
                let mut own = self.of(name);
                if let Some(base) = any(settings, "base-config", "baseConfig") {
                    let path = format!("configs.{base}");
                    let shared = at(kind, &path).ok_or(DocumentError::UnknownConfiguration { name: base })?;
                    read(shared, &mut own).map_err(wrong(kind, path))?;
                }
                read(settings, &mut own).map_err(wrong(kind, format!("instances.{name}")))?;
                self.named.insert(name.clone(), own);
            }
        }
        Ok(())
    }
}

/// A value by either of its spellings.
fn any(settings: &Value, dashed: &str, camel: &str) -> Option<String> {
    settings.get(dashed).or_else(|| settings.get(camel)).map(text)
}

fn breaker(settings: &Value, into: &mut Settings) -> Result<(), ValueError> {
    let wrong = |name: &str, value: &str, expected| ValueError::MalformedNamed { name: name.into(), value: value.into(), expected };
    let count = |dashed: &str, camel: &str| {
        let parse =
            |n: String| n.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| wrong(dashed, &n, "number from 1 to 10000"));
        any(settings, dashed, camel).map(parse).transpose()
    };
    let rules = &mut into.rules;
    if let Some(window) = count("sliding-window-size", "slidingWindowSize")? {
        // Resilience4j looks at a full window, too, where it is told no smaller number of calls
        (rules.window, rules.min_calls) = (window, window);
    }
    if let Some(calls) = count("minimum-number-of-calls", "minimumNumberOfCalls")? {
        rules.min_calls = calls;
    }
    if let Some(calls) = count("permitted-number-of-calls-in-half-open-state", "permittedNumberOfCallsInHalfOpenState")? {
        rules.half_open_calls = calls;
    }
    if let Some(rate) = any(settings, "failure-rate-threshold", "failureRateThreshold") {
        let percent = rate.parse::<f32>().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
        let percent = percent.ok_or_else(|| wrong("failure-rate-threshold", &rate, "rate in percent"))?;
        rules.failure_percent = (percent.round() as usize).max(1);
    }
    if let Some(open) = any(settings, "wait-duration-in-open-state", "waitDurationInOpenState") {
        rules.open = duration(&open)?;
    }
    Ok(())
}

fn time_limit(settings: &Value, into: &mut Settings) -> Result<(), ValueError> {
    if let Some(limit) = any(settings, "timeout-duration", "timeoutDuration") {
        into.limit = Some(duration(&limit)?);
    }
    Ok(())
}
