//! The boot region: what makes a disk bootable, held in memory until everything else is proven.
//!
//! It is the first MiB of the disk (boot sector, primary partition table, boot loader), the last MiB of the image and
//! the last MiB of the disk (backup partition tables). While an install runs these are zero on the disk, but for the
//! marker in the first block; the image's bytes for them wait here. Firmware and kernels believe a partition table only
//! with a valid first block, which is written last and alone.

use std::ops::Range;

use crate::disk::buffer::AlignedBuffer;
use crate::disk::device::{BlockDevice, DeviceError, Geometry};
use crate::disk::marker::{MARKER_BYTES, Marker};

const SPAN_BYTES: u64 = 1 << 20;

/// The image's bytes for the boot region.
#[derive(Debug)]
pub struct BootRegion {
    spans: Vec<Span>,
    block: usize,
}

/// A part of the boot region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The first block of the disk.
    FirstBlock,
    /// Everything else.
    Rest,
}

#[derive(Debug)]
struct Span {
    start: u64,
    bytes: AlignedBuffer,
}

impl Span {
    fn range(&self) -> Range<u64> {
        self.start..self.start + self.bytes.len() as u64
    }

    /// The parts of this span and of `data`, which begins at `offset`, that lie at the same place of the disk.
    #[expect(clippy::cast_possible_truncation, reason = "differences within two slices")]
    fn common(&self, offset: u64, len: usize) -> Option<(Range<usize>, Range<usize>)> {
        let start = self.start.max(offset);
        let end = self.range().end.min(offset + len as u64);
        let within = |base: u64| (start - base) as usize..(end - base) as usize;
        (start < end).then(|| (within(self.start), within(offset)))
    }
}

