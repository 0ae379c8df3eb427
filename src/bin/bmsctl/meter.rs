//! What people see while this program itself works in a repository: a bar on a terminal, a line every two seconds
//! elsewhere, nothing where the result is for a program. `progress` is for operations of the agent.

use std::io::{self, IsTerminal as _};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::OutputFormat;
use crate::output::Output;

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "{prefix:<9} {bar:20} {percent:>3}%  {wide_msg}";
/// Of work whose end is not known.
const OPEN_TEMPLATE: &str = "{prefix:<9} {spinner}  {wide_msg}";

/// How far some work is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Steps or bytes that are done.
    pub(crate) done: u64,
    /// Those that there are, if it is known.
    pub(crate) total: Option<u64>,
    /// More about it.
    pub(crate) message: String,
}

/// Shows what `read` says until it is dropped. Needs a runtime.
pub(crate) fn show(
    output: &Output,
    what: &'static str,
    read: impl Fn() -> Reading + Send + 'static,
) -> Option<AbortOnDropHandle<()>> {
    if output.format() == OutputFormat::Json {
        return None;
    }
    let output = output.clone();
    let task = if io::stderr().is_terminal() {
        let bar = bar(&read());
        let bar = output.bars().add(bar.with_finish(ProgressFinish::AndClear).with_prefix(what));
        tokio::spawn(every(BAR_INTERVAL, move || {
            let reading = read();
            bar.set_length(reading.total.unwrap_or_default());
            bar.set_position(reading.done);
            bar.set_message(reading.message);
        }))
    } else {
        let begun = Instant::now();
        tokio::spawn(every(LINE_INTERVAL, move || {
            // What has just begun is not worth a line.
            if begun.elapsed() >= LINE_INTERVAL {
                output.note(&line(what, &read()));
            }
        }))
    };
    Some(AbortOnDropHandle::new(task))
}

fn bar(reading: &Reading) -> ProgressBar {
    let template = if reading.total.is_some() { TEMPLATE } else { OPEN_TEMPLATE };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_malformed| ProgressStyle::default_bar());
    ProgressBar::new(reading.total.unwrap_or_default()).with_style(style)
}

fn line(what: &str, reading: &Reading) -> String {
    match reading.total {
        None => format!("{what}: {}", reading.message),
        Some(total) => {
            let percent = u128::from(reading.done) * 100 / u128::from(total.max(1));
            format!("{what}: {percent} %, {}", reading.message)
        }
    }
}

async fn every(interval: Duration, mut each: impl FnMut()) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        each();
    }
}

#[cfg(test)]
mod tests {
    use super::{Reading, line};

    #[test]
    fn a_line_has_a_share_only_of_what_is_known() {
        let reading = Reading { done: 2, total: Some(8), message: "so far".to_owned() };
        assert_eq!(line("check", &reading), "check: 25 %, so far");
        assert_eq!(line("check", &Reading { total: None, ..reading.clone() }), "check: so far");
        assert_eq!(line("check", &Reading { done: 0, total: Some(0), ..reading }), "check: 0 %, so far");
    }
}
