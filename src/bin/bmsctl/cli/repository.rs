//! `bmsctl repository`, and how a repository is named.

use std::path::PathBuf;
use std::time::Duration;

use bms_agent::image::group::GroupSize;
use clap::{Args, Subcommand};

use super::{ending, parse_group_size};

/// Shortest grace of a repository.
const LEAST_GRACE: Duration = Duration::from_secs(60);

/// Which repository.
#[derive(Debug, Args)]
pub(crate) struct RepositoryArgs {
    /// The repository: a directory, s3://BUCKET[/PREFIX], an http or https URL, or the name of one in --config.
    #[arg(long, env = "BMSCTL_REPOSITORY", hide_env = true, value_name = "REPOSITORY")]
    pub(crate) repository: String,
    /// File with a table [repositories.NAME] for each repository, as the agent's configuration has.
    #[arg(
        long,
        env = "BMSCTL_CONFIG",
        hide_env = true,
        value_name = "FILE",
        default_value = "/etc/bms-agent/config.toml"
    )]
    pub(crate) config: PathBuf,
}

/// Of repositories.
#[derive(Debug, Subcommand)]
pub(crate) enum RepositoryCommand {
    /// Make a repository of an empty directory or bucket.
    #[command(after_help = ending())]
    Init(InitArgs),
    /// Look whether everything is there and right. Changes nothing.
    #[command(after_help = ending())]
    Check(CheckArgs),
    /// Count images, chunks and bytes.
    #[command(after_help = ending())]
    Stats(RepositoryArgs),
    /// Delete what no image refers to. Safe while others write, read and delete: what is found now is deleted by a run
    /// after the grace.
    #[command(after_help = ending())]
    Gc(GcArgs),
}

/// `repository init`
#[derive(Debug, Args)]
pub(crate) struct InitArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// How long nothing may refer to a chunk before it is deleted, as 30m, 24h or 7d: 1m at least. Half of it is the
    /// longest that an image may take to be written.
    #[arg(long, value_name = "TIME", default_value = "24h", value_parser = parse_grace)]
    pub(crate) grace: Duration,
    /// Most private images of a project.
    #[arg(long, value_name = "NUMBER", default_value_t = 50)]
    pub(crate) max_private_images: u32,
    /// Content of a chunk: a power of two from 64K to 16M.
    #[arg(long, value_name = "BYTES", default_value = "256K", value_parser = parse_group_size)]
    pub(crate) chunk_size: GroupSize,
}

/// `repository check`
#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Read every chunk and compare all of its content with the images, rather than only look whether it is there.
    #[arg(long)]
    pub(crate) deep: bool,
}

/// `repository gc`
#[derive(Debug, Args)]
pub(crate) struct GcArgs {
    #[command(flatten)]
    pub(crate) repository: RepositoryArgs,
    /// Only say what would be done.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// Clocks of a store's servers differ, and a writer needs time for one chunk at least.
fn parse_grace(text: &str) -> Result<Duration, String> {
    let grace = parse_duration(text)?;
    if grace < LEAST_GRACE {
        return Err(format!("{text} is too short: at least {} seconds", LEAST_GRACE.as_secs()));
    }
    Ok(grace)
}

/// A time as it is typed: a number, and s, m, h or d.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time: a number and s, m, h or d, as in 24h");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86400,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..text.len() - 1].parse().map_err(|_not_a_number| wrong())?;
    number.checked_mul(seconds).filter(|&time| time > 0).map(Duration::from_secs).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::parse_duration;

    #[test]
    fn times_have_a_number_and_a_unit() {
        for (text, seconds) in [("1s", 1), ("30m", 1800), ("24h", 86400), ("7d", 604_800)] {
            assert_eq!(parse_duration(text).expect(text), Duration::from_secs(seconds));
        }
        for text in ["", "24", "h", "0s", "-1h", "1w", "1.5h", "99999999999999999999s", "9999999999999999999d", "1ß"] {
            parse_duration(text).expect_err(text);
        }
    }
}
