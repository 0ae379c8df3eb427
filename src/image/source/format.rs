//! The formats of a source, and telling them apart by their first bytes.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::SourceError;
use super::stream::Codec;

/// Length of the head of a file that tells its format, in bytes.
pub(super) const MAGIC_BYTES: usize = 80;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// The content itself.
    Raw,
    /// A qcow2 image, version 2 or 3.
    Qcow2,
    /// The content, compressed by gzip.
    Gzip,
    /// The content, compressed by xz.
    Xz,
    /// The content, compressed by zstd.
    Zstd,
}

impl Format {
    /// All formats.
    pub const ALL: [Self; 5] = [Self::Raw, Self::Qcow2, Self::Gzip, Self::Xz, Self::Zstd];

    /// The name, which is the usual extension of a file.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Gzip => "gz",
            Self::Xz => "xz",
            Self::Zstd => "zst",
        }
    }

    /// How the content is compressed, if that is all the format does.
    pub(super) const fn codec(self) -> Option<Codec> {
        match self {
            Self::Raw | Self::Qcow2 => None,
            Self::Gzip => Some(Codec::Gzip),
            Self::Xz => Some(Codec::Xz),
            Self::Zstd => Some(Codec::Zstd),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A name that is no format's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("format `{name}` is none of raw, qcow2, gz, xz, zst")]
pub struct FormatUnknown {
    /// The name.
    pub name: String,
}

impl FromStr for Format {
    type Err = FormatUnknown;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|format| format.name() == name)
            .ok_or_else(|| FormatUnknown { name: name.to_owned() })
    }
}

/// A format that is known, but not read here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Foreign {
    /// A sparse or stream-optimized VMDK image.
    Vmdk,
    /// The text file that names the parts of a VMDK image.
    VmdkDescriptor,
    /// A VHDX image.
    Vhdx,
    /// A dynamic VHD image.
    Vhd,
    /// A VDI image.
    Vdi,
    /// A QED image.
    Qed,
    /// A LUKS volume.
    Luks,
    /// Anything, compressed by bzip2.
    Bzip2,
    /// Anything, compressed by lz4.
    Lz4,
    /// A zip archive.
    Zip,
}

impl fmt::Display for Foreign {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Vmdk => "a VMDK image",
            Self::VmdkDescriptor => "a VMDK descriptor",
            Self::Vhdx => "a VHDX image",
            Self::Vhd => "a VHD image",
            Self::Vdi => "a VDI image",
            Self::Qed => "a QED image",
            Self::Luks => "a LUKS volume",
            Self::Bzip2 => "compressed by bzip2",
            Self::Lz4 => "compressed by lz4",
            Self::Zip => "a zip archive",
        })
    }
}

/// What the first bytes of a file say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Magic {
    /// A format that is read.
    Known(Format),
    /// A format that is not read.
    Foreign(Foreign),
    /// Nothing: raw content has no mark of its own.
    None,
}

/// Formats that would make an unbootable disk if taken for raw content, so that this is asked for, never assumed.
const FOREIGN: [(usize, &[u8], Foreign); 10] = [
    (0, b"KDMV", Foreign::Vmdk),
    (0, b"# Disk DescriptorFile", Foreign::VmdkDescriptor),
    (0, b"vhdxfile", Foreign::Vhdx),
    (0, b"conectix", Foreign::Vhd),
    (0x40, b"\x7f\x10\xda\xbe", Foreign::Vdi),
    (0, b"QED\0", Foreign::Qed),
    (0, b"LUKS\xba\xbe", Foreign::Luks),
    (0, b"BZh", Foreign::Bzip2),
    (0, b"\x04\x22\x4d\x18", Foreign::Lz4),
    (0, b"PK\x03\x04", Foreign::Zip),
];

/// The declared format, if a file that begins with `head` is like one; else what these bytes tell.
///
/// What is declared raw is raw whatever its bytes: a disk may begin with anything.
pub(super) fn told_format(head: &[u8], path: &Path, declared: Option<Format>) -> Result<Format, SourceError> {
    match (declared, Magic::of(head)) {
        (Some(Format::Raw), _) | (None, Magic::None) => Ok(Format::Raw),
        (None, Magic::Known(format)) => Ok(format),
        (None, Magic::Foreign(found)) => Err(SourceError::FormatUnsupported { path: path.to_owned(), found }),
        (Some(declared), magic) if magic == Magic::Known(declared) => Ok(declared),
        (Some(declared), _) => Err(SourceError::FormatMismatch { path: path.to_owned(), declared }),
    }
}

impl Magic {
    /// Looks at the first [`MAGIC_BYTES`] bytes of a file, or all it has.
    fn of(head: &[u8]) -> Self {
        let skippable = matches!(head, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..]);
        if head.starts_with(b"QFI\xfb") {
            Self::Known(Format::Qcow2)
        } else if head.starts_with(b"\x1f\x8b\x08") {
            Self::Known(Format::Gzip)
        } else if head.starts_with(b"\xfd7zXZ\0") {
            Self::Known(Format::Xz)
        } else if head.starts_with(b"\x28\xb5\x2f\xfd") || skippable {
            Self::Known(Format::Zstd)
        } else {
            let foreign =
                FOREIGN.iter().find(|(at, magic, _)| head.get(*at..).is_some_and(|rest| rest.starts_with(magic)));
            foreign.map_or(Self::None, |&(_, _, name)| Self::Foreign(name))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Foreign, Format, Magic};

    #[test]
    fn names_read_back() {
        for format in Format::ALL {
            assert_eq!(format.to_string().parse(), Ok(format));
        }
        assert_eq!("vmdk".parse::<Format>().expect_err("not read").name, "vmdk");
    }

    #[test]
    fn first_bytes_tell_the_format() {
        assert_eq!(Magic::of(b"QFI\xfb\0\0\0\x03"), Magic::Known(Format::Qcow2));
        assert_eq!(Magic::of(b"\x5e\x2a\x4d\x18"), Magic::Known(Format::Zstd));
        assert_eq!(Magic::of(b"KDMV\x01"), Magic::Foreign(Foreign::Vmdk));
        assert_eq!(Magic::of(b"QFI"), Magic::None);
        assert_eq!(Magic::of(b""), Magic::None);
    }
}
