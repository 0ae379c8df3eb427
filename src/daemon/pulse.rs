//! What systemd hears of the daemon: that it is ready, that it lives, what it does, that it stops.
//!
//! It hears that the daemon lives only after the daemon has answered a call of its own. A daemon that hangs says nothing,
//! and systemd kills it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::time::MissedTickBehavior;

use crate::metrics;
use crate::operation::registry::Registry;
use crate::rpc::self_call::self_call;

/// How long the first call to itself may take. The machine may be busy with its start.
pub(super) const FIRST_CALL: Duration = Duration::from_secs(20);

/// The watchdog's feeder.
#[derive(Debug)]
pub(super) struct Pulse {
    /// The agent's own socket.
    pub(super) socket: PathBuf,
    /// What runs.
    pub(super) registry: Arc<Registry>,
}

impl Pulse {
    /// Feeds the watchdog until it is dropped. Without a watchdog there is nothing to do.
    pub(super) async fn beat(self) {
        let Some(limit) = sd_notify::watchdog_enabled() else { return };
        // One call that fails is no end: there is time for two more.
        let every = (limit / 3).max(Duration::from_millis(1));
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            match self_call(&self.socket, every).await {
                Ok(()) => notify(&[NotifyState::Watchdog, NotifyState::Status(&status(&self.registry))]),
                Err(error) => {
                    metrics::self_call_failed();
                    let error = crate::text::chain(&error);
                    tracing::error!(error, "the agent does not answer itself; systemd is told nothing");
                }
            }
        }
    }
}

/// What runs, in one line for `systemctl status`.
fn status(registry: &Registry) -> String {
    let running: Vec<_> = registry.list().iter().filter_map(|operation| running(operation)).collect();
    if running.is_empty() { "idle".to_owned() } else { running.join(", ") }
}

fn running(operation: &crate::operation::Operation) -> Option<String> {
    let state = operation.snapshot();
    let stage = format!("{:?}", state.stage).to_lowercase();
    (!state.is_done()).then(|| format!("{:?} of {}: {stage}", operation.kind, operation.disk).to_lowercase())
}

/// Tells systemd; outside of it there is nobody to tell.
pub(super) fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "cannot tell systemd");
    }
}
