//! The marker of an install that has not ended well.
//!
//! It stands in the first block of the disk, in place of the boot sector, and is replaced by the image's own first block
//! with the very last write of an install. So there is no instant at which a disk has neither marker nor complete
//! content, and no firmware takes the marker for a boot sector: its last two bytes are zero, not 55 AA.

use uuid::Uuid;

/// Length of a marker, in bytes: one sector. It is padded with zeroes to the logical block size.
pub const MARKER_BYTES: usize = 512;

const MAGIC: &[u8; 16] = b"BMS-AGENT-MARK1\n";
const REASON_BYTES: usize = 64;
const DIGEST_AT: usize = MARKER_BYTES - 32 - 2;

/// What the marker says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Marker {
    /// Operation that wrote it.
    pub operation: Uuid,
    /// Length of the image, in bytes.
    pub image_len_bytes: u64,
    /// Group size of the image, in bytes.
    pub group_size_bytes: u64,
    /// Root of the image, if the caller pinned it.
    pub root: Option<[u8; 32]>,
    /// When the install began, in seconds since 1970.
    pub started_at: u64,
    /// Reason that it ended with; empty while it runs, and for good if it was killed.
    pub reason: String,
}

impl Marker {
    /// The sector.
    pub fn encode(&self) -> [u8; MARKER_BYTES] {
        let mut sector = [0; MARKER_BYTES];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            sector[at..at + bytes.len()].copy_from_slice(bytes);
            at += bytes.len();
        };
        put(MAGIC);
        put(self.operation.as_bytes());
        put(&self.image_len_bytes.to_le_bytes());
        put(&self.group_size_bytes.to_le_bytes());
        put(&self.started_at.to_le_bytes());
        put(&[u8::from(self.root.is_some())]);
        put(&self.root.unwrap_or_default());
        let reason = &self.reason.as_bytes()[..self.reason.len().min(REASON_BYTES)];
        put(reason);
        let digest = blake3::hash(&sector[..DIGEST_AT]);
        sector[DIGEST_AT..DIGEST_AT + 32].copy_from_slice(digest.as_bytes());
        sector
    }

    /// Reads a sector; `None` if it holds no marker. A disk's old content is not trusted: the digest must be right, and
    /// what is taken for text is printable.
    pub fn decode(sector: &[u8]) -> Option<Self> {
        let sector: &[u8; MARKER_BYTES] = sector.first_chunk()?;
        let digest = blake3::hash(&sector[..DIGEST_AT]);
        if !sector.starts_with(MAGIC) || sector[DIGEST_AT..DIGEST_AT + 32] != digest.as_bytes()[..] {
            return None;
        }
        let mut fields = Fields(&sector[MAGIC.len()..DIGEST_AT]);
        let operation = Uuid::from_bytes(fields.take()?);
        let image_len_bytes = u64::from_le_bytes(fields.take()?);
        let group_size_bytes = u64::from_le_bytes(fields.take()?);
        let started_at = u64::from_le_bytes(fields.take()?);
        let [pinned] = fields.take()?;
        let root: [u8; 32] = fields.take()?;
        let reason: [u8; REASON_BYTES] = fields.take()?;
        let reason = reason.iter().take_while(|byte| byte.is_ascii_graphic()).map(|&byte| char::from(byte)).collect();
        let root = (pinned == 1).then_some(root);
        Some(Self { operation, image_len_bytes, group_size_bytes, root, started_at, reason })
    }
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::{MARKER_BYTES, Marker};

    fn marker() -> Marker {
        Marker {
            operation: Uuid::from_u128(7),
            image_len_bytes: 4 << 30,
            group_size_bytes: 256 << 10,
            root: Some([9; 32]),
            started_at: 1_700_000_000,
            reason: "DISK_IO".to_owned(),
        }
    }

    #[test]
    fn comes_back_as_it_was_written() {
        for root in [None, Some([9; 32])] {
            let marker = Marker { root, ..marker() };
            assert_eq!(Marker::decode(&marker.encode()), Some(marker));
        }
    }

    #[test]
    fn is_no_boot_sector() {
        assert_eq!(marker().encode()[510..], [0, 0]);
    }

    #[test]
    fn any_flipped_bit_makes_it_no_marker() {
        let sector = marker().encode();
        for bit in 0..(MARKER_BYTES - 2) * 8 {
            let mut damaged = sector;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Marker::decode(&damaged), None, "bit {bit}");
        }
        assert_eq!(Marker::decode(&sector[..511]), None);
        assert_eq!(Marker::decode(&[0; 512]), None);
    }

    #[test]
    fn long_reason_is_cut() {
        let marker = Marker { reason: "R".repeat(100), ..marker() };
        assert_eq!(Marker::decode(&marker.encode()).expect("a marker").reason, "R".repeat(64));
    }
}
