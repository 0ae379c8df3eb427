//! The content of a file, for parsers that give it by offset.

use std::io::{self, BufReader, Read};

use super::FsError;

/// Bytes that are asked for at once. Each question makes the parser look the file up again, and btrfs unpack an extent of
/// 128 KiB; so it is a multiple of that.
const BUFFER_BYTES: u64 = 512 << 10;

/// What gives the content of one file: fills `out` from an offset, and says how much of it there was.
pub(super) trait ContentAt {
    /// The bytes at `offset`; fewer than asked for only at the end of the file.
    fn content_at(&self, offset: u64, out: &mut [u8]) -> Result<usize, FsError>;
}

struct Stream<C> {
    file: C,
    at: u64,
    len_bytes: u64,
}

impl<C: ContentAt> Read for Stream<C> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len_bytes.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = usize::try_from(BUFFER_BYTES).unwrap_or(usize::MAX);
        let len = left.min(out.len()).min(most);
        if len == 0 {
            return Ok(0);
        }
        let read = self.file.content_at(self.at, &mut out[..len]).map_err(io::Error::other)?;
        if read == 0 {
            // A file that is shorter than it says would look whole.
            return Err(io::Error::other(FsError::malformed(format!("a file that ends at byte {}", self.at))));
        }
        self.at += read as u64;
        Ok(read)
    }
}

/// The first `len_bytes` of a file, in order.
pub(super) fn read<'a>(file: impl ContentAt + 'a, len_bytes: u64) -> Box<dyn Read + 'a> {
    let capacity = usize::try_from(len_bytes.clamp(1, BUFFER_BYTES)).unwrap_or(1);
    Box::new(BufReader::with_capacity(capacity, Stream { file, at: 0, len_bytes }))
}
