//! What the kernel says is mounted and swapped to: the tables of `/proc`, parsed.
//!
//! A line that cannot be understood is an error, never left out: it could be the one that keeps a disk from being
//! written.

use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use super::identity::DeviceNumber;

/// A mounted file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mount {
    /// Device of the file system; anonymous (major 0) for btrfs and for what has no device.
    pub(super) number: DeviceNumber,
    /// Where it is mounted.
    pub(super) target: PathBuf,
    /// What was mounted, as the file system names it.
    pub(super) source: PathBuf,
}

/// Parses `/proc/self/mountinfo`, in its order: later mounts cover earlier ones.
///
/// # Errors
/// The number of the line that cannot be understood, from 1.
pub(super) fn parse_mountinfo(content: &[u8]) -> Result<Vec<Mount>, usize> {
    let lines = content
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .filter(|(line, _)| !line.is_empty());
    lines.map(|(line, number)| mount(line).ok_or(number)).collect()
}

/// The mount that a path lies in: the one with the longest target, and of those the one mounted last.
pub(super) fn mount_of<'a>(mounts: &'a [Mount], path: &Path) -> Option<&'a Mount> {
    let around = mounts.iter().filter(|mount| path.starts_with(&mount.target));
    around.max_by_key(|mount| mount.target.iter().count())
}

/// Parses `/proc/swaps`: the devices and files swapped to.
///
/// # Errors
/// The number of the line that cannot be understood, from 1.
pub(super) fn parse_swaps(content: &[u8]) -> Result<Vec<PathBuf>, usize> {
    let lines = content
        .split(|&byte| byte == b'\n')
        .zip(1..)
        .skip(1)
        .filter(|(line, _)| !line.is_empty());
    lines
        .map(|(line, number)| {
            words(line)
                .next()
                .map(path)
                .filter(|path| path.has_root())
                .ok_or(number)
        })
        .collect()
}

/// `36 35 98:0 /root /target options [optional fields] - type source super-options`.
fn mount(line: &[u8]) -> Option<Mount> {
    let mut words = words(line);
    let number = std::str::from_utf8(words.nth(2)?).ok()?.parse().ok()?;
    let target = path(words.nth(1)?);
    // The optional fields end with a lone dash, and nothing before them can be one.
    words.find(|&word| word == b"-")?;
    let source = words.nth(1).map(path)?;
    target.has_root().then_some(Mount { number, target, source })
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> {
    line.split(|&byte| byte == b' ' || byte == b'\t')
        .filter(|word| !word.is_empty())
}

/// A path as the kernel writes it into its tables: space, tab, newline, `#` and backslash as three octal digits.
fn path(word: &[u8]) -> PathBuf {
    let mut raw = Vec::with_capacity(word.len());
    let mut rest = word;
    while let [byte, tail @ ..] = rest {
        if let [b'\\', a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..] = rest {
            raw.push(((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'));
            rest = after;
        } else {
            raw.push(*byte);
            rest = tail;
        }
    }
    OsString::from_vec(raw).into()
}

/// A path for people.
pub(super) fn show(path: &Path) -> String {
    crate::text::printable(&String::from_utf8_lossy(path.as_os_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{Mount, mount_of, parse_mountinfo, parse_swaps, show};
    use crate::disk::identity::DeviceNumber;

    const MOUNTINFO: &[u8] = b"\
22 27 0:21 / /proc rw,relatime - proc proc rw
27 1 259:2 / / rw,relatime shared:1 master:2 - ext4 /dev/nvme0n1p2 rw
30 27 8:17 / /mnt/my\\040disk\\134x rw - xfs /dev/sdb1 rw
31 27 0:40 /@home /home rw shared:3 - btrfs /dev/sdc2 rw,subvol=/@home
32 27 8:33 / /home rw - ext4 /dev/sdc1 rw
";

    #[test]
    fn mounts_are_read_with_their_escapes() {
        let mounts = parse_mountinfo(MOUNTINFO).expect("valid");
        assert_eq!(mounts.len(), 5);
        assert_eq!(
            mounts[2],
            Mount {
                number: DeviceNumber { major: 8, minor: 17 },
                target: PathBuf::from("/mnt/my disk\\x"),
                source: PathBuf::from("/dev/sdb1"),
            }
        );
    }

    #[test]
    fn a_path_lies_in_the_innermost_and_latest_mount() {
        let mounts = parse_mountinfo(MOUNTINFO).expect("valid");
        let source = |path: &str| mount_of(&mounts, Path::new(path)).map(|mount| show(&mount.source));
        assert_eq!(source("/var/lib/bms-agent").as_deref(), Some("/dev/nvme0n1p2"));
        assert_eq!(source("/home/someone").as_deref(), Some("/dev/sdc1"));
        assert_eq!(source("/homely").as_deref(), Some("/dev/nvme0n1p2"));
        assert_eq!(mount_of(&[], Path::new("/")), None);
    }

    #[test]
    fn a_line_that_is_not_understood_is_an_error() {
        for (content, line) in [
            (&b"nonsense\n"[..], 1),
            (b"22 27 0:21 / /proc rw - proc proc rw\n22 27 0;21 / /x rw - a b c\n", 2),
            (b"22 27 0:21 / /proc rw shared:1 proc proc rw\n", 1),
            (b"22 27 0:21 / relative rw - proc proc rw\n", 1),
            (b"22 27 0:21 / /proc rw - proc\n", 1),
        ] {
            assert_eq!(
                parse_mountinfo(content),
                Err(line),
                "{}",
                String::from_utf8_lossy(content)
            );
        }
        assert_eq!(parse_swaps(b"Filename Type\npartition\n"), Err(2));
    }

    #[test]
    fn swaps_are_read_without_their_headline() {
        let swaps =
            b"Filename\t\t\t\tType\t\tSize\t\tUsed\n/dev/dm-1    partition\t8\t0\t-2\n/swap\\040file file\t8\t0\t-3\n";
        assert_eq!(
            parse_swaps(swaps),
            Ok(vec![PathBuf::from("/dev/dm-1"), PathBuf::from("/swap file")])
        );
        assert_eq!(parse_swaps(b"Filename\t\t\t\tType\n"), Ok(vec![]));
        assert_eq!(parse_swaps(b""), Ok(vec![]));
    }

    #[test]
    fn shown_paths_cannot_recolour_a_terminal() {
        assert_eq!(show(Path::new("/mnt/\u{1b}[31m")), "/mnt/\\u{1b}[31m");
    }
}
