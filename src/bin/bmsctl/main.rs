//! `bmsctl`: the command line of bms-agent. One file per noun; `push` is the client of the bulk stream.

mod audit;
mod authority;
mod capture;
mod catalog;
mod check;
mod cli;
mod compat;
mod completions;
mod confirm;
mod connect;
mod context;
mod disk;
mod error;
mod exit;
mod export;
mod format;
mod host;
mod image;
mod import;
mod install;
mod interrupt;
mod inventory;
mod manual;
mod meter;
mod new_file;
mod operation;
mod output;
mod progress;
mod push;
mod repository;
mod settings;
mod table;
mod tls;
mod verify;
mod view;
mod watch;

use std::process::ExitCode;

use bms_agent::inspect::child;
use clap::Parser as _;

use crate::cli::{Cli, Command};
use crate::connect::Agent;
use crate::context::Environment;
use crate::error::CtlError;
use crate::exit::Exit;
use crate::output::Output;

fn main() -> ExitCode {
    if child::is_asked() {
        return child::serve();
    }
    let cli = Cli::parse();
    let output = Output::new(cli.output);
    run(&cli, &output).unwrap_or_else(|error| output.error(&error)).into()
}

fn run(cli: &Cli, output: &Output) -> Result<Exit, CtlError> {
    match &cli.command {
        Command::Image(command) => {
            if let Some(done) = image::run_here(command, output) {
                return done;
            }
        }
        Command::Repository(command) => return repository::run(command, output),
        Command::Tls(command) => return authority::run(command, output),
        Command::Audit(command) => return audit::run(command, output),
        Command::Context(command) => return context::run(command, &cli.address, output),
        Command::Completions(args) => return completions::run(args),
        Command::Man(args) => return manual::run(args),
        Command::Host(_)
        | Command::Disk(_)
        | Command::Install(_)
        | Command::Capture(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Verify(_)
        | Command::Operation(_) => {}
    }
    // One thread moves all messages; content is read, hashed and compressed on threads beside it: one for the scan, one
    // for a prompt, and the rest to compress.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(push::workers().get() + 2)
        .build()
        .map_err(|source| CtlError::Runtime { source })?;
    runtime.block_on(call(cli, output))
}

async fn call(cli: &Cli, output: &Output) -> Result<Exit, CtlError> {
    let agent = Agent::connect(&context::address(&cli.address, &Environment::of_process())?).await?;
    match &cli.command {
        Command::Host(command) => host::run(command, &agent, output).await,
        Command::Disk(command) => disk::run(command, &agent, output).await,
        Command::Image(command) => image::run_there(command, &agent, output).await,
        Command::Repository(command) => repository::run(command, output),
        Command::Tls(command) => authority::run(command, output),
        Command::Audit(command) => audit::run(command, output),
        Command::Context(command) => context::run(command, &cli.address, output),
        Command::Completions(args) => completions::run(args),
        Command::Man(args) => manual::run(args),
        Command::Install(args) | Command::Restore(args) => install::run(args, &agent, output).await,
        Command::Capture(args) | Command::Backup(args) => capture::run(args, &agent, output).await,
        Command::Verify(args) => verify::run(args, &agent, output).await,
        Command::Operation(command) => operation::run(command, &agent, output).await,
    }
}
