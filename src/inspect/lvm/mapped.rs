//! Pieces of disks, one behind the other, as one disk.

use std::io;
use std::rc::Rc;

use crate::inspect::reader::DiskReader;

/// A disk that is made of pieces of others.
#[derive(Debug)]
pub struct Mapped {
    /// Pieces, each with its first byte in this disk.
    segments: Vec<(u64, Segment)>,
    len_bytes: u64,
}

/// A piece of a disk.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) disk: Rc<dyn DiskReader>,
    /// Where it begins there, in bytes.
    pub(super) start: u64,
    pub(super) len_bytes: u64,
}

impl Mapped {
    /// The pieces in their order; none if one does not lie on its disk.
    pub(super) fn new(pieces: Vec<Segment>) -> Option<Self> {
        let mut segments = Vec::with_capacity(pieces.len());
        let mut len_bytes = 0_u64;
        for piece in pieces {
            let end = piece.start.checked_add(piece.len_bytes)?;
            if end > piece.disk.len_bytes() {
                return None;
            }
            let at = len_bytes;
            len_bytes = at.checked_add(piece.len_bytes)?;
            segments.push((at, piece));
        }
        Some(Self { segments, len_bytes })
    }
}

impl DiskReader for Mapped {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let end = u64::try_from(out.len()).ok().and_then(|len| offset.checked_add(len));
        if end.is_none_or(|end| end > self.len_bytes) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut rest = out;
        let mut at = offset;
        let first = self.segments.partition_point(|(start, _)| *start <= offset).saturating_sub(1);
        for (start, segment) in self.segments.iter().skip(first) {
            if rest.is_empty() {
                break;
            }
            let skip = at - start;
            let left = usize::try_from(segment.len_bytes - skip).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_mut(left.min(rest.len()));
            segment.disk.read_at(segment.start + skip, now)?;
            at += now.len() as u64;
            rest = later;
        }
        Ok(())
    }
}
