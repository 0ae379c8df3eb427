//! A page of the manual: what clap knows of a command, and sections after it.

use std::fmt::Display;
use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// A name, and what it means.
#[derive(Debug)]
pub(super) struct Entry {
    name: String,
    meaning: String,
}

impl Entry {
    pub(super) fn new(name: impl Display, meaning: &str) -> Self {
        Self { name: name.to_string(), meaning: meaning.to_owned() }
    }
}

/// What a page begins with.
#[derive(Debug)]
enum Head {
    /// A command: name, synopsis, description, options and subcommands.
    Command(Box<Command>),
    /// Something else: its name, and what it is.
    Other(&'static str, &'static str),
}

/// A page.
#[derive(Debug)]
pub(super) struct Page {
    section: &'static str,
    head: Head,
    body: Roff,
}

impl Page {
    /// The page of a command.
    pub(super) fn of(command: Command, section: &'static str) -> Self {
        let mut command = command;
        command.build();
        // Its version is the program's, also where it is a part of it.
        let command = command.version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
        Self { section, head: Head::Command(Box::new(command)), body: Roff::new() }
    }

    /// The page of something that is no command.
    pub(super) fn other(name: &'static str, section: &'static str, what: &'static str) -> Self {
        Self { section, head: Head::Other(name, what), body: Roff::new() }
    }

    /// Adds a section of names and what they mean.
    pub(super) fn list(mut self, title: &str, entries: impl IntoIterator<Item = Entry>) -> Self {
        self.body.control("SH", [title]);
        for entry in entries {
            self.body.control("TP", []).text([bold(entry.name)]).text([roman(entry.meaning)]);
        }
        self
    }

    /// Adds a section of one paragraph.
    pub(super) fn text(mut self, title: &str, text: &str) -> Self {
        self.body.control("SH", [title]).text([roman(text)]);
        self
    }

    /// Adds a section with lines as they are.
    pub(super) fn verbatim(mut self, title: &str, lines: &str) -> Self {
        self.body.control("SH", [title]).control("nf", []);
        for line in lines.lines() {
            self.body.text([roman(line)]);
        }
        self.body.control("fi", []);
        self
    }

    /// The name of its file.
    pub(super) fn file_name(&self) -> String {
        let name = match &self.head {
            Head::Command(command) => command.get_display_name().unwrap_or_else(|| command.get_name()),
            Head::Other(name, _) => name,
        };
        format!("{name}.{}", self.section)
    }

    /// The page, as groff and mandoc take it.
    pub(super) fn render(&self) -> io::Result<Vec<u8>> {
        let mut page = Vec::new();
        match &self.head {
            Head::Command(command) => render_command(command, self.section, &mut page)?,
            Head::Other(name, what) => {
                let source = concat!("bms-agent ", env!("CARGO_PKG_VERSION"));
                let title = name.to_uppercase();
                let mut head = Roff::new();
                head.control("TH", [title.as_str(), self.section, "", source]);
                head.control("SH", ["NAME"]).text([roman(format!("{name} - {what}"))]);
                head.to_writer(&mut page)?;
            }
        }
        self.body.to_writer(&mut page)?;
        Ok(page)
    }
}

fn render_command(command: &Command, section: &str, page: &mut Vec<u8>) -> io::Result<()> {
    let source = concat!("bms-agent ", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone()).section(section).source(source);
    man.render_title(page)?;
    man.render_name_section(page)?;
    man.render_synopsis_section(page)?;
    man.render_description_section(page)?;
    man.render_options_section(page)?;
    if command.get_subcommands().any(|command| !command.is_hide_set()) {
        man.render_subcommands_section(page)?;
    }
    Ok(())
}
