//! How operations begin and end: what is noted, in which order, before a disk is touched and before anybody is told.
//!
//! Begin: the registry gives the disk, the disk is opened, the journal notes the operation and the audit log who wants it,
//! durably; only then, and if its caller still waits, a thread starts its work. End: the work is done, the audit log and the
//! journal note how it ended, durably; only then the registry lets go of the disk and tells those who wait. What cannot be
//! noted has not begun, and has not ended well.

use std::sync::Arc;

use uuid::Uuid;

use super::Agent;
use super::error::AgentError;
use super::journal::{Entry, Found, JournalError, Pending};
use crate::audit::AuditedImage;
use crate::disk::discovery::Disk;
use crate::disk::guard::GuardError;
use crate::operation::registry::{Begun, Running};
use crate::operation::{Call, Caller, Failure, Operation, OperationKind, Outcome, Request, Snapshot};
use crate::provision::error::ProvisionError;
use crate::reason::Reason;

/// An operation that is to begin.
#[derive(Debug)]
pub(super) struct Intent<'a> {
    pub(super) request: &'a Request,
    pub(super) kind: OperationKind,
    pub(super) disk: &'a Disk,
    /// The image, as far as it is known.
    pub(super) image: AuditedImage,
    /// Findings that shall not count.
    pub(super) overridden: Vec<String>,
    /// What it takes to go on after a restart, if it can.
    pub(super) pull: Option<Pending>,
}

/// What became of the intent.
#[derive(Debug)]
pub(super) enum Start<D> {
    /// It begins, on this device.
    Begun(Work, D),
    /// The same request began it before.
    Known(Arc<Operation>),
}

/// An operation whose work is about to be done. Dropped without a result, it has failed.
#[derive(Debug)]
pub(super) struct Work {
    agent: Arc<Agent>,
    running: Option<Running>,
    operation: Arc<Operation>,
}

impl Work {
    fn new(agent: &Arc<Agent>, running: Running) -> Self {
        let operation = running.operation().clone();
        Self { agent: agent.clone(), running: Some(running), operation }
    }

    /// The operation.
    pub(super) const fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    fn finish(mut self, result: Result<Outcome, Failure>) {
        self.conclude(result);
    }

    fn conclude(&mut self, result: Result<Outcome, Failure>) {
        if let Some(running) = self.running.take() {
            running.finish(self.agent.note_end(&self.operation, result));
        }
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let message = format!("the work of {} ended without a result", self.operation.name());
        self.conclude(Err(Failure { reason: Reason::Internal, message, metadata: Vec::new() }));
    }
}

impl Agent {
    /// Begins an operation on a disk, which `open` opens, or finds the one that the same request began.
    ///
    /// # Errors
    /// If the disk cannot be had, or the operation cannot be noted. Then nothing has begun.
    pub(super) fn begin<D>(
        self: &Arc<Self>,
        intent: Intent<'_>,
        open: impl FnOnce(&Disk) -> Result<D, GuardError>,
    ) -> Result<Start<D>, AgentError> {
        let Intent { request, kind, disk, image, overridden, pull } = intent;
        self.forget_expired();
        let running = match self.registry.begin(request, kind, disk)? {
            Begun::New(running) => running,
            Begun::Known(operation) => return Ok(Start::Known(operation)),
        };
        let entry = Entry::new(running.operation(), disk, pull);
        let begun = open(disk).map_err(AgentError::from).and_then(|device| {
            self.journal.begin(entry)?;
            let audited = self.audit_begin(running.operation(), disk, image, &overridden);
            let begun = audited.map_err(AgentError::from).and_then(|()| self.answered(&running, request));
            begun.inspect_err(|_| self.unnote(&running)).map(|()| device)
        });
        match begun {
            Ok(device) => Ok(Start::Begun(Work::new(self, running), device)),
            Err(error) => {
                running.withdraw(Failure::from(&error));
                Err(error)
            }
        }
    }

    /// Fails if the caller was told meanwhile that nothing began.
    fn answered(&self, running: &Running, request: &Request) -> Result<(), AgentError> {
        if request.call.begin() {
            return Ok(());
        }
        let failure = Err(Failure::from(&AgentError::CallGivenUp));
        if let Err(error) = self.audit_end(running.operation(), &failure) {
            tracing::error!(error = %crate::text::chain(&error), "cannot audit that an operation did not begin");
        }
        Err(AgentError::CallGivenUp)
    }

