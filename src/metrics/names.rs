//! Every metric of the agent: the one table. `docs/metrics.md` has a row for each, and a test holds it to this.
//!
//! A label's values are few and known: never a serial number, a name of an image, a URL or anything else that a caller chose.

use ::metrics::Unit;

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// It only grows, until the agent starts again.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many values were at most as large as each of these.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As Prometheus calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Metric {
    /// Its name, which is never used for anything else.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// What it counts.
    pub unit: Unit,
    /// Its labels, in the order in which code gives their values.
    pub labels: &'static [&'static str],
    /// What it says, for people.
    pub text: &'static str,
}

/// Seconds of a request to a disk: from an NVMe disk's usual answer to one that hangs.
const DEVICE_SECONDS: &[f64] =
    &[0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
/// Seconds of a call: those that are no stream end within 30.
const CALL_SECONDS: &[f64] =
    &[0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 300.0];
/// Seconds of a stage: from an image of a test to one of a TiB on a slow disk.
const STAGE_SECONDS: &[f64] =
    &[0.01, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0, 7200.0, 14_400.0];

macro_rules! table {
    ($($constant:ident = $name:literal, $kind:expr, $unit:ident, $labels:expr, $text:literal;)+) => {
        $(pub(super) const $constant: Metric =
            Metric { name: $name, kind: $kind, unit: Unit::$unit, labels: &$labels, text: $text };)+

        /// All metrics, in the order of the table.
        pub const ALL: &[Metric] = &[$($constant,)+];
    };
}

table! {
    BUILD = "bms_agent_build_info", Kind::Gauge, Count, ["version"], "Always 1; the label says which version runs.";
    STARTED = "bms_agent_process_start_time_seconds", Kind::Gauge, Seconds, [],
        "When the agent started, in seconds since 1970, by the clock as it was then.";
    RESIDENT = "bms_agent_process_resident_memory_bytes", Kind::Gauge, Bytes, [], "Memory of the agent that is resident.";
    MEMORY_LIMIT = "bms_agent_process_memory_limit_bytes", Kind::Gauge, Bytes, [],
        "What the control group of the agent may have at most; absent if nothing limits it.";
    DESCRIPTORS = "bms_agent_process_open_fds", Kind::Gauge, Count, [], "File descriptors that are open.";
    THREADS = "bms_agent_process_threads", Kind::Gauge, Count, [], "Threads.";
    PANICS = "bms_agent_panics_total", Kind::Counter, Count, [], "Panics: each is a defect of the agent.";
    SELF_CALLS_FAILED = "bms_agent_self_calls_failed_total", Kind::Counter, Count, [],
        "Calls of the agent to itself without a good answer; systemd's watchdog is not fed then.";

    RUNNING = "bms_agent_operations_running", Kind::Gauge, Count, ["kind"], "Operations that run.";
    OPERATIONS = "bms_agent_operations_total", Kind::Counter, Count, ["kind", "result"], "Operations that have ended.";
    OPERATIONS_FAILED = "bms_agent_operations_failed_total", Kind::Counter, Count, ["kind", "reason"],
        "Operations that failed, by the reasons of docs/errors.md.";
    BYTES = "bms_agent_operation_bytes_total", Kind::Counter, Bytes, ["kind", "bytes"], "What operations have moved.";
    STAGES = "bms_agent_operation_stage_seconds", Kind::Histogram(STAGE_SECONDS), Seconds, ["kind", "stage"],
        "How long a stage of an operation took.";
    DEVICE = "bms_agent_device_request_seconds", Kind::Histogram(DEVICE_SECONDS), Seconds, ["op", "disk"],
        "How long a disk took for a request.";

    CONNECTIONS = "bms_agent_connections", Kind::Gauge, Count, ["listener"], "Connections that are open, of peers that are known.";
    CONNECTIONS_TOTAL = "bms_agent_connections_total", Kind::Counter, Count, ["listener"], "Connections of peers that are known.";
    HANDSHAKES_REFUSED = "bms_agent_handshakes_refused_total", Kind::Counter, Count, ["listener", "cause"],
        "Connections that were closed before their first call.";
    CALLS = "bms_agent_calls_total", Kind::Counter, Count, ["method", "code"], "Calls that have ended.";
    CALL_DURATION = "bms_agent_call_seconds", Kind::Histogram(CALL_SECONDS), Seconds, ["method"],
        "How long a call took, a stream to its end.";
    CALLS_REFUSED = "bms_agent_calls_refused_total", Kind::Counter, Count, ["reason"],
        "Calls that were refused, by the reasons of docs/errors.md.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use ::metrics::Unit;

    use super::{ALL, Kind};

    #[test]
    fn names_are_unique_and_say_what_is_counted() {
        let mut seen = HashSet::new();
        for metric in ALL {
            let name = metric.name;
            assert!(seen.insert(name), "{name} stands twice");
            assert!(name.starts_with("bms_agent_"), "{name}");
            let stem = name.strip_suffix("_total").unwrap_or(name);
            assert_eq!(metric.kind == Kind::Counter, name.ends_with("_total"), "{name}");
            assert_eq!(metric.unit == Unit::Bytes, stem.ends_with("_bytes"), "{name}");
            assert_eq!(metric.unit == Unit::Seconds, stem.ends_with("_seconds"), "{name}");
            assert!(metric.text.ends_with('.') && !metric.text.contains('|'), "{name}");
        }
    }

    #[test]
    fn buckets_rise() {
        for metric in ALL {
            if let Kind::Histogram(buckets) = metric.kind {
                assert!(buckets.is_sorted_by(|less, more| less < more), "{}", metric.name);
            }
        }
    }
}
