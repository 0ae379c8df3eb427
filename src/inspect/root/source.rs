//! Which of a disk's file systems a source in fstab names.

use std::collections::BTreeSet;

use super::assemble::Part;
use crate::inspect::facts::fstab::FstabEntry;

/// Kinds of disks whose partitions are called by a letter and a number.
const LETTERED: [&str; 4] = ["xvd", "sd", "vd", "hd"];

/// The part that a source names, by its place in `parts`; or why that cannot be told.
pub(super) fn resolve(source: &str, parts: &[Part<'_>], this_disk: Option<&str>) -> Result<usize, String> {
    let name = Name::of(source, this_disk).ok_or_else(|| format!("{source} names no file system of this disk"))?;
    let mut matching = (0..).zip(parts).filter(|(_, part)| name.is_of(part)).map(|(at, _)| at);
    match (matching.next(), matching.next()) {
        (Some(at), None) => Ok(at),
        (Some(_), Some(_)) => Err(format!("{source} is on this disk more than once")),
        (None, _) if parts.iter().any(|part| part.fs.is_err()) => {
            Err(format!("{source} is not on this disk, or on a part of it that cannot be read"))
        }
        (None, _) => Err(format!("{source} is not on this disk")),
    }
}

/// The disk that names such as `/dev/sda1` are of, if they are all of the one that the root is on. Such names change from
/// server to server, so they count only if nothing contradicts them.
pub(super) fn this_disk<'e>(entries: &'e [FstabEntry], root: &Part<'_>) -> Option<&'e str> {
    let top = entries.iter().find(|entry| entry.target == "/");
    match top.and_then(|entry| numbered(&entry.source)) {
        Some((disk, number)) => (root.logical.is_none() && number == root.partition).then_some(disk),
        None => {
            let disks: BTreeSet<&str> = entries.iter().filter_map(|entry| Some(numbered(&entry.source)?.0)).collect();
            disks.first().copied().filter(|_| disks.len() == 1)
        }
    }
}

/// What a source says of the file system that it means.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Name<'s> {
    Uuid(String),
    Label(String),
    PartUuid(String),
    PartLabel(String),
    /// As it is called below /dev/mapper.
    Mapped(&'s str),
    Logical(&'s str, &'s str),
    Number(u32),
}

impl<'s> Name<'s> {
    fn of(source: &'s str, this_disk: Option<&str>) -> Option<Self> {
        if let Some((key, value)) = source.split_once('=') {
            return Self::tagged(key, value.trim_matches(['"', '\'']).to_owned());
        }
        let device = source.strip_prefix("/dev/")?;
        if let Some((key, value)) = device.strip_prefix("disk/by-").and_then(|rest| rest.split_once('/')) {
            return Self::tagged(&key.to_ascii_uppercase(), unescape(value));
        }
        if let Some(name) = device.strip_prefix("mapper/") {
            return Some(Self::Mapped(name));
        }
        if let Some((group, volume)) = device.split_once('/') {
            return Some(Self::Logical(group, volume));
        }
        let (disk, number) = numbered(source)?;
        (Some(disk) == this_disk).then_some(Self::Number(number))
    }

    fn tagged(key: &str, value: String) -> Option<Self> {
        match key {
            "UUID" => Some(Self::Uuid(value)),
            "LABEL" => Some(Self::Label(value)),
            "PARTUUID" => Some(Self::PartUuid(value)),
            "PARTLABEL" => Some(Self::PartLabel(value)),
            _ => None,
        }
    }

    fn is_of(&self, part: &Part<'_>) -> bool {
        // An empty name would fit whatever has none.
        let identity = part.fs.as_ref().ok().map(|fs| fs.identity());
        let same = |name: &str, other: &str| !name.is_empty() && name.eq_ignore_ascii_case(other);
        match self {
            Self::Uuid(uuid) => identity.and_then(|it| it.uuid.as_ref()).is_some_and(|other| same(uuid, other)),
            Self::Label(label) => identity.and_then(|it| it.label.as_ref()) == Some(label) && !label.is_empty(),
            // A logical volume is no partition, though it may lie in one.
            Self::PartUuid(uuid) => part.logical.is_none() && same(uuid, &part.part_uuid),
            Self::PartLabel(label) => part.logical.is_none() && !label.is_empty() && *label == part.part_label,
            Self::Number(number) => part.logical.is_none() && part.partition == *number,
            Self::Mapped(name) => part.logical.as_ref().is_some_and(|logical| logical.mapped_name() == *name),
            Self::Logical(group, volume) => {
                part.logical.as_ref().is_some_and(|logical| logical.group == *group && logical.volume == *volume)
            }
        }
    }
}

/// Disk and number of a partition that is called by them: `/dev/sda1`, `/dev/nvme0n1p2`.
fn numbered(source: &str) -> Option<(&str, u32)> {
    let device = source.strip_prefix("/dev/")?;
    let disk = device.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let number = device[disk.len()..].parse().ok().filter(|number| *number > 0)?;
    let letters = LETTERED.into_iter().find_map(|kind| disk.strip_prefix(kind));
    if letters.is_some_and(|letters| !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_lowercase())) {
        return Some((disk, number));
    }
    let disk = disk.strip_suffix('p').filter(|disk| disk.ends_with(|letter: char| letter.is_ascii_digit()))?;
    ["nvme", "mmcblk"].into_iter().any(|kind| disk.starts_with(kind)).then_some((disk, number))
}

/// A name with its `\x20`, as udev writes them, as what they stand for.
fn unescape(name: &str) -> String {
    let mut out = String::new();
    let mut rest = name;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(u8::is_ascii);
        match byte {
            Some(byte) => {
                out.push(char::from(byte));
                rest = &after[2..];
            }
            None => {
                out.push_str("\\x");
                rest = after;
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::{numbered, unescape};

    #[test]
    fn partitions_are_called_by_disk_and_number() {
        for (source, expected) in [
            ("/dev/sda1", Some(("sda", 1))),
            ("/dev/sdaa12", Some(("sdaa", 12))),
            ("/dev/vdb2", Some(("vdb", 2))),
            ("/dev/xvda3", Some(("xvda", 3))),
            ("/dev/nvme0n1p2", Some(("nvme0n1", 2))),
            ("/dev/mmcblk0p1", Some(("mmcblk0", 1))),
            ("/dev/nvme0n1", None),
            ("/dev/sda", None),
            ("/dev/sda0", None),
            ("/dev/sda99999999999", None),
            ("/dev/sd1", None),
            ("/dev/md127p1", None),
            ("sda1", None),
        ] {
            assert_eq!(numbered(source), expected, "{source}");
        }
    }

    #[test]
    fn names_of_udev_are_unescaped() {
        assert_eq!(unescape(r"my\x20disk\x2f1"), "my disk/1");
        assert_eq!(unescape(r"\xzz\x2\xff"), r"\xzz\x2\xff");
    }
}
