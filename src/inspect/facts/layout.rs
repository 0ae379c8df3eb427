//! How the disk of an image is laid out, as far as its firmware and its first boot need it. Plain facts, read elsewhere.

use serde::{Deserialize, Serialize};

/// Partition tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Table {
    /// None: one file system, or nothing.
    None,
    /// MBR.
    Mbr,
    /// GPT.
    Gpt,
}

/// The disk of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Its partition table.
    pub table: Table,
    /// Whether there is code in its first block that a BIOS would start.
    pub boot_code: bool,
    /// Its partitions, by number.
    pub partitions: Vec<Part>,
    /// The number of the one that the root file system is on; none if that is not known.
    pub root: Option<u32>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// Its number, from 1.
    pub number: u32,
    /// Where it begins, in bytes.
    pub offset_bytes: u64,
    /// Whether it takes one of the four entries of an MBR; so do all of a GPT.
    pub is_primary: bool,
}
