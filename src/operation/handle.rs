//! One operation: what it does, how far it is, and how it ended.

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::meter::Meter;
use super::rate::{Rate, eta};
use super::request::Request;
use crate::disk::discovery::Disk;
use crate::image::manifest::ImageId;
use crate::provision::progress::{Counters, Progress, Stage};
use crate::reason::{DomainError, Reason};

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OperationKind {
    /// Nobody knows any more: what was noted of it cannot be read.
    Unknown,
    /// Installs an image.
    Install,
    /// Verifies a disk.
    Verify,
    /// Captures a disk.
    Capture,
}

impl OperationKind {
    /// All kinds that begin.
    pub const ALL: [Self; 3] = [Self::Install, Self::Verify, Self::Capture];

    /// Its name, in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "unknown",
            Self::Install => "install",
            Self::Verify => "verify",
            Self::Capture => "capture",
        }
    }
}

/// How an operation ended well.
#[derive(Debug, Clone)]
pub struct Outcome {
    /// The disk.
    pub disk: Disk,
    /// BLAKE3 of what is on it.
    pub root: [u8; 32],
    /// Bytes that the root covers.
    pub len_bytes: u64,
    /// What did not go as it should, but does no harm.
    pub warnings: Vec<String>,
    /// What a capture made.
    pub captured: Option<Captured>,
}

/// What a capture made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Captured {
    /// Id of the image; none if it went to the caller.
    pub image: Option<ImageId>,
    /// Content that is not in holes, in bytes.
    pub data_bytes: u64,
    /// Of it, what was new to the repository, or went to the caller, in bytes.
    pub new_bytes: u64,
    /// Of it, what the repository had already, in bytes.
    pub present_bytes: u64,
    /// Bytes of objects that were written, compressed.
    pub stored_bytes: u64,
}

/// How an operation or a call ended otherwise.
#[derive(Debug, Clone)]
pub struct Failure {
    /// Why.
    pub reason: Reason,
    /// What happened, with its causes, for people.
    pub message: String,
    /// Every variable of the message.
    pub metadata: Vec<(Cow<'static, str>, String)>,
}

impl<E: DomainError> From<&E> for Failure {
    fn from(error: &E) -> Self {
        // Some domain errors have a table below their first line; what comes from elsewhere has no say in lines.
        let message = error.to_string() + &crate::text::causes(error);
        let metadata = error.metadata().into_iter().map(|(key, value)| (key.into(), value)).collect();
        Self { reason: error.reason(), message, metadata }
    }
}

/// The state of an operation at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Rises with every change.
    pub sequence: u64,
    /// Where it is.
    pub stage: Stage,
    /// What was moved so far.
    pub progress: Progress,
    /// Bytes a second, over the last seconds.
    pub rate: u64,
    /// Time left, as far as can be told.
    pub eta: Option<Duration>,
    /// Whether a cancel was asked for.
    pub cancel_requested: bool,
    /// How it ended, and when.
    pub end: Option<(SystemTime, Result<Outcome, Failure>)>,
}

impl Snapshot {
    /// Whether the operation has ended.
    pub const fn is_done(&self) -> bool {
        self.end.is_some()
    }

    fn same_but_sequence(&self, other: &Self) -> bool {
        let facts = |snapshot: &Self| {
            (snapshot.stage, snapshot.progress, snapshot.rate, snapshot.cancel_requested, snapshot.is_done())
        };
        facts(self) == facts(other)
    }
}

/// An operation.
#[derive(Debug)]
pub struct Operation {
    /// Its id.
    pub id: Uuid,
    /// What it does.
    pub kind: OperationKind,
    /// The request that began it, and who made it.
    pub request: Request,
    /// Kernel name of the disk; empty if it is not known any more.
    pub disk: String,
    /// When it began.
    pub started_at: SystemTime,
    /// Counts what is moved.
    pub counters: Arc<Counters>,
    /// Set when a caller cancels.
    pub cancel: CancellationToken,
    state: watch::Sender<Arc<Snapshot>>,
    rate: Mutex<Rate>,
    meter: Meter,
    is_followed: AtomicBool,
}

