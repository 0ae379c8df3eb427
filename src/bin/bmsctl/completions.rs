//! `bmsctl completions`: scripts by which shells complete this command line.

use std::io::{self, Write as _};

use clap::{Command, CommandFactory as _};

use crate::cli::{Cli, CompletionsArgs};
use crate::error::CtlError;
use crate::exit::Exit;

/// Prints the script of a shell.
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, CtlError> {
    // It goes to memory first: the generator panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut shown(), "bmsctl", &mut script);
    let mut stdout = io::stdout().lock();
    stdout.write_all(&script).and_then(|()| stdout.flush()).map_err(|source| CtlError::Stdio { source })?;
    Ok(Exit::Done)
}

/// The command line without what the help does not show either: generators know nothing of that.
fn shown() -> Command {
    let all = Cli::command();
    let commands = all.get_subcommands().filter(|command| !command.is_hide_set());
    Command::new("bmsctl").version(env!("CARGO_PKG_VERSION")).args(all.get_arguments()).subcommands(commands)
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum as _;
    use clap_complete::Shell;

    use super::shown;

    #[test]
    fn the_script_of_every_shell_completes_what_the_help_shows() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut shown(), "bmsctl", &mut script);
            let script = String::from_utf8(script).expect("UTF-8");
            for word in ["import", "in-place", "output", "completions"] {
                assert!(script.contains(word), "{shell}: {word} is not in it");
            }
            assert!(!script.contains("For packages"), "{shell}");
        }
    }
}
