//! Logs: to the journal where systemd keeps one for us, else to standard error, as text or as JSON; and spans, for a collector.

use std::env;
use std::io::{self, IsTerminal as _};

use serde::Deserialize;
use tracing_subscriber::fmt::format::JsonFields;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt};

mod collector;
mod json;
#[cfg(feature = "otel")]
mod spans;

pub use self::collector::OtelTable;

/// Where log lines go, and in which form.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// To the journal if it reads standard error, else text.
    #[default]
    Auto,
    /// Text for people, on standard error.
    Text,
    /// One JSON object a line, on standard error.
    Json,
    /// To the journal, with every field of its own: `F_OPERATION`, `F_REQUEST_ID`.
    Journal,
}

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
    /// There is no journal.
    #[error("there is no journal to log to")]
    Journal(#[source] io::Error),
    /// Spans cannot be sent.
    #[cfg(feature = "otel")]
    #[error("cannot send spans to a collector")]
    Spans(#[from] opentelemetry_otlp::ExporterBuildError),
    /// Logs were set up before.
    #[error("logs are set up already")]
    Twice(#[from] TryInitError),
}

/// What is to be ended in order: spans that wait.
#[derive(Debug)]
#[must_use = "what waits is lost otherwise"]
pub struct Telemetry {
    #[cfg(feature = "otel")]
    spans: Option<spans::Spans>,
}

impl Telemetry {
    /// Sends what waits, for a short time.
    pub fn finish(self) {
        #[cfg(feature = "otel")]
        if let Some(spans) = self.spans {
            spans.finish();
        }
    }
}

/// Sends logs where they belong from now on, and spans to a collector if there is one. `filter` is a level, or a filter as
/// of `tracing`.
///
/// # Errors
/// If the filter makes no sense, there is no journal where one was asked for, or logs were set up before.
#[cfg_attr(not(feature = "otel"), expect(unused_variables, reason = "no build without it has such a table"))]
pub fn init(filter: &str, format: LogFormat, collector: Option<&OtelTable>) -> Result<Telemetry, TelemetryError> {
    let filter =
        EnvFilter::try_new(filter).map_err(|source| TelemetryError::Filter { filter: filter.to_owned(), source })?;
    let subscriber = tracing_subscriber::registry().with(layer(format)?.with_filter(filter));
    #[cfg(feature = "otel")]
    {
        let spans = collector.map(spans::Spans::start).transpose()?;
        subscriber.with(spans.as_ref().map(spans::Spans::layer)).try_init()?;
        Ok(Telemetry { spans })
    }
    #[cfg(not(feature = "otel"))]
    {
        subscriber.try_init()?;
        Ok(Telemetry {})
    }
}

fn layer(format: LogFormat) -> Result<Box<dyn Layer<Registry> + Send + Sync>, TelemetryError> {
    Ok(match format {
        LogFormat::Auto if is_journal() => tracing_journald::layer().map_or_else(|_none| text(), Layer::boxed),
        LogFormat::Auto | LogFormat::Text => text(),
        LogFormat::Json => {
            let layer = fmt::layer().with_writer(io::stderr).with_ansi(false);
            layer.fmt_fields(JsonFields::new()).event_format(json::JsonLine).boxed()
        }
        LogFormat::Journal => tracing_journald::layer().map_err(TelemetryError::Journal)?.boxed(),
    })
}

fn text() -> Box<dyn Layer<Registry> + Send + Sync> {
    // Colours are for people: in a file they are noise, and nobody finds `reason="DISK_BUSY"` among them.
    let colours = io::stderr().is_terminal();
    fmt::layer().with_writer(io::stderr).with_ansi(colours).with_target(false).boxed()
}

/// Whether the journal reads our standard error: systemd names its device and inode to the services that it starts
/// (systemd.exec(5)). What they start in turn inherits the name, but perhaps not the stream.
fn is_journal() -> bool {
    let Some(stream) = env::var("JOURNAL_STREAM").ok() else { return false };
    let stderr = nix::sys::stat::fstat(io::stderr());
    stderr.is_ok_and(|stat| stream == format!("{}:{}", stat.st_dev, stat.st_ino))
}
