//! What an inspection reads of a disk: kept in pages, read ahead where it goes on in order, counted, and bounded.
//!
//! Parsers ask for a few bytes at a time, and for the same ones again and again. What lies below is a device, or an image
//! whose groups are fetched and proven, for which one long read is much cheaper than many short ones.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use super::{DiskReader, check_bounds};

/// Bytes of a page. Directories and inodes lie far apart, each a few KiB, and what is read besides counts.
const PAGE_BYTES: u64 = 16 << 10;
/// Pages that are kept: 32 MiB, an eighth of what an inspection may allocate.
const PAGES: usize = 2048;
/// Most pages that are read at once: 1 MiB.
const RUN_PAGES: u64 = 64;

/// More was wanted of a disk than is read of any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("more than {limit_bytes} bytes of the disk would be read")]
pub struct ReadLimit {
    /// The limit, in bytes.
    pub limit_bytes: u64,
}

/// A disk whose last used pages are kept, and of which no more than a limit is read.
#[derive(Debug)]
pub struct Metered<R> {
    below: R,
    limit_bytes: u64,
    fetched_bytes: Cell<u64>,
    cache: RefCell<Cache>,
}

#[derive(Debug, Default)]
struct Cache {
    /// By number.
    pages: BTreeMap<u64, Page>,
    /// Numbers of pages, by when they were used last.
    order: BTreeMap<u64, u64>,
    /// Counts up with each use of a page.
    clock: u64,
    /// The page that would go on where the last run ended, and how many are read then.
    next: Option<u64>,
    ahead: u64,
}

#[derive(Debug)]
struct Page {
    content: Box<[u8]>,
    used: u64,
}

impl<R: DiskReader> Metered<R> {
    /// At most `limit_bytes` of `below` are read.
    pub fn new(below: R, limit_bytes: u64) -> Self {
        Self { below, limit_bytes, fetched_bytes: Cell::new(0), cache: RefCell::default() }
    }

    /// Bytes that were read of what lies below.
    pub fn fetched_bytes(&self) -> u64 {
        self.fetched_bytes.get()
    }

    /// Reads `wanted` pages from `first`, fewer if the disk or a page that is kept comes before, and more if the last
    /// run ended there.
    fn fetch(&self, cache: &mut Cache, first: u64, wanted: u64) -> io::Result<()> {
        cache.ahead = if cache.next == Some(first) { (cache.ahead * 2).clamp(2, RUN_PAGES) } else { 1 };
        let pages = wanted.max(cache.ahead).min(RUN_PAGES);
        let kept = cache.pages.range(first..first + pages).next().map(|(number, _)| *number);
        let start = first * PAGE_BYTES;
        let end = (kept.unwrap_or(first + pages) * PAGE_BYTES).min(self.below.len_bytes());
        let fetched = self.fetched_bytes.get() + (end - start);
        if fetched > self.limit_bytes {
            return Err(io::Error::other(ReadLimit { limit_bytes: self.limit_bytes }));
        }
        let mut run = vec![0; usize::try_from(end - start).map_err(io::Error::other)?];
        self.below.read_at(start, &mut run)?;
        self.fetched_bytes.set(fetched);
        for (number, content) in (first..).zip(run.chunks(usize::try_from(PAGE_BYTES).map_err(io::Error::other)?)) {
            cache.keep(number, content);
            cache.next = Some(number + 1);
        }
        Ok(())
    }
}

impl Cache {
    /// Keeps a page, in the place of the one that was not used for longest if there are too many.
    fn keep(&mut self, number: u64, content: &[u8]) {
        if self.pages.len() == PAGES
            && let Some((_, oldest)) = self.order.pop_first()
        {
            self.pages.remove(&oldest);
        }
        self.clock += 1;
        self.order.insert(self.clock, number);
        self.pages.insert(number, Page { content: content.into(), used: self.clock });
    }

    /// Copies from `skip` of a page that is kept, as much as there is; none if it is not kept.
    fn copy(&mut self, number: u64, skip: usize, out: &mut [u8]) -> Option<usize> {
        let page = self.pages.get_mut(&number)?;
        if page.used != self.clock {
            self.clock += 1;
            self.order.remove(&page.used);
            self.order.insert(self.clock, number);
            page.used = self.clock;
        }
        let rest = page.content.get(skip..)?;
        let len = rest.len().min(out.len());
        out[..len].copy_from_slice(&rest[..len]);
        Some(len)
    }
}

