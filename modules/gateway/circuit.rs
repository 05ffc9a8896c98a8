//! Circuit breaker settings of a routes document, in Resilience4j's format.

use super::error::{DocumentError, ValueError};
use super::value::{duration, find, text};
use crate::settings::BreakerSettings;
use serde_json::Value;
use std::collections::BTreeMap;
use std::time::Duration;

/// Settings of one `CircuitBreaker` filter.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct CircuitSettings {
    pub(super) rules: BreakerSettings,
    /// Maximum duration of a call (`resilience4j.timelimiter`); the route's own time-out also applies.
    pub(super) time_limit: Option<Duration>,
}

impl Default for CircuitSettings {
    fn default() -> Self {
        // the values of the Spring system that Tradepost replaces
        let rules = BreakerSettings { window: 5, min_calls: 5, failure_percent: 50, open: Duration::from_secs(30), half_open_calls: 3 };
        Self { rules, time_limit: None }
    }
}

/// Settings of all circuit breakers: by name, and the default for other names.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct CircuitConfigs {
    default: CircuitSettings,
    instances: BTreeMap<String, CircuitSettings>,
}

impl CircuitConfigs {
    pub(super) fn settings_of(&self, name: &str) -> CircuitSettings {
        self.instances.get(name).copied().unwrap_or(self.default)
    }

    /// Applies the `resilience4j` section of a document.
    pub(super) fn apply(&mut self, document: &Value) -> Result<(), DocumentError> {
        let invalid = |kind: &str, path: String| {
            let key = format!("resilience4j.{kind}.{path}");
            move |source| DocumentError::Setting { key, source }
        };
        let at = |kind: &str, path: &str| find(document, &format!("resilience4j.{kind}.{path}"));
        for (kind, apply) in [("circuitbreaker", apply_breaker as fn(&Value, &mut CircuitSettings) -> _), ("timelimiter", apply_time_limit)]
        {
            if let Some(settings) = at(kind, "configs.default") {
                apply(settings, &mut self.default).map_err(invalid(kind, "configs.default".into()))?;
            }
            let Some(Value::Object(instances)) = at(kind, "instances") else { continue };
            for (name, settings) in instances {
                let mut own = self.settings_of(name);
                // an instance inherits from the configuration that `baseConfig` names
                if let Some(base) = setting(settings, "base-config", "baseConfig") {
                    let path = format!("configs.{base}");
                    let shared = at(kind, &path).ok_or(DocumentError::UnknownConfiguration { name: base })?;
                    apply(shared, &mut own).map_err(invalid(kind, path))?;
                }
                apply(settings, &mut own).map_err(invalid(kind, format!("instances.{name}")))?;
                self.instances.insert(name.clone(), own);
            }
        }
        Ok(())
    }
}

/// A value by either spelling of its key.
fn setting(settings: &Value, dashed: &str, camel: &str) -> Option<String> {
    settings.get(dashed).or_else(|| settings.get(camel)).map(text)
}

fn apply_breaker(settings: &Value, target: &mut CircuitSettings) -> Result<(), ValueError> {
    let malformed = |name: &str, value: &str, expected| ValueError::MalformedNamed { name: name.into(), value: value.into(), expected };
    let count = |dashed: &str, camel: &str| {
        let parse =
            |n: String| n.parse().ok().filter(|n| (1..=10_000).contains(n)).ok_or_else(|| malformed(dashed, &n, "number from 1 to 10000"));
        setting(settings, dashed, camel).map(parse).transpose()
    };
    let rules = &mut target.rules;
    if let Some(window) = count("sliding-window-size", "slidingWindowSize")? {
        // like Resilience4j: without a smaller minimum, the breaker waits for a full window
        (rules.window, rules.min_calls) = (window, window);
    }
    if let Some(calls) = count("minimum-number-of-calls", "minimumNumberOfCalls")? {
        rules.min_calls = calls;
    }
    if let Some(calls) = count("permitted-number-of-calls-in-half-open-state", "permittedNumberOfCallsInHalfOpenState")? {
        rules.half_open_calls = calls;
    }
    if let Some(rate) = setting(settings, "failure-rate-threshold", "failureRateThreshold") {
        let percent = rate.parse::<f32>().ok().filter(|percent| *percent > 0.0 && *percent <= 100.0);
        let percent = percent.ok_or_else(|| malformed("failure-rate-threshold", &rate, "rate in percent"))?;
        rules.failure_percent = (percent.round() as usize).max(1);
    }
    if let Some(open) = setting(settings, "wait-duration-in-open-state", "waitDurationInOpenState") {
        rules.open = duration(&open)?;
    }
    Ok(())
}

fn apply_time_limit(settings: &Value, target: &mut CircuitSettings) -> Result<(), ValueError> {
    if let Some(limit) = setting(settings, "timeout-duration", "timeoutDuration") {
        target.time_limit = Some(duration(&limit)?);
    }
    Ok(())
}
