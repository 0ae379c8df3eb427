//! What the file systems' own tools say is free.

use std::ops::Range;
use std::path::Path;

use super::rig::{Kind, run};
use crate::inspect::free::ranges::{RangeSet, without};

/// The free ranges of an image, in bytes.
pub(super) fn free(kind: Kind, image: &Path) -> Vec<Range<u64>> {
    match kind {
        Kind::Ext2 | Kind::Ext3 | Kind::Ext4 => ext(image),
        Kind::Xfs => xfs(image),
        Kind::Btrfs => btrfs(image),
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or_else(|_| panic!("no number: {text:?}"))
}

/// The number behind `label` in a line that begins with it.
fn after(text: &str, label: &str) -> u64 {
    let line = text.lines().find_map(|line| line.trim().strip_prefix(label));
    number(line.unwrap_or_else(|| panic!("no {label:?} in {text}")).trim())
}

/// dumpe2fs lists the free blocks of each group.
fn ext(image: &Path) -> Vec<Range<u64>> {
    let said = run("dumpe2fs", [image]);
    let (block_size, blocks) = (after(&said, "Block size:"), after(&said, "Block count:"));
    // A run ends with the first block of its last cluster.
    let cluster_blocks = if said.contains("Cluster size:") { after(&said, "Cluster size:") / block_size } else { 1 };
    let mut free = RangeSet::new();
    for line in said.lines().filter_map(|line| line.strip_prefix("  Free blocks:")) {
        for run in line.trim().split(", ").filter(|run| !run.is_empty()) {
            let (first, last) = run.split_once('-').unwrap_or((run, run));
            free.add(number(first) * block_size..(number(last) + cluster_blocks).min(blocks) * block_size);
        }
    }
    free.finish()
}

/// xfs_db lists all free runs; those of one block that are in the list of blocks in hand are no free space.
fn xfs(image: &Path) -> Vec<Range<u64>> {
    let db = |commands: &[&str]| {
        let commands = commands.iter().flat_map(|command| ["-c", command]);
        run("xfs_db", ["-r", "-f"].into_iter().chain(commands).chain([image.to_str().expect("UTF-8")]))
    };
    let geometry = db(&["sb 0", "p blocksize agblocks agcount"]);
    let of = |name: &str| after(&geometry.replace(" = ", ": "), &format!("{name}:"));
    let (block_size, group_blocks) = (of("blocksize"), of("agblocks"));
    let mut free = RangeSet::new();
    for group in 0..of("agcount") {
        // With -A and -a, one group; with -d, every run.
        let in_hand =
            in_hand(&db(&[&format!("agf {group}"), "p flcount flfirst fllast", &format!("agfl {group}"), "p bno"]));
        for line in db(&[&format!("freesp -d -a {group}")]).lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let [agno, block, len] = words.as_slice() else { continue };
            let Ok(agno) = agno.parse::<u64>() else { continue };
            assert_eq!(agno, group);
            let (block, len) = (number(block), number(len));
            if !(len == 1 && in_hand.contains(&block)) {
                let start = (group * group_blocks + block) * block_size;
                free.add(start..start + len * block_size);
            }
        }
    }
    free.finish()
}

/// The blocks of a group's list, of which only those between the first and the last used entry count.
fn in_hand(said: &str) -> Vec<u64> {
    let of = |name: &str| after(&said.replace(" = ", ": "), &format!("{name}:"));
    let (count, first) = (of("flcount"), of("flfirst"));
    let list = said.lines().find_map(|line| line.strip_prefix("bno[")).expect("a list");
    let (_, list) = list.split_once(" = ").expect("its entries");
    let mut entries = Vec::new();
    for entry in list.split_whitespace() {
        let (index, value) = entry.split_once(':').expect("an entry");
        let block = value.parse().unwrap_or(u64::MAX);
        match index.split_once('-') {
            None => entries.push(block),
            Some((from, to)) => (number(from)..=number(to)).for_each(|_| entries.push(block)),
        }
    }
    let len = entries.len() as u64;
    (first..first + count).map(|at| entries[usize::try_from(at % len).expect("small")]).collect()
}

/// The chunk tree and the extent tree of btrfs, as its own tool reads them.
fn btrfs(image: &Path) -> Vec<Range<u64>> {
    let image = image.to_str().expect("UTF-8");
    let node_bytes = after(&run("btrfs", ["inspect-internal", "dump-super", image]), "nodesize");
    let (mut chunks, mut device_bytes) = (Vec::new(), 0);
    let (mut start, mut len) = (0, 0);
    for line in dump(image, "chunk") {
        match line.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["item", _, "key", _, "CHUNK_ITEM", at, ..] => start = number(at),
            ["length", bytes, "owner", ..] => len = number(bytes),
            ["stripe", _, "devid", "1", "offset", offset] => chunks.push((start..start + len, number(offset))),
            ["devid", "1", "total_bytes", bytes, ..] => device_bytes = number(bytes),
            _ => {}
        }
    }
    let mut used = RangeSet::new();
    for line in dump(image, "extent") {
        match line.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
            ["item", _, "key", at, "EXTENT_ITEM", len, ..] => used.add(number(at)..number(at) + number(len)),
            ["item", _, "key", at, "METADATA_ITEM", ..] => used.add(number(at)..number(at) + node_bytes),
            _ => {}
        }
    }
    let used = used.finish();
    let (mut free, mut covered) = (RangeSet::new(), RangeSet::new());
    for (logical, offset) in chunks {
        covered.add(offset..offset + (logical.end - logical.start));
        for range in without(std::slice::from_ref(&logical), &used).finish() {
            free.add(range.start - logical.start + offset..range.end - logical.start + offset);
        }
    }
    for range in without(&[0..device_bytes], &covered.finish()).finish() {
        free.add(range);
    }
    let mirrors = [0..1 << 20, 64 << 20..(64 << 20) + (64 << 10)];
    without(&free.finish(), &mirrors).finish()
}

/// The words of the lines of a tree.
fn dump(image: &str, tree: &str) -> Vec<Vec<String>> {
    let said = run("btrfs", ["inspect-internal", "dump-tree", "-t", tree, image]);
    let words =
        |line: &str| line.split([' ', '\t', ')', '(']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
    said.lines().map(words).collect()
}
