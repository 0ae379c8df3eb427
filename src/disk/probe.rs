//! What is on a disk, as far as an install must know it: the partitions that would be lost, and the marker of an
//! earlier install.

use std::io::{self, Read, Seek, SeekFrom};

use super::buffer::AlignedBuffer;
use super::device::BlockDevice;
use super::marker::Marker;
use super::table::{self, PartitionTable, TableError};

/// Bytes that are read at once: a boot sector and a usual partition table.
const WINDOW_BYTES: usize = 64 << 10;

/// What is on a disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Content {
    /// Its partitions.
    pub table: PartitionTable,
    /// The marker of an install that has not ended well.
    pub marker: Option<Marker>,
    /// BLAKE3 of the first block, if that can be read.
    pub first_block: Option<blake3::Hash>,
}

/// Looks at a disk: a few blocks at its begin and its end.
///
/// # Errors
/// If they cannot be read.
pub fn look(device: &dyn BlockDevice) -> Result<Content, TableError> {
    let geometry = device.geometry();
    let mut reader = BlockReader::new(device);
    let table = table::read(&mut reader, geometry.len_bytes, geometry.logical_block_size)?;
    let mut first = AlignedBuffer::zeroed(geometry.logical_block_size as usize);
    let is_read = device.read_at(0, &mut first).is_ok();
    let first_block = is_read.then(|| blake3::hash(&first));
    Ok(Content { table, marker: Marker::decode(&first).filter(|_| is_read), first_block })
}

/// Reads a block device at any offset and length, through a window of whole blocks.
#[derive(Debug)]
struct BlockReader<'a> {
    device: &'a dyn BlockDevice,
    position: u64,
    window: AlignedBuffer,
    window_start: Option<u64>,
}

impl<'a> BlockReader<'a> {
    fn new(device: &'a dyn BlockDevice) -> Self {
        Self { device, position: 0, window: AlignedBuffer::zeroed(WINDOW_BYTES), window_start: None }
    }

    /// Moves the window to where `position` is; gives the bytes from there on.
    fn here(&mut self) -> io::Result<&[u8]> {
        let len = self.device.geometry().len_bytes;
        let start = self.position / WINDOW_BYTES as u64 * WINDOW_BYTES as u64;
        let valid = usize::try_from(len.saturating_sub(start)).unwrap_or(usize::MAX).min(WINDOW_BYTES);
        if valid > 0 && self.window_start != Some(start) {
            self.window_start = None;
            self.device.read_at(start, &mut self.window[..valid])?;
            self.window_start = Some(start);
        }
        let skip = usize::try_from(self.position - start).unwrap_or(usize::MAX).min(valid);
        Ok(&self.window[skip..valid])
    }
}

impl Read for BlockReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let here = self.here()?;
        let len = here.len().min(out.len());
        out[..len].copy_from_slice(&here[..len]);
        self.position += len as u64;
        Ok(len)
    }
}

impl Seek for BlockReader<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, delta) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(delta) => (self.position, delta),
            SeekFrom::End(delta) => (self.device.geometry().len_bytes, delta),
        };
        self.position = base.checked_add_signed(delta).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Seek as _, SeekFrom};

    use super::BlockReader;
    use crate::disk::mem::MemDevice;

    #[test]
    fn reads_any_offset_of_a_disk_that_only_reads_blocks() {
        let content: Vec<u8> = (0..300_032u32).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1]).collect();
        for block in [512, 4096] {
            let len = content.len() / block as usize * block as usize;
            let device = MemDevice::new(content[..len].to_vec(), block);
            let mut reader = BlockReader::new(&device);
            for (at, count) in [(0, 10), (511, 2), (65_530, 100), (len - 5, 5)] {
                let mut read = vec![0; count];
                reader.seek(SeekFrom::Start(at as u64)).expect("seek");
                reader.read_exact(&mut read).expect("inside");
                assert_eq!(read, content[at..at + count], "{count} bytes at {at}");
            }
            assert_eq!(reader.read(&mut [0; 8]).expect("the end"), 0);
        }
    }
}
