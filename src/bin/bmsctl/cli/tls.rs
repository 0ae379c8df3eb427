//! `bmsctl tls`

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ending;

/// Of certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum TlsCommand {
    /// Make an authority, and by it certificates for an agent and for a caller of each role: a first set-up. Keep ca.key
    /// where no server is; whoever has it is every caller.
    #[command(after_help = ending())]
    Init(TlsInitArgs),
}

/// `tls init`
#[derive(Debug, Args)]
pub(crate) struct TlsInitArgs {
    /// Where the files go. Nothing in it is overwritten.
    #[arg(value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// Name or address of the agent's server, as --host has it. May be given several times.
    #[arg(long = "name", value_name = "NAME", required = true)]
    pub(crate) names: Vec<String>,
    /// How long the certificates of agent and callers are good; the authority is for ten years.
    #[arg(long, value_name = "DAYS", default_value_t = 365, value_parser = clap::value_parser!(u32).range(1..=3650))]
    pub(crate) days: u32,
}