    /// Takes back what was noted of an operation that does not begin.
    fn unnote(&self, running: &Running) {
        if let Err(error) = self.journal.forget(&[running.operation().id]) {
            tracing::error!(error = %crate::text::chain(&error), "an operation that did not begin stays in the journal");
        }
    }

    /// Goes on with an operation of an agent before this one, which has noted it.
    ///
    /// # Errors
    /// If the disk cannot be had; the operation waits still then. If it cannot be audited, which ends it.
    pub(super) fn begin_again<D>(
        self: &Arc<Self>,
        operation: Uuid,
        disk: &Disk,
        image: AuditedImage,
        open: impl FnOnce(&Disk) -> Result<D, AgentError>,
    ) -> Result<(Work, D), AgentError> {
        // The disk first: a hold that is let go of ends the operation, and says less well why.
        let device = open(disk)?;
        let running = self.registry.resume(operation, disk)?;
        if let Err(error) = self.audit_begin(running.operation(), disk, image, &[]) {
            running.finish(Err(Failure::from(&error)));
            return Err(error.into());
        }
        Ok((Work::new(self, running), device))
    }

    /// Notes how an operation ended. Gives how it ended: what cannot be noted has not ended well.
    fn note_end(&self, operation: &Operation, result: Result<Outcome, Failure>) -> Result<Outcome, Failure> {
        let is_cancelled = result.as_ref().is_err_and(|failure| failure.reason == Reason::OperationCancelled);
        // What a stopping agent cancels goes on when it is back, if it can.
        if is_cancelled && self.registry.is_stopping() && self.journal.can_go_on(operation.id) {
            return Err(goes_on(operation));
        }
        operation.publish();
        let audited = self.audit_end(operation, &result).inspect_err(|error| {
            tracing::error!(error = %crate::text::chain(error), "cannot audit how an operation ended");
        });
        let result = result.and_then(|outcome| audited.map(|()| outcome).map_err(|error| Failure::from(&error)));
        match self.journal.end(operation.id, self.clock.0.now(), &operation.snapshot(), &result) {
            Ok(()) => result,
            Err(error) => {
                tracing::error!(error = %crate::text::chain(&error), "cannot note how an operation ended");
                result.and_then(|_| Err(Failure::from(&error)))
            }
        }
    }

    /// Takes over what agents before this one have noted. Gives what may go on: see [`resume`](Self::resume).
    ///
    /// # Errors
    /// If the journal cannot be read.
    pub fn restore(&self) -> Result<Vec<Waiting>, JournalError> {
        let mut waiting = Vec::new();
        for found in self.journal.load()? {
            match found {
                Found::Entry(entry) => {
                    let operation = Arc::new(entry.revive());
                    self.registry.restore(operation.clone());
                    match entry.pull {
                        _ if operation.snapshot().is_done() => {}
                        Some(pending) => waiting.push(Waiting { operation, pending }),
                        None if entry.cancelled => self.end_restored(&operation, cancelled(&operation)),
                        None => self.end_restored(&operation, interrupted(&operation)),
                    }
                }
                Found::Damaged { operation, path, error } => {
                    tracing::error!(path = %path.display(), %error, "an entry of the journal cannot be read");
                    self.registry.restore(Arc::new(damaged(operation, &path, &error)));
                }
            }
        }
        self.forget_expired();
        Ok(waiting)
    }

    /// Ends an operation that was restored and cannot go on.
    pub(super) fn end_restored(&self, operation: &Operation, failure: Failure) {
        tracing::warn!(operation = %operation.id, reason = failure.reason.name(), "interrupted: {}", failure.message);
        if let Err(failure) = self.note_end(operation, Err(failure)) {
            self.registry.end_restored(operation, failure);
        }
    }

