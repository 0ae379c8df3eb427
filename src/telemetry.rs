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
    let journal = if is_journal() { tracing_journald::layer().ok() } else { None };
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

/// Whether the journal reads our standard error: systemd names its device and inode to the services that it starts
/// (systemd.exec(5)). What they start in turn inherits the name, but perhaps not the stream.
fn is_journal() -> bool {
    let Some(stream) = env::var("JOURNAL_STREAM").ok() else { return false };
    let stderr = nix::sys::stat::fstat(io::stderr());
    stderr.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
