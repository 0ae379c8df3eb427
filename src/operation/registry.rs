//! Which operations there are, which request began each, and which disk each holds.
//!
//! In memory: after a restart nothing is remembered but what the disks themselves say.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;
use uuid::Uuid;

use super::handle::{Failure, Operation, OperationKind, Outcome};
use crate::clock::Clock;
use crate::disk::discovery::Disk;
use crate::disk::identity::DeviceNumber;
use crate::reason::{DomainError, Reason};

/// Most operations that run at once: memory is bounded by this many times the memory budget of one.
const MAX_RUNNING: usize = 4;
/// Most ended operations that are remembered; the oldest is forgotten first.
const MAX_ENDED: usize = 1000;

/// Who asks for an operation, and for what exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Request {
    /// The caller's id for the request.
    pub id: Uuid,
    /// Digest of the whole request.
    pub digest: [u8; 32],
}

/// Why there is no operation.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The request id stands for another request.
    #[error("request id {id} was used for another request")]
    RequestIdReused {
        /// The id.
        id: Uuid,
    },
    /// Another operation holds the disk.
    #[error("disk {disk} is held by {operation}")]
    DiskHeld {
        /// Kernel name of the disk.
        disk: String,
        /// Name of the operation that holds it.
        operation: String,
    },
    /// Too many run.
    #[error("{MAX_RUNNING} operations are running already")]
    TooMany,
    /// The agent is stopping.
    #[error("the agent is stopping")]
    Stopping,
    /// There is none of this name.
    #[error("there is no operation {name}")]
    NotFound {
        /// The name.
        name: String,
    },
    /// It still runs.
    #[error("{operation} is still running")]
    Running {
        /// Its name.
        operation: String,
    },
}

impl DomainError for RegistryError {
    fn reason(&self) -> Reason {
        match self {
            Self::RequestIdReused { .. } => Reason::RequestIdReused,
            Self::DiskHeld { .. } => Reason::OperationInProgress,
            Self::TooMany => Reason::OperationLimit,
            Self::Stopping => Reason::AgentStopping,
            Self::NotFound { .. } => Reason::OperationNotFound,
            Self::Running { .. } => Reason::OperationRunning,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::RequestIdReused { id } => vec![("requestId", id.to_string())],
            Self::DiskHeld { disk, operation } => vec![("disk", disk.clone()), ("operation", operation.clone())],
            Self::NotFound { name } => vec![("operation", name.clone())],
            Self::Running { operation } => vec![("operation", operation.clone())],
            Self::TooMany | Self::Stopping => Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// By age: the key counts up.
    operations: BTreeMap<u64, Arc<Operation>>,
    next: u64,
    requests: HashMap<Uuid, ([u8; 32], Arc<Operation>)>,
    disks: HashMap<DeviceNumber, Arc<Operation>>,
    stopping: bool,
}

/// All operations of this agent.
pub struct Registry {
    state: Mutex<State>,
    clock: Arc<dyn Clock>,
    ended: Notify,
}

impl std::fmt::Debug for Registry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registry").field("state", &self.state).finish_non_exhaustive()
    }
}

/// An operation that was just begun. It holds its disk until this is dropped, so it belongs to whoever does the work.
#[derive(Debug)]
pub struct Running {
    registry: Arc<Registry>,
    operation: Arc<Operation>,
    disk: DeviceNumber,
    ended: bool,
}

/// What a request to begin came to.
#[derive(Debug)]
pub enum Begun {
    /// A new operation.
    New(Running),
    /// The operation that the same request began before.
    Known(Arc<Operation>),
}

