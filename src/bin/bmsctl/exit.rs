//! Exit codes: the one list of them, which is also the text in `bmsctl --help`.

use std::process::ExitCode;

use serde::{Serialize, Serializer};

/// How a run of bmsctl ended. The numbers are a contract with scripts and never change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Everything asked for was done.
    Done,
    /// An operation ended with an error, or this program did.
    Failed,
    /// Nothing was begun.
    Refused,
    /// No connection to the agent, or it broke.
    Unreachable,
    /// Bytes are not what they must be.
    Mismatch,
    /// The operation was cancelled.
    Cancelled,
    /// An image cannot live on the servers it is for.
    Unfit,
    /// Whether it can is not known.
    Unknown,
}

impl Exit {
    /// All codes, by number.
    pub(crate) const ALL: [Self; 8] = [
        Self::Done,
        Self::Failed,
        Self::Refused,
        Self::Unreachable,
        Self::Mismatch,
        Self::Cancelled,
        Self::Unfit,
        Self::Unknown,
    ];

    /// The number that the shell sees.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Failed => 1,
            Self::Refused => 2,
            Self::Unreachable => 3,
            Self::Mismatch => 4,
            Self::Cancelled => 5,
            Self::Unfit => 6,
            Self::Unknown => 7,
        }
    }

    /// What it says.
    pub(crate) const fn meaning(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed: the operation ended with an error",
            Self::Refused => "refused before anything was touched: wrong usage, wrong state, not found, not confirmed",
            Self::Unreachable => "the agent or the repository cannot be reached, or the connection broke",
            Self::Mismatch => "bytes do not match: the disk or the image is not what it should be",
            Self::Cancelled => "cancelled",
            Self::Unfit => "looked into and unfit: a required check failed",
            Self::Unknown => "looked into and not known: a required check could not be made",
        }
    }

    /// The section of the help text.
    pub(crate) fn help() -> String {
        let lines = Self::ALL.map(|exit| format!("  {}  {}", exit.code(), exit.meaning()));
        format!("Exit codes:\n{}", lines.join("\n"))
    }
}

impl Serialize for Exit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u8(self.code())
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

#[cfg(test)]
mod tests {
    use super::Exit;

    #[test]
    fn every_code_is_its_place_in_the_list_and_in_the_help() {
        let help = Exit::help();
        for (place, exit) in Exit::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(exit.code()), place);
            assert!(help.contains(&format!("  {place}  {}", exit.meaning())));
        }
    }
}
