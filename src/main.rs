//! `bms-agent`: the daemon.

use std::process::ExitCode;

use bms_agent::arguments::{Arguments, EX_CONFIG};
use bms_agent::{config::Config, daemon, inspect::child, telemetry};
use clap::Parser as _;

fn main() -> ExitCode {
    if child::is_asked() {
        return child::serve();
    }
    let arguments = Arguments::parse();
    let config = match Config::load(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&error, EX_CONFIG),
    };
    let format = arguments.log_format.unwrap_or(config.log_format);
    let telemetry = match telemetry::init(&config.log, format, config.otel.as_ref()) {
        Ok(telemetry) => telemetry,
        Err(error) => return fail(&error, EX_CONFIG),
    };
    let ended = daemon::run(&config);
    telemetry.finish();
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error, if error.is_configuration() { EX_CONFIG } else { 1 }),
    }
}

/// Before and after logs work, standard error does; systemd keeps it as well.
#[expect(clippy::print_stderr, reason = "the last word of a process")]
fn fail(error: &dyn std::error::Error, code: u8) -> ExitCode {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    eprintln!("bms-agent: {}", causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}")));
    ExitCode::from(code)
}
