//! What the agent counts and measures, and the page on which Prometheus reads it.
//!
//! The table of names is here ([`names`]), the functions that others call when something happens (`record`, `device`), and
//! the listener (`listen`). It knows nothing of disks, operations or calls: they say what happened, in words from short lists.
//! Nobody's secret is among them, for every user of this machine may read the page.

mod device;
mod listen;
pub mod names;
mod process;
mod record;

use std::time::SystemTime;

use ::metrics::with_recorder;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder};

pub use self::device::{DeviceMeter, DeviceRequest};
pub use self::listen::{MetricsListener, MetricsTable};
pub use self::names::{Kind, Metric};
pub use self::process::Process;
pub use self::record::{
    Ending, Listener, OpenConnection, call_ended, call_reasons, call_refused, count_panics, handshake_causes,
    handshake_refused, operation_began, operation_ended, operation_kind, operation_moved, self_call_failed, stage_took,
};

/// Everything that was recorded, as Prometheus reads it.
#[derive(Debug, Clone)]
pub struct Exposition {
    recorded: PrometheusHandle,
    process: Process,
}

impl Exposition {
    /// Keeps from now on what is recorded anywhere in the process. Before it, and without it, nothing is kept.
    ///
    /// # Errors
    /// If it was begun before.
    pub fn begin(process: Process, version: &'static str, now: SystemTime) -> Result<Self, BuildError> {
        let recorder = recorder()?;
        let exposition = Self { recorded: recorder.handle(), process };
        ::metrics::set_global_recorder(recorder)?;
        describe();
        record::started(version, now);
        Ok(exposition)
    }

    /// The page.
    fn render(&self) -> String {
        self.process.record();
        self.recorded.render()
    }

    /// Sorts what was measured into its buckets: until then, each value waits in memory.
    fn sort(&self) {
        self.recorded.run_upkeep();
    }
}

/// What keeps the metrics of the table.
fn recorder() -> Result<PrometheusRecorder, BuildError> {
    let mut builder = PrometheusBuilder::new();
    for metric in names::ALL {
        if let Kind::Histogram(buckets) = metric.kind {
            builder = builder.set_buckets_for_metric(Matcher::Full(metric.name.to_owned()), buckets)?;
        }
    }
    Ok(builder.build_recorder())
}

fn describe() {
    with_recorder(|recorder| {
        for Metric { name, kind, unit, text, .. } in names::ALL {
            let (name, unit, text) = ((*name).into(), Some(*unit), (*text).into());
            match kind {
                Kind::Counter => recorder.describe_counter(name, unit, text),
                Kind::Gauge => recorder.describe_gauge(name, unit, text),
                Kind::Histogram(_) => recorder.describe_histogram(name, unit, text),
            }
        }
    });
}

#[cfg(test)]
mod tests;
