//! The writer thread: runs requests in groups, one transaction per group.

use super::connection::{Conn, begin, execute};
use super::fair_queue::FairWriterQueue;
use super::transaction::{in_savepoint, run};
use crate::kernel::error::StoreError;
use crate::observe::trace::Span;
use crate::observe::trace::statements;
use crate::observe::trace::statements::Statements;
use diesel::QueryResult;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of requests in one transaction: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;

/// A request to the writer.
pub(super) trait WriteJob: Send {
    /// Runs in the group's transaction, with or without a savepoint; may run again. True on success.
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool;
    /// Sends the reply. `failure`: why the group's transaction did not begin or commit.
    fn finish(self: Box<Self>, failure: Option<&str>);
}

pub(super) type Job = Box<dyn WriteJob>;

pub(super) struct WriteRequest<T, E, F> {
    store: String,
    work: F,
    /// Of the caller, if its trace is recorded.
    span: Option<Span>,
    statements: Statements,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> WriteRequest<T, E, F> {
    pub(super) fn new(store: String, work: F, span: Option<Span>, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { store, work, span, statements: Statements::default(), result: None, reply }
    }
}

impl<T, E, F> WriteJob for WriteRequest<T, E, F>
where
    F: AsyncFn(&mut Conn) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool {
        let mut work = || if savepoint { in_savepoint(conn, &self.work) } else { run(conn, &self.work) };
        let result = if self.span.is_some() {
            let (result, statements) = statements::collect(work);
            self.statements = statements;
            result
        } else {
            work()
        };
        self.result.insert(result).is_ok()
    }

    fn finish(mut self: Box<Self>, failure: Option<&str>) {
        if let Some(span) = self.span.take() {
            self.statements.failed = self.statements.failed.or(failure.map(|_| "not committed"));
            self.statements.record_on(&span);
        }
        let unavailable = |store, cause: &str| Err(StoreError::Unavailable { store, cause: cause.into() }.into());
        let _ = self.reply.send(match (self.result, failure) {
            (Some(result @ Err(_)), _) | (Some(result), None) => result,
            (_, cause) => unavailable(self.store, cause.unwrap_or("the request was not run")),
        });
    }
}

/// Runs jobs until their queue closes. Calls `committed` after each commit.
pub(super) fn write_loop(mut conn: Conn, mut jobs: mpsc::Receiver<Job>, committed: impl Fn()) {
    let mut group: Vec<Job> = Vec::with_capacity(MAX_GROUP);
    let mut fairness = FairWriterQueue::new();
    while jobs.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        if let Err(cause) = begin(&mut conn) {
            tracing::error!(%cause, "no transaction for a group of writes");
            group.drain(..).for_each(|job| job.finish(Some(&cause.to_string())));
            continue;
        }
        let failure = run_group(&mut conn, &mut group).and_then(|()| execute(&mut conn, "COMMIT")).err().map(|cause| {
            tracing::error!(%cause, "a group of writes was not committed");
            let _ = execute(&mut conn, "ROLLBACK");
            cause.to_string()
        });
        for job in group.drain(..) {
            job.finish(failure.as_deref());
        }
        if failure.is_none() {
            committed();
        }
        fairness.after_transaction(&mut conn, !jobs.is_empty());
    }
}

/// Runs a group in the transaction that has begun. Requests that fail leave no changes in it.
fn run_group(conn: &mut Conn, group: &mut [Job]) -> QueryResult<()> {
    if group.iter_mut().all(|job| job.run(conn, false)) {
        return Ok(());
    }
    // after some errors SQLite has rolled back by itself, and this ROLLBACK fails
    let _ = execute(conn, "ROLLBACK");
    begin(conn)?;
    // a single request is undone by the ROLLBACK, and not run again
    if group.len() > 1 {
        group.iter_mut().for_each(|job| _ = job.run(conn, true));
    }
    Ok(())
}
