//! The SQL statements of a transaction, without their bind values, for its span.

use super::Span;
use diesel::connection::{DebugQuery, InstrumentationEvent};
use diesel::result::{DatabaseErrorKind, Error};
use std::cell::RefCell;
use std::fmt::{self, Write};

/// Once the texts of a transaction reach this length, no further text is added.
const MAX_TEXT_LEN: usize = 512;
const MAX_SUMMARY_LEN: usize = 120;

tokio::task_local! {
    static CURRENT: RefCell<Statements>;
}

#[derive(Debug, Default)]
pub struct Statements {
    /// Operations and tables without duplicates: `INSERT orders, INSERT order_lines`.
    pub summary: String,
    pub text: String,
    pub count: i64,
    /// Kind of the last failure.
    pub failed: Option<&'static str>,
}

fn failure_kind(error: &Error) -> &'static str {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => "unique violation",
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, _) => "connection lost",
        Error::DatabaseError(..) => "refused by the database",
        _ => "error",
    }
}

/// Runs synchronous `work` and returns its statements.
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Statements) {
    CURRENT.sync_scope(RefCell::default(), || (work(), CURRENT.with(RefCell::take)))
}

/// [`collect`] for asynchronous work.
pub async fn collect_async<F: Future>(work: F) -> (F::Output, Statements) {
    let work = async { (work.await, CURRENT.with(RefCell::take)) };
    CURRENT.scope(RefCell::default(), work).await
}

/// Every connection calls this as its diesel instrumentation.
pub fn on_event(event: &InstrumentationEvent<'_>) {
    // outside of `collect` there is nothing to record to
    let _ = CURRENT.try_with(|statements| match event {
        InstrumentationEvent::StartQuery { query, .. } => statements.borrow_mut().add(*query),
        InstrumentationEvent::FinishQuery { error: Some(error), .. } => statements.borrow_mut().failed = Some(failure_kind(error)),
        _ => {}
    });
}

/// Discards the statements so far: the transaction was rolled back and will be retried.
pub fn reset() {
    let _ = CURRENT.try_with(RefCell::take);
}

impl Statements {
    fn add(&mut self, query: &dyn DebugQuery) {
        let mut text = WithoutValues(String::with_capacity(256));
        let _ = write!(text, "{query}");
        let Some((verb, table)) = summarize(&text.0) else { return };
        self.count += 1;
        if self.text.len() < MAX_TEXT_LEN {
            let separator = if self.text.is_empty() { "" } else { "; " };
            let _ = write!(self.text, "{separator}{}", text.0);
        }
        let summary = format!("{verb} {table}");
        let is_known = self.summary.split(", ").any(|known| known == summary.trim_end());
        if !is_known && self.summary.len() + summary.len() < MAX_SUMMARY_LEN {
            let separator = if self.summary.is_empty() { "" } else { ", " };
            let _ = write!(self.summary, "{separator}{}", summary.trim_end());
        }
    }

    /// Sets the attributes of OpenTelemetry's conventions for database spans, which describe one statement. For a
    /// transaction of several statements, the texts are joined.
    pub fn record_on(self, span: &Span) {
        if let Some(failed) = self.failed {
            span.fail(failed);
        }
        match self.count {
            0 => return,
            1 => {
                let (operation, table) = self.summary.split_once(' ').unwrap_or((&self.summary, ""));
                span.set("db.operation.name", operation.to_string());
                span.set("db.collection.name", table.to_string());
            }
            count => span.set("tradepost.statements", count),
        }
        span.rename(self.summary.clone());
        span.set("db.query.summary", self.summary);
        span.set("db.query.text", self.text);
    }
}

/// Receives diesel's debug output of a statement up to the bind values.
struct WithoutValues(String);

impl fmt::Write for WithoutValues {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        match part.find(BINDS_MARKER) {
            None => self.0.push_str(part),
            Some(end) => {
                self.0.push_str(part.get(..end).unwrap_or_default());
                return Err(fmt::Error);
            }
        }
        match self.0.find(BINDS_MARKER) {
            None => Ok(()),
            Some(end) => {
                self.0.truncate(end);
                Err(fmt::Error)
            }
        }
    }
}

const BINDS_MARKER: &str = " -- binds";

/// Operation and table of a statement; `None` for transaction control.
fn summarize(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split_whitespace();
    let verb = words.next().filter(|verb| matches!(*verb, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "REPLACE"))?;
    let table = if verb == "UPDATE" { words.next() } else { words.skip_while(|word| !matches!(*word, "FROM" | "INTO")).nth(1) };
    Some((verb, table.unwrap_or_default().trim_matches(['`', '"', '(', ')', ','])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statement_summary_is_its_verb_and_table() {
        for (text, summary) in [
            ("SELECT `orders`.`id` FROM `orders` WHERE (`orders`.`id` = ?)", Some(("SELECT", "orders"))),
            ("INSERT INTO `order_lines` (`order_id`) VALUES (?)", Some(("INSERT", "order_lines"))),
            ("INSERT OR IGNORE INTO `inbox` (`id`) VALUES (?)", Some(("INSERT", "inbox"))),
            ("UPDATE `stock` SET `quantity` = ?", Some(("UPDATE", "stock"))),
            ("DELETE  FROM `outbox`", Some(("DELETE", "outbox"))),
            ("SELECT 1", Some(("SELECT", ""))),
            ("COMMIT", None),
            ("SET TRANSACTION READ ONLY", None),
            ("", None),
        ] {
            assert_eq!(summarize(text), summary, "{text}");
        }
    }

    #[test]
    fn bind_values_are_omitted_wherever_the_output_is_split() {
        let mut text = WithoutValues(String::new());
        assert!(write!(text, "INSERT INTO `t` VALUES (?) -- binds: [{:?}]", "a secret").is_err());
        assert_eq!(text.0, "INSERT INTO `t` VALUES (?)");
        let mut text = WithoutValues(String::new());
        let parts = ["UPDATE `t` SET `a` = ? -", "- bi", "nds: [\"a secret\"]"];
        assert!(parts.iter().try_for_each(|part| text.write_str(part)).is_err());
        assert_eq!(text.0, "UPDATE `t` SET `a` = ?");
    }
}