impl Operation {
    /// An operation that has not moved anything yet.
    pub fn new(id: Uuid, kind: OperationKind, request: Request, disk: String, started_at: SystemTime) -> Self {
        Self {
            id,
            kind,
            request,
            disk,
            started_at,
            counters: Arc::default(),
            cancel: CancellationToken::new(),
            state: watch::Sender::new(Arc::new(Snapshot { sequence: 1, ..Snapshot::default() })),
            rate: Mutex::default(),
            meter: Meter::begin(kind),
            is_followed: AtomicBool::new(false),
        }
    }

    /// The same, whose next states have numbers above `sequence`: whoever followed it before the agent was restarted misses
    /// none of them.
    #[must_use]
    pub fn after(self, sequence: u64) -> Self {
        self.state.send_modify(|state| Arc::make_mut(state).sequence = sequence + 1);
        self
    }

    /// The resource name: `operations/` and the id.
    pub fn name(&self) -> String {
        format!("operations/{}", self.id)
    }

    /// The span of its log lines, inside the current one. Whoever works for it on another thread or task enters it there.
    pub fn span(&self) -> tracing::Span {
        tracing::info_span!(
            "operation",
            operation = %self.id,
            request_id = %self.request.id,
            disk = self.disk,
            kind = ?self.kind
        )
    }

