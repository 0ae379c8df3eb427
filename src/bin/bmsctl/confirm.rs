//! Consent to destroying the content of a disk.

use std::io;

use crate::error::CtlError;
use crate::output::{Output, interactive};
use crate::view::DiskView;

/// How consent is had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// By `--yes`.
    Given,
    /// By asking.
    Ask,
    /// Not at all.
    Impossible,
}

impl Consent {
    const fn by(yes: bool, interactive: bool) -> Self {
        match (yes, interactive) {
            (true, _) => Self::Given,
            (false, true) => Self::Ask,
            (false, false) => Self::Impossible,
        }
    }
}

/// Returns once there is consent to overwrite `disk`.
pub(crate) async fn confirm(disk: &DiskView, yes: bool, output: &Output) -> Result<(), CtlError> {
    match Consent::by(yes, interactive()) {
        Consent::Given => Ok(()),
        Consent::Impossible => Err(CtlError::NoTerminal),
        Consent::Ask => {
            output.ask(&question(disk));
            if names(disk, &read_line().await?) { Ok(()) } else { Err(CtlError::NotConfirmed) }
        }
    }
}

fn question(disk: &DiskView) -> String {
    let serial = disk.serial.as_deref().map(|serial| format!(", or its serial ({serial}),"));
    format!("Type the name of the disk ({}){} to overwrite it:", disk.name, serial.unwrap_or_default())
}

/// Whether `answer` is the disk's name or serial.
fn names(disk: &DiskView, answer: &str) -> bool {
    let answer = answer.trim();
    !answer.is_empty() && (answer == disk.name || Some(answer) == disk.serial.as_deref().map(str::trim))
}

/// Reads a line away from the runtime, which keeps the connection to the agent alive meanwhile.
async fn read_line() -> Result<String, CtlError> {
    let read = tokio::task::spawn_blocking(|| {
        let mut line = String::new();
        io::stdin().read_line(&mut line).map(|_len| line)
    });
    let line = read.await.map_err(|source| CtlError::ReaderLost { source })?;
    line.map_err(|source| CtlError::Stdio { source })
}

#[cfg(test)]
mod tests {
    use super::{Consent, names, question};
    use crate::view::{DiskView, disk_tests};

    #[test]
    fn nobody_is_asked_who_said_yes_or_cannot_answer() {
        assert_eq!(Consent::by(true, true), Consent::Given);
        assert_eq!(Consent::by(true, false), Consent::Given);
        assert_eq!(Consent::by(false, true), Consent::Ask);
        assert_eq!(Consent::by(false, false), Consent::Impossible);
    }

    #[test]
    fn only_the_name_or_the_serial_of_this_disk_is_consent() {
        let mut disk = DiskView::from(disk_tests::disk());
        for answer in ["nvme0n1\n", "  S4EV \n"] {
            assert!(names(&disk, answer), "{answer}");
        }
        for answer in ["", "\n", "y\n", "yes\n", "nvme0n", "nvme0n11", "NVME0N1", "S4E"] {
            assert!(!names(&disk, answer), "{answer}");
        }
        assert_eq!(question(&disk), "Type the name of the disk (nvme0n1), or its serial (S4EV), to overwrite it:");
        disk.serial = Some(String::new());
        assert!(!names(&disk, "\n"));
    }
}
