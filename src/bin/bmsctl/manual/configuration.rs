//! The page of the configuration: the shipped file, whose comments explain every key.

use super::page::{Entry, Page};

const SHIPPED: &str = include_str!("../../../../systemd/config.toml");

/// The page.
pub(super) fn page() -> Page {
    let mut blocks = blocks(SHIPPED).into_iter();
    let description = blocks.next().map(|block| block.prose).unwrap_or_default();
    Page::other("bms-agent.toml", "5", "configuration of bms-agent")
        .text("SYNOPSIS", super::CONFIG)
        .text("DESCRIPTION", &description)
        .list("KEYS", blocks.map(|block| Entry::new(block.lines.join("   "), &block.prose)))
        .list("FILES", [Entry::new(super::CONFIG, "The file, in which every key is shown with its default.")])
        .text("SEE ALSO", "bms-agent(8), bmsctl(1)")
}

/// Prose, and the lines that it explains.
#[derive(Debug, Default, PartialEq, Eq)]
struct Block {
    prose: String,
    lines: Vec<String>,
}

/// Takes the file apart. A comment is prose if one space follows its sign, else a key or an example.
fn blocks(file: &str) -> Vec<Block> {
    let (mut blocks, mut block) = (Vec::new(), Block::default());
    for line in file.lines() {
        let prose = line.strip_prefix("# ").filter(|text| !text.starts_with(' '));
        if line.is_empty() || (prose.is_some() && !block.lines.is_empty()) {
            blocks.push(std::mem::take(&mut block));
        }
        match prose {
            Some(text) => block.prose = format!("{} {text}", block.prose).trim_start().to_owned(),
            None if line.is_empty() => {}
            None => block.lines.push(line.trim_start_matches('#').trim().to_owned()),
        }
    }
    blocks.push(block);
    blocks.retain(|block| *block != Block::default());
    blocks
}

#[cfg(test)]
mod tests {
    use super::{Block, SHIPPED, blocks};

    #[test]
    fn every_line_of_the_shipped_file_is_on_the_page() {
        let blocks = blocks(SHIPPED);
        let lines: usize = blocks.iter().map(|block| block.lines.len()).sum();
        let expected =
            SHIPPED.lines().filter(|line| !line.is_empty() && (!line.starts_with("# ") || line.starts_with("#  ")));
        assert_eq!(lines, expected.count());
        assert!(lines > 20);
        let socket = blocks.iter().find(|block| block.lines == ["socket = \"/run/bms-agent/agent.sock\""]);
        assert!(socket.is_some_and(|block| block.prose.starts_with("The Unix socket")), "{blocks:?}");
    }

    #[test]
    fn what_explains_nothing_stands_alone_and_examples_follow_their_key() {
        let block = |prose: &str, lines: &[&str]| Block {
            prose: prose.to_owned(),
            lines: lines.iter().map(|line| (*line).to_owned()).collect(),
        };
        let found = blocks("# The file,\n# as it is.\n\n# One.\n#one = 1\n#   one = 2\n# Two.\n#two = 2\n");
        assert_eq!(
            found,
            [block("The file, as it is.", &[]), block("One.", &["one = 1", "one = 2"]), block("Two.", &["two = 2"])]
        );
    }
}
