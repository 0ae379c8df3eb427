//! Which system is installed, and for which processors.

use serde::{Deserialize, Serialize};

use super::text::{self, FactError, unreadable};
use crate::inspect::root::Root;

/// Families of systems that checks are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Family {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// An installed system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Os {
    /// Its family.
    pub family: Family,
    /// Short name of the distribution in lower case, as `ID=` of os-release gives it; `windows` for Windows.
    pub id: String,
    /// Distributions that it is like, as `ID_LIKE=` gives them.
    pub id_like: Vec<String>,
    /// Version, as the distribution writes it.
    pub version: Option<String>,
    /// Name for people.
    pub name: String,
    /// The file that says so.
    pub source: String,
}

/// Files that only say a name and a version, and the distribution they belong to if they do not say it.
const RELEASE_FILES: [(&str, &str); 4] = [
    ("etc/euleros-release", "euleros"),
    ("etc/redhat-release", "rhel"),
    ("etc/SuSE-release", "sles"),
    ("etc/debian_version", "debian"),
];
const OS_RELEASE_FILES: [&str; 2] = ["etc/os-release", "usr/lib/os-release"];
/// What every Windows has: the registry hive that it boots with.
const WINDOWS_HIVE: &str = "Windows/System32/config/SYSTEM";
/// Programs and kernels that tell the processor, the first that is there.
const PROGRAMS: [&str; 9] = [
    "bin/sh",
    "usr/lib/systemd/systemd",
    "lib/systemd/systemd",
    "sbin/init",
    "bin/bash",
    "usr/bin/env",
    "bin/busybox",
    "boot/vmlinuz",
    "Windows/System32/ntoskrnl.exe",
];
/// Enough of a program to know the processor.
const HEADER_BYTES: u64 = 4096;

/// The installed system; none if nothing says that there is one.
///
/// # Errors
/// [`FactError`], if a file that says so cannot be read.
pub fn read(root: &Root<'_>) -> Result<Option<Os>, FactError> {
    for path in OS_RELEASE_FILES {
        if let Some(text) = text::read(root, path)? {
            return Ok(Some(from_os_release(&text, path)));
        }
    }
    for (path, id) in RELEASE_FILES {
        if let Some(text) = text::read(root, path)? {
            return Ok(Some(from_release_file(&text, path, id)));
        }
    }
    let hive = root.find(WINDOWS_HIVE).map_err(unreadable(WINDOWS_HIVE))?;
    Ok(hive.map(|_| Os {
        family: Family::Windows,
        id: "windows".to_owned(),
        id_like: Vec::new(),
        version: None,
        name: "Windows".to_owned(),
        source: text::shown(WINDOWS_HIVE),
    }))
}

fn from_os_release(text: &str, path: &str) -> Os {
    let value = |wanted: &str| {
        let mut lines = text.lines().filter_map(|line| line.trim().split_once('='));
        // As in a shell, the last assignment counts.
        lines.rfind(|(key, _)| *key == wanted).map(|(_, value)| unquoted(value))
    };
    let id = value("ID").unwrap_or_else(|| "linux".to_owned()).to_lowercase();
    Os {
        family: Family::Linux,
        id_like: value("ID_LIKE").unwrap_or_default().split_whitespace().map(str::to_owned).collect(),
        version: value("VERSION_ID"),
        name: value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or_else(|| id.clone()),
        id,
        source: text::shown(path),
    }
}

/// A value of a file that a shell could read.
fn unquoted(value: &str) -> String {
    let value = value.trim();
    let inner = ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote));
    inner.unwrap_or(value).replace("\\\"", "\"").replace("\\$", "$")
}

fn from_release_file(text: &str, path: &str, id: &str) -> Os {
    let name = text.lines().next().unwrap_or_default().trim().to_owned();
    let version = name.split_whitespace().find(|word| word.starts_with(|letter: char| letter.is_ascii_digit()));
    let id = if name.starts_with("CentOS") { "centos" } else { id };
    Os {
        family: Family::Linux,
        id: id.to_owned(),
        id_like: Vec::new(),
        version: version.map(str::to_owned),
        name: if id == "debian" { format!("Debian {name}") } else { name },
        source: text::shown(path),
    }
}