/// The byte ranges of the boot region of a disk that holds an image, in order, apart from each other.
pub fn ranges(geometry: Geometry, image_len_bytes: u64) -> Vec<Range<u64>> {
    let block = u64::from(geometry.logical_block_size);
    let last_mib = |end: u64| end.saturating_sub(SPAN_BYTES) / block * block..end;
    let image_end = geometry.round_up(image_len_bytes).min(geometry.len_bytes);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in [0..SPAN_BYTES.min(geometry.len_bytes), last_mib(image_end), last_mib(geometry.len_bytes)] {
        match merged.last_mut() {
            Some(before) if range.start <= before.end => before.end = before.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}

impl BootRegion {
    /// An empty boot region: all zero.
    #[expect(clippy::cast_possible_truncation, reason = "a span has at most 3 MiB")]
    pub fn new(geometry: Geometry, image_len_bytes: u64) -> Self {
        let span = |range: Range<u64>| Span {
            start: range.start,
            bytes: AlignedBuffer::zeroed((range.end - range.start) as usize),
        };
        Self {
            spans: ranges(geometry, image_len_bytes).into_iter().map(span).collect(),
            block: geometry.logical_block_size as usize,
        }
    }

    /// Takes what of `data`, which belongs at `offset`, lies in the boot region.
    pub fn hold(&mut self, offset: u64, data: &[u8]) {
        for span in &mut self.spans {
            if let Some((held, given)) = span.common(offset, data.len()) {
                span.bytes[held].copy_from_slice(&data[given]);
            }
        }
    }

    /// Lays what is held over `data`, which was read from `offset`.
    pub fn overlay(&self, offset: u64, data: &mut [u8]) {
        for span in &self.spans {
            if let Some((held, read)) = span.common(offset, data.len()) {
                data[read].copy_from_slice(&span.bytes[held]);
            }
        }
    }

    /// The parts of a range that lie outside the boot region.
    pub fn outside(&self, range: Range<u64>) -> Vec<Range<u64>> {
        let mut parts = Vec::with_capacity(1);
        let mut at = range.start;
        for span in self.spans.iter().map(Span::range) {
            if span.end <= at || span.start >= range.end {
                continue;
            }
            if span.start > at {
                parts.push(at..span.start);
            }
            at = span.end;
        }
        if at < range.end {
            parts.push(at..range.end);
        }
        parts
    }

    /// Makes the disk unbootable: the marker into the first block and a flush, then zeroes over the rest and a flush. So
    /// no crash leaves a boot sector in front of a boot region that is half zeroed. What is held stays.
    ///
    /// # Errors
    /// What the device answered.
    pub fn clear(&self, device: &dyn BlockDevice, marker: &Marker) -> Result<(), DeviceError> {
        self.put_marker(device, marker)?;
        device.sync()?;
        let longest = self.spans.iter().map(|span| span.bytes.len()).max().unwrap_or_default();
        let zeroes = AlignedBuffer::zeroed(longest);
        for span in &self.spans {
            let skip = self.first_block_of(span);
            device.write(span.start + skip as u64, &zeroes[..span.bytes.len() - skip])?;
        }
        device.sync()
    }

    /// Writes the marker into the first block.
    ///
    /// # Errors
    /// What the device answered.
    pub fn put_marker(&self, device: &dyn BlockDevice, marker: &Marker) -> Result<(), DeviceError> {
        let mut block = AlignedBuffer::zeroed(self.block);
        block[..MARKER_BYTES].copy_from_slice(&marker.encode());
        device.write(0, &block)
    }

    /// Writes what is held, but for the first block: the disk is still not bootable. Flushes.
    ///
    /// # Errors
    /// What the device answered.
    pub fn write_rest(&self, device: &dyn BlockDevice) -> Result<(), DeviceError> {
        for span in &self.spans {
            let skip = self.first_block_of(span);
            device.write(span.start + skip as u64, &span.bytes[skip..])?;
        }
        device.sync()
    }

    /// Writes the first block over the marker, which makes the disk bootable in one write. Flushes.
    ///
    /// # Errors
    /// What the device answered. After an error the disk may be bootable or not: [`clear`](Self::clear) it.
    pub fn seal(&self, device: &dyn BlockDevice) -> Result<(), DeviceError> {
        if let Some(first) = self.spans.first() {
            device.write(0, &first.bytes[..self.first_block_of(first)])?;
        }
        device.sync()
    }

    /// Reads a part of the boot region back; gives the offset of the first block that is not what is held.
    ///
    /// # Errors
    /// What the device answered.
    pub fn first_difference(&self, reader: &dyn BlockDevice, part: Part) -> Result<Option<u64>, DeviceError> {
        for span in &self.spans {
            let skip = self.first_block_of(span);
            let range = match part {
                Part::FirstBlock => 0..skip,
                Part::Rest => skip..span.bytes.len(),
            };
            let (start, held) = (span.start + range.start as u64, &span.bytes[range]);
            if held.is_empty() {
                continue;
            }
            let mut read = AlignedBuffer::zeroed(held.len());
            reader.read(start, &mut read)?;
            let mut blocks = read.chunks(self.block).zip(held.chunks(self.block));
            if let Some(at) = blocks.position(|(read, held)| read != held) {
                return Ok(Some(start + (at * self.block) as u64));
            }
        }
        Ok(None)
    }

    /// Length of the disk's first block, if the span begins with it.
    fn first_block_of(&self, span: &Span) -> usize {
        if span.start == 0 { self.block.min(span.bytes.len()) } else { 0 }
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges, some of which have one")]
mod tests {
    use super::{BootRegion, ranges};
    use crate::disk::device::Geometry;

    const MIB: u64 = 1 << 20;

    const fn geometry(len_bytes: u64) -> Geometry {
        Geometry { len_bytes, logical_block_size: 512, rotational: false }
    }

    #[test]
    fn covers_both_ends_of_disk_and_image() {
        assert_eq!(ranges(geometry(10 * MIB), 10 * MIB), [0..MIB, 9 * MIB..10 * MIB]);
        assert_eq!(ranges(geometry(10 * MIB), 5 * MIB), [0..MIB, 4 * MIB..5 * MIB, 9 * MIB..10 * MIB]);
        assert_eq!(ranges(geometry(10 * MIB), 5 * MIB + 1), [0..MIB, 4 * MIB + 512..5 * MIB + 512, 9 * MIB..10 * MIB]);
    }

    #[test]
    fn overlapping_ends_are_one_range() {
        assert_eq!(ranges(geometry(10 * MIB), 9 * MIB + 512), [0..MIB, 8 * MIB + 512..10 * MIB]);
        assert_eq!(ranges(geometry(3 * MIB / 2), MIB), [0..3 * MIB / 2]);
        assert_eq!(ranges(geometry(512), 1), [0..512]);
    }

    #[test]
    fn what_is_held_comes_back_and_the_rest_is_outside() {
        let mut region = BootRegion::new(geometry(10 * MIB), 5 * MIB);
        let data: Vec<u8> = (0..2 * MIB).map(|at| u8::try_from(at % 251).expect("small")).collect();
        region.hold(MIB / 2, &data);
        let mut read = vec![0xff; data.len()];
        region.overlay(MIB / 2, &mut read);
        let half = usize::try_from(MIB / 2).expect("small");
        assert_eq!(read[..half], data[..half]);
        assert!(read[half..].iter().all(|&byte| byte == 0xff));
        assert_eq!(region.outside(0..10 * MIB), [MIB..4 * MIB, 5 * MIB..9 * MIB]);
        assert_eq!(region.outside(MIB / 2..MIB), []);
        assert_eq!(region.outside(2 * MIB..3 * MIB), [2 * MIB..3 * MIB]);
    }
}
