//! Logging, as text on a terminal and as JSON otherwise, with levels that can be changed at runtime. Also installs
//! the layer that records spans, as both belong to one `tracing` subscriber.

mod lines;

use crate::kernel::error::ComponentError;
use crate::observe::trace;
use opentelemetry::trace::TracerProvider;
use parking_lot::Mutex;
use std::io::IsTerminal;
use std::sync::OnceLock;
use tracing_subscriber::filter::{FilterExt, FilterFn, LevelFilter, Targets, filter_fn};
use tracing_subscriber::layer::{Layered, SubscriberExt};
use tracing_subscriber::{Layer, Registry, fmt, reload};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("log.level: `{level}` is not understood: {cause}")]
    Level {
        level: String,
        #[source]
        cause: tracing_subscriber::filter::ParseError,
    },
    #[error("logging was not started")]
    NotStarted,
    /// The subscriber was dropped.
    #[error("{0}")]
    Reload(#[from] reload::Error),
}

impl ComponentError for LogError {}

/// The subscriber below the filter of log lines.
type SpanRecording = Layered<Box<dyn Layer<Registry> + Send + Sync>, Registry>;

struct Levels {
    handle: reload::Handle<Targets, SpanRecording>,
    current: Mutex<Targets>,
}

static LEVELS: OnceLock<Levels> = OnceLock::new();

/// Starts logging to standard error. `json: None` selects text on a terminal, and JSON otherwise. Only the first
/// call in a process has an effect.
pub fn start(level: &str, json: Option<bool>) -> Result<(), LogError> {
    let targets = parse(level)?;
    let (filter, handle) = reload::Layer::new(targets.clone());
    let json = json.unwrap_or_else(|| !std::io::stderr().is_terminal());
    let lines = fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        lines.event_format(lines::Json).boxed()
    } else {
        // both need the flag: `Human` formats a line into a buffer before the layer writes it
        let colours = std::io::stderr().is_terminal();
        lines.with_ansi(colours).event_format(lines::Human(fmt::format().with_ansi(colours))).boxed()
    };
    let spans: Box<dyn Layer<Registry> + Send + Sync> =
        Box::new(span_layer().with_filter(FilterFn::new(is_recorded).with_max_level_hint(LevelFilter::INFO)));
    let subscriber =
        tracing_subscriber::registry().with(spans).with(lines.with_filter(filter.and(filter_fn(|metadata| metadata.is_event()))));
    if tracing::subscriber::set_global_default(subscriber).is_ok() {
        let _ = LEVELS.set(Levels { handle, current: Mutex::new(targets) });
    }
    Ok(())
}

/// Records only this crate's spans: spans of libraries show internals, and log events may contain anything.
fn is_recorded(metadata: &tracing::Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target() == trace::TARGET
}

fn span_layer() -> tracing_opentelemetry::OpenTelemetryLayer<Registry, opentelemetry_sdk::trace::SdkTracer> {
    let tracer = trace::export::provider().tracer("tradepost");
    let layer = tracing_opentelemetry::layer().with_tracer(tracer);
    // the layer's default attributes are unused, and cost more than the span itself
    layer
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_level(false)
        .with_target(false)
        .with_context_activation(false)
}

/// All targets with a configured level; `ROOT` is the default level.
pub fn levels() -> Vec<(String, LevelFilter)> {
    let Some(levels) = LEVELS.get() else { return Vec::new() };
    let current = levels.current.lock();
    let mut all = vec![("ROOT".to_string(), current.default_level().unwrap_or(LevelFilter::OFF))];
    all.extend(current.iter().map(|(target, level)| (target.to_string(), level)));
    all
}

/// The level that applies to a target: its own, or that of its longest configured prefix, or the default.
pub fn effective(target: &str) -> LevelFilter {
    let all = levels();
    let best = all
        .iter()
        .filter(|(t, _)| t == "ROOT" || target.starts_with(t.as_str()))
        .max_by_key(|(t, _)| if t == "ROOT" { 0 } else { t.len() });
    best.map_or(LevelFilter::OFF, |(_, level)| *level)
}

/// Replaces all levels; `level` has the form of `log.level`.
pub fn set_levels(level: &str) -> Result<(), LogError> {
    let targets = parse(level)?;
    let Some(levels) = LEVELS.get() else { return Err(LogError::NotStarted) };
    let mut current = levels.current.lock();
    levels.handle.reload(targets.clone())?;
    *current = targets;
    Ok(())
}

fn parse(level: &str) -> Result<Targets, LogError> {
    let targets: Targets = level.parse().map_err(|cause| LogError::Level { level: level.into(), cause })?;
    // Vault's client logs every response but 200 as an error; callers log the real errors
    let silenced = ["vaultrs", "rustify"].into_iter().filter(|_| cfg!(feature = "vault"));
    let silenced: Vec<_> = silenced.filter(|name| !targets.iter().any(|(target, _)| target.starts_with(name))).collect();
    Ok(silenced.into_iter().fold(targets, |targets, name| targets.with_target(name, LevelFilter::OFF)))
}

/// Sets the level of a target, or the default level (`ROOT`). `None` removes the target's level.
pub fn set_level(target: &str, level: Option<LevelFilter>) -> Result<(), LogError> {
    let Some(levels) = LEVELS.get() else { return Err(LogError::NotStarted) };
    let mut current = levels.current.lock();
    let default = if target == "ROOT" { level.unwrap_or(LevelFilter::INFO) } else { current.default_level().unwrap_or(LevelFilter::OFF) };
    let others: Vec<_> = current.iter().filter(|(t, _)| *t != target).map(|(t, l)| (t.to_string(), l)).collect();
    let own = level.filter(|_| target != "ROOT").map(|level| (target.to_string(), level));
    let next = Targets::new().with_targets(others.into_iter().chain(own)).with_default(default);
    levels.handle.reload(next.clone())?;
    *current = next;
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use parking_lot::Mutex;
    use std::io;
    use std::sync::Arc;
    use tracing_subscriber::fmt::MakeWriter;

    /// Log output captured by a test.
    #[derive(Clone, Default)]
    pub(crate) struct Written(Arc<Mutex<Vec<u8>>>);

    impl Written {
        pub(crate) fn text(&self) -> String {
            String::from_utf8(self.0.lock().clone()).unwrap()
        }
    }

    impl io::Write for Written {
        fn write(&mut self, part: &[u8]) -> io::Result<usize> {
            self.0.lock().write(part)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Written {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }
}
