//! Random access to the bytes of a disk, for whoever parses them.
//!
//! Nothing here knows what the bytes mean. Memory is bounded by the implementor, never by what the bytes say.

use std::cell::RefCell;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::rc::Rc;

mod metered;

pub use self::metered::{Metered, ReadLimit};
use crate::disk::buffer::AlignedBuffer;

/// Bytes that [`DirectReader`] reads at once; a multiple of every logical block size.
const PAGE_BYTES: usize = 64 << 10;
/// Pages that [`DirectReader`] keeps: 4 MiB.
const PAGES: usize = 64;
/// Most bytes that [`DirectReader`] asks the device for at once, for a reader who wants many.
const RUN_BYTES: usize = 1 << 20;

/// A disk, a part of one, or an image of one: bytes that can be read at any offset and in any length.
///
/// Implementors are a disk ([`DirectReader`]), an ordinary file ([`FileReader`]), bytes in memory, and a part of any of
/// these ([`Section`], and [`Part`] for whoever must own what it reads). [`Metered`] goes over any of them.
pub trait DiskReader: fmt::Debug {
    /// Length, in bytes.
    fn len_bytes(&self) -> u64;

    /// Fills `out` from `offset`.
    ///
    /// # Errors
    /// What the device answered; `UnexpectedEof` if not all of it lies on the disk.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()>;
}

/// Fails unless `len` bytes at `offset` lie within `limit`.
pub(crate) fn check_bounds(limit: u64, offset: u64, len: usize) -> io::Result<()> {
    let end = u64::try_from(len).ok().and_then(|len| offset.checked_add(len));
    if end.is_some_and(|end| end <= limit) { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

impl<T: DiskReader + ?Sized> DiskReader for Rc<T> {
    fn len_bytes(&self) -> u64 {
        (**self).len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        (**self).read_at(offset, out)
    }
}

impl DiskReader for Vec<u8> {
    fn len_bytes(&self) -> u64 {
        self.len() as u64
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes(), offset, out.len())?;
        let from = usize::try_from(offset).ok().and_then(|offset| self.get(offset..)?.get(..out.len()));
        out.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An ordinary file, or a device that is not opened with O_DIRECT.
#[derive(Debug)]
pub struct FileReader {
    file: File,
    len_bytes: u64,
}

impl FileReader {
    /// The first `len_bytes` of a file.
    pub const fn new(file: File, len_bytes: u64) -> Self {
        Self { file, len_bytes }
    }
}

impl DiskReader for FileReader {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        self.file.read_exact_at(out, offset)
    }
}

/// A block device that may be opened with O_DIRECT: read in aligned pages, of which the last 64 used are kept. Whole pages
/// of a long read are read together, and not kept.
#[derive(Debug)]
pub struct DirectReader {
    file: File,
    len_bytes: u64,
    /// The page that was used last comes first.
    cache: RefCell<Vec<Page>>,
}

#[derive(Debug)]
struct Page {
    start: u64,
    content: AlignedBuffer,
}

impl DirectReader {
    /// A device of `len_bytes`, which is a multiple of its logical block size.
    pub const fn new(file: File, len_bytes: u64) -> Self {
        Self { file, len_bytes, cache: RefCell::new(Vec::new()) }
    }

    /// Makes the page that holds `offset` the first of the cache.
    fn bring(&self, cache: &mut Vec<Page>, offset: u64) -> io::Result<()> {
        let start = offset - offset % PAGE_BYTES as u64;
        if let Some(at) = cache.iter().position(|page| page.start == start) {
            cache[..=at].rotate_right(1);
            return Ok(());
        }
        let mut content = match cache.len() {
            PAGES => cache.pop().map(|page| page.content),
            _ => None,
        }
        .unwrap_or_else(|| AlignedBuffer::zeroed(PAGE_BYTES));
        let valid = usize::try_from(self.len_bytes - start).unwrap_or(usize::MAX).min(PAGE_BYTES);
        self.file.read_exact_at(&mut content[..valid], start)?;
        cache.insert(0, Page { start, content });
        Ok(())
    }

    /// Reads whole pages from `start`, which begins one, past the cache.
    fn read_run(&self, start: u64, out: &mut [u8]) -> io::Result<()> {
        let mut aligned = AlignedBuffer::zeroed(out.len());
        self.file.read_exact_at(&mut aligned, start)?;
        out.copy_from_slice(&aligned);
        Ok(())
    }
}

impl DiskReader for DirectReader {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        let mut cache = self.cache.borrow_mut();
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let whole = rest.len().min(RUN_BYTES) / PAGE_BYTES * PAGE_BYTES;
            if at.is_multiple_of(PAGE_BYTES as u64) && whole > PAGE_BYTES {
                let (now, later) = rest.split_at_mut(whole);
                self.read_run(at, now)?;
                at += whole as u64;
                rest = later;
                continue;
            }
            self.bring(&mut cache, at)?;
            let page = cache.first().ok_or(io::ErrorKind::UnexpectedEof)?;
            let skip = usize::try_from(at - page.start).map_err(io::Error::other)?;
            let len = rest.len().min(PAGE_BYTES - skip);
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(&page.content[skip..skip + len]);
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}

/// A part of a disk, as a disk of its own. What reads it cannot reach beyond it.
#[derive(Debug, Clone, Copy)]
pub struct Section<'a> {
    disk: &'a dyn DiskReader,
    start: u64,
    len_bytes: u64,
}

impl<'a> Section<'a> {
    /// The bytes of `range`; none if they do not all lie on the disk.
    pub fn new(disk: &'a dyn DiskReader, range: &Range<u64>) -> Option<Self> {
        let len_bytes = range.end.checked_sub(range.start)?;
        (range.end <= disk.len_bytes()).then_some(Self { disk, start: range.start, len_bytes })
    }
}

impl DiskReader for Section<'_> {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        // The sum does not wrap: it lies within the section, which lies on the disk.
        self.disk.read_at(self.start + offset, out)
    }
}

