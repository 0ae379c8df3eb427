//! What the rest of the agent calls when something happens. Names and labels come from the table alone.
//!
//! Without a listener for metrics there is nobody to tell, and nothing is kept.

use std::panic;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ::metrics::{Counter, Gauge, Histogram, Label, SharedString};

use super::names::{self, Metric};

/// Labels of a metric: the values in the order of its table row.
fn labels<const N: usize>(metric: &Metric, values: [SharedString; N]) -> Vec<Label> {
    metric.labels.iter().zip(values).map(|(&name, value)| Label::new(name, value)).collect()
}

fn counter<const N: usize>(metric: &Metric, values: [&'static str; N]) -> Counter {
    ::metrics::counter!(metric.name, labels(metric, values.map(SharedString::const_str)))
}

fn gauge<const N: usize>(metric: &Metric, values: [&'static str; N]) -> Gauge {
    ::metrics::gauge!(metric.name, labels(metric, values.map(SharedString::const_str)))
}

pub(super) fn histogram<const N: usize>(metric: &Metric, values: [SharedString; N]) -> Histogram {
    ::metrics::histogram!(metric.name, labels(metric, values))
}

/// How an operation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// Well.
    Done,
    /// For a reason.
    Failed(&'static str),
    /// A caller cancelled it.
    Cancelled,
}

/// An operation has begun.
pub fn operation_began(kind: &'static str) {
    gauge(&names::RUNNING, [kind]).increment(1);
}

/// An operation runs no more. One that was taken back has no ending: nothing was begun.
pub fn operation_ended(kind: &'static str, ending: Option<Ending>) {
    gauge(&names::RUNNING, [kind]).decrement(1);
    let result = match ending {
        Some(Ending::Done) => "done",
        Some(Ending::Cancelled) => "cancelled",
        Some(Ending::Failed(reason)) => {
            counter(&names::OPERATIONS_FAILED, [kind, reason]).increment(1);
            "failed"
        }
        None => return,
    };
    counter(&names::OPERATIONS, [kind, result]).increment(1);
}

/// An operation has moved bytes.
pub fn operation_moved(kind: &'static str, bytes: &'static str, more: u64) {
    counter(&names::BYTES, [kind, bytes]).increment(more);
}

/// A stage of an operation has ended.
pub fn stage_took(kind: &'static str, stage: &'static str, time: Duration) {
    histogram(&names::STAGES, [kind, stage].map(SharedString::const_str)).record(time);
}

/// Shows operations of a kind before there is one: what grows from nothing is no growth to Prometheus.
pub fn operation_kind(kind: &'static str, bytes: &[&'static str]) {
    gauge(&names::RUNNING, [kind]).set(0);
    for result in ["done", "failed", "cancelled"] {
        counter(&names::OPERATIONS, [kind, result]).increment(0);
    }
    for bytes in bytes {
        operation_moved(kind, bytes, 0);
    }
}

/// Where connections come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listener {
    /// The Unix socket.
    Unix,
    /// TCP with TLS.
    Tcp,
}

impl Listener {
    const ALL: [Self; 2] = [Self::Unix, Self::Tcp];

    const fn name(self) -> &'static str {
        match self {
            Self::Unix => "unix",
            Self::Tcp => "tcp",
        }
    }
}

/// A connection, which counts as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    /// One more.
    pub fn new(listener: Listener) -> Self {
        let open = gauge(&names::CONNECTIONS, [listener.name()]);
        open.increment(1);
        counter(&names::CONNECTIONS_TOTAL, [listener.name()]).increment(1);
        Self(open)
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.decrement(1);
    }
}

/// A connection was closed before its first call.
pub fn handshake_refused(listener: Listener, cause: &'static str) {
    counter(&names::HANDSHAKES_REFUSED, [listener.name(), cause]).increment(1);
}

/// Shows causes before there is one.
pub fn handshake_causes(listener: Listener, causes: impl IntoIterator<Item = &'static str>) {
    for cause in causes {
        counter(&names::HANDSHAKES_REFUSED, [listener.name(), cause]).increment(0);
    }
}

/// A call was refused.
pub fn call_refused(reason: &'static str) {
    counter(&names::CALLS_REFUSED, [reason]).increment(1);
}

/// Shows reasons before there is one.
pub fn call_reasons(reasons: impl IntoIterator<Item = &'static str>) {
    for reason in reasons {
        counter(&names::CALLS_REFUSED, [reason]).increment(0);
    }
}

/// A call has ended. `method` is that of a known method, or one word for all others.
pub fn call_ended(method: &'static str, code: &'static str, time: Duration) {
    counter(&names::CALLS, [method, code]).increment(1);
    histogram(&names::CALL_DURATION, [SharedString::const_str(method)]).record(time);
}

/// The agent did not answer itself.
pub fn self_call_failed() {
    counter(&names::SELF_CALLS_FAILED, []).increment(1);
}

/// Counts panics from now on, besides what is done about them already.
pub fn count_panics() {
    let before = panic::take_hook();
    // Made before: whoever panics may hold what it would take to make it.
    let panics = counter(&names::PANICS, []);
    panic::set_hook(Box::new(move |panic| {
        panics.increment(1);
        before(panic);
    }));
}

/// What is known at the start. The time is kept: the one that the kernel computes moves with the clock, and looks like a
/// restart.
pub(super) fn started(version: &'static str, now: SystemTime) {
    gauge(&names::BUILD, [version]).set(1);
    gauge(&names::STARTED, []).set(now.duration_since(UNIX_EPOCH).unwrap_or_default());
    counter(&names::PANICS, []).increment(0);
    counter(&names::SELF_CALLS_FAILED, []).increment(0);
    for listener in Listener::ALL {
        gauge(&names::CONNECTIONS, [listener.name()]).set(0);
        counter(&names::CONNECTIONS_TOTAL, [listener.name()]).increment(0);
    }
}

/// A gauge without labels.
pub(super) fn set(metric: &Metric, value: u64) {
    // Metrics are floating point: exact up to 8 PiB.
    gauge(metric, []).set(value as f64);
}
