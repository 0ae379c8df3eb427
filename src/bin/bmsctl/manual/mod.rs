//! `bmsctl man`: the manual, made of what the help and the shipped configuration are made of, so that it says the same.
//!
//! It knows how a page looks. What stands in one comes from `cli`, `exit`, the agent's `arguments`, and `config.toml`.

mod configuration;
mod page;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bms_agent::arguments::{self, Arguments};
use clap::{Command, CommandFactory as _};

use self::page::{Entry, Page};
use crate::cli::{Cli, ENVIRONMENT, ManArgs, SELECTOR_HELP, SOCKET};
use crate::error::CtlError;
use crate::exit::Exit;

/// Where the configuration is.
const CONFIG: &str = "/etc/bms-agent/config.toml";

/// Why there is no manual.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManualError {
    /// A page cannot be written.
    #[error("cannot write the page {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// Writes all pages.
pub(crate) fn run(args: &ManArgs) -> Result<Exit, CtlError> {
    write(&args.dir)?;
    Ok(Exit::Done)
}

fn write(dir: &Path) -> Result<(), ManualError> {
    for page in pages() {
        let path = dir.join(page.file_name());
        page.render().and_then(|text| fs::write(&path, text)).map_err(|source| ManualError::Write { path, source })?;
    }
    Ok(())
}

fn pages() -> Vec<Page> {
    // A page for `help` would say what each page says.
    let mut root = Cli::command().disable_help_subcommand(true);
    root.build();
    let mut pages = vec![agent(), configuration::page()];
    add(&mut pages, &root);
    pages
}

/// The page of a command, and those of the commands below it.
fn add(pages: &mut Vec<Page>, command: &Command) {
    pages.push(of_command(command));
    command.get_subcommands().filter(|command| !command.is_hide_set()).for_each(|command| add(pages, command));
}

fn of_command(command: &Command) -> Page {
    let mut page = Page::of(command.clone(), "1");
    let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
    if help.contains(SELECTOR_HELP) {
        page = page.verbatim("SELECTORS", SELECTOR_HELP.trim_start_matches("Selectors:\n"));
    }
    let files = [
        (SOCKET.to_owned(), "The socket of the agent of this server."),
        (CONFIG.to_owned(), "Repositories and profiles, by their names; see bms-agent.toml(5)."),
    ];
    page.list("EXIT STATUS", Exit::ALL.map(|exit| Entry::new(exit.code(), exit.meaning())))
        .list("ENVIRONMENT", ENVIRONMENT.map(|(name, meaning)| Entry::new(name, meaning)))
        .list("FILES", files.map(|(name, meaning)| Entry::new(name, meaning)))
        .text("SEE ALSO", "bmsctl(1), bms-agent(8), bms-agent.toml(5), b3sum(1)")
}

fn agent() -> Page {
    let files = [
        (CONFIG, "The configuration, which the service names; see bms-agent.toml(5)."),
        ("/etc/bms-agent/plugins.d/*.toml", "Checks of your own."),
        ("/etc/bms-agent/aliases.toml", "Other names of vendors and products."),
        ("/var/lib/bms-agent", "What outlives the daemon: records of installs, and those that go on after a restart."),
        (SOCKET, "The socket."),
    ];
    let signals = [
        (
            "SIGTERM, SIGINT",
            "Takes no new operations, lets those that run end for `drain_seconds`, cancels them, and ends.",
        ),
        ("SIGHUP", "Reads certificates, key and revocations again."),
    ];
    Page::of(Arguments::command(), "8")
        .list("SIGNALS", signals.map(|(name, meaning)| Entry::new(name, meaning)))
        .list("EXIT STATUS", arguments::EXIT_CODES.map(|(code, meaning)| Entry::new(code, meaning)))
        .list("ENVIRONMENT", arguments::ENVIRONMENT.map(|(name, meaning)| Entry::new(name, meaning)))
        .list("FILES", files.map(|(name, meaning)| Entry::new(name, meaning)))
        .text("SEE ALSO", "bmsctl(1), bms-agent.toml(5), systemctl(1), journalctl(1)")
}

#[cfg(test)]
mod tests;
