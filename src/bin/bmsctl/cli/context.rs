//! `bmsctl context`

use clap::{Args, Subcommand};

use super::ending;
use crate::context::ContextName;

/// Of contexts.
#[derive(Debug, Subcommand)]
pub(crate) enum ContextCommand {
    /// List the contexts of the file.
    #[command(after_help = ending())]
    List,
    /// Show one.
    #[command(after_help = ending())]
    Show(ShowContextArgs),
    /// Make one the current one: commands are for its agent, unless they say otherwise.
    #[command(after_help = ending())]
    Use(ContextArgs),
    /// Write one down, in place of the one that has the name: --host with --cert, --key and --ca, or --socket. Comments in
    /// the file stay.
    #[command(after_help = ending())]
    Set(ContextArgs),
    /// Remove one. If it was the current one, none is.
    #[command(after_help = ending())]
    Remove(ContextArgs),
}

/// `context show`
#[derive(Debug, Args)]
pub(crate) struct ShowContextArgs {
    /// Its name [default: the one of --context, of BMSCTL_CONTEXT, or the current one].
    #[arg(value_name = "NAME")]
    pub(crate) name: Option<ContextName>,
}

/// Which context.
#[derive(Debug, Args)]
pub(crate) struct ContextArgs {
    /// Its name: letters, digits, `.`, `:`, `_` and `-`.
    #[arg(value_name = "NAME")]
    pub(crate) name: ContextName,
}
