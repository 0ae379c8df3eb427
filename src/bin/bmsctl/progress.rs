//! What people see while an operation runs: a bar on a terminal, a plain line every two seconds elsewhere, nothing
//! where the result is for a program.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use bms_agent::rpc::proto::longrunning::Operation;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::OutputFormat;
use crate::connect::Agent;
use crate::format::{bytes, rate, time_left};
use crate::output::Output;
use crate::view::OperationView;
use crate::watch::follow;

const LINE_INTERVAL: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "{prefix:<9} {bar:20} {percent:>3}%  {wide_msg}";

/// The progress of one operation, watched beside whatever else is done with it. Dropping it stops the watch.
#[derive(Debug)]
pub(crate) struct Progress {
    task: AbortOnDropHandle<()>,
}

impl Progress {
    /// Begins to show it, if it is to be shown at all.
    pub(crate) fn start(agent: &Agent, name: &str, output: &Output) -> Option<Self> {
        let mut reporter = Reporter::new(output)?;
        let (agent, name) = (agent.clone(), name.to_owned());
        let watch = async move {
            let watched = follow(&agent, &name, |state| {
                reporter.report(state);
                Ok(())
            });
            // It is only for the eyes: who waits for the operation also learns of what went wrong.
            watched.await.ok();
        };
        Some(Self { task: AbortOnDropHandle::new(tokio::spawn(watch)) })
    }

    /// Takes it off the terminal.
    pub(crate) async fn stop(self) {
        self.task.abort();
        self.task.await.ok();
    }
}

/// How progress is shown.
#[derive(Debug)]
pub(crate) enum Reporter {
    /// A bar that is redrawn.
    Bar(ProgressBar),
    /// Lines.
    Lines(Output, LinePace),
}

impl Reporter {
    /// The fitting one; none where the result is for a program.
    pub(crate) fn new(output: &Output) -> Option<Self> {
        if output.format() == OutputFormat::Json {
            return None;
        }
        if !io::stderr().is_terminal() {
            return Some(Self::Lines(output.clone(), LinePace::default()));
        }
        let style = ProgressStyle::with_template(TEMPLATE).unwrap_or_else(|_malformed| ProgressStyle::default_bar());
        let bar = ProgressBar::new(0).with_style(style).with_finish(ProgressFinish::AndClear);
        Some(Self::Bar(output.bars().add(bar)))
    }

    /// Shows a state. One that cannot be read is not shown.
    pub(crate) fn report(&mut self, operation: &Operation) {
        let Ok(view) = OperationView::new(operation.clone()) else {
            return;
        };
        let stage = stage(&view);
        match self {
            Self::Bar(bar) => {
                bar.set_length(view.progress.total_bytes);
                bar.set_position(done_bytes(&view));
                bar.set_prefix(stage);
                bar.set_message(details(&view));
            }
            Self::Lines(output, pace) => {
                // What has not begun is not worth a line, and the end is told by the result.
                if done_bytes(&view) > 0 && !view.done && pace.is_due(&stage, Instant::now()) {
                    output.note(&format!("{stage}: {} %, {}", percent(&view), details(&view)));
                }
            }
        }
    }
}

/// When the next line is due.
#[derive(Debug, Default)]
pub(crate) struct LinePace {
    last: Option<(String, Instant)>,
}

impl LinePace {
    /// Whether a line on `stage` is due: the stage is new, or the last line is old enough.
    fn is_due(&mut self, stage: &str, now: Instant) -> bool {
        let recent = self
            .last
            .as_ref()
            .is_some_and(|(last, at)| last == stage && now.saturating_duration_since(*at) < LINE_INTERVAL);
        if !recent {
            self.last = Some((stage.to_owned(), now));
        }
        !recent
    }
}

fn stage(view: &OperationView) -> String {
    view.stage.as_deref().unwrap_or("waiting").replace('_', " ")
}

/// Bytes done, of all: as the agent counts, what an install put on the disk is half done, what it proved there whole.
fn done_bytes(view: &OperationView) -> u64 {
    let progress = &view.progress;
    match view.kind.as_deref() {
        Some("install") => {}
        Some("capture") => return progress.read_bytes,
        _ => return progress.verified_bytes,
    }
    let placed = progress.present_bytes + progress.hole_bytes + progress.written_bytes;
    u64::midpoint(placed, progress.verified_bytes)
}

fn percent(view: &OperationView) -> u128 {
    u128::from(done_bytes(view)) * 100 / u128::from(view.progress.total_bytes.max(1))
}

/// Rate, time left, and bytes by kind, those that there are.
fn details(view: &OperationView) -> String {
    let mut parts = vec![rate(view.rate_bytes_per_second)];
    if let Some(eta) = view.eta_seconds.filter(|eta| *eta > 0) {
        parts.push(format!("{} left", time_left(eta)));
    }
    let progress = &view.progress;
    let kinds = [
        ("written", progress.written_bytes),
        ("new", progress.uploaded_bytes),
        ("present", progress.present_bytes),
        ("holes", progress.hole_bytes),
    ];
    let counted = kinds.into_iter().filter(|(_, count)| *count > 0);
    parts.extend(counted.map(|(name, count)| format!("{} {name}", bytes(count))));
    let (seen, what) = match view.kind.as_deref() {
        Some("capture") => (progress.read_bytes, "read"),
        _ => (progress.verified_bytes, "verified"),
    };
    parts.push(format!("{} of {} {what}", bytes(seen), bytes(progress.total_bytes)));
    parts.join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{LinePace, details, done_bytes, percent};
    use crate::view::ProgressView;
    use crate::view::operation_tests::view;

    #[test]
    fn a_line_is_due_every_two_seconds_and_at_each_new_stage() {
        let mut pace = LinePace::default();
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(pace.is_due("write", start));
        assert!(!pace.is_due("write", after(1)));
        assert!(pace.is_due("write", after(2)));
        assert!(pace.is_due("read back", after(3)));
        assert!(!pace.is_due("read back", after(4)));
    }

    #[test]
    fn a_byte_counts_half_on_the_disk_and_whole_when_proven() {
        let mut view = view();
        view.progress = ProgressView { total_bytes: 8, present_bytes: 1, hole_bytes: 2, ..ProgressView::default() };
        view.progress.written_bytes = 5;
        assert_eq!((done_bytes(&view), percent(&view)), (4, 50));
        view.progress.verified_bytes = 8;
        assert_eq!((done_bytes(&view), percent(&view)), (8, 100));
        view.kind = Some("verify".to_owned());
        view.progress = ProgressView { total_bytes: 8, verified_bytes: 2, ..ProgressView::default() };
        assert_eq!((done_bytes(&view), percent(&view)), (2, 25));
    }

    #[test]
    fn nothing_to_do_is_no_division_by_zero() {
        let mut view = view();
        view.progress = ProgressView::default();
        assert_eq!(percent(&view), 0);
    }

    #[test]
    fn details_name_rate_time_left_and_the_kinds_of_bytes_that_there_are() {
        let mut view = view();
        assert_eq!(details(&view), "10 B/s, 6 s left, 40 B of 100 B verified");
        view.progress.hole_bytes = 3;
        view.progress.written_bytes = 9;
        view.eta_seconds = Some(0);
        assert_eq!(details(&view), "10 B/s, 9 B written, 3 B holes, 40 B of 100 B verified");
    }
}