/// The processors that the image is for, as `uname -m` calls them, and the file that says so; none if no file does.
///
/// # Errors
/// [`FactError::Unreadable`].
pub fn architecture(root: &Root<'_>) -> Result<Option<(String, String)>, FactError> {
    for path in PROGRAMS {
        let header = root.read(path, HEADER_BYTES).map_err(unreadable(path))?;
        if let Some(architecture) = header.as_deref().and_then(architecture_of) {
            return Ok(Some((architecture, text::shown(path))));
        }
    }
    Ok(None)
}

/// The processor of a program or a kernel, by its header.
fn architecture_of(header: &[u8]) -> Option<String> {
    let word = |at: usize| header.get(at..at + 2).map(|bytes| u16::from_le_bytes([bytes[0], bytes[1]]));
    if header.starts_with(b"\x7fELF") {
        // Everything but little-endian programs of 64 bits is told by number.
        return match (header.get(4)?, header.get(5)?, word(18)?) {
            (2, 1, 62) => Some("x86_64".to_owned()),
            (2, 1, 183) => Some("aarch64".to_owned()),
            (_, _, machine) => Some(format!("elf-{machine}")),
        };
    }
    if header.get(56..60) == Some(b"ARM\x64".as_slice()) {
        return Some("aarch64".to_owned());
    }
    if header.get(0x202..0x206) == Some(b"HdrS".as_slice()) {
        return Some("x86_64".to_owned());
    }
    let bytes = header.starts_with(b"MZ").then(|| header.get(60..64)).flatten()?;
    let at = usize::try_from(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])).ok()?;
    match (header.get(at..at.checked_add(4)?)?, word(at.checked_add(4)?)?) {
        (b"PE\0\0", 0x8664) => Some("x86_64".to_owned()),
        (b"PE\0\0", 0xaa64) => Some("aarch64".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{architecture_of, from_os_release, from_release_file};

    #[test]
    fn systems_are_known_by_what_their_files_say() {
        let text = "NAME=x\n# ID=no\nID='Ubuntu'\nID=\"ubuntu\"\nVERSION_ID=18.04\nID_LIKE=\"debian other\"\nPRETTY_NAME=\"A \\\"B\\\"\"\n";
        let os = from_os_release(text, "etc/os-release");
        assert_eq!((os.id.as_str(), os.version.as_deref(), os.name.as_str()), ("ubuntu", Some("18.04"), "A \"B\""));
        assert_eq!(
            (os.id_like, os.source.as_str()),
            (vec!["debian".to_owned(), "other".to_owned()], "/etc/os-release")
        );
        let centos = from_release_file("CentOS release 6.10 (Final)\n", "etc/redhat-release", "rhel");
        assert_eq!((centos.id.as_str(), centos.version.as_deref()), ("centos", Some("6.10")));
        let debian = from_release_file("12.4\n", "etc/debian_version", "debian");
        assert_eq!((debian.name.as_str(), debian.version.as_deref()), ("Debian 12.4", Some("12.4")));
        assert_eq!(from_os_release("", "x").id, "linux");
    }

    #[test]
    fn processors_are_known_by_headers() {
        let with = |len: usize, parts: &[(usize, &[u8])]| {
            let mut header = vec![0; len];
            for (at, bytes) in parts {
                header[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            architecture_of(&header)
        };
        assert_eq!(with(64, &[(0, b"\x7fELF\x02\x01"), (18, &[62])]).as_deref(), Some("x86_64"));
        assert_eq!(with(64, &[(0, b"\x7fELF\x02\x01"), (18, &[183])]).as_deref(), Some("aarch64"));
        assert_eq!(with(64, &[(0, b"\x7fELF\x01\x01"), (18, &[3])]).as_deref(), Some("elf-3"));
        assert_eq!(with(64, &[(0, b"MZ"), (56, b"ARM\x64")]).as_deref(), Some("aarch64"));
        assert_eq!(with(0x300, &[(0, b"MZ"), (0x202, b"HdrS")]).as_deref(), Some("x86_64"));
        assert_eq!(with(0x300, &[(0, b"MZ"), (60, &[0x80]), (0x80, b"PE\0\0\x64\x86")]).as_deref(), Some("x86_64"));
        assert_eq!(with(0x300, &[(0, b"MZ"), (60, &[0xff; 4])]), None);
        assert_eq!(with(10, &[(0, b"#!/bin/sh\n")]), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(header in proptest::collection::vec(proptest::num::u8::ANY, 0..600)) {
            architecture_of(&header);
            architecture_of(&[b"\x7fELF".as_slice(), &header].concat());
            architecture_of(&[b"MZ".as_slice(), &header].concat());
        }
    }
}