impl<R: DiskReader> DiskReader for Metered<R> {
    fn len_bytes(&self) -> u64 {
        self.below.len_bytes()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes(), offset, out.len())?;
        let mut cache = self.cache.borrow_mut();
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let number = at / PAGE_BYTES;
            let skip = usize::try_from(at % PAGE_BYTES).map_err(io::Error::other)?;
            let Some(len) = cache.copy(number, skip, rest) else {
                let last = (at + rest.len() as u64 - 1) / PAGE_BYTES;
                self.fetch(&mut cache, number, last - number + 1)?;
                continue;
            };
            at += len as u64;
            rest = &mut rest[len..];
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io;

    use super::{DiskReader, Metered, PAGE_BYTES, PAGES, ReadLimit};

    /// A disk whose byte at any place is known, and which remembers what was read.
    #[derive(Debug)]
    struct Pattern {
        len_bytes: u64,
        reads: RefCell<Vec<(u64, usize)>>,
    }

    impl Pattern {
        fn byte(at: u64) -> u8 {
            at.to_le_bytes().into_iter().fold(7, |sum: u8, byte| sum.wrapping_mul(31) ^ byte)
        }

        fn metered(len_bytes: u64, limit_bytes: u64) -> Metered<Self> {
            Metered::new(Self { len_bytes, reads: RefCell::default() }, limit_bytes)
        }
    }

    impl DiskReader for Pattern {
        fn len_bytes(&self) -> u64 {
            self.len_bytes
        }

        fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.reads.borrow_mut().push((offset, out.len()));
            for (at, byte) in (offset..).zip(out) {
                *byte = Self::byte(at);
            }
            Ok(())
        }
    }

    fn check(reader: &Metered<Pattern>, at: u64, len: usize) {
        let mut out = vec![0; len];
        reader.read_at(at, &mut out).expect("inside");
        assert!((at..).zip(out).all(|(at, byte)| byte == Pattern::byte(at)), "{len} bytes at {at}");
    }

    #[test]
    fn gives_the_bytes_below_at_any_offset_and_in_any_order() {
        let len = 3000 * PAGE_BYTES + 1234;
        let reader = Pattern::metered(len, u64::MAX);
        let mut random = fastrand::Rng::with_seed(1);
        for _ in 0..600 {
            let at = random.u64(0..len);
            check(&reader, at, usize::try_from(len - at).expect("small").min(random.usize(0..300_000)));
        }
        assert_eq!(reader.cache.borrow().pages.len(), PAGES);
        assert_eq!(reader.cache.borrow().order.len(), PAGES);
        for (at, count) in [(len, 1), (len - 1, 2), (u64::MAX, 1)] {
            let error = reader.read_at(at, &mut vec![0; count]).expect_err("outside");
            assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        }
    }

    #[test]
    fn small_reads_cost_one_read_below_and_are_counted_once() {
        let reader = Pattern::metered(100 * PAGE_BYTES, u64::MAX);
        (0..2000).for_each(|at| check(&reader, 5 * PAGE_BYTES + at, 16));
        assert_eq!(*reader.below.reads.borrow(), [(5 * PAGE_BYTES, 16384)]);
        assert_eq!(reader.fetched_bytes(), PAGE_BYTES);
    }

    #[test]
    fn what_is_read_in_order_is_read_in_long_runs() {
        let reader = Pattern::metered(2560 * PAGE_BYTES, u64::MAX);
        (0..2560 * 4).for_each(|block| check(&reader, block * 4096, 4096));
        assert!(reader.below.reads.borrow().len() < 50, "{:?}", reader.below.reads);
        assert_eq!(reader.fetched_bytes(), 2560 * PAGE_BYTES);
        let reader = Pattern::metered(2560 * PAGE_BYTES, u64::MAX);
        check(&reader, 4096, 16 << 20);
        assert!(reader.below.reads.borrow().len() <= 20, "{:?}", reader.below.reads);
    }

    #[test]
    fn no_more_than_the_limit_is_read() {
        let reader = Pattern::metered(100 * PAGE_BYTES, 3 * PAGE_BYTES);
        [0, 40, 80].into_iter().for_each(|page| check(&reader, page * PAGE_BYTES, 10));
        let error = reader.read_at(60 * PAGE_BYTES, &mut [0]).expect_err("over the limit");
        let inner = error.into_inner().expect("an error of ours").downcast::<ReadLimit>().expect("the limit");
        assert_eq!(*inner, ReadLimit { limit_bytes: 3 * PAGE_BYTES });
        assert_eq!(reader.fetched_bytes(), 3 * PAGE_BYTES);
        check(&reader, 40 * PAGE_BYTES + 99, 10);
    }
}
