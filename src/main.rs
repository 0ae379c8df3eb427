//! `bms-agent`: the daemon.

use std::path::PathBuf;
use std::process::ExitCode;

use bms_agent::{config::Config, daemon, inspect::child, telemetry};
use clap::Parser;

/// Writes disk images to this server's disks, proven by BLAKE3 from source to platter.
///
/// Serves gRPC on a Unix socket. Exit codes: 0 stopped as asked, 1 failed, 78 the configuration is wrong.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// Configuration file (TOML); without one, every key has its default.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

fn main() -> ExitCode {
    if child::is_asked() {
        return child::serve();
    }
    let config = match Config::load(Arguments::parse().config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error, 78),
    };
    if let Err(error) = telemetry::init(&config.log) {
        return fail(&error, 78);
    }
    daemon::run(&config).map_or_else(|error| fail(&error, 1), |()| ExitCode::SUCCESS)
}

/// Before and after logs work, standard error does; systemd keeps it as well.
#[expect(clippy::print_stderr, reason = "the last word of a process")]
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    eprintln!("bms-agent: {}", causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")));
    ExitCode::from(code)
}
