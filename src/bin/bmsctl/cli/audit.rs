//! `bmsctl audit`

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, Subcommand};

use super::ending;

/// Where an agent keeps it, unless its configuration has another `state_dir`.
const DIR: &str = "/var/lib/bms-agent/audit";

/// What the chain proves.
const VERIFY_HELP: &str = "\
What it proves:
  That of the lines that are there none was changed, removed, added or moved, and that no file between them is missing.
  It cannot know that the newest lines were removed, for nothing follows them, nor that all of the log was made anew.
  For that give a hash that was noted elsewhere: this command prints that of the newest line, and the agent logs each.";

/// Of the audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Prove that no line was changed, removed or moved, and say where if one was.
    #[command(after_help = format!("{VERIFY_HELP}\n\n{}", ending()))]
    Verify(AuditVerifyArgs),
    /// Show the newest events, the newest last; with `--output json` one a line.
    #[command(after_help = ending())]
    Show(AuditShowArgs),
}

/// `audit verify`
#[derive(Debug, Args)]
pub(crate) struct AuditVerifyArgs {
    /// The log's directory, or a copy of it.
    #[arg(default_value = DIR)]
    pub(crate) dir: PathBuf,
    /// A line's number and hash as they were noted: the line must be there as it was. May be given several times.
    #[arg(long = "anchor", value_name = "SEQ=HEX")]
    pub(crate) anchors: Vec<Anchor>,
    /// The hash of the newest line as it was noted: nothing may have come after it, and nothing may be missing.
    #[arg(long, value_name = "HEX", value_parser = parse_hash)]
    pub(crate) last_hash: Option<blake3::Hash>,
}

/// `audit show`
#[derive(Debug, Args)]
pub(crate) struct AuditShowArgs {
    /// The log's directory, or a copy of it.
    #[arg(default_value = DIR)]
    pub(crate) dir: PathBuf,
    /// How many events. All are read and proven; these are kept in memory.
    #[arg(long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) last: usize,
}

/// A line as somebody noted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Anchor {
    pub(crate) seq: u64,
    pub(crate) hash: blake3::Hash,
}

impl FromStr for Anchor {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let (seq, hash) = text.split_once('=').ok_or("an anchor is SEQ=HEX")?;
        let seq = seq.parse().ok().filter(|seq| *seq > 0).ok_or("the number of a line is 1 or more")?;
        Ok(Self { seq, hash: parse_hash(hash)? })
    }
}

fn parse_hash(text: &str) -> Result<blake3::Hash, &'static str> {
    blake3::Hash::from_hex(text).map_err(|_not_hex| "a hash is 64 hex digits, as `bmsctl audit verify` prints")
}

#[cfg(test)]
mod tests {
    use super::Anchor;

    #[test]
    fn an_anchor_is_a_number_and_a_hash() {
        let hash = blake3::hash(b"line");
        assert_eq!(format!("7={hash}").parse(), Ok(Anchor { seq: 7, hash }));
        for text in [hash.to_string(), format!("0={hash}"), format!("-1={hash}"), "7=ab".to_owned(), "7=".to_owned()] {
            assert!(text.parse::<Anchor>().is_err(), "{text}");
        }
    }
}
