//! What there is to read next: runs of groups that hold data, and the holes between them.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::group::{Layout, is_zero};
use super::super::source::stream::ContentReader;
use super::super::source::{Content, RandomAccess, SourceError};

/// Some contiguous groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first: u64,
    pub(super) count: u64,
}

impl Span {
    /// Length in bytes. A span of data is at most a run.
    #[expect(clippy::cast_possible_truncation, reason = "a run is at most 16 MiB")]
    pub(super) fn len(self, layout: Layout) -> usize {
        let range = layout.byte_range(self.first, self.count);
        (range.end - range.start) as usize
    }

    /// None if there are no groups in it.
    fn between(first: u64, end: u64) -> Option<Self> {
        (first < end).then(|| Self { first, count: end - first })
    }
}

/// What a worker gets: a hole, then a run, whose bytes [`Feed::read`] gives.
#[derive(Debug, Default)]
pub(super) struct Turn {
    pub(super) hole: Option<Span>,
    pub(super) data: Option<Span>,
}

/// Gives out all groups of a source, each once, in order.
pub(super) enum Feed<'a> {
    Random { random: &'a dyn RandomAccess, layout: Layout, planner: Mutex<Planner<'a>> },
    Stream(Mutex<Decoder>),
}

impl<'a> Feed<'a> {
    pub(super) fn new(content: &'a Content, layout: Layout) -> Result<Self, SourceError> {
        Ok(match content {
            Content::Random(random) => {
                let planner = Planner { random: &**random, layout, next: 0, extent: None };
                Self::Random { random: &**random, layout, planner: Mutex::new(planner) }
            }
            Content::Stream(stream) => {
                Self::Stream(Mutex::new(Decoder { reader: stream.reader()?, layout, next: 0, finished: false }))
            }
        })
    }

    /// The next turn; none when all groups were given out. Gives up early when `stopped`, with any turn.
    pub(super) fn next(&self, buffer: &mut [u8], stopped: &dyn Fn() -> bool) -> Result<Option<Turn>, SourceError> {
        match self {
            Self::Random { planner, .. } => lock(planner).next(),
            Self::Stream(decoder) => lock(decoder).next(buffer, stopped),
        }
    }

    /// Reads one group of a run that was given out to where it belongs in the worker's buffer. A stream has done so.
    pub(super) fn read(&self, group: u64, data: &mut [u8]) -> Result<(), SourceError> {
        match self {
            Self::Random { random, layout, .. } => random.read_at(data, layout.byte_range(group, 1).start),
            Self::Stream(_) => Ok(()),
        }
    }
}

/// A worker that panics while it holds the lock takes the whole scan with it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Decides what to read of content that knows its holes.
pub(super) struct Planner<'a> {
    random: &'a dyn RandomAccess,
    layout: Layout,
    /// The first group that was not given out.
    next: u64,
    /// The extent of data that was found last.
    extent: Option<Range<u64>>,
}

impl Planner<'_> {
    fn next(&mut self) -> Result<Option<Turn>, SourceError> {
        let first = self.next;
        let start = self.data_group(first)?;
        let mut end = start;
        let limit = start.saturating_add(self.layout.groups_per_run()).min(self.layout.groups());
        while end < limit && self.data_group(end)? == end {
            end = self.extent_end_group().clamp(end + 1, limit);
        }
        self.next = end;
        let turn = Turn { hole: Span::between(first, start), data: Span::between(start, end) };
        Ok((end > first).then_some(turn))
    }

    /// The first group at or after `group` that has data; the number of groups if there is none.
    fn data_group(&mut self, group: u64) -> Result<u64, SourceError> {
        let from = self.layout.byte_range(group, 1).start;
        if self.extent.as_ref().is_none_or(|extent| extent.end <= from) {
            self.extent = self.random.next_data(from)?;
        }
        let group_bytes = self.layout.group_size().bytes();
        Ok(self.extent.as_ref().map_or(self.layout.groups(), |extent| extent.start.max(from) / group_bytes))
    }

    /// The group after the last one that the present extent reaches into.
    fn extent_end_group(&self) -> u64 {
        let end = self.extent.as_ref().map_or(0, |extent| extent.end);
        end.div_ceil(self.layout.group_size().bytes())
    }
}

/// Decodes content run by run.
pub(super) struct Decoder {
    reader: ContentReader,
    layout: Layout,
    /// The first group that was not decoded.
    next: u64,
    /// Whether the end was seen to be one.
    finished: bool,
}

impl Decoder {
    /// Decodes until there is a run with data. Runs of zeroes are joined to one hole: looking for the first byte that
    /// is not zero costs nothing where there is one.
    fn next(&mut self, buffer: &mut [u8], stopped: &dyn Fn() -> bool) -> Result<Option<Turn>, SourceError> {
        let first = self.next;
        while let Some(run) = self.decode(buffer)? {
            if stopped() || !is_zero(&buffer[..run.len(self.layout)]) {
                return Ok(Some(Turn { hole: Span::between(first, run.first), data: Some(run) }));
            }
        }
        Ok(Span::between(first, self.next).map(|hole| Turn { hole: Some(hole), data: None }))
    }

    /// Decodes one run into `buffer`; none at the end, which is checked to be one.
    fn decode(&mut self, buffer: &mut [u8]) -> Result<Option<Span>, SourceError> {
        let end = self.next.saturating_add(self.layout.groups_per_run()).min(self.layout.groups());
        let Some(run) = Span::between(self.next, end) else {
            if !self.finished {
                self.reader.finish()?;
                self.finished = true;
            }
            return Ok(None);
        };
        self.reader.read_exact(&mut buffer[..run.len(self.layout)])?;
        self.next = end;
        Ok(Some(run))
    }
}
