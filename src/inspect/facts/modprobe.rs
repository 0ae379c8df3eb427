//! What modprobe is told not to load.

use super::text::{self, FactError};
use crate::inspect::root::Root;

/// Directories of modprobe; a file of an earlier one hides those of the same name in later ones.
const DIRECTORIES: [&str; 4] = ["etc/modprobe.d", "run/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"];
/// Commands that, in the place of loading a module, do nothing.
const NOTHING: [&str; 6] = ["/bin/true", "/bin/false", "/usr/bin/true", "/usr/bin/false", "true", "false"];

/// A line that keeps a module from being loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// The module, with `_` for `-`.
    pub module: String,
    /// Whether it is loaded all the same when another module needs it.
    pub spares_dependencies: bool,
    /// The file.
    pub path: String,
    /// The line in it, from 1.
    pub line: usize,
    /// What it says.
    pub text: String,
}

/// All lines that keep modules from being loaded.
///
/// # Errors
/// [`FactError`], if a file cannot be read.
pub fn blocks(root: &Root<'_>) -> Result<Vec<Block>, FactError> {
    let mut seen: Vec<String> = Vec::new();
    let mut blocks = Vec::new();
    for directory in DIRECTORIES {
        for name in text::names(root, directory, |name| name.ends_with(".conf"))? {
            if seen.contains(&name) {
                continue;
            }
            let path = format!("{directory}/{name}");
            if let Some(text) = text::read(root, &path)? {
                blocks.extend(parse(&text, &text::shown(&path)));
            }
            seen.push(name);
        }
    }
    Ok(blocks)
}

fn parse(text: &str, path: &str) -> Vec<Block> {
    let block = |(at, line): (usize, &str)| {
        let (module, spares_dependencies) = blocked(line)?;
        let (path, text) = (path.to_owned(), line.trim().to_owned());
        Some(Block { module: canonical(module), spares_dependencies, path, line: at + 1, text })
    };
    text.lines().enumerate().filter_map(block).collect()
}

/// The module that a line keeps from being loaded, and whether only for its own devices.
fn blocked(line: &str) -> Option<(&str, bool)> {
    let mut words = line.split_whitespace();
    match (words.next()?, words.next()?) {
        ("blacklist", module) => Some((module, true)),
        ("install", module) => words.next().filter(|command| NOTHING.contains(command)).map(|_| (module, false)),
        _ => None,
    }
}

/// A name of a module as the kernel has it: `_` and `-` are the same.
pub fn canonical(module: &str) -> String {
    module.replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn blacklists_and_empty_installs_are_seen() {
        let text = "# blacklist no\nblacklist scsi-ep-front\n install hinic /bin/true\ninstall b /sbin/modprobe b\n\nblacklist\n";
        let seen: Vec<_> = parse(text, "/etc/x")
            .into_iter()
            .map(|block| (block.module, block.line, block.spares_dependencies))
            .collect();
        assert_eq!(seen, [("scsi_ep_front".to_owned(), 2, true), ("hinic".to_owned(), 3, false)]);
    }
}
