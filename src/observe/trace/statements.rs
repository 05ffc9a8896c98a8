//! What a transaction says to its database: the texts of its statements, without their values.

use super::Span;
use diesel::connection::{DebugQuery, InstrumentationEvent};
use diesel::result::{DatabaseErrorKind, Error};
use std::cell::RefCell;
use std::fmt::{self, Write};

/// Where texts of a transaction end that are more than this, and characters of all of them in short at most.
const MAX_TEXT: usize = 512;
const MAX_SUMMARY: usize = 120;

tokio::task_local! {
    static UNDER_WAY: RefCell<Statements>;
}

/// The statements of one transaction.
#[derive(Debug, Default)]
pub struct Statements {
    /// What was done to which table, each once: `INSERT orders, INSERT order_lines`.
    pub summary: String,
    /// Their texts.
    pub text: String,
    /// How many there were.
    pub count: i64,
    /// What the last one that failed came to.
    pub failed: Option<&'static str>,
}

/// What a failed statement came to, in a word.
fn kind(error: &Error) -> &'static str {
    match error {
        Error::DatabaseError(DatabaseErrorKind::UniqueViolation, _) => "unique violation",
        Error::DatabaseError(DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand, _) => "connection lost",
        Error::DatabaseError(..) => "refused by the database",
        _ => "error",
    }
}

/// Work that waits for nothing, and what it said.
pub fn collect<T>(work: impl FnOnce() -> T) -> (T, Statements) {
    UNDER_WAY.sync_scope(RefCell::default(), || (work(), UNDER_WAY.with(RefCell::take)))
}

/// The same of work that waits.
pub async fn collecting<F: Future>(work: F) -> (F::Output, Statements) {
    let work = async { (work.await, UNDER_WAY.with(RefCell::take)) };
    UNDER_WAY.scope(RefCell::default(), work).await
}

/// Told by every connection.
pub fn on_event(event: &InstrumentationEvent<'_>) {
    // nobody listens, mostly
    let _ = UNDER_WAY.try_with(|statements| match event {
        InstrumentationEvent::StartQuery { query, .. } => statements.borrow_mut().add(*query),
        InstrumentationEvent::FinishQuery { error: Some(error), .. } => statements.borrow_mut().failed = Some(kind(error)),
        _ => {}
    });
}

/// What was said so far was undone, and will be said again.
pub fn anew() {
    let _ = UNDER_WAY.try_with(RefCell::take);
}

impl Statements {
    fn add(&mut self, query: &dyn DebugQuery) {
        let mut text = WithoutValues(String::with_capacity(256));
        let _ = write!(text, "{query}");
        let Some((verb, table)) = in_short(&text.0) else { return };
        self.count += 1;
        if self.text.len() < MAX_TEXT {
            let between = if self.text.is_empty() { "" } else { "; " };
            let _ = write!(self.text, "{between}{}", text.0);
        }
        let short = format!("{verb} {table}");
        let said = self.summary.split(", ").any(|said| said == short.trim_end());
        if !said && self.summary.len() + short.len() < MAX_SUMMARY {
            let between = if self.summary.is_empty() { "" } else { ", " };
            let _ = write!(self.summary, "{between}{}", short.trim_end());
        }
    }

    /// As OpenTelemetry's conventions for database spans have it, where a transaction has one statement. Of several
    /// the texts stand one behind the other.
    pub fn tell(self, span: &Span) {
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

/// A statement as diesel shows it, up to where its values begin.
struct WithoutValues(String);

impl fmt::Write for WithoutValues {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        match part.find(VALUES) {
            None => self.0.push_str(part),
            Some(end) => {
                self.0.push_str(part.get(..end).unwrap_or_default());
                return Err(fmt::Error);
            }
        }
        match self.0.find(VALUES) {
            None => Ok(()),
            Some(end) => {
                self.0.truncate(end);
                Err(fmt::Error)
            }
        }
    }
}

const VALUES: &str = " -- binds";

/// What a statement does to which table; `None` for those that only begin or end a transaction.
fn in_short(text: &str) -> Option<(&str, &str)> {
    let mut words = text.split_whitespace();
    let verb = words.next().filter(|verb| matches!(*verb, "SELECT" | "INSERT" | "UPDATE" | "DELETE" | "REPLACE"))?;
    let table = if verb == "UPDATE" { words.next() } else { words.skip_while(|word| !matches!(*word, "FROM" | "INTO")).nth(1) };
    Some((verb, table.unwrap_or_default().trim_matches(['`', '"', '(', ')', ','])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_statement_in_short_is_its_verb_and_table() {
        for (text, short) in [
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
            assert_eq!(in_short(text), short, "{text}");
        }
    }

    #[test]
    fn values_are_left_out_wherever_the_text_is_cut() {
        let mut text = WithoutValues(String::new());
        assert!(write!(text, "INSERT INTO `t` VALUES (?) -- binds: [{:?}]", "a secret").is_err());
        assert_eq!(text.0, "INSERT INTO `t` VALUES (?)");
        let mut text = WithoutValues(String::new());
        let parts = ["UPDATE `t` SET `a` = ? -", "- bi", "nds: [\"a secret\"]"];
        assert!(parts.iter().try_for_each(|part| text.write_str(part)).is_err());
        assert_eq!(text.0, "UPDATE `t` SET `a` = ?");
    }
}
