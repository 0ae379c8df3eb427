//! A piece of a file system's own data, read once, whose numbers cannot be taken from beyond its end.

use super::free::reason::{Structure, WholeReason};
use super::reader::DiskReader;

/// Longest record, in bytes: twice the largest block of any file system here.
const MAX_BYTES: u64 = 128 << 10;

/// Bytes of a known structure.
#[derive(Debug, Clone)]
pub(super) struct Record {
    bytes: Vec<u8>,
    structure: Structure,
    offset_bytes: u64,
}

macro_rules! numbers {
    ($($name:ident, $number:ty, $from:ident, $doc:literal;)+) => {$(
        #[doc = $doc]
        pub(super) fn $name(&self, at: usize) -> Result<$number, WholeReason> {
            let bytes = self.bytes.get(at..).and_then(|rest| rest.first_chunk());
            Ok(<$number>::$from(*bytes.ok_or_else(|| self.inconsistent())?))
        }
    )+};
}

impl Record {
    /// Reads `len` bytes at `offset` of a volume.
    pub(super) fn load(
        volume: &dyn DiskReader,
        structure: Structure,
        offset_bytes: u64,
        len: u64,
    ) -> Result<Self, WholeReason> {
        let inconsistent = WholeReason::Inconsistent { structure, offset_bytes };
        let inside = offset_bytes.checked_add(len).is_some_and(|end| end <= volume.len_bytes());
        let len = usize::try_from(len.min(MAX_BYTES + 1)).unwrap_or(usize::MAX);
        if !inside || len as u64 > MAX_BYTES {
            return Err(inconsistent);
        }
        let mut bytes = vec![0; len];
        match volume.read_at(offset_bytes, &mut bytes) {
            Ok(()) => Ok(Self { bytes, structure, offset_bytes }),
            Err(_unreadable) => Err(WholeReason::Unreadable { structure, offset_bytes }),
        }
    }

    numbers! {
        u8_at, u8, from_le_bytes, "A byte.";
        le16, u16, from_le_bytes, "A little-endian number.";
        le32, u32, from_le_bytes, "A little-endian number.";
        le64, u64, from_le_bytes, "A little-endian number.";
        be16, u16, from_be_bytes, "A big-endian number.";
        be32, u32, from_be_bytes, "A big-endian number.";
        be64, u64, from_be_bytes, "A big-endian number.";
    }

    /// Some of the bytes.
    pub(super) fn slice(&self, at: usize, len: usize) -> Result<&[u8], WholeReason> {
        self.bytes.get(at..).and_then(|rest| rest.get(..len)).ok_or_else(|| self.inconsistent())
    }

    /// `N` of the bytes.
    pub(super) fn array<const N: usize>(&self, at: usize) -> Result<[u8; N], WholeReason> {
        self.bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or_else(|| self.inconsistent())
    }

    /// All of the bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Fails unless `holds`.
    pub(super) fn require(&self, holds: bool) -> Result<(), WholeReason> {
        if holds { Ok(()) } else { Err(self.inconsistent()) }
    }

    /// Fails unless a checksum `holds`.
    pub(super) fn require_checksum(&self, holds: bool) -> Result<(), WholeReason> {
        let (structure, offset_bytes) = (self.structure, self.offset_bytes);
        if holds { Ok(()) } else { Err(WholeReason::Checksum { structure, offset_bytes }) }
    }

    /// What is wrong if a number of this record cannot be.
    pub(super) const fn inconsistent(&self) -> WholeReason {
        WholeReason::Inconsistent { structure: self.structure, offset_bytes: self.offset_bytes }
    }
}