/// A part of a disk that keeps the disk alive. What reads it cannot reach beyond it.
#[derive(Debug, Clone)]
pub struct Part {
    disk: Rc<dyn DiskReader>,
    start: u64,
    len_bytes: u64,
}

impl Part {
    /// The bytes of `range`; none if they do not all lie on the disk.
    pub fn new(disk: Rc<dyn DiskReader>, range: &Range<u64>) -> Option<Self> {
        let len_bytes = range.end.checked_sub(range.start)?;
        (range.end <= disk.len_bytes()).then_some(Self { disk, start: range.start, len_bytes })
    }
}

impl DiskReader for Part {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        // The sum does not wrap: it lies within the part, which lies on the disk.
        self.disk.read_at(self.start + offset, out)
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::rc::Rc;

    use super::{DirectReader, DiskReader, FileReader, PAGE_BYTES, PAGES, Part, Section};

    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|at| at.to_le_bytes()[0] ^ at.to_le_bytes()[1] ^ at.to_le_bytes()[2]).collect()
    }

    fn file_of(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().expect("temporary file");
        file.write_all(content).expect("write");
        file
    }

    #[test]
    fn every_reader_gives_the_same_bytes_at_any_offset() {
        let content = pattern(3 * PAGE_BYTES + 512);
        let len = content.len() as u64;
        let readers: [&dyn DiskReader; 3] =
            [&content, &FileReader::new(file_of(&content), len), &DirectReader::new(file_of(&content), len)];
        for reader in readers {
            let whole = [(0, content.len()), (PAGE_BYTES, 2 * PAGE_BYTES), (3, content.len() - 3)];
            let parts = [(0, 1), (PAGE_BYTES - 1, 2), (5, 2 * PAGE_BYTES), (content.len() - 7, 7), (9, 0)];
            for (at, count) in parts.into_iter().chain(whole) {
                let mut out = vec![0; count];
                reader.read_at(at as u64, &mut out).expect("inside");
                assert_eq!(out, content[at..at + count], "{count} bytes at {at} of {reader:?}");
            }
            for (at, count) in [(len, 1), (len - 1, 2), (u64::MAX, 1), (u64::MAX, 0)] {
                let error = reader.read_at(at, &mut vec![0; count]).expect_err("outside");
                assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{count} bytes at {at}");
            }
        }
    }

    #[test]
    fn the_cache_is_bounded_and_gives_right_bytes_when_it_is_full() {
        let content = pattern(PAGE_BYTES * (PAGES + 8));
        let reader = DirectReader::new(file_of(&content), content.len() as u64);
        for round in 0..3 {
            for page in 0..PAGES + 8 {
                let at = page * PAGE_BYTES + round;
                let mut out = [0; 3];
                reader.read_at(at as u64, &mut out).expect("inside");
                assert_eq!(out, content[at..at + 3]);
            }
            assert_eq!(reader.cache.borrow().len(), PAGES);
        }
    }

    #[test]
    fn a_section_ends_where_it_ends() {
        let content = pattern(100);
        let disk: Rc<dyn DiskReader> = Rc::new(content.clone());
        let section = Section::new(&content, &(10..30)).expect("inside");
        let part = Part::new(Rc::clone(&disk), &(10..30)).expect("inside");
        for reader in [&section as &dyn DiskReader, &part] {
            let mut out = [0; 5];
            reader.read_at(15, &mut out).expect("inside");
            assert_eq!(out, content[25..30]);
            reader.read_at(16, &mut out).expect_err("outside");
        }
        assert!(Section::new(&content, &(90..101)).is_none());
        assert!(Part::new(disk, &(90..101)).is_none());
    }
}
