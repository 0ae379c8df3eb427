//! Turning a source into hashed groups, on several threads, reading it once.
//!
//! Workers are alike: each takes its turn at the feed for the next run, then hashes it and hands it on by itself, so
//! that the bytes stay with one core. Where any part of the source can be read, the turn only decides what to read;
//! where it is one compressed stream, the turn is the decoding. What becomes of the pieces is not known here.

mod feed;
#[cfg(test)]
pub(super) mod tests;

use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::panic;
use std::path::Path;
use std::thread;

use bytes::Bytes;

use self::feed::{Feed, Span};
use super::group::{ChainingValue, GroupSize, Layout, is_zero};
use super::source::pool::{Buffer, BufferPool};
use super::source::{Content, Input, RandomAccess, Source, SourceError};

/// Buffers beyond one for each worker: runs that wait for whoever takes the pieces.
const SPARE_BUFFERS: usize = 2;

/// Some contiguous groups of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// Groups of zeroes.
    Hole {
        /// The first group.
        first: u64,
        /// How many.
        count: u64,
    },
    /// Groups none of which is all zero.
    Data {
        /// The first group.
        first: u64,
        /// The chaining value of each.
        chaining_values: Vec<ChainingValue>,
        /// Their bytes, at most one run. Drop it soon: the scan waits when a few runs are held.
        content: Bytes,
    },
}

impl Piece {
    /// A run that begins with group `first`, cut into stretches of holes and of data: a group without a chaining value is
    /// a hole.
    pub(crate) fn cut(
        layout: Layout,
        first: u64,
        values: &[Option<ChainingValue>],
        content: &Bytes,
    ) -> impl Iterator<Item = Self> {
        let group_len = layout.group_size().as_usize();
        let mut at = 0;
        values.chunk_by(|a, b| a.is_some() == b.is_some()).map(move |stretch| {
            let (start, end) = (at, at + stretch.len());
            at = end;
            let first = first + start as u64;
            let chaining_values: Vec<_> = stretch.iter().copied().flatten().collect();
            if chaining_values.is_empty() {
                return Self::Hole { first, count: stretch.len() as u64 };
            }
            let content = content.slice(start * group_len..(end * group_len).min(content.len()));
            Self::Data { first, chaining_values, content }
        })
    }
}

/// Takes pieces, until it breaks.
pub type Sink<'a> = dyn Fn(Piece) -> ControlFlow<()> + Sync + 'a;

/// Reads the whole source once, hashes every data group, and hands each piece to `sink`, from several threads and in
/// any order. Every group is in exactly one piece. Holes of the file come as one piece each, however large; zeroes that
/// had to be read come as at most a run, unless they were decompressed.
///
/// At most `workers` and two runs are in memory at once, which includes what `sink` keeps: it must not wait for a later
/// piece while it holds that many. When `sink` breaks, the scan ends well, after the pieces that other threads have at
/// hand.
///
/// # Errors
/// If the source cannot be read to its end, or is not what it should be. Pieces that came before are then worth
/// nothing: only a scan that ends well has seen the whole source and its checksums.
pub fn scan(source: &Source, layout: Layout, workers: NonZeroUsize, sink: &Sink<'_>) -> Result<(), SourceError> {
    check_layout(source, layout)?;
    let job = Job::new(Feed::new(source.content(), layout)?, layout, workers, sink);
    job.run_on_all(workers, source.path())
}

/// Does what [`scan`] does with what is read once, and gives the layout of all of it, which may be known at the end
/// only. The layout of a scan whose sink broke is worth nothing.
///
/// A stream that has nothing to give for now is waited for, whether or not the sink breaks meanwhile.
///
/// # Errors
/// As [`scan`].
pub fn scan_once(
    input: Input,
    group_size: GroupSize,
    workers: NonZeroUsize,
    sink: &Sink<'_>,
) -> Result<Layout, SourceError> {
    match input {
        Input::Source(source) => {
            let layout = Layout::new(source.len_bytes(), group_size);
            scan(&source, layout, workers, sink).map(|()| layout)
        }
        Input::Stream(stream) => {
            let content = stream.into_content();
            let path = content.path().to_owned();
            // Buffers are for whole runs where it is not known how much there is.
            let longest = Layout::new(content.len_bytes().unwrap_or(u64::MAX), group_size);
            let job = Job::new(Feed::stream(content, group_size), longest, workers, sink);
            job.run_on_all(workers, &path).map(|()| job.feed.layout())
        }
    }
}

/// What all workers share.
struct Job<'a> {
    feed: Feed<'a>,
    pool: BufferPool,
    sink: &'a Sink<'a>,
}

impl<'a> Job<'a> {
    fn new(feed: Feed<'a>, layout: Layout, workers: NonZeroUsize, sink: &'a Sink<'a>) -> Self {
        Self { feed, pool: BufferPool::new(workers.saturating_add(SPARE_BUFFERS), run_len(layout)), sink }
    }

