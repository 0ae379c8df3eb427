//! The volume as the parsers of others see it: bytes by offset, as many as one question may cost, and the reason why
//! there are none.
//!
//! Those parsers keep little of an error of ours, so it is kept here until whoever asked takes it. And where they follow
//! what the disk says from block to block, only what they have read tells how long they have done so: each question has an
//! allowance of bytes, which ends every loop that reads.

use std::cell::{Cell, RefCell};
use std::error::Error;
use std::fmt;
use std::io::{self, Read, Seek, SeekFrom};
use std::rc::Rc;

use ext4_view::Ext4Read;

use super::FsError;
use crate::inspect::reader::DiskReader;

/// Bytes that a read costs besides those that it gives: many small ones take as long as a large one.
const READ_COST_BYTES: u64 = 64;

/// The volume of a file system. Clones share their allowance and their failure.
#[derive(Clone)]
pub(super) struct Source {
    volume: Rc<dyn DiskReader>,
    state: Rc<State>,
    /// Where the next read of [`Read`] begins, in bytes.
    at: u64,
}

#[derive(Default)]
struct State {
    allowance: Cell<Allowance>,
    left_bytes: Cell<u64>,
    failure: RefCell<Option<FsError>>,
}

/// What one question may cost.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    /// What is being read, as an error names it.
    pub(super) what: &'static str,
    /// How much of it, in bytes.
    pub(super) limit_bytes: u64,
}

impl Source {
    pub(super) fn new(volume: Rc<dyn DiskReader>) -> Self {
        Self { volume, state: Rc::default(), at: 0 }
    }

    /// Begins a question, and forgets what became of the last one.
    pub(super) fn begin(&self, allowance: Allowance) {
        self.state.allowance.set(allowance);
        self.state.left_bytes.set(allowance.limit_bytes);
        self.state.failure.take();
    }

    /// Why the parser got no bytes, if it got none; otherwise what `parser` makes of its error.
    pub(super) fn blame<E>(&self, error: E, parser: impl FnOnce(E) -> FsError) -> FsError {
        self.state.failure.take().unwrap_or_else(|| parser(error))
    }

    /// Whether some bytes could not be had since the question began, which parsers may pass over in silence.
    pub(super) fn check(&self) -> Result<(), FsError> {
        self.state.failure.take().map_or(Ok(()), Err)
    }

    /// Fills `out`, or keeps the reason why not.
    fn fill(&self, offset: u64, out: &mut [u8]) -> Result<(), NotRead> {
        self.try_fill(offset, out).map_err(|failure| {
            // The first reason is the one that matters.
            self.state.failure.borrow_mut().get_or_insert(failure);
            NotRead
        })
    }

    fn try_fill(&self, offset: u64, out: &mut [u8]) -> Result<(), FsError> {
        let cost = (out.len() as u64).saturating_add(READ_COST_BYTES);
        let Some(left) = self.state.left_bytes.get().checked_sub(cost) else {
            let Allowance { what, limit_bytes } = self.state.allowance.get();
            return Err(FsError::Limit { what, limit: limit_bytes });
        };
        self.state.left_bytes.set(left);
        self.volume.read_at(offset, out).map_err(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                FsError::malformed(format!("something at byte {offset}, beyond the end of the volume"))
            } else {
                FsError::from(error)
            }
        })
    }
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Source").field("volume", &self.volume).finish_non_exhaustive()
    }
}

/// What a parser is told: that there are no bytes. The reason is kept.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("there are no bytes")]
pub(super) struct NotRead;

impl Ext4Read for Source {
    fn read(&mut self, start_byte: u64, out: &mut [u8]) -> Result<(), Box<dyn Error + Send + Sync + 'static>> {
        Ok(self.fill(start_byte, out)?)
    }
}

impl lamxfs::BlockRead for Source {
    type Error = NotRead;

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), NotRead> {
        self.fill(offset, out)
    }
}

impl lambutter::BlockRead for Source {
    type Error = NotRead;

    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> Result<(), NotRead> {
        self.fill(offset, out)
    }
}

impl Read for Source {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.volume.len_bytes().saturating_sub(self.at);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        self.fill(self.at, &mut out[..len]).map_err(io::Error::other)?;
        self.at += len as u64;
        Ok(len)
    }
}

impl Seek for Source {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let (base, delta) = match to {
            SeekFrom::Start(position) => (position, 0),
            SeekFrom::Current(delta) => (self.at, delta),
            SeekFrom::End(delta) => (self.volume.len_bytes(), delta),
        };
        self.at = base.checked_add_signed(delta).ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use lamxfs::BlockRead as _;

    use super::{Allowance, FsError, NotRead, Source};
    use crate::inspect::reader::Metered;

    const ALLOWANCE: Allowance = Allowance { what: "a directory", limit_bytes: 1000 };

    #[test]
    fn a_question_ends_when_its_allowance_is_spent_and_the_next_one_has_its_own() {
        let mut source = Source::new(Rc::new(vec![0; 4096]));
        for _ in 0..2 {
            source.begin(ALLOWANCE);
            let reads = (0..100).take_while(|_| source.read_at(0, &mut [0; 36]).is_ok()).count();
            assert_eq!(reads, 10);
            let error = source.blame(NotRead, |_| unreachable!("the reason is known"));
            assert!(matches!(error, FsError::Limit { what: "a directory", limit: 1000 }), "{error:?}");
        }
    }

    #[test]
    fn the_first_reason_is_kept_until_it_is_asked_for() {
        let mut source = Source::new(Rc::new(Metered::new(vec![0; 256 << 10], 16 << 10)));
        source.begin(ALLOWANCE);
        source.read_at(0, &mut [0; 10]).expect("inside");
        source.check().expect("nothing failed");
        source.read_at(200 << 10, &mut [0; 10]).expect_err("over the limit");
        source.read_at(u64::MAX, &mut [0; 10]).expect_err("outside");
        assert!(matches!(source.check(), Err(FsError::Limit { limit: 16384, .. })));
        source.read_at(1 << 40, &mut [0; 10]).expect_err("outside");
        assert!(matches!(source.check(), Err(FsError::Malformed { .. })));
        source.check().expect("it was asked for");
    }
}
