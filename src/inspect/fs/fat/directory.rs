//! The entries of a FAT directory: short names, the long names before them, and the label of the volume.

use crate::inspect::fs::{Kind, name};

/// Most bytes of a directory, as the specification limits them.
pub(super) const MAX_BYTES: usize = 2 << 20;

const ENTRY_BYTES: usize = 32;
const SHORT_NAME_BYTES: usize = 11;
const BASE_BYTES: usize = 8;
/// First bytes of an entry that is not in use, of the first one beyond the last, and of a name that begins with 0xe5.
const DELETED: u8 = 0xe5;
const END: u8 = 0;
const ESCAPED_E5: u8 = 0x05;

const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTE_DIRECTORY: u8 = 0x10;
/// All of read-only, hidden, system and label.
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;
const ATTRIBUTES_KNOWN: u8 = 0x3f;
/// Windows' flags for short names in small letters.
const SMALL_BASE: u8 = 0x08;
const SMALL_EXTENSION: u8 = 0x10;

/// Set in the piece of a long name that comes first and has its end.
const LAST_PIECE: u8 = 0x40;
const MAX_PIECES: u8 = 20;
/// Where a piece has its thirteen units.
const UNITS_AT: [usize; 13] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];

/// A file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Item {
    short: String,
    long: Option<String>,
    pub(super) is_directory: bool,
    pub(super) cluster: u32,
    pub(super) size_bytes: u32,
}

impl Item {
    pub(super) fn is_called(&self, name: &str) -> bool {
        self.long.as_deref().is_some_and(|long| same(long, name)) || same(&self.short, name)
    }

    pub(super) fn into_name(self) -> String {
        self.long.unwrap_or(self.short)
    }

    pub(super) const fn kind(&self) -> Kind {
        if self.is_directory { Kind::Directory } else { Kind::File }
    }
}

fn same(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_uppercase).eq(other.chars().flat_map(char::to_uppercase))
}

/// What a directory holds.
pub(super) fn items(directory: &[u8]) -> Vec<Item> {
    let mut items = Vec::new();
    let mut long = LongName::default();
    for entry in entries(directory) {
        let attributes = entry[SHORT_NAME_BYTES] & ATTRIBUTES_KNOWN;
        if attributes == ATTRIBUTES_LONG_NAME {
            long.add(entry);
            continue;
        }
        let long = std::mem::take(&mut long).finish(entry);
        let is_dot = entry.starts_with(b".");
        if entry[0] != DELETED && attributes & ATTRIBUTE_LABEL == 0 && !is_dot {
            items.push(item(entry, long));
        }
    }
    items
}

/// The label of the volume, from its top directory.
pub(super) fn label(top: &[u8]) -> Option<String> {
    let is_label = |entry: &&[u8; ENTRY_BYTES]| {
        let attributes = entry[SHORT_NAME_BYTES];
        entry[0] != DELETED
            && attributes & (ATTRIBUTE_LABEL | ATTRIBUTE_DIRECTORY) == ATTRIBUTE_LABEL
            && attributes & ATTRIBUTES_KNOWN != ATTRIBUTES_LONG_NAME
    };
    let entry = entries(top).find(is_label)?;
    let label = name(&unescaped(entry));
    Some(label.trim_end().to_owned()).filter(|label| !label.is_empty())
}

fn entries(directory: &[u8]) -> impl Iterator<Item = &[u8; ENTRY_BYTES]> {
    directory.as_chunks().0.iter().take_while(|entry| entry[0] != END)
}

fn item(entry: &[u8; ENTRY_BYTES], long: Option<String>) -> Item {
    let le16 = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
    Item {
        short: short_name(entry),
        long,
        is_directory: entry[SHORT_NAME_BYTES] & ATTRIBUTE_DIRECTORY != 0,
        // FAT12 and FAT16 have zero in the upper half.
        cluster: (u32::from(le16(20)) << 16) | u32::from(le16(26)),
        size_bytes: (u32::from(le16(30)) << 16) | u32::from(le16(28)),
    }
}

fn unescaped(entry: &[u8; ENTRY_BYTES]) -> [u8; SHORT_NAME_BYTES] {
    let mut name: [u8; SHORT_NAME_BYTES] = std::array::from_fn(|at| entry[at]);
    if name[0] == ESCAPED_E5 {
        name[0] = DELETED;
    }
    name
}

fn short_name(entry: &[u8; ENTRY_BYTES]) -> String {
    let bytes = unescaped(entry);
    let (base, extension) = bytes.split_at(BASE_BYTES);
    let part = |part: &[u8], small: u8| {
        let part = name(part.trim_ascii_end());
        if entry[12] & small == 0 { part } else { part.to_ascii_lowercase() }
    };
    let (base, extension) = (part(base, SMALL_BASE), part(extension, SMALL_EXTENSION));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}

