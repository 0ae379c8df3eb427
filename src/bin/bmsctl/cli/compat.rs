//! `bmsctl image compat`.

use std::path::PathBuf;

use bms_agent::disk::selector::Selector;
use bms_agent::repository::ImageName;
use clap::Args;

use super::check::ProfileArgs;

/// `image compat`
#[derive(Debug, Args)]
pub(crate) struct CompatImageArgs {
    /// The image: its id, or `[OWNER/]NAME[:VERSION]`; without a version the newest.
    #[arg(value_name = "ID|NAME")]
    pub(crate) image: ImageName,
    /// Judge without an agent, by a file with what `bmsctl host show --output json` printed on the server.
    #[arg(long, value_name = "FILE", requires = "repository")]
    pub(crate) host_facts: Option<PathBuf>,
    /// The disk of the server that the image may go to, as serial=S64GNE0R900001. Facts that were taken without --serials
    /// have names alone: name=sda.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) disk: Option<Selector>,
    /// The repository, as the agent's configuration names it [default: the only one]. With --host-facts: a directory,
    /// s3://BUCKET[/PREFIX], an http or https URL, or the name of one in --config.
    #[arg(long, value_name = "REPOSITORY")]
    pub(crate) repository: Option<String>,
    /// File with tables [repositories.NAME] and [profiles.NAME], as the agent's configuration has. With --host-facts.
    #[arg(
        long,
        env = "BMSCTL_CONFIG",
        hide_env = true,
        value_name = "FILE",
        default_value = "/etc/bms-agent/config.toml",
        requires = "host_facts"
    )]
    pub(crate) config: PathBuf,
    /// File with other names of vendors and products. With --host-facts; the agent has its own.
    #[arg(long, value_name = "FILE", default_value = "/etc/bms-agent/aliases.toml", requires = "host_facts")]
    pub(crate) aliases: PathBuf,
    /// Directory with files of checks. With --host-facts; the agent has its own.
    #[arg(long, value_name = "DIR", requires = "host_facts")]
    pub(crate) checks: Option<PathBuf>,
    /// A finding that shall not count, as HW-01. May be given several times.
    #[arg(long = "override", value_name = "ID")]
    pub(crate) overrides: Vec<String>,
    /// Show also what is as it should be, and what does not apply.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
}
