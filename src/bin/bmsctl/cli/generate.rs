//! `bmsctl completions` and `bmsctl man`

use std::path::PathBuf;

use clap::Args;
use clap_complete::Shell;

/// `completions`
#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell. Packages bring the scripts for bash, zsh and fish.
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: Shell,
}

/// `man`
#[derive(Debug, Args)]
pub(crate) struct ManArgs {
    /// A directory that is there; pages in it are overwritten.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
}