impl Registry {
    /// A registry without operations.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { state: Mutex::default(), clock, ended: Notify::new() }
    }

    /// The operation that this request began before, if it did.
    ///
    /// # Errors
    /// [`RegistryError::RequestIdReused`].
    pub fn known(&self, request: &Request) -> Result<Option<Arc<Operation>>, RegistryError> {
        self.state().known(request)
    }

    /// Fails if an operation holds a disk.
    ///
    /// # Errors
    /// [`RegistryError::DiskHeld`].
    pub fn check_free(&self, disk: &Disk) -> Result<(), RegistryError> {
        self.state().check_free(disk)
    }

    /// Begins an operation on a disk, once for each request.
    ///
    /// # Errors
    /// If another one holds the disk, the request id is taken, too many run, or the agent is stopping.
    pub fn begin(
        self: &Arc<Self>,
        request: &Request,
        kind: OperationKind,
        disk: &Disk,
    ) -> Result<Begun, RegistryError> {
        self.begin_as(Uuid::new_v4(), request, kind, disk)
    }

    /// The same, for an operation whose id is known: it goes on after a restart.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_as(
        self: &Arc<Self>,
        id: Uuid,
        request: &Request,
        kind: OperationKind,
        disk: &Disk,
    ) -> Result<Begun, RegistryError> {
        let mut state = self.state();
        if let Some(operation) = state.known(request)? {
            return Ok(Begun::Known(operation));
        }
        if state.stopping {
            return Err(RegistryError::Stopping);
        }
        state.check_free(disk)?;
        if state.disks.len() >= MAX_RUNNING {
            return Err(RegistryError::TooMany);
        }
        let operation = Arc::new(Operation::new(id, kind, request.id, disk.name.clone(), self.clock.now()));
        let age = state.next;
        state.next += 1;
        state.operations.insert(age, operation.clone());
        state.requests.insert(request.id, (request.digest, operation.clone()));
        state.disks.insert(disk.device_number, operation.clone());
        state.forget_old();
        drop(state);
        Ok(Begun::New(Running { registry: self.clone(), operation, disk: disk.device_number, ended: false }))
    }

    /// An operation by its name, with or without `operations/`.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`].
    pub fn find(&self, name: &str) -> Result<Arc<Operation>, RegistryError> {
        let id = Uuid::try_parse(name.strip_prefix("operations/").unwrap_or(name)).ok();
        let state = self.state();
        let found = state.operations.values().rev().find(|operation| Some(operation.id) == id);
        found.cloned().ok_or_else(|| RegistryError::NotFound { name: crate::text::printable(name) })
    }

    /// All operations, newest first.
    pub fn list(&self) -> Vec<Arc<Operation>> {
        self.state().operations.values().rev().cloned().collect()
    }

    /// Forgets an operation that has ended. Its request id stays taken no longer.
    ///
    /// # Errors
    /// If there is none of this name, or it runs.
    pub fn forget(&self, name: &str) -> Result<(), RegistryError> {
        let operation = self.find(name)?;
        if !operation.snapshot().is_done() {
            return Err(RegistryError::Running { operation: operation.name() });
        }
        self.state().remove(operation.id);
        Ok(())
    }

    /// Lets no new operation begin.
    pub fn stop(&self) {
        self.state().stopping = true;
    }

    /// Whether no new operation begins.
    pub fn is_stopping(&self) -> bool {
        self.state().stopping
    }

    /// Cancels everything that runs.
    pub fn cancel_all(&self) {
        self.state().disks.values().for_each(|operation| operation.cancel.cancel());
    }

    /// Waits until nothing runs.
    pub async fn idle(&self) {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            ended.as_mut().enable();
            if self.state().disks.is_empty() {
                return;
            }
            ended.await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn known(&self, request: &Request) -> Result<Option<Arc<Operation>>, RegistryError> {
        match self.requests.get(&request.id) {
            None => Ok(None),
            Some((digest, operation)) if *digest == request.digest => Ok(Some(operation.clone())),
            Some(_) => Err(RegistryError::RequestIdReused { id: request.id }),
        }
    }

    fn check_free(&self, disk: &Disk) -> Result<(), RegistryError> {
        match self.disks.get(&disk.device_number) {
            None => Ok(()),
            Some(holder) => Err(RegistryError::DiskHeld { disk: disk.name.clone(), operation: holder.name() }),
        }
    }

    fn forget_old(&mut self) {
        let ended = self.operations.len().saturating_sub(self.disks.len());
        if ended <= MAX_ENDED {
            return;
        }
        let oldest = self.operations.values().find(|operation| operation.snapshot().is_done()).map(|old| old.id);
        if let Some(id) = oldest {
            self.remove(id);
        }
    }

    fn remove(&mut self, id: Uuid) {
        self.operations.retain(|_, operation| operation.id != id);
        self.requests.retain(|_, (_, operation)| operation.id != id);
    }
}

impl Running {
    /// The operation.
    pub fn operation(&self) -> &Arc<Operation> {
        &self.operation
    }

    /// Ends the operation, and lets go of the disk.
    pub fn finish(mut self, result: Result<Outcome, Failure>) {
        self.end(result);
    }

    /// Takes the operation back: nothing was begun. A repeated request that found it meanwhile sees why; later ones begin
    /// anew.
    pub fn withdraw(mut self, failure: Failure) {
        let mut state = self.registry.state();
        state.remove(self.operation.id);
        state.disks.remove(&self.disk);
        self.operation.withdraw(self.registry.clock.now(), failure);
        self.ended = true;
    }

    /// Whoever sees the end may have the disk: both change at once.
    fn end(&mut self, result: Result<Outcome, Failure>) {
        let mut state = self.registry.state();
        state.disks.remove(&self.disk);
        self.operation.end(self.registry.clock.now(), result);
        self.ended = true;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            let message = format!("the work of {} ended without a result", self.operation.name());
            self.end(Err(Failure { reason: Reason::Internal, message, metadata: Vec::new() }));
        }
        self.registry.ended.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
