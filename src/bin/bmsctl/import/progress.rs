//! What people see while an image is imported: a bar on a terminal, a line every two seconds elsewhere, nothing where the
//! result is for a program.

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bms_agent::repository::upload::UploadCounters;
use indicatif::{ProgressBar, ProgressFinish, ProgressStyle};
use tokio_util::task::AbortOnDropHandle;

use crate::cli::OutputFormat;
use crate::format::bytes;
use crate::output::Output;

const BAR_INTERVAL: Duration = Duration::from_millis(100);
const LINE_INTERVAL: Duration = Duration::from_secs(2);
const TEMPLATE: &str = "import {bar:20} {percent:>3}%  {wide_msg}";
/// Of a stream whose length its end tells.
const OPEN_TEMPLATE: &str = "import {spinner}  {wide_msg}";

/// What was read and written so far.
#[derive(Debug, Clone)]
pub(super) struct Counts {
    /// Content that was read, holes included, in bytes.
    pub(super) read: Arc<AtomicU64>,
    pub(super) upload: Arc<UploadCounters>,
    /// Length of the content, in bytes, if it is known.
    pub(super) total: Option<u64>,
}

impl Counts {
    fn read_bytes(&self) -> u64 {
        self.read.load(Ordering::Relaxed)
    }

    fn message(&self) -> String {
        let of = self.total.map(|total| format!(" of {}", bytes(total))).unwrap_or_default();
        let [new, present, stored] = [&self.upload.new_bytes, &self.upload.present_bytes, &self.upload.stored_bytes]
            .map(|counter| bytes(counter.load(Ordering::Relaxed)));
        format!("{}{of} read, {new} new, stored as {stored}, {present} there already", bytes(self.read_bytes()))
    }
}

/// Shows the counts until it is dropped. Needs a runtime.
pub(super) fn show(counts: Counts, output: &Output) -> Option<AbortOnDropHandle<()>> {
    if output.format() == OutputFormat::Json {
        return None;
    }
    let output = output.clone();
    let task = if io::stderr().is_terminal() {
        let template = if counts.total.is_some() { TEMPLATE } else { OPEN_TEMPLATE };
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_malformed| ProgressStyle::default_bar());
        let bar = ProgressBar::new(counts.total.unwrap_or_default()).with_style(style);
        let bar = output.bars().add(bar.with_finish(ProgressFinish::AndClear));
        tokio::spawn(every(BAR_INTERVAL, move || {
            bar.set_position(counts.read_bytes());
            bar.set_message(counts.message());
        }))
    } else {
        let begun = Instant::now();
        tokio::spawn(every(LINE_INTERVAL, move || {
            // What has just begun is not worth a line.
            if begun.elapsed() >= LINE_INTERVAL {
                output.note(&format!("import: {}", counts.message()));
            }
        }))
    };
    Some(AbortOnDropHandle::new(task))
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
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::Counts;

    #[test]
    fn a_message_names_what_was_read_and_what_became_of_it() {
        let counts = Counts { read: Arc::new(AtomicU64::new(3 << 20)), upload: Arc::default(), total: Some(8 << 20) };
        counts.upload.new_bytes.store(2 << 20, std::sync::atomic::Ordering::Relaxed);
        let expected = "3.0 MiB of 8.0 MiB read, 2.0 MiB new, stored as 0 B, 0 B there already";
        assert_eq!(counts.message(), expected);
        let open = Counts { total: None, ..counts };
        assert!(open.message().starts_with("3.0 MiB read, "), "{}", open.message());
    }
}