    /// The latest state.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.state.borrow().clone()
    }

    /// Follows the state.
    pub fn watch(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.state.subscribe()
    }

    /// Waits for the end.
    pub async fn ended(&self) -> Arc<Snapshot> {
        let mut states = self.watch();
        // The sender is part of `self`, so the channel cannot close.
        match states.wait_for(|snapshot| snapshot.is_done()).await {
            Ok(snapshot) => snapshot.clone(),
            Err(_closed) => self.snapshot(),
        }
    }

    /// Whether nobody has taken it upon themselves yet to [publish](Self::publish) again and again.
    pub fn is_first_to_follow(&self) -> bool {
        !self.is_followed.swap(true, Ordering::Relaxed)
    }

    /// Shows the present progress to those who follow. Gives whether the operation goes on.
    pub fn publish(&self) -> bool {
        self.update(None);
        !self.snapshot().is_done()
    }

    /// Whoever sees the end sees it in the metrics as well.
    pub(super) fn end(&self, at: SystemTime, result: Result<Outcome, Failure>) {
        if self.snapshot().is_done() {
            return;
        }
        self.meter.moved(&self.counters);
        self.meter.end(&self.counters, &result);
        self.update(Some((at, result)));
    }

    /// Takes over how it ended before the agent was restarted.
    pub fn ended_before(&self, snapshot: Snapshot) {
        // It was counted by the agent that ran it.
        self.meter.withdraw();
        self.state.send_replace(Arc::new(snapshot));
    }

    /// Ends what was not begun.
    pub(super) fn withdraw(&self, at: SystemTime, failure: Failure) {
        self.meter.withdraw();
        self.update(Some((at, Err(failure))));
    }

    fn update(&self, end: Option<(SystemTime, Result<Outcome, Failure>)>) {
        let progress = self.meter.moved(&self.counters);
        let (done, all) = self.work(&progress);
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner).sample(Instant::now(), done);
        self.state.send_if_modified(|state| {
            if state.is_done() {
                return false;
            }
            let next = Snapshot {
                sequence: state.sequence + 1,
                stage: self.counters.stage(),
                progress,
                rate,
                eta: eta(all.saturating_sub(done), rate),
                cancel_requested: self.cancel.is_cancelled(),
                end,
            };
            let changed = !next.same_but_sequence(state);
            if changed {
                *state = Arc::new(next);
            }
            changed
        });
    }

    /// Bytes done, and in all. An install moves each byte to the disk and back: on the disk it counts half, proven whole, so
    /// that a rate is one of the image.
    const fn work(&self, progress: &Progress) -> (u64, u64) {
        match self.kind {
            OperationKind::Verify | OperationKind::Unknown => (progress.verified_bytes, progress.total_bytes),
            OperationKind::Capture => (progress.read_bytes, progress.total_bytes),
            OperationKind::Install => {
                let placed = progress.written_bytes + progress.present_bytes + progress.hole_bytes;
                (u64::midpoint(placed, progress.verified_bytes), progress.total_bytes)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use uuid::Uuid;

    use super::{Failure, Operation, OperationKind, Request};
    use crate::operation::{Call, Caller};
    use crate::provision::error::ProvisionError;
    use crate::provision::progress::Stage;
    use crate::reason::Reason;

    fn operation() -> Operation {
        Operation::new(
            Uuid::from_u128(2),
            OperationKind::Install,
            Request {
                id: Uuid::from_u128(1),
                digest: [1; 32],
                caller: Caller::default(),
                method: "",
                call: Call::default(),
            },
            "sda".to_owned(),
            SystemTime::UNIX_EPOCH,
        )
    }

    fn failure() -> Failure {
        Failure::from(&ProvisionError::Cancelled { disk: "sda".to_owned() })
    }

    #[test]
    fn sequence_rises_with_every_change_and_only_then() {
        let operation = operation();
        assert_eq!(operation.snapshot().sequence, 1);
        assert!(operation.publish());
        assert_eq!(operation.snapshot().sequence, 1, "nothing changed");
        operation.counters.enter(Stage::Write);
        operation.counters.written.add(5);
        assert!(operation.publish());
        let snapshot = operation.snapshot();
        assert_eq!((snapshot.sequence, snapshot.stage, snapshot.progress.written_bytes), (2, Stage::Write, 5));
        operation.cancel.cancel();
        operation.publish();
        assert_eq!((operation.snapshot().sequence, operation.snapshot().cancel_requested), (3, true));
    }

    #[test]
    fn states_after_a_restart_have_higher_numbers_than_those_before() {
        let operation = operation().after(7);
        assert_eq!(operation.snapshot().sequence, 8);
        operation.end(SystemTime::UNIX_EPOCH, Err(failure()));
        assert_eq!(operation.snapshot().sequence, 9);
    }

    #[test]
    fn the_end_is_the_last_change() {
        let operation = operation();
        let states = operation.watch();
        operation.end(SystemTime::UNIX_EPOCH, Err(failure()));
        assert!(states.has_changed().expect("open"));
        let ended = operation.snapshot();
        assert!(ended.is_done());
        operation.counters.written.add(5);
        operation.end(SystemTime::UNIX_EPOCH, Err(Failure { reason: Reason::Internal, ..failure() }));
        assert!(!operation.publish(), "it does not go on");
        let later = operation.snapshot();
        assert_eq!(later.sequence, ended.sequence);
        let (_, result) = later.end.as_ref().expect("ended");
        assert_eq!(result.as_ref().expect_err("cancelled").reason, Reason::OperationCancelled);
    }

    #[test]
    fn a_failure_tells_its_causes_once_each() {
        let source = std::io::Error::other("the cable is out");
        let error = ProvisionError::from(crate::disk::device::DeviceError::Flush { disk: "sda".to_owned(), source });
        let failure = Failure::from(&error);
        assert_eq!(failure.reason, Reason::DiskFlush);
        assert_eq!(failure.message.matches("the cable is out").count(), 1, "{}", failure.message);
        assert_eq!(failure.message.matches("cannot flush").count(), 1, "{}", failure.message);
    }

    #[test]
    fn what_ended_before_a_restart_does_not_count_as_running_and_no_end_counts_twice() {
        let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
        let count = |operations: &str| {
            assert!(recorder.handle().render().contains(operations), "{}", recorder.handle().render());
        };
        ::metrics::with_local_recorder(&recorder, || {
            let (before, now) = (operation(), operation());
            count("operations_running{kind=\"install\"} 2");
            before.ended_before(before.snapshot().as_ref().clone());
            count("operations_running{kind=\"install\"} 1");
            now.end(SystemTime::UNIX_EPOCH, Err(failure()));
            now.end(SystemTime::UNIX_EPOCH, Err(failure()));
            count("operations_running{kind=\"install\"} 0");
        });
    }
}
