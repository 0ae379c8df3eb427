//! Where everything printed goes: results to standard output, all else to standard error.
//!
//! Text from disks and images may hold control characters; none of them reaches a terminal.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::iter;

use bms_agent::text;
use indicatif::MultiProgress;
use serde::Serialize;

use crate::cli::OutputFormat;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::view::ErrorView;

/// The one way to print.
#[derive(Debug, Clone)]
pub(crate) struct Output {
    format: OutputFormat,
    /// Draws the bars on standard error, and makes room for notes between them.
    bars: MultiProgress,
}

impl Output {
    /// Prints results in `format`.
    pub(crate) fn new(format: OutputFormat) -> Self {
        Self { format, bars: MultiProgress::new() }
    }

    /// How results are printed.
    pub(crate) const fn format(&self) -> OutputFormat {
        self.format
    }

    /// The bars on standard error.
    pub(crate) const fn bars(&self) -> &MultiProgress {
        &self.bars
    }

    /// Prints the result of a command: `table` of it, or itself as one JSON document.
    pub(crate) fn result<V: Serialize>(&self, view: &V, table: impl FnOnce(&V) -> String) -> Result<(), CtlError> {
        match self.format {
            OutputFormat::Table => print(&printable(table(view).trim_end())),
            OutputFormat::Json => json(serde_json::to_string_pretty(view)),
        }
    }

    /// Prints one of several results as a line of JSON.
    pub(crate) fn json_line<V: Serialize>(&self, view: &V) -> Result<(), CtlError> {
        json(serde_json::to_string(view))
    }

    /// Says something to people. There is nobody to tell if that fails.
    pub(crate) fn note(&self, text: &str) {
        self.bars.suspend(|| writeln!(io::stderr().lock(), "{}", printable(text))).ok();
    }

    /// Asks people something, on the same line.
    pub(crate) fn ask(&self, question: &str) {
        self.bars.suspend(|| write!(io::stderr().lock(), "{} ", printable(question))).ok();
    }

    /// Reports why the command failed, and gives the exit code.
    pub(crate) fn error(&self, error: &CtlError) -> Exit {
        let exit = error.exit();
        if exit == Exit::Done {
            return exit;
        }
        self.note(&explain(error));
        if self.format == OutputFormat::Json {
            // The exit code tells it too; standard output may be what is broken.
            json(serde_json::to_string_pretty(&ErrorView::document(error))).ok();
        }
        exit
    }
}

/// Whether someone sits at standard error and standard input.
pub(crate) fn interactive() -> bool {
    io::stdin().is_terminal() && io::stderr().is_terminal()
}

fn json(text: serde_json::Result<String>) -> Result<(), CtlError> {
    print(&text.map_err(|error| CtlError::Stdio { source: error.into() })?)
}

fn print(text: &str) -> Result<(), CtlError> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(|source| CtlError::Stdio { source })
}

/// The error, its causes, and what the agent said beside it.
fn explain(error: &CtlError) -> String {
    let mut text = format!("error: {error}");
    let mut said = String::new();
    for cause in iter::successors(error.source(), |cause| (*cause).source()).map(said_by) {
        // Transports wrap an error in others that say the same, or nothing.
        if cause != said && cause != "transport error" {
            push_line(&mut text, "caused by", &cause);
        }
        said = cause;
    }
    if let Some(operation) = error.operation_name() {
        push_line(&mut text, "operation", operation);
    }
    if let Some(failure) = error.failure() {
        if !failure.reason.is_empty() {
            push_line(&mut text, "reason", &failure.reason);
        }
        let message = text.clone();
        for (key, value) in failure.metadata.iter().filter(|(_, value)| !tells(&message, value)) {
            push_line(&mut text, key, value);
        }
        if let Some(hint) = failure.hint() {
            push_line(&mut text, "hint", hint);
        }
    }
    text
}

/// What a cause says. A status prints its source with its own words, which comes as the next cause.
fn said_by(cause: &(dyn Error + 'static)) -> String {
    let boxed = || cause.downcast_ref::<Box<tonic::Status>>().map(AsRef::as_ref);
    let status = cause.downcast_ref::<tonic::Status>().or_else(boxed);
    status.map_or_else(|| cause.to_string(), |status| status.message().to_owned())
}

/// Whether a message has a variable in it already: all parts of it, where it is a list.
fn tells(message: &str, value: &str) -> bool {
    value.split(',').all(|part| message.contains(part))
}

fn push_line(text: &mut String, name: &str, value: &str) {
    let indented = value.trim_end().replace('\n', "\n    ");
    // Writing to a String cannot fail.
    write!(text, "\n  {name}: {indented}").ok();
}

/// `text` with everything escaped that could deceive, except its line breaks.
fn printable(text: &str) -> String {
    let lines: Vec<String> = text.split('\n').map(text::printable).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::io;

    use bms_agent::reason::Reason;
    use tonic::Code;

    use super::{explain, printable};
    use crate::error::{CtlError, Failure};

    #[test]
    fn a_failure_is_explained_with_its_reason_a_hint_and_what_the_message_does_not_tell() {
        let failure = Failure {
            code: Code::DataLoss,
            message: "sda differs at byte 4096".to_owned(),
            reason: Reason::DiskMismatch.name().to_owned(),
            metadata: BTreeMap::from([
                ("disk".to_owned(), "sda".to_owned()),
                ("groups".to_owned(), "17".to_owned()),
                ("offsets".to_owned(), "4096,8192".to_owned()),
                ("root".to_owned(), String::new()),
            ]),
        };
        let text = explain(&CtlError::operation("operations/7", failure));
        let expected = format!(
            "error: sda differs at byte 4096\n  operation: operations/7\n  reason: DISK_MISMATCH\n  groups: 17\n  offsets: 4096,8192\n  hint: {}",
            Reason::DiskMismatch.hint()
        );
        assert_eq!(text, expected);
    }

    #[test]
    fn a_broken_connection_is_told_in_words() {
        let status = tonic::Status::from_error(Box::new(io::Error::from(io::ErrorKind::BrokenPipe)));
        let text = explain(&CtlError::from(status));
        assert_eq!(text.matches("broken pipe").count(), 1, "{text}");
        assert!(!text.contains("code:") && !text.contains("Kind"), "{text}");
    }

    #[test]
    fn control_characters_of_a_disk_do_not_reach_the_terminal() {
        assert_eq!(printable("evil\u{1b}[2J\rname\nnext"), "evil\\u{1b}[2J\\u{d}name\nnext");
    }
}
