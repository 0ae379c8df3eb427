//! The header of a qcow2 image, checked before any other code sees the image: what would reach for another file, or
//! make a reader allocate by a number from the file, is refused here.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

use super::Qcow2Refusal;

/// Length of the header that is looked at: version 3 with its compression type.
const HEADER_BYTES: usize = 112;
/// Length of a header of version 2.
const V2_HEADER_BYTES: u64 = 72;
/// Most entries of an L1 table, as in QEMU: 32 MiB.
const MAX_L1_ENTRIES: u64 = 4 << 20;
/// Where the first volume descriptor of an ISO 9660 image has its mark.
const ISO_MARK_OFFSET: u64 = 0x8001;

const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;

/// What is wrong with a header.
#[derive(Debug)]
pub(super) enum HeaderError {
    Refused(Qcow2Refusal),
    Read(io::Error),
}

impl From<Qcow2Refusal> for HeaderError {
    fn from(refusal: Qcow2Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Checks the header of the image in `file`, which is `file_bytes` long.
pub(super) fn check(file: &File, file_bytes: u64) -> Result<(), HeaderError> {
    let mut bytes = [0; HEADER_BYTES];
    // Version 2 has a shorter header; what follows it is not looked at.
    let read = usize::try_from(file_bytes).map_or(HEADER_BYTES, |len| len.min(HEADER_BYTES));
    file.read_exact_at(&mut bytes[..read], 0).map_err(HeaderError::Read)?;
    let header = Header(bytes);
    check_version(&header, file_bytes)?;
    check_features(&header)?;
    check_tables(&header, file_bytes)?;
    check_polyglot(file, header.cluster_bits())
}

/// The raw bytes of a header, read by offset.
struct Header([u8; HEADER_BYTES]);

impl Header {
    fn u32(&self, at: usize) -> u32 {
        self.0[at..at + 4].iter().fold(0, |value, &byte| value << 8 | u32::from(byte))
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) << 32 | u64::from(self.u32(at + 4))
    }

    fn version(&self) -> u32 {
        self.u32(4)
    }

    fn cluster_bits(&self) -> u32 {
        self.u32(20)
    }

    /// Length of the header, in bytes.
    fn len_bytes(&self) -> u64 {
        if self.version() == 2 { V2_HEADER_BYTES } else { self.u32(100).into() }
    }

    fn incompatible_features(&self) -> u64 {
        if self.version() == 2 { 0 } else { self.u64(72) }
    }

    /// Zero is zlib, and so is a header too short to say.
    fn compression_type(&self) -> u8 {
        if self.version() == 2 || self.len_bytes() <= 104 { 0 } else { self.0[104] }
    }
}

fn check_version(header: &Header, file_bytes: u64) -> Result<(), Qcow2Refusal> {
    let version = header.version();
    let shortest = match version {
        2 => V2_HEADER_BYTES,
        3 => 104,
        _ => return Err(Qcow2Refusal::Version { version }),
    };
    let len_bytes = header.len_bytes();
    if len_bytes < shortest || len_bytes > file_bytes {
        return Err(Qcow2Refusal::Field { field: "header length", value: len_bytes });
    }
    Ok(())
}

fn check_features(header: &Header) -> Result<(), Qcow2Refusal> {
    let features = header.incompatible_features();
    let unknown = features & !(DIRTY | CORRUPT | DATA_FILE | COMPRESSION | EXTENDED_L2);
    if header.u64(8) != 0 {
        Err(Qcow2Refusal::BackingFile)
    } else if features & DATA_FILE != 0 {
        Err(Qcow2Refusal::DataFile)
    } else if header.u32(32) != 0 {
        Err(Qcow2Refusal::Encrypted { method: header.u32(32) })
    } else if features & COMPRESSION != 0 || header.compression_type() != 0 {
        Err(Qcow2Refusal::Compression)
    } else if features & EXTENDED_L2 != 0 {
        Err(Qcow2Refusal::ExtendedL2)
    } else if unknown != 0 {
        Err(Qcow2Refusal::UnknownFeatures { bits: unknown })
    } else if features & (DIRTY | CORRUPT) != 0 {
        Err(Qcow2Refusal::Unclean)
    } else {
        Ok(())
    }
}

/// The L1 table must lie within the file and cover the whole disk, so that the file's length bounds everything.
fn check_tables(header: &Header, file_bytes: u64) -> Result<(), Qcow2Refusal> {
    let impossible = |field, value| Err(Qcow2Refusal::Field { field, value });
    let cluster_bits = header.cluster_bits();
    if !(9..=21).contains(&cluster_bits) {
        return impossible("cluster_bits", cluster_bits.into());
    }
    let refcount_order = if header.version() == 2 { 4 } else { header.u32(96) };
    if refcount_order > 6 {
        return impossible("refcount_order", refcount_order.into());
    }
    let (len_bytes, l1_entries, l1_offset) = (header.u64(24), u64::from(header.u32(36)), header.u64(40));
    // An L2 table is one cluster of 8-byte entries, and each entry is a cluster.
    let needed = len_bytes.div_ceil(1 << (2 * cluster_bits - 3));
    if l1_entries < needed || l1_entries > MAX_L1_ENTRIES {
        return impossible("l1_size", l1_entries);
    }
    if l1_offset.checked_add(l1_entries * 8).is_none_or(|end| end > file_bytes) {
        return impossible("l1_table_offset", l1_offset);
    }
    Ok(())
}

/// A file that is two images at once is an attack on whoever looks at one and installs the other. Where clusters are
/// smaller than the mark's offset, the mark may be the disk's own content.
fn check_polyglot(file: &File, cluster_bits: u32) -> Result<(), HeaderError> {
    let mut mark = [0; 5];
    match file.read_exact_at(&mut mark, ISO_MARK_OFFSET) {
        Ok(()) if cluster_bits >= 16 && mark == *b"CD001" => Err(Qcow2Refusal::Polyglot.into()),
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(()),
        Err(error) => Err(HeaderError::Read(error)),
    }
}
