//! `bmsctl image check`, and what is said of the servers that an image is for.

use std::path::PathBuf;

use bms_agent::disk::selector::Selector;
use bms_agent::image::source::Format;
use bms_agent::inspect::profile::{BootSource, NetworkMode, Profile, Sdi};
use clap::{ArgGroup, Args, ValueEnum};

/// `image check`
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("subject").args(["image", "disk", "running"]).required(true))]
pub(crate) struct CheckImageArgs {
    /// The image: a raw or qcow2 file, or with --repository an id or `[OWNER/]NAME[:VERSION]`.
    #[arg(value_name = "FILE|ID|NAME")]
    pub(crate) image: Option<String>,
    /// A disk of the agent's server, as serial=S64GNE0R900001.
    #[arg(long, value_name = "SELECTOR")]
    pub(crate) disk: Option<Selector>,
    /// The system that runs on the agent's server.
    #[arg(long)]
    pub(crate) running: bool,
    /// The repository that the image is in: a directory, s3://BUCKET[/PREFIX], an http or https URL, or the name of one in
    /// --config.
    #[arg(long, value_name = "REPOSITORY", requires = "image")]
    pub(crate) repository: Option<String>,
    /// File with tables [repositories.NAME] and [profiles.NAME], as the agent's configuration has.
    #[arg(
        long,
        env = "BMSCTL_CONFIG",
        hide_env = true,
        value_name = "FILE",
        default_value = "/etc/bms-agent/config.toml"
    )]
    pub(crate) config: PathBuf,
    /// Format of the file: raw or qcow2 [default: told by its content].
    #[arg(long, requires = "image")]
    pub(crate) format: Option<Format>,
    /// Directory with files of checks, which are added to the built-in ones or take their place. The agent has its own.
    #[arg(long, value_name = "DIR", requires = "image")]
    pub(crate) checks: Option<PathBuf>,
    /// Show also what is as it should be, and what does not apply.
    #[arg(long)]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) profile: ProfileArgs,
}

/// Which servers an image is for.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    /// Kind of server that the image is for: a profile of the configuration, or a built-in one: centralized,
    /// centralized-sd100, centralized-sd100-evs, distributed, distributed-sdi2, distributed-sdi5.
    #[arg(long, value_name = "NAME", default_value_t, hide_default_value = true)]
    pub(crate) profile: String,
    /// How these servers get their network.
    #[arg(long, value_enum, value_name = "MODE")]
    pub(crate) network_mode: Option<NetworkModeArg>,
    /// Where their system disk is.
    #[arg(long, value_enum, value_name = "PLACE")]
    pub(crate) boot_source: Option<BootSourceArg>,
    /// Their SDI card.
    #[arg(long, value_enum, value_name = "CARD")]
    pub(crate) sdi: Option<SdiArg>,
    /// Their architecture.
    #[arg(long, value_name = "ARCH", value_parser = ["x86_64", "aarch64"])]
    pub(crate) architecture: Option<String>,
    /// Their firmware.
    #[arg(long, value_name = "FIRMWARE", value_parser = ["bios", "uefi"])]
    pub(crate) firmware: Option<String>,
}

/// How servers get their network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum NetworkModeArg {
    Centralized,
    Distributed,
}

/// Where the system disk of servers is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BootSourceArg {
    Local,
    Evs,
}

/// The SDI card of servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SdiArg {
    None,
    Sd100,
    #[value(name = "sdi2.2")]
    Sdi2_2,
    #[value(name = "sdi3.0")]
    Sdi3_0,
    Sdi5,
}

impl ProfileArgs {
    /// What was said beyond the name.
    pub(crate) fn known(&self) -> Profile {
        Profile {
            network_mode: self.network_mode.map(|mode| match mode {
                NetworkModeArg::Centralized => NetworkMode::Centralized,
                NetworkModeArg::Distributed => NetworkMode::Distributed,
            }),
            boot_source: self.boot_source.map(|source| match source {
                BootSourceArg::Local => BootSource::Local,
                BootSourceArg::Evs => BootSource::Evs,
            }),
            sdi: self.sdi.map(|sdi| match sdi {
                SdiArg::None => Sdi::None,
                SdiArg::Sd100 => Sdi::Sd100,
                SdiArg::Sdi2_2 => Sdi::Sdi2_2,
                SdiArg::Sdi3_0 => Sdi::Sdi3_0,
                SdiArg::Sdi5 => Sdi::Sdi5,
            }),
            architecture: self.architecture.clone(),
            firmware: self.firmware.clone(),
            ..Profile::default()
        }
    }
}
