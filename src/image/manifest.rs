//! The manifest: what describes an image, and pins everything that it is made of.
//!
//! JSON. The id of an image is the BLAKE3 of the manifest's bytes, so they are kept as they are, never written anew; the
//! manifest names the tree file by its digest, and the tree names the groups.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use blake3::Hash;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::group::{GroupSize, Layout};
use super::tree::Tree;

/// Version of the manifest's form.
pub const SCHEMA: u32 = 1;
/// Longest manifest, in bytes.
pub const MAX_BYTES: usize = 256 << 10;
/// Longest name, version or owner, in bytes.
const MAX_NAME_BYTES: usize = 128;
/// Most labels.
const MAX_LABELS: usize = 64;
/// Longest hardware model, in bytes.
pub const MAX_MODEL_BYTES: usize = 4096;
/// Longest description, in bytes.
const MAX_DESCRIPTION_BYTES: usize = 4096;

/// Id of an image: the BLAKE3 of its manifest's bytes. As text: 64 hex digits, lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageId(pub Hash);

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.to_hex())
    }
}

impl FromStr for ImageId {
    type Err = blake3::HexError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Hash::from_str(text).map(Self)
    }
}

/// A BLAKE3 digest; hex in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Digest(pub Hash);

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.to_hex())
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Hash::from_str(&text).map(Self).map_err(|_bad_hex| serde::de::Error::custom("a digest is 64 hex digits"))
    }
}

/// Who may use an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Everyone.
    Public,
    /// Its owner, and those it is shared with.
    Private,
}

impl Kind {
    /// Its name, as in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Private => "private",
        }
    }
}

/// Family of an operating system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OsFamily {
    /// Linux.
    Linux,
    /// Windows.
    Windows,
}

/// Kind of partition table of a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PartitionTable {
    /// GUID partition table.
    Gpt,
    /// Master boot record.
    Mbr,
    /// None.
    None,
}

impl PartitionTable {
    /// Its name, as in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Gpt => "gpt",
            Self::Mbr => "mbr",
            Self::None => "none",
        }
    }
}

/// Firmware that can start an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Firmware {
    /// Legacy BIOS.
    Bios,
    /// UEFI.
    Uefi,
    /// Either.
    Both,
}

impl Firmware {
    /// Its name, as in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bios => "bios",
            Self::Uefi => "uefi",
            Self::Both => "both",
        }
    }
}

/// The operating system of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Os {
    /// Family.
    pub family: OsFamily,
    /// Distribution, as `ID` of os-release.
    pub distro: String,
    /// Version, as `VERSION_ID` of os-release.
    pub version: String,
    /// CPU architecture, as `uname -m` names it.
    pub architecture: String,
}

/// The disk that an image was made for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskShape {
    /// Length of the raw content, in bytes.
    pub size_bytes: u64,
    /// Logical block size that the partition table and the file systems were made for, in bytes.
    pub logical_block_size: u32,
    /// Partition table.
    pub partition_table: PartitionTable,
    /// Firmware.
    pub firmware: Firmware,
    /// Smallest disk that the image may be installed on, in bytes.
    pub min_disk_bytes: u64,
    /// Least main memory of a server for it, in bytes.
    pub min_memory_bytes: u64,
}

/// The content of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Content {
    /// BLAKE3 of the raw content.
    pub root: Digest,
    /// Group size, in bytes.
    pub group_size_bytes: u64,
    /// Content of a chunk of the repository, in bytes: a power of two, as [`group_size_bytes`](Self::group_size_bytes).
    pub chunk_size_bytes: u64,
    /// BLAKE3 of the tree file.
    pub tree: Digest,
    /// Bytes that are not in holes.
    pub data_bytes: u64,
    /// Bytes that the repository keeps for them.
    pub stored_bytes: u64,
}

impl Content {
    /// Of this tree. What else there is of it is known when it was written.
    pub fn of(tree: &Tree) -> Self {
        Self {
            root: Digest(tree.root()),
            group_size_bytes: tree.layout().group_size().bytes(),
            chunk_size_bytes: 0,
            tree: Digest(Hash::from_bytes([0; 32])),
            data_bytes: tree.data_bytes(),
            stored_bytes: 0,
        }
    }
}

/// Describes an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Version of this form: [`SCHEMA`].
    pub schema: u32,
    /// Name, for people: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Version, of the same letters.
    pub version: String,
    /// Free text.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What the operator says of it, by keys and values of their own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Who may use it.
    pub kind: Kind,
    /// Project that owns it.
    pub owner: String,
    /// Operating system, if it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub os: Option<Os>,
    /// Disk.
    pub disk: DiskShape,
    /// Content.
    pub content: Content,
    /// Hardware model of the server that it was captured from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source_hardware_model: Option<String>,
    /// How it was captured, if it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capture: Option<Capture>,
    /// What an inspection found when it was imported or captured, without the evidence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plugin_report: Option<serde_json::Value>,
    /// Id of the image that it was made from, 64 hex digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// When it was made, in seconds since 1970.
    pub created_at: u64,
    /// From when on it may not be installed any more, in seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<u64>,
}

/// What of a disk becomes an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CaptureMode {
    /// What the file systems use; the rest is zero.
    UsedBlocks,
    /// Every bit.
    BitExact,
}

impl CaptureMode {
    /// Its name, as in the manifest.
    pub const fn name(self) -> &'static str {
        match self {
            Self::UsedBlocks => "used-blocks",
            Self::BitExact => "bit-exact",
        }
    }
}

/// How an image was captured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capture {
    /// What of the disk became the image.
    pub mode: CaptureMode,
    /// Model of the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk_model: Option<String>,
    /// Bytes that no file system used, and that are zero in the image.
    pub free_bytes: u64,
    /// What was found of each file system, for people.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Bytes that are no manifest.
