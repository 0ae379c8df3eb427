//! Ctrl-C and SIGTERM, while an operation of ours runs.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CtlError;

/// Interrupts from now on, instead of the end of the process.
#[derive(Debug)]
pub(crate) struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    /// Begins to catch them.
    pub(crate) fn listen() -> Result<Self, CtlError> {
        let catch = |kind| signal(kind).map_err(|source| CtlError::Runtime { source });
        Ok(Self { interrupt: catch(SignalKind::interrupt())?, terminate: catch(SignalKind::terminate())? })
    }

    /// Waits for the next one.
    ///
    /// # Cancellation
    /// Safe: none is lost.
    pub(crate) async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}
