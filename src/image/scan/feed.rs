//! What there is to read next: runs of groups that hold data, and the holes between them.

use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::super::group::{GroupSize, Layout, is_zero};
use super::super::source::content::ContentReader;
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
#[derive(Debug)]
pub(super) struct Turn {
    /// The layout of the content, which may turn out to be longer: nothing of these groups depends on that.
    pub(super) layout: Layout,
    pub(super) hole: Option<Span>,
    pub(super) data: Option<Span>,
}

/// Gives out all groups of a source, each once, in order.
pub(super) enum Feed<'a> {
    Random { random: &'a dyn RandomAccess, layout: Layout, planner: Mutex<Planner<'a>> },
    Stream(Mutex<Decoder>),
}

impl<'a> Feed<'a> {
    /// Content of which the layout is known.
    pub(super) fn new(content: &'a Content, layout: Layout) -> Result<Self, SourceError> {
        Ok(match content {
            Content::Random(random) => {
                let planner = Planner { random: &**random, layout, next: 0, extent: None };
                Self::Random { random: &**random, layout, planner: Mutex::new(planner) }
            }
            Content::Stream(stream) => Self::stream(stream.reader()?, layout.group_size()),
        })
    }

    /// Content whose end may not be known.
    pub(super) fn stream(reader: ContentReader, group_size: GroupSize) -> Self {
        Self::Stream(Mutex::new(Decoder { reader, group_size, next: 0, failed: false }))
    }

    /// The layout of all content, once everything was given out.
    pub(super) fn layout(&self) -> Layout {
        match self {
            Self::Random { layout, .. } => *layout,
            Self::Stream(decoder) => lock(decoder).layout(),
        }
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
        let turn = Turn { layout: self.layout, hole: Span::between(first, start), data: Span::between(start, end) };
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

/// Decodes content run by run. It looks one byte ahead of each run, so that the layout of what was decoded is certain
/// for it: whether a group is the last one decides its length, and whether it is the only one its chaining value.
pub(super) struct Decoder {
    reader: ContentReader,
    group_size: GroupSize,
    /// The first group that was not decoded.
    next: u64,
    /// Whether it could not go on. What a broken stream gives after that is worth nothing, its further errors included.
    failed: bool,
}

impl Decoder {
    /// The next turn; none at the end, and after an error, which one worker was told of.
    fn next(&mut self, buffer: &mut [u8], stopped: &dyn Fn() -> bool) -> Result<Option<Turn>, SourceError> {
        if self.failed {
            return Ok(None);
        }
        let turn = self.decode(buffer, stopped);
        self.failed = turn.is_err();
        turn
    }

    /// Decodes until there is a run with data. Runs of zeroes are joined to one hole: looking for the first byte that
    /// is not zero costs nothing where there is one.
    fn decode(&mut self, buffer: &mut [u8], stopped: &dyn Fn() -> bool) -> Result<Option<Turn>, SourceError> {
        let first = self.next;
        while !self.reader.at_end()? {
            let len = self.reader.fill(buffer)?;
            let run = Span { first: self.next, count: (len as u64).div_ceil(self.group_size.bytes()) };
            self.next += run.count;
            if stopped() || !is_zero(&buffer[..len]) {
                let layout = self.layout_with_next_byte()?;
                return Ok(Some(Turn { layout, hole: Span::between(first, run.first), data: Some(run) }));
            }
        }
        let layout = self.layout();
        Ok(Span::between(first, self.next).map(|hole| Turn { layout, hole: Some(hole), data: None }))
    }

    /// The layout of what was decoded.
    fn layout(&self) -> Layout {
        Layout::new(self.reader.position(), self.group_size)
    }

    /// The layout of what was decoded, and one byte more if there is more.
    fn layout_with_next_byte(&mut self) -> Result<Layout, SourceError> {
        let more = !self.reader.at_end()?;
        Ok(Layout::new(self.reader.position() + u64::from(more), self.group_size))
    }
}
