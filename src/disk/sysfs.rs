//! Small attributes of the kernel, read without trust in whoever wrote them.
//!
//! Much of sysfs is text that a disk or a firmware chose. Each read is bounded, never waits, and what it gives can be
//! printed. An attribute that is missing, unreadable, too long or no regular file is no attribute: the caller decides
//! what its absence means.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use nix::fcntl::OFlag;

use crate::text::printable;

/// Longest attribute: a page, which is also what the kernel allows.
const MAX_ATTRIBUTE_BYTES: u64 = 4096;
/// Most entries of one directory.
const MAX_ENTRIES: usize = 16_384;

/// The bytes of an attribute, at most 4 KiB.
pub fn bytes(path: &Path) -> Option<Vec<u8>> {
    bounded(path, MAX_ATTRIBUTE_BYTES).ok()
}

/// The text of an attribute: trimmed, printable, never empty.
pub fn text(path: &Path) -> Option<String> {
    clean(&bytes(path)?)
}

/// A decimal number.
pub fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// A number of 32 bits.
pub fn number_u32(path: &Path) -> Option<u32> {
    text(path)?.parse().ok()
}

/// A flag: `0` is off, any other number is on.
pub fn flag(path: &Path) -> Option<bool> {
    number(path).map(|value| value != 0)
}

/// Makes text of what a device calls its name: without the padding around it, printable, never empty.
pub fn clean(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let trimmed = text.trim_matches(|c: char| c.is_whitespace() || c == '\0');
    (!trimmed.is_empty()).then(|| printable(trimmed))
}

/// The whole of a regular file of at most `max_bytes`.
///
/// # Errors
/// If it cannot be read, is no regular file (`InvalidInput`), or is longer (`FileTooLarge`).
pub fn bounded(path: &Path, max_bytes: u64) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    open_regular(path)?
        .take(max_bytes.saturating_add(1))
        .read_to_end(&mut content)?;
    if u64::try_from(content.len()).is_ok_and(|len| len <= max_bytes) {
        Ok(content)
    } else {
        Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            format!("longer than {max_bytes} bytes"),
        ))
    }
}

/// Opens a regular file for reading; anything else is refused, and a FIFO does not make the caller wait.
///
/// # Errors
/// If it cannot be opened, or is no regular file (`InvalidInput`).
pub fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"))
    }
}

/// The names in a directory, sorted. Names that are not UTF-8 are left out: the kernel makes none.
///
/// # Errors
/// If it cannot be read, or has too many entries to be what it should be.
pub fn entries(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        if let Ok(name) = entry?.file_name().into_string() {
            names.push(name);
        }
        if names.len() > MAX_ENTRIES {
            return Err(io::Error::other(format!("more than {MAX_ENTRIES} entries")));
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// The last component of what a symbolic link points to.
pub fn link_name(link: &Path) -> Option<String> {
    fs::read_link(link).ok()?.file_name()?.to_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::ErrorKind;

    use nix::sys::stat::Mode;

    use super::{bounded, bytes, clean, entries, flag, number, text};

    #[test]
    fn text_is_trimmed_and_printable() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("model");
        fs::write(&path, b"  \0Evil\x1b[2J\xffDisk \0\n").expect("write");
        assert_eq!(text(&path).as_deref(), Some("Evil\\u{1b}[2J\u{fffd}Disk"));
        assert_eq!(clean(b" \0\n"), None);
    }

    #[test]
    fn an_attribute_longer_than_a_page_is_no_attribute() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("serial");
        fs::write(&path, vec![b'A'; 4096]).expect("write");
        assert_eq!(bytes(&path).map(|content| content.len()), Some(4096));
        fs::write(&path, vec![b'A'; 4097]).expect("write");
        assert_eq!(bytes(&path), None);
        assert_eq!(
            bounded(&path, 4096).expect_err("too long").kind(),
            ErrorKind::FileTooLarge
        );
    }

    #[test]
    fn a_fifo_a_directory_and_nothing_are_no_attributes() {
        let dir = tempfile::tempdir().expect("tempdir");
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::from_bits_truncate(0o600)).expect("mkfifo");
        assert_eq!(text(&fifo), None);
        assert_eq!(text(dir.path()), None);
        assert_eq!(text(&dir.path().join("missing")), None);
    }

    #[test]
    fn numbers_and_flags_are_strict() {
        let dir = tempfile::tempdir().expect("tempdir");
        let path = dir.path().join("size");
        for (content, expected) in [("42\n", Some(42)), ("-1", None), ("4 2", None), ("", None)] {
            fs::write(&path, content).expect("write");
            assert_eq!(number(&path), expected, "{content:?}");
        }
        for (content, expected) in [("0\n", Some(false)), ("1\n", Some(true)), ("yes", None)] {
            fs::write(&path, content).expect("write");
            assert_eq!(flag(&path), expected, "{content:?}");
        }
    }

    #[test]
    fn entries_are_sorted() {
        let dir = tempfile::tempdir().expect("tempdir");
        for name in ["sdb", "sda", "nvme0n1"] {
            fs::write(dir.path().join(name), "").expect("write");
        }
        assert_eq!(entries(dir.path()).expect("entries"), ["nvme0n1", "sda", "sdb"]);
        assert_eq!(
            entries(&dir.path().join("none")).expect_err("missing").kind(),
            ErrorKind::NotFound
        );
    }
}