#[derive(Debug, thiserror::Error)]
pub enum ManifestInvalid {
    /// Too long.
    #[error("the manifest has {len} bytes, more than {MAX_BYTES}")]
    TooLong {
        /// Its length.
        len: usize,
    },
    /// Not JSON, or not of this form.
    #[error("the manifest is malformed")]
    Malformed(#[from] serde_json::Error),
    /// Another version of the form.
    #[error("the manifest has schema {schema}, and {SCHEMA} is known")]
    Schema {
        /// The version.
        schema: u32,
    },
    /// A value makes no sense.
    #[error("{field} of the manifest {problem}")]
    Field {
        /// Where it stands.
        field: &'static str,
        /// What is wrong.
        problem: &'static str,
    },
    /// A field that is not known, in a manifest that is to be written.
    #[error("the manifest has fields that are not known, or values in another form than they are written in")]
    Unknown,
}

impl Manifest {
    /// The bytes of the manifest, and the id that they make.
    ///
    /// # Errors
    /// If a value makes no sense.
    pub fn encode(&self) -> Result<(Vec<u8>, ImageId), ManifestInvalid> {
        self.check()?;
        let bytes = serde_json::to_vec_pretty(self)?;
        check_len(&bytes)?;
        let id = ImageId(blake3::hash(&bytes));
        Ok((bytes, id))
    }

    /// Reads a manifest that somebody wrote, perhaps a later version of this program: fields that are not known are left
    /// out, and still count for the id.
    ///
    /// # Errors
    /// If it is malformed, of another schema, or a value makes no sense.
    pub fn decode(bytes: &[u8]) -> Result<(Self, ImageId), ManifestInvalid> {
        check_len(bytes)?;
        let manifest: Self = serde_json::from_slice(bytes)?;
        manifest.check()?;
        Ok((manifest, ImageId(blake3::hash(bytes))))
    }

    /// Reads a manifest that is to be written: a field that is not known is a mistake.
    ///
    /// # Errors
    /// As [`decode`](Self::decode), and for unknown fields.
    pub fn decode_strict(bytes: &[u8]) -> Result<Self, ManifestInvalid> {
        let (manifest, _) = Self::decode(bytes)?;
        let given: serde_json::Value = serde_json::from_slice(bytes)?;
        if serde_json::to_value(&manifest)? == given { Ok(manifest) } else { Err(ManifestInvalid::Unknown) }
    }

    /// How the content is cut.
    ///
    /// # Errors
    /// If the group size is impossible.
    pub fn layout(&self) -> Result<Layout, ManifestInvalid> {
        let problem = "is no power of two from 65536 to 16777216";
        let wrong = ManifestInvalid::Field { field: "content.group_size_bytes", problem };
        let group_size = GroupSize::new(self.content.group_size_bytes).map_err(|_invalid| wrong)?;
        Ok(Layout::new(self.disk.size_bytes, group_size))
    }

    fn check_labels(&self) -> Result<(), ManifestInvalid> {
        let problem = "are more than 64, or one is longer than 128 bytes or has control characters";
        let fits = |text: &String| (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.chars().any(char::is_control);
        if self.labels.len() <= MAX_LABELS && self.labels.iter().all(|(key, value)| fits(key) && fits(value)) {
            return Ok(());
        }
        Err(ManifestInvalid::Field { field: "labels", problem })
    }

    fn check(&self) -> Result<(), ManifestInvalid> {
        if self.schema != SCHEMA {
            return Err(ManifestInvalid::Schema { schema: self.schema });
        }
        check_name("name", &self.name)?;
        check_name("version", &self.version)?;
        check_name("owner", &self.owner)?;
        let size = self.disk.size_bytes;
        let facts = [
            (self.description.len() <= MAX_DESCRIPTION_BYTES, "description", "is longer than 4096 bytes"),
            (
                self.source_hardware_model.as_ref().is_none_or(|model| model.len() <= MAX_MODEL_BYTES),
                "source_hardware_model",
                "is longer than 4096 bytes",
            ),
            (size > 0 && i64::try_from(size).is_ok(), "disk.size_bytes", "is not from 1 to 2^63 - 1"),
            (self.disk.min_disk_bytes >= size, "disk.min_disk_bytes", "is less than disk.size_bytes"),
            (self.content.data_bytes <= size, "content.data_bytes", "is more than disk.size_bytes"),
            (
                GroupSize::new(self.content.chunk_size_bytes).is_ok(),
                "content.chunk_size_bytes",
                "is no power of two from 65536 to 16777216",
            ),
            (matches!(self.disk.logical_block_size, 512 | 4096), "disk.logical_block_size", "is neither 512 nor 4096"),
        ];
        for (holds, field, problem) in facts {
            if !holds {
                return Err(ManifestInvalid::Field { field, problem });
            }
        }
        self.check_labels()?;
        self.layout().map(drop)
    }
}

fn check_len(bytes: &[u8]) -> Result<(), ManifestInvalid> {
    if bytes.len() > MAX_BYTES { Err(ManifestInvalid::TooLong { len: bytes.len() }) } else { Ok(()) }
}

fn check_name(field: &'static str, text: &str) -> Result<(), ManifestInvalid> {
    if is_name(text) {
        return Ok(());
    }
    Err(ManifestInvalid::Field { field, problem: "is not 1 to 128 of letters, digits, `.`, `_` and `-`, or only dots" })
}

/// Whether a text may be a name, version or owner. They become parts of object names, so none is `.` or `..`.
pub fn is_name(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.bytes().all(plain) && !text.bytes().all(|byte| byte == b'.')
}

#[cfg(test)]
mod tests;
