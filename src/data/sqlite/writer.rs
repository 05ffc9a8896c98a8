//! The writer thread: runs requests in groups, one transaction per group.

use super::connection::{Conn, begin, execute};
use super::fair_queue::FairWriterQueue;
use super::file_guard::FileGuard;
use super::transaction::{in_savepoint, run};
use crate::kernel::error::StoreError;
use crate::observe::trace::Span;
use crate::observe::trace::statements;
use crate::observe::trace::statements::Statements;
use diesel::QueryResult;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot};

/// Maximum number of requests in one transaction: bounds how long the first of them waits.
const MAX_GROUP: usize = 256;

/// A request to the writer.
pub(super) trait WriteJob: Send {
    /// Runs in the group's transaction, with or without a savepoint; may run again. True on success.
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool;
    /// Sends the reply. `failure`: why the group's transaction did not begin or commit, or is not safe in its file.
    fn finish(self: Box<Self>, failure: Option<&StoreError>);
}

pub(super) type Job = Box<dyn WriteJob>;

pub(super) struct WriteRequest<T, E, F> {
    file: Arc<FileGuard>,
    work: F,
    /// Of the caller, if its trace is recorded.
    span: Option<Span>,
    statements: Statements,
    result: Option<Result<T, E>>,
    reply: oneshot::Sender<Result<T, E>>,
}

impl<T, E, F> WriteRequest<T, E, F> {
    pub(super) fn new(file: Arc<FileGuard>, work: F, span: Option<Span>, reply: oneshot::Sender<Result<T, E>>) -> Self {
        Self { file, work, span, statements: Statements::default(), result: None, reply }
    }
}

impl<T, E, F> WriteJob for WriteRequest<T, E, F>
where
    F: AsyncFn(&mut Conn) -> Result<T, E> + Send,
    T: Send,
    E: From<StoreError> + Send,
{
    fn run(&mut self, conn: &mut Conn, savepoint: bool) -> bool {
        let mut work = || self.file.observe(|| if savepoint { in_savepoint(conn, &self.work) } else { run(conn, &self.work) });
        let result = if self.span.is_some() {
            let (result, statements) = statements::collect(work);
            self.statements = statements;
            result
        } else {
            work()
        };
        self.result.insert(result).is_ok()
    }

    fn finish(mut self: Box<Self>, failure: Option<&StoreError>) {
        if let Some(span) = self.span.take() {
            self.statements.failed = self.statements.failed.or(failure.map(|_| "not committed"));
            self.statements.record_on(&span);
        }
        let _ = self.reply.send(match (self.result, failure) {
            (_, Some(fault)) if fault.is_file_fault() => Err(fault.clone().into()),
            (Some(result @ Err(_)), _) | (Some(result), None) => result,
            (None, None) => Err(StoreError::Internal("a request of a group was not run".into()).into()),
            (_, Some(cause)) => Err(cause.clone().into()),
        });
    }
}

/// Runs jobs until their queue closes. Calls `committed` after each commit.
pub(super) fn write_loop(mut conn: Conn, mut jobs: mpsc::Receiver<Job>, file: &FileGuard, committed: impl Fn()) {
    let mut group: Vec<Job> = Vec::with_capacity(MAX_GROUP);
    let mut fairness = FairWriterQueue::new();
    while jobs.blocking_recv_many(&mut group, MAX_GROUP) > 0 {
        let outcome = write_group(&mut conn, &mut group, file);
        for job in group.drain(..) {
            job.finish(outcome.as_ref().err());
        }
        if outcome.is_ok() {
            committed();
        }
        fairness.after_transaction(&mut conn, !jobs.is_empty());
    }
}

/// Runs a group in one transaction. `Ok` means that a restart will find it.
fn write_group(conn: &mut Conn, group: &mut [Job], file: &FileGuard) -> Result<(), StoreError> {
    file.check()?;
    let written = begin(conn).and_then(|()| run_group(conn, group)).and_then(|()| execute(conn, "COMMIT"));
    if let Err(cause) = written {
        tracing::error!(%cause, "a group of writes was not committed");
        // fails if the transaction did not begin
        let _ = execute(conn, "ROLLBACK");
        return Err(file.failure(&cause));
    }
    file.check()
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
