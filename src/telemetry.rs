//! Logs: to the journal where systemd keeps one for us, else to standard error.

use std::env;
use std::io::{self, IsTerminal as _};

use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer as _, fmt};

/// Logs that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter makes no sense.
    #[error("`{filter}` is no log filter")]
    Filter {
        /// The filter.
        filter: String,
        /// Why.
        source: tracing_subscriber::filter::ParseError,
    },
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice(#[from] TryInitError),
}

/// Sends logs where they belong from now on. `filter` is a level, or a filter as of `tracing`.
///
/// # Errors
/// If the filter makes no sense, or logs were set up before.
pub fn init(filter: &str) -> Result<(), TelemetryError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    // systemd sets JOURNAL_STREAM for services whose standard error it reads.
    let journal = env::var_os("JOURNAL_STREAM").and_then(|_| tracing_journald::layer().ok());
    let layer = match journal {
        Some(journal) => journal.boxed(),
        // Colours are for people: in a file they are noise, and nobody finds `reason="DISK_BUSY"` among them.
        None => {
            let colours = io::stderr().is_terminal();
            fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false).boxed()
        }
    };
    tracing_subscriber::registry().with(layer.with_filter(filter)).try_init()?;
    Ok(())
}
