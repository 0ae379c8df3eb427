//! What metrics hear of operations: that they begin and end, what they move, and how long their stages take.
//!
//! Words for kinds, bytes and stages are here; they never change, for dashboards have them.

use std::sync::{Mutex, PoisonError};

use super::handle::{Failure, OperationKind, Outcome};
use crate::metrics::{self, Ending};
use crate::provision::progress::{Counters, Progress, Stage};
use crate::reason::ErrorKind;

/// A kind of bytes: its word, and how many there are of it.
type Bytes = (&'static str, fn(&Progress) -> u64);

/// Every kind but the total, which moves nothing.
const BYTES: [Bytes; 8] = [
    ("received", |progress| progress.received_bytes),
    ("wire", |progress| progress.wire_bytes),
    ("present", |progress| progress.present_bytes),
    ("hole", |progress| progress.hole_bytes),
    ("written", |progress| progress.written_bytes),
    ("verified", |progress| progress.verified_bytes),
    ("read", |progress| progress.read_bytes),
    ("uploaded", |progress| progress.uploaded_bytes),
];

/// Shows all kinds of operations before there is one.
pub fn introduce() {
    for kind in OperationKind::ALL {
        metrics::operation_kind(kind.name(), &BYTES.map(|(name, _)| name));
    }
}

const fn stage_name(stage: Stage) -> Option<&'static str> {
    match stage {
        Stage::Prepare => Some("prepare"),
        Stage::Write => Some("write"),
        Stage::ReadBack => Some("read_back"),
        Stage::Commit => Some("commit"),
        Stage::Read => Some("read"),
        Stage::Store => Some("store"),
        Stage::Inspect => Some("inspect"),
        // Nothing is left to take time.
        Stage::Done => None,
    }
}

/// What was told of one operation.
#[derive(Debug)]
pub(super) struct Meter {
    kind: &'static str,
    told: Mutex<Progress>,
}

impl Meter {
    /// Tells that it begins.
    pub(super) fn begin(kind: OperationKind) -> Self {
        metrics::operation_began(kind.name());
        Self { kind: kind.name(), told: Mutex::default() }
    }

    /// Tells what was moved since the last time. Gives what was moved in all.
    pub(super) fn moved(&self, counters: &Counters) -> Progress {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Read while nobody else tells, so that nothing is told twice or goes back.
        let progress = counters.progress();
        for (name, value) in BYTES {
            let more = value(&progress).saturating_sub(value(&told));
            if more > 0 {
                metrics::operation_moved(self.kind, name, more);
            }
        }
        *told = progress;
        progress
    }

    /// Tells that it ended, and how long its stages took.
    pub(super) fn end(&self, counters: &Counters, result: &Result<Outcome, Failure>) {
        for (stage, time) in counters.stage_times() {
            if let Some(stage) = stage_name(stage) {
                metrics::stage_took(self.kind, stage, time);
            }
        }
        metrics::operation_ended(self.kind, Some(ending(result)));
    }

    /// Tells that it was taken back.
    pub(super) fn withdraw(&self) {
        metrics::operation_ended(self.kind, None);
    }
}

fn ending(result: &Result<Outcome, Failure>) -> Ending {
    match result {
        Ok(_) => Ending::Done,
        Err(failure) if failure.reason.kind() == ErrorKind::Cancelled => Ending::Cancelled,
        Err(failure) => Ending::Failed(failure.reason.name()),
    }
}

#[cfg(test)]
mod tests {
    use ::metrics::with_local_recorder;
    use metrics_exporter_prometheus::PrometheusBuilder;

    use super::{Counters, Ending, Failure, Meter, OperationKind, ending};
    use crate::provision::progress::Stage;
    use crate::reason::Reason;

    fn failure(reason: Reason) -> Failure {
        Failure { reason, message: String::new(), metadata: Vec::new() }
    }

    #[test]
    fn a_cancel_is_no_failure() {
        assert_eq!(ending(&Err(failure(Reason::OperationCancelled))), Ending::Cancelled);
        assert_eq!(ending(&Err(failure(Reason::DiskIo))), Ending::Failed("DISK_IO"));
    }

    #[test]
    fn bytes_are_told_once_and_stages_at_the_end() {
        let recorder = PrometheusBuilder::new().build_recorder();
        let page = || recorder.handle().render();
        with_local_recorder(&recorder, || {
            let (meter, counters) = (Meter::begin(OperationKind::Install), Counters::default());
            assert!(page().contains("operations_running{kind=\"install\"} 1"), "{}", page());
            counters.written.add(5);
            meter.moved(&counters);
            counters.written.add(6);
            assert_eq!(meter.moved(&counters).written_bytes, 11);
            meter.moved(&counters);
            assert!(page().contains("bytes_total{kind=\"install\",bytes=\"written\"} 11"), "{}", page());
            counters.enter(Stage::Write);
            counters.enter(Stage::Done);
            meter.end(&counters, &Err(failure(Reason::DiskIo)));
        });
        let page = page();
        for text in [
            "operations_running{kind=\"install\"} 0",
            "operations_total{kind=\"install\",result=\"failed\"} 1",
            "operations_failed_total{kind=\"install\",reason=\"DISK_IO\"} 1",
            "stage_seconds_count{kind=\"install\",stage=\"prepare\"} 1",
            "stage_seconds_count{kind=\"install\",stage=\"write\"} 1",
        ] {
            assert!(page.contains(text), "{text} is not in\n{page}");
        }
        assert!(!page.contains("done"), "{page}");
    }
}
