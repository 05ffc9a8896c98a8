//! Records the failed statements of a connection, even if the work converts or ignores their errors.

use super::backend::Conn;
use super::error::{AttemptError, ErrorClass};
use crate::observe::trace::statements;
use diesel::connection::InstrumentationEvent;
use diesel::result::Error as DieselError;
use diesel_async::AsyncConnection;
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Clone, Default)]
pub(super) struct ErrorObserver(Arc<Mutex<Option<(ErrorClass, String)>>>);

impl ErrorObserver {
    /// Observes this connection from now on, in place of its previous observer.
    pub(super) fn attach(conn: &mut Conn) -> Self {
        let observer = Self::default();
        let recorder = observer.clone();
        conn.set_instrumentation(move |event: InstrumentationEvent<'_>| {
            statements::on_event(&event);
            if let InstrumentationEvent::FinishQuery { error: Some(error), .. } = event {
                recorder.record(error);
            }
        });
        observer
    }

    fn record(&self, error: &DieselError) {
        if let Some(class) = ErrorClass::of(error) {
            let mut recorded = self.0.lock();
            // the first error is the cause; only a lost connection overrides it
            if recorded.is_none() || class == ErrorClass::Lost {
                *recorded = Some((class, error.to_string()));
            }
        }
    }

    pub(super) fn class(&self) -> Option<ErrorClass> {
        self.0.lock().as_ref().map(|(class, _)| *class)
    }

    /// The recorded error as the result of the attempt.
    pub(super) fn attempt_error<E>(&self) -> Option<AttemptError<E>> {
        let recorded = self.0.lock();
        recorded.as_ref().map(|(class, cause)| match class {
            ErrorClass::Conflict | ErrorClass::Lost => AttemptError::Retryable(cause.clone()),
            ErrorClass::Stopped => AttemptError::Final(cause.clone()),
        })
    }

    /// The result of an attempt whose BEGIN, COMMIT or ROLLBACK failed with this error.
    pub(super) fn explain<E>(&self, cause: DieselError) -> AttemptError<E> {
        self.attempt_error().unwrap_or(AttemptError::Sql(cause))
    }
}