/// A long name that is being put together: its pieces come in reverse, before the short name that it belongs to.
#[derive(Debug, Default)]
struct LongName {
    /// Pieces that are still to come; none if there is no name.
    missing: Option<u8>,
    checksum: u8,
    /// Pieces, the last one first.
    pieces: Vec<[u16; UNITS_AT.len()]>,
}

impl LongName {
    fn add(&mut self, entry: &[u8; ENTRY_BYTES]) {
        let (order, checksum) = (entry[0], entry[13]);
        let number = order & !LAST_PIECE;
        if order & LAST_PIECE != 0 && (1..=MAX_PIECES).contains(&number) {
            *self = Self { missing: Some(number), checksum, pieces: Vec::new() };
        }
        // A piece out of order, or of another name, makes the name none.
        self.missing = match self.missing {
            Some(missing) if missing == number && number > 0 && checksum == self.checksum => Some(number - 1),
            Some(_) | None => None,
        };
        self.pieces.push(UNITS_AT.map(|at| u16::from_le_bytes([entry[at], entry[at + 1]])));
    }

    /// The name, if it is whole and belongs to `entry`.
    fn finish(self, entry: &[u8; ENTRY_BYTES]) -> Option<String> {
        let sum = entry[..SHORT_NAME_BYTES].iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        if self.missing != Some(0) || self.checksum != sum {
            return None;
        }
        let units = self.pieces.iter().rev().flatten().copied().take_while(|unit| *unit != 0);
        Some(crate::inspect::fs::utf16(units)).filter(|name| !name.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRY_BYTES, Item, LAST_PIECE, UNITS_AT, items, label};

    fn short(name: &[u8; 11], attributes: u8) -> [u8; ENTRY_BYTES] {
        let mut entry = [0; ENTRY_BYTES];
        entry[..11].copy_from_slice(name);
        entry[11] = attributes;
        entry[26] = 5;
        entry[28] = 9;
        entry
    }

    fn long(name: &str, of: &[u8; 11]) -> Vec<[u8; ENTRY_BYTES]> {
        let sum = of.iter().fold(0_u8, |sum, byte| sum.rotate_right(1).wrapping_add(*byte));
        let mut units: Vec<u16> = name.encode_utf16().collect();
        units.push(0);
        let pieces = units.chunks(13).enumerate().map(|(number, piece)| {
            let mut entry = [0xff; ENTRY_BYTES];
            entry[0] = u8::try_from(number + 1).expect("small");
            (entry[11], entry[12], entry[13]) = (0x0f, 0, sum);
            for (at, unit) in UNITS_AT.iter().zip(piece) {
                entry[*at..at + 2].copy_from_slice(&unit.to_le_bytes());
            }
            entry
        });
        let mut pieces: Vec<_> = pieces.collect();
        pieces.last_mut().expect("one")[0] |= LAST_PIECE;
        pieces.reverse();
        pieces
    }

    fn names(entries: &[[u8; ENTRY_BYTES]]) -> Vec<String> {
        items(entries.as_flattened()).into_iter().map(Item::into_name).collect()
    }

    #[test]
    fn a_long_name_belongs_to_the_short_name_after_it() {
        let name = b"LONGNA~1TXT";
        let text = "A long name of more than one piece, ä\u{1f600}.txt";
        let mut entries = long(text, name);
        entries.push(short(name, 0x20));
        assert_eq!(names(&entries), [text]);
        let found = items(entries.as_flattened());
        assert!(found[0].is_called("LongNa~1.txt") && found[0].is_called(&text.to_uppercase()));
        assert_eq!((found[0].cluster, found[0].size_bytes), (5, 9));
        for broken in 0..entries.len() - 1 {
            let mut entries = entries.clone();
            entries[broken][13] ^= 1;
            assert_eq!(names(&entries), ["LONGNA~1.TXT"], "{broken}");
            entries.remove(broken);
            assert_eq!(names(&entries), ["LONGNA~1.TXT"], "{broken}");
        }
    }

    #[test]
    fn what_is_deleted_a_label_or_behind_the_end_is_not_there() {
        let mut small = short(b"GRUB    CFG", 0x20);
        small[12] = 0x18;
        let entries = [
            short(b"ESP        ", 0x08),
            short(b".          ", 0x10),
            short(b"\xe5ONE    TXT", 0x20),
            short(b"EFI        ", 0x10),
            small,
            short(b"\x05\x80      B  ", 0x20),
            [0; ENTRY_BYTES],
            short(b"BEHIND     ", 0x20),
        ];
        assert_eq!(names(&entries), ["EFI", "grub.cfg", r"\xe5\x80.B"]);
        assert_eq!(label(entries.as_flattened()).as_deref(), Some("ESP"));
        assert_eq!(label(entries[1..].as_flattened()), None);
    }
}
