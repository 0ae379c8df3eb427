//! The arguments of `bms-agent`, which are also its help text and its manual page.

use std::path::PathBuf;

use clap::Parser;

use crate::telemetry::LogFormat;

/// Exit codes of the daemon. systemd takes the last by its name, CONFIG, and does not start the daemon again after it.
pub const EXIT_CODES: [(u8, &str); 4] =
    [(0, "stopped as asked"), (1, "failed"), (2, "wrong arguments"), (EX_CONFIG, "the configuration is wrong")];

/// Exit code of a wrong configuration, as in sysexits.h.
pub const EX_CONFIG: u8 = 78;

/// What of the environment is used. systemd sets all of it but the last two.
pub const ENVIRONMENT: [(&str, &str); 5] = [
    ("NOTIFY_SOCKET, WATCHDOG_USEC", "where and how often the daemon says that it lives; nowhere without them"),
    ("LISTEN_FDS, LISTEN_PID", "sockets that systemd listens on for it"),
    ("CREDENTIALS_DIRECTORY", "where credentials of the service are: keys that the configuration names without a path"),
    ("HTTP_PROXY, HTTPS_PROXY, NO_PROXY", "the way to images, unless the configuration has one"),
    ("AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN", "for repositories on S3 without other credentials"),
];

/// Writes disk images to this server's disks, proven by BLAKE3 from source to platter.
///
/// Serves gRPC on a Unix socket, and on TCP with mutual TLS if it is configured.
#[derive(Debug, Parser)]
#[command(name = "bms-agent", version, after_help = exit_codes())]
pub struct Arguments {
    /// Configuration file (TOML); without one, every key has its default.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Where logs go, and in which form; instead of `log_format` in the configuration.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
}

/// The section of the help text.
fn exit_codes() -> String {
    let lines = EXIT_CODES.map(|(code, meaning)| format!("  {code:>2}  {meaning}"));
    format!("Exit codes:\n{}", lines.join("\n"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Arguments;

    #[test]
    fn the_help_tells_the_exit_codes() {
        let mut command = Arguments::command();
        command.clone().debug_assert();
        let help = command.render_long_help().to_string();
        assert!(help.contains("Exit codes:\n   0  stopped as asked\n") && help.contains("\n  78  the conf"), "{help}");
    }
}
