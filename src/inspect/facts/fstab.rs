//! `/etc/fstab`: what an image joins into its tree of files when it starts.

use crate::inspect::fs::FsError;
use crate::inspect::root::Root;

/// Where it is.
pub const PATH: &str = "/etc/fstab";
/// Most that is read of it, in bytes.
const MAX_BYTES: u64 = 1 << 20;
/// Most entries that are read.
const MAX_ENTRIES: usize = 4096;

/// An entry of the table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FstabEntry {
    /// Number of its line, from 1.
    pub line: usize,
    /// What is joined in: `UUID=...`, a device, or a name that means something to the kind of file system.
    pub source: String,
    /// The directory that it is joined in at; `none` or `swap` for swap space.
    pub target: String,
    /// Kind of file system.
    pub fs_type: String,
    /// Options, in order.
    pub options: Vec<String>,
}

impl FstabEntry {
    /// The value of an option `name=value`, the last of several.
    pub fn option(&self, name: &str) -> Option<&str> {
        let values = self.options.iter().filter_map(|option| option.split_once('='));
        values.filter(|(key, _)| *key == name).map(|(_, value)| value).next_back()
    }
}

/// The entries of an image's table; none if it has no table.
///
/// # Errors
/// [`FsError`], if it cannot be read.
pub fn read(root: &Root<'_>) -> Result<Option<Vec<FstabEntry>>, FsError> {
    root.read_whole(PATH, MAX_BYTES)?.map(|content| parse(&content)).transpose()
}

/// Reads a table. Lines with less than a source, a target and a kind are none.
///
/// # Errors
/// [`FsError::Limit`], if there are more entries than anybody needs.
pub fn parse(content: &[u8]) -> Result<Vec<FstabEntry>, FsError> {
    let text = String::from_utf8_lossy(content);
    let mut entries = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        let mut fields = text.split_whitespace().take_while(|field| !field.starts_with('#')).map(unescape);
        let (Some(source), Some(target), Some(fs_type)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        if entries.len() == MAX_ENTRIES {
            return Err(FsError::Limit { what: "the number of entries in fstab", limit: MAX_ENTRIES as u64 });
        }
        let options = fields.next().unwrap_or_default();
        let options = options.split(',').filter(|option| !option.is_empty()).map(str::to_owned).collect();
        entries.push(FstabEntry { line, source, target, fs_type, options });
    }
    Ok(entries)
}

/// A field with its `\040` as what they stand for.
fn unescape(field: &str) -> String {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let octal = behind.get(..3).filter(|_| first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &behind[3..];
            }
            None => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, prop, proptest};

    use super::{FstabEntry, MAX_ENTRIES, parse};

    #[test]
    fn entries_have_four_fields_that_count() {
        let text = b"# comment\n\nUUID=1-2 / ext4 defaults,noatime 0 1\n\tLABEL=my\\040disk  /opt/a\\134b\txfs\n\
            /dev/sda2 none swap sw,pri=1,pri=2\nbroken line\n/dev/sdb1 /x ext4 ro # 0 2\n";
        let entry = |line, source: &str, target: &str, fs_type: &str, options: &[&str]| FstabEntry {
            line,
            source: source.to_owned(),
            target: target.to_owned(),
            fs_type: fs_type.to_owned(),
            options: options.iter().map(|&option| option.to_owned()).collect(),
        };
        let expected = [
            entry(3, "UUID=1-2", "/", "ext4", &["defaults", "noatime"]),
            entry(4, "LABEL=my disk", "/opt/a\\b", "xfs", &[]),
            entry(5, "/dev/sda2", "none", "swap", &["sw", "pri=1", "pri=2"]),
            entry(7, "/dev/sdb1", "/x", "ext4", &["ro"]),
        ];
        let entries = parse(text).expect("short");
        assert_eq!(entries, expected);
        assert_eq!(entries[2].option("pri"), Some("2"));
        assert_eq!(entries[0].option("noatime"), None);
    }

    #[test]
    fn a_table_without_end_is_beyond_the_limit() {
        let many = b"a /b ext4\n".repeat(MAX_ENTRIES);
        assert_eq!(parse(&many).expect("at the limit").len(), MAX_ENTRIES);
        parse(&[many.as_slice(), b"c /d ext4"].concat()).expect_err("one more");
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), text in "[\\\\0-9 /#=\n]*") {
            parse(&bytes).expect("short");
            parse(text.as_bytes()).expect("short");
        }
    }
}