    /// Works on so many threads, of which this is one, until all is done.
    fn run_on_all(&self, workers: NonZeroUsize, path: &Path) -> Result<(), SourceError> {
        thread::scope(|scope| {
            let mut threads = Vec::new();
            let mut outcome = Ok(());
            for _ in 1..workers.get() {
                match thread::Builder::new().name("scan".into()).spawn_scoped(scope, || self.run()) {
                    Ok(thread) => threads.push(thread),
                    Err(source) => {
                        self.pool.close();
                        outcome = Err(SourceError::Thread { path: path.to_owned(), source });
                        break;
                    }
                }
            }
            outcome = outcome.and_then(|()| self.run());
            threads.into_iter().fold(outcome, |outcome, thread| {
                let result = thread.join().unwrap_or_else(|panicked| panic::resume_unwind(panicked));
                outcome.and(result)
            })
        })
    }

    /// Works until nothing is left, or another worker stopped; stops the others if it fails or the sink breaks.
    fn run(&self) -> Result<(), SourceError> {
        while let Some(buffer) = self.pool.take() {
            match self.step(buffer) {
                Ok(Some(ControlFlow::Continue(()))) => {}
                Ok(None) => break,
                Ok(Some(ControlFlow::Break(()))) => self.pool.close(),
                Err(error) => {
                    self.pool.close();
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// One turn at the feed; none if nothing is left.
    fn step(&self, mut buffer: Buffer) -> Result<Option<ControlFlow<()>>, SourceError> {
        let Some(turn) = self.feed.next(buffer.as_mut(), &|| self.pool.is_closed())? else {
            return Ok(None);
        };
        let flow = turn
            .hole
            .map_or(ControlFlow::Continue(()), |Span { first, count }| (self.sink)(Piece::Hole { first, count }));
        match (flow, turn.data) {
            (ControlFlow::Continue(()), Some(data)) => Ok(Some(self.hand_on(turn.layout, data, buffer)?)),
            (flow, _) => Ok(Some(flow)),
        }
    }

    /// Cuts a run into stretches of zero and of other groups, and hands each on.
    fn hand_on(&self, layout: Layout, run: Span, mut buffer: Buffer) -> Result<ControlFlow<()>, SourceError> {
        let values = self.hash(layout, run, buffer.as_mut())?;
        let content = run_bytes(layout, run, buffer);
        for piece in Piece::cut(layout, run.first, &values, &content) {
            let flow = (self.sink)(piece);
            if flow.is_break() {
                return Ok(flow);
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    /// The chaining value of each group of a run; none for zeroes. Reads and hashes group by group, so that what was read
    /// is still in the cache when it is hashed.
    fn hash(&self, layout: Layout, run: Span, buffer: &mut [u8]) -> Result<Vec<Option<ChainingValue>>, SourceError> {
        let groups = (run.first..).zip(buffer[..run.len(layout)].chunks_mut(layout.group_size().as_usize()));
        let hash = |(group, data): (u64, &mut [u8])| {
            self.feed.read(group, data)?;
            Ok((!is_zero(data)).then(|| layout.chaining_value(group, data)))
        };
        groups.map(hash).collect()
    }
}

/// Reads groups of a source again: what was scanned and let go, and is wanted after all.
#[derive(Debug)]
pub struct GroupReader<'a> {
    random: &'a dyn RandomAccess,
    layout: Layout,
    pool: BufferPool,
}

impl<'a> GroupReader<'a> {
    /// A reader that lends out at most `buffers` runs at once; none if the source is a stream, which reads only once.
    pub fn new(source: &'a Source, layout: Layout, buffers: NonZeroUsize) -> Option<Self> {
        match source.content() {
            Content::Random(random) => {
                Some(Self { random: &**random, layout, pool: BufferPool::new(buffers, run_len(layout)) })
            }
            Content::Stream(_) => None,
        }
    }

    /// The bytes of `count` groups from `first` on, cut to a run and to the content. Waits for a buffer to come back.
    ///
    /// # Errors
    /// If the source does not read.
    pub fn read(&self, first: u64, count: u64) -> Result<Bytes, SourceError> {
        let run = Span { first, count: count.min(self.layout.groups_per_run()) };
        // The pool of a reader is never closed.
        let Some(mut buffer) = self.pool.take() else {
            return Ok(Bytes::new());
        };
        let range = self.layout.byte_range(run.first, run.count);
        self.random.read_at(&mut buffer.as_mut()[..run.len(self.layout)], range.start)?;
        Ok(run_bytes(self.layout, run, buffer))
    }
}

/// The bytes of a run that was read into `buffer`.
fn run_bytes(layout: Layout, run: Span, buffer: Buffer) -> Bytes {
    buffer.into_bytes(run.len(layout))
}

/// Length of a buffer that holds any run of the layout.
fn run_len(layout: Layout) -> usize {
    Span { first: 0, count: layout.groups_per_run() }.len(layout)
}

fn check_layout(source: &Source, layout: Layout) -> Result<(), SourceError> {
    let (declared, actual) = (layout.len_bytes(), source.len_bytes());
    if declared == actual {
        return Ok(());
    }
    Err(SourceError::LengthMismatch { path: source.path().to_owned(), declared, actual })
}