    /// Notes who has cancelled an operation, for good: an install that is cancelled does not go on after a restart, even one
    /// that comes before it has ended. Its work has been told to stop by then, for a state directory may hang.
    pub fn note_cancel(&self, operation: &Operation, caller: &Caller) {
        // One more cancel changes nothing.
        if self.journal.is_given_up(operation.id) {
            return;
        }
        self.audit_cancel(operation, caller);
        if let Err(error) = self.journal.give_up(operation.id) {
            tracing::error!(error = %crate::text::chain(&error), "a cancelled install may go on after a restart");
        }
        // Whoever asks next sees that it is to end.
        operation.publish();
    }

    /// Forgets an operation that has ended.
    ///
    /// # Errors
    /// If it runs, or the journal cannot be written.
    pub fn delete(&self, operation: &Operation, caller: &Caller) -> Result<(), AgentError> {
        self.registry.check_ended(operation)?;
        self.audit_delete(operation, caller)?;
        self.journal.forget(&[operation.id])?;
        self.registry.forget(operation);
        Ok(())
    }

    fn forget_expired(&self) {
        if let Err(error) = self.journal.forget(&self.registry.expire()) {
            tracing::error!(error = %crate::text::chain(&error), "operations that are forgotten stay in the journal");
        }
    }
}

/// An operation of an agent before this one, which may go on.
#[derive(Debug)]
pub struct Waiting {
    pub(super) operation: Arc<Operation>,
    pub(super) pending: Pending,
}

/// Starts the thread of an operation. The hold on the disk goes with it, and ends with it, whatever becomes of callers.
pub(super) fn spawn<W>(name: &str, work: Work, body: W) -> Result<(), AgentError>
where
    W: FnOnce(&Operation) -> Result<Outcome, ProvisionError> + Send + 'static,
{
    let thread = std::thread::Builder::new().name(name.to_owned());
    let call = tracing::Span::current();
    // The one line that has both: which call of whom, and which operation came of it.
    let Operation { id, request, disk, .. } = &**work.operation();
    tracing::info!(operation = %id, request_id = %request.id, disk, "accepted");
    let body = move || {
        let operation = work.operation().clone();
        let span = operation.span();
        // Not its child: the call ends long before it.
        span.follows_from(call);
        let _entered = span.entered();
        tracing::info!("began");
        let result = body(&operation).map_err(|error| Failure::from(&error));
        match &result {
            Ok(outcome) => tracing::info!(root = %blake3::Hash::from_bytes(outcome.root).to_hex(), "done"),
            Err(failure) => tracing::error!(reason = failure.reason.name(), error = failure.message, "failed"),
        }
        work.finish(result);
    };
    // A thread that cannot be started drops `work`: the operation ends with INTERNAL, and the disk is free.
    thread.spawn(body).map(drop).map_err(|source| AgentError::Thread { source })
}

fn cancelled(operation: &Operation) -> Failure {
    Failure::from(&ProvisionError::Cancelled { disk: operation.disk.clone() })
}

/// Of an install that the next agent goes on with.
fn goes_on(operation: &Operation) -> Failure {
    let message = format!("the agent stopped; {} goes on by itself when it is back", operation.name());
    Failure { reason: Reason::OperationInterrupted, message, metadata: vec![("disk".into(), operation.disk.clone())] }
}

fn interrupted(operation: &Operation) -> Failure {
    let message =
        format!("the agent ended before {} did; disk {} says what is on it", operation.name(), operation.disk);
    Failure { reason: Reason::OperationInterrupted, message, metadata: vec![("disk".into(), operation.disk.clone())] }
}

fn damaged(id: Uuid, path: &std::path::Path, error: &std::io::Error) -> Operation {
    let nobody =
        Request { id: Uuid::nil(), digest: [0; 32], caller: Caller::default(), method: "", call: Call::default() };
    let operation = Operation::new(id, OperationKind::Unknown, nobody, String::new(), std::time::UNIX_EPOCH);
    let path = path.display().to_string();
    let message = format!("what was noted of {} in {path} cannot be read: {error}", operation.name());
    let failure = Failure { reason: Reason::OperationRecordDamaged, message, metadata: vec![("path".into(), path)] };
    operation.ended_before(Snapshot {
        end: Some((std::time::UNIX_EPOCH, Err(failure))),
        ..operation.snapshot().as_ref().clone()
    });
    operation
}
