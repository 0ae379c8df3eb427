//! GRUB's menu, `grub.cfg`: a script of which the entries and the variables are of interest. Nothing of it is run.

use std::collections::BTreeMap;

use super::BootEntry;

/// What a menu says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Menu {
    pub(super) entries: Vec<BootEntry>,
    /// Variables that are set anywhere; the last value of each.
    pub(super) variables: BTreeMap<String, String>,
}

/// Reads a menu. Entries without a kernel, such as those for the firmware's own setup, are left out.
pub(super) fn parse(text: &[u8]) -> Menu {
    let mut menu = Menu::default();
    let mut open: Option<BootEntry> = None;
    for command in commands(&String::from_utf8_lossy(text)) {
        let Some((name, words)) = command.split_first() else { continue };
        match name.as_str() {
            "menuentry" => {
                menu.close(open.take());
                let title = words.first().cloned().unwrap_or_default();
                open = Some(BootEntry { title, ..BootEntry::default() });
            }
            "}" => menu.close(open.take()),
            "set" => menu.variables.extend(words.iter().filter_map(|word| assignment(word))),
            name => {
                if let Some(entry) = &mut open {
                    take(entry, name, words);
                }
            }
        }
    }
    menu.close(open);
    menu
}

impl Menu {
    fn close(&mut self, entry: Option<BootEntry>) {
        self.entries.extend(entry.filter(|entry| !entry.linux.is_empty()));
    }
}

/// Takes a command of an entry into it. Under Xen, kernel and initramfs are the hypervisor's modules.
fn take(entry: &mut BootEntry, name: &str, words: &[String]) {
    let words: Vec<&String> = words.iter().skip_while(|word| word.starts_with("--")).collect();
    let is_kernel = matches!(name, "linux" | "linuxefi" | "linux16");
    let is_module = matches!(name, "module" | "module2");
    if is_kernel || (is_module && entry.linux.is_empty()) {
        let Some((kernel, options)) = words.split_first() else { return };
        entry.linux.clone_from(kernel);
        entry.options = options.iter().map(|word| word.as_str()).collect::<Vec<_>>().join(" ");
    } else if is_module || matches!(name, "initrd" | "initrdefi" | "initrd16") {
        entry.initrds.extend(words.into_iter().cloned());
    }
}

fn assignment(word: &str) -> Option<(String, String)> {
    word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()))
}

/// The commands of a script, as words without their quotes. A lone brace is a command or a word of its own.
fn commands(text: &str) -> Vec<Vec<String>> {
    let mut words = Words::default();
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => match letters.next() {
                Some('\n') | None => {}
                Some(next) => words.push(next),
            },
            '\'' => words.word.get_or_insert_default().extend(letters.by_ref().take_while(|&letter| letter != '\'')),
            '"' => words.double_quoted(&mut letters),
            '#' if words.word.is_none() => while letters.next_if(|&letter| letter != '\n').is_some() {},
            '\n' | ';' => words.end_command(),
            letter if letter.is_whitespace() => words.end_word(),
            letter => words.push(letter),
        }
    }
    words.end_command();
    words.commands
}

#[derive(Default)]
struct Words {
    commands: Vec<Vec<String>>,
    command: Vec<String>,
    word: Option<String>,
}

impl Words {
    fn push(&mut self, letter: char) {
        self.word.get_or_insert_default().push(letter);
    }

    /// Takes what is between double quotes, where a backslash counts only before a few letters.
    fn double_quoted(&mut self, letters: &mut impl Iterator<Item = char>) {
        let word = self.word.get_or_insert_default();
        while let Some(letter) = letters.next() {
            match letter {
                '"' => break,
                '\\' => match letters.next() {
                    Some(next @ ('"' | '\\' | '$')) => word.push(next),
                    Some('\n') | None => {}
                    Some(next) => word.extend(['\\', next]),
                },
                letter => word.push(letter),
            }
        }
    }

    fn end_word(&mut self) {
        self.command.extend(self.word.take());
    }

    fn end_command(&mut self) {
        self.end_word();
        if !self.command.is_empty() {
            self.commands.push(std::mem::take(&mut self.command));
        }
    }
}

/// GRUB's environment: lines of `name=value`, in a file that is filled up with `#`.
pub(super) fn parse_environment(text: &[u8]) -> BTreeMap<String, String> {
    let text = String::from_utf8_lossy(text);
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(assignment).map(|(name, value)| (name, value.replace("\\\\", "\\"))).collect()
}
