//! Which operations there are, which request began each, and which disk each holds.
//!
//! In memory: what outlives a restart is the agent's journal, which restores it here.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;
use uuid::Uuid;

use super::handle::{Failure, Operation, OperationKind, Outcome};
use super::request::Request;
use crate::clock::Clock;
use crate::disk::discovery::Disk;
use crate::disk::identity::DeviceNumber;
use crate::reason::{DomainError, Reason};

/// Most operations that run at once: memory is bounded by this many times the memory budget of one.
const MAX_RUNNING: usize = 4;
/// How many ended operations are remembered however old they are.
const KEPT: usize = 1000;
/// How long an operation that has ended is remembered at least: so long a repeated request finds it.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);
/// Most ended operations at all: one in 20 s for a day. Then none begins until the oldest may be forgotten.
const MAX_ENDED: usize = 4096;

/// Why there is no operation.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The request id stands for another request.
    #[error("request id {id} was used for another request")]
    RequestIdReused {
        /// The id.
        id: Uuid,
    },
    /// The request id stands for a request of somebody else.
    #[error("request id {id} is not this caller's")]
    RequestOfAnother {
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
    /// Too many have ended within a day.
    #[error("{MAX_ENDED} operations have ended within a day, and none may be forgotten yet")]
    TooManyEnded,
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
            Self::RequestOfAnother { .. } => Reason::OperationNotFound,
            Self::TooMany | Self::TooManyEnded => Reason::OperationLimit,
            Self::Stopping => Reason::AgentStopping,
            Self::NotFound { .. } => Reason::OperationNotFound,
            Self::Running { .. } => Reason::OperationRunning,
        }
    }

    fn metadata(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::RequestIdReused { id } | Self::RequestOfAnother { id } => vec![("requestId", id.to_string())],
            Self::DiskHeld { disk, operation } => vec![("disk", disk.clone()), ("operation", operation.clone())],
            Self::NotFound { name } => vec![("operation", name.clone())],
            Self::Running { operation } => vec![("operation", operation.clone())],
            Self::TooMany | Self::TooManyEnded | Self::Stopping => Vec::new(),
        }
    }
}

#[derive(Debug, Default)]
struct State {
    /// By age: the key counts up.
    operations: BTreeMap<u64, Arc<Operation>>,
    next: u64,
    requests: HashMap<Uuid, Arc<Operation>>,
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
    /// If the id stands for another request, or for one of another caller.
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
        let mut state = self.state();
        if let Some(operation) = state.known(request)? {
            return Ok(Begun::Known(operation));
        }
        state.check_room(disk)?;
        if state.ended() >= MAX_ENDED {
            return Err(RegistryError::TooManyEnded);
        }
        let (id, disk_name) = (Uuid::new_v4(), disk.name.clone());
        let operation = Arc::new(Operation::new(id, kind, request.clone(), disk_name, self.clock.now()));
        state.insert(operation.clone());
        Ok(Begun::New(self.hold(&mut state, operation, disk)))
    }

    /// Goes on with an operation that was [restored](Self::restore) and has not ended.
    ///
    /// # Errors
    /// If there is none, or another one holds the disk, too many run, or the agent is stopping.
    pub fn resume(self: &Arc<Self>, id: Uuid, disk: &Disk) -> Result<Running, RegistryError> {
        let mut state = self.state();
        state.check_room(disk)?;
        let waits = |operation: &&Arc<Operation>| operation.id == id && !operation.snapshot().is_done();
        let operation = state.operations.values().find(waits).cloned();
        let operation = operation.ok_or_else(|| RegistryError::NotFound { name: format!("operations/{id}") })?;
        Ok(self.hold(&mut state, operation, disk))
    }

    fn hold(self: &Arc<Self>, state: &mut State, operation: Arc<Operation>, disk: &Disk) -> Running {
        state.disks.insert(disk.device_number, operation.clone());
        Running { registry: self.clone(), operation, disk: disk.device_number, ended: false }
    }

    /// Takes over an operation of an agent before this one, the oldest first. It holds no disk.
    pub fn restore(&self, operation: Arc<Operation>) {
        self.state().insert(operation);
    }

    /// Ends an operation that was restored, and cannot go on.
    pub fn end_restored(&self, operation: &Operation, failure: Failure) {
        operation.end(self.clock.now(), Err(failure));
    }

    /// Forgets ended operations that are old, beyond those that are kept in any case. Gives their ids.
    pub fn expire(&self) -> Vec<Uuid> {
        let now = self.clock.now();
        let mut state = self.state();
        let surplus = state.ended().saturating_sub(KEPT);
        let ended = state.operations.values().filter_map(|operation| {
            let (at, _) = operation.snapshot().end.clone()?;
            Some((operation.id, at))
        });
        let old = |at: SystemTime| now.duration_since(at).is_ok_and(|age| age >= REMEMBERED);
        let expired: Vec<_> = ended.take(surplus).filter(|&(_, at)| old(at)).map(|(id, _)| id).collect();
        for &id in &expired {
            state.remove(id);
        }
        expired
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

    /// Fails unless an operation has ended.
    ///
    /// # Errors
    /// [`RegistryError::Running`].
    pub fn check_ended(&self, operation: &Operation) -> Result<(), RegistryError> {
        let has_ended = operation.snapshot().is_done();
        if has_ended { Ok(()) } else { Err(RegistryError::Running { operation: operation.name() }) }
    }

    /// Forgets an operation that has ended. Its request id stays taken no longer.
    pub fn forget(&self, operation: &Operation) {
        self.state().remove(operation.id);
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
        let Some(operation) = self.requests.get(&request.id) else { return Ok(None) };
        if !operation.request.caller.is(&request.caller) {
            return Err(RegistryError::RequestOfAnother { id: request.id });
        }
        if operation.request.digest != request.digest {
            return Err(RegistryError::RequestIdReused { id: request.id });
        }
        Ok(Some(operation.clone()))
    }

    /// Fails unless one more may run, on this disk.
    fn check_room(&self, disk: &Disk) -> Result<(), RegistryError> {
        if self.stopping {
            return Err(RegistryError::Stopping);
        }
        self.check_free(disk)?;
        if self.disks.len() >= MAX_RUNNING { Err(RegistryError::TooMany) } else { Ok(()) }
    }

    fn check_free(&self, disk: &Disk) -> Result<(), RegistryError> {
        match self.disks.get(&disk.device_number) {
            None => Ok(()),
            Some(holder) => Err(RegistryError::DiskHeld { disk: disk.name.clone(), operation: holder.name() }),
        }
    }

    /// How many have ended. Those that were restored and wait count as well.
    fn ended(&self) -> usize {
        self.operations.len().saturating_sub(self.disks.len())
    }

    fn insert(&mut self, operation: Arc<Operation>) {
        // Of what cannot be read any more nobody knows who asked for it.
        if !operation.request.id.is_nil() {
            self.requests.insert(operation.request.id, operation.clone());
        }
        self.operations.insert(self.next, operation);
        self.next += 1;
    }

    fn remove(&mut self, id: Uuid) {
        self.operations.retain(|_, operation| operation.id != id);
        self.requests.retain(|_, operation| operation.id != id);
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
