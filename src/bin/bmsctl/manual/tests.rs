//! The pages as a reader gets them.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use clap::CommandFactory as _;

use super::write;
use crate::cli::Cli;

/// Names of all commands that are shown, as their pages are called.
fn commands(command: &clap::Command, name: &str, found: &mut BTreeSet<String>) {
    found.insert(format!("{name}.1"));
    let shown = command.get_subcommands().filter(|command| !command.is_hide_set() && command.get_name() != "help");
    shown.for_each(|command| commands(command, &format!("{name}-{}", command.get_name()), found));
}

#[test]
fn every_command_the_agent_and_its_configuration_have_a_page() {
    let dir = tempfile::tempdir().expect("directory");
    write(dir.path()).expect("written");
    let entries = fs::read_dir(dir.path()).expect("directory");
    let found: BTreeSet<_> =
        entries.map(|entry| entry.expect("entry").file_name().into_string().expect("UTF-8")).collect();
    let mut expected = BTreeSet::from(["bms-agent.8".to_owned(), "bms-agent.toml.5".to_owned()]);
    commands(&Cli::command(), "bmsctl", &mut expected);
    assert_eq!(found, expected);
    assert!(found.contains("bmsctl-image-import.1") && !found.contains("bmsctl-man.1"), "{found:?}");
}

#[test]
fn pages_of_commands_have_the_texts_of_the_help() {
    let dir = tempfile::tempdir().expect("directory");
    write(dir.path()).expect("written");
    for entry in fs::read_dir(dir.path()).expect("directory") {
        let path = entry.expect("entry").path();
        let text = fs::read_to_string(&path).expect("a page");
        let sections: Vec<_> = text.lines().filter_map(|line| line.strip_prefix(".SH ")).collect();
        let wanted: &[&str] = match path.extension().and_then(|extension| extension.to_str()) {
            Some("5") => &["NAME", "SYNOPSIS", "DESCRIPTION", "KEYS", "FILES", "\"SEE ALSO\""],
            _ => &["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "\"EXIT STATUS\"", "ENVIRONMENT", "FILES"],
        };
        let missing: Vec<_> = wanted.iter().filter(|section| !sections.contains(section)).collect();
        assert!(missing.is_empty(), "{}: {missing:?} not in {sections:?}", path.display());
        assert!(!text.contains("EXTRA"), "{}", path.display());
    }
    let install = fs::read_to_string(dir.path().join("bmsctl-install.1")).expect("a page");
    assert!(install.contains("bytes do not match") && install.contains("BMSCTL_SOCKET"), "{install}");
    assert!(install.contains("serial=S64GNE0R900001"), "{install}");
}

/// Warnings of the formatter are of what a reader would miss: fonts, macros and characters that there are not.
#[test]
fn the_formatter_has_nothing_to_say_of_any_page() {
    let dir = tempfile::tempdir().expect("directory");
    write(dir.path()).expect("written");
    for entry in fs::read_dir(dir.path()).expect("directory") {
        let path = entry.expect("entry").path();
        let output = Command::new("groff").args(["-ww", "-man", "-Tutf8", "-z"]).arg(&path).output();
        let output = output.expect("groff: tests/install-packages.sh");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
    }
}
