//! The parent's side of a look into a disk or image: it gives the child the bytes that it asks for, until it answers.
//!
//! One request of the child is heard at a time, and nothing more of it is read until that was served: what is kept of a
//! child is bounded by the longest message. It is never waited for beyond the deadline, whether it should speak or listen.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio_util::sync::CancellationToken;

use super::wire::{self, Said};
use super::{InspectError, MAX_SAID_BYTES, PIECE_BYTES, TICK};
use crate::inspect::reader::DiskReader;

#[cfg(test)]
mod tests;

/// Most bytes that a child is given, all in all.
const MAX_GIVEN_BYTES: u64 = 512 << 20;

/// What a child has said to the end.
#[derive(Debug)]
pub(super) struct Heard {
    /// The answer; none if it ended without.
    pub(super) answer: Option<Vec<u8>>,
    /// The begin of what it said on standard error.
    pub(super) said: Vec<u8>,
    /// Bytes that it was given.
    pub(super) given_bytes: u64,
}

/// The three pipes of a child.
#[derive(Debug)]
pub(super) struct Exchange<'a> {
    disk: &'a dyn DiskReader,
    to: File,
    from: Option<File>,
    errors: Option<File>,
    /// What it said and nobody has understood yet.
    pending: Vec<u8>,
    /// What it was not yet told.
    telling: Vec<u8>,
    heard: Heard,
}

/// Which of the pipes can be used now.
#[derive(Debug, Clone, Copy)]
struct Ready {
    to: bool,
    from: bool,
    errors: bool,
}

impl<'a> Exchange<'a> {
    /// Begins with the request.
    pub(super) fn new(disk: &'a dyn DiskReader, [to, from, errors]: [File; 3], request: &[u8]) -> io::Result<Self> {
        // A child that does not listen must not make the parent wait.
        rustix::io::ioctl_fionbio(&to, true)?;
        Ok(Self {
            disk,
            to,
            from: Some(from),
            errors: Some(errors),
            pending: Vec::new(),
            telling: wire::request(request)?,
            heard: Heard { answer: None, said: Vec::new(), given_bytes: 0 },
        })
    }

    /// Listens and gives until the child has answered or ended.
    pub(super) fn run(mut self, cancel: &CancellationToken, limit: Duration) -> Result<Heard, InspectError> {
        let deadline = Instant::now() + limit;
        while self.heard.answer.is_none() && self.from.is_some() {
            if cancel.is_cancelled() {
                return Err(InspectError::Cancelled);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(InspectError::TimedOut { limit });
            }
            let ready = self.wait(left.min(TICK)).map_err(InspectError::Hear)?;
            self.step(ready)?;
        }
        self.last_words().map_err(InspectError::Hear)?;
        Ok(self.heard)
    }

    fn step(&mut self, ready: Ready) -> Result<(), InspectError> {
        if ready.errors {
            self.hear_errors().map_err(InspectError::Hear)?;
        }
        if ready.to {
            self.tell().map_err(InspectError::Hear)?;
        }
        if ready.from {
            self.hear().map_err(InspectError::Hear)?;
            self.understand()?;
        }
        Ok(())
    }

    /// Waits until something can be done, for at most `time`.
    fn wait(&self, time: Duration) -> io::Result<Ready> {
        let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
        let talking = !self.telling.is_empty();
        let from = self.from.as_ref().filter(|_| !talking);
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(3);
        fds.extend(talking.then(|| PollFd::new(&self.to, PollFlags::OUT)));
        fds.extend(from.map(|from| PollFd::new(from, PollFlags::IN)));
        fds.extend(self.errors.as_ref().map(|errors| PollFd::new(errors, PollFlags::IN)));
        match rustix::event::poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let mut next = |is_polled: bool| is_polled && ready.next().unwrap_or(false);
        Ok(Ready { to: next(talking), from: next(from.is_some()), errors: next(self.errors.is_some()) })
    }

    /// Tells what the child takes now.
    fn tell(&mut self) -> io::Result<()> {
        match self.to.write(&self.telling) {
            Ok(len) => drop(self.telling.drain(..len)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            // It is gone, and why it says elsewhere.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.telling.clear(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Hears a piece; that there will be no more, too.
    fn hear(&mut self) -> io::Result<()> {
        let Some(from) = &mut self.from else { return Ok(()) };
        let mut piece = vec![0; PIECE_BYTES];
        let len = from.read(&mut piece)?;
        self.pending.extend_from_slice(&piece[..len]);
        if len == 0 {
            self.from = None;
        }
        Ok(())
    }

    fn hear_errors(&mut self) -> io::Result<()> {
        let Some(errors) = &mut self.errors else { return Ok(()) };
        let mut piece = vec![0; PIECE_BYTES];
        let len = errors.read(&mut piece)?;
        // What goes beyond is heard and forgotten.
        let room = MAX_SAID_BYTES - self.heard.said.len();
        self.heard.said.extend_from_slice(&piece[..len.min(room)]);
        if len == 0 {
            self.errors = None;
        }
        Ok(())
    }

    /// Serves what was heard.
    fn understand(&mut self) -> Result<(), InspectError> {
        let Some((said, used)) = wire::parse(&self.pending)? else { return Ok(()) };
        match said {
            Said::Answer(answer) => self.heard.answer = Some(answer.to_vec()),
            Said::Want { offset, len } => self.telling = wire::given(self.read(offset, len)),
        }
        if used < self.pending.len() {
            // It asks one thing at a time, and after its answer nothing.
            return Err(wire::WireError::Form.into());
        }
        self.pending.clear();
        Ok(())
    }

    fn read(&mut self, offset: u64, len: usize) -> io::Result<Vec<u8>> {
        self.heard.given_bytes += len as u64;
        if self.heard.given_bytes > MAX_GIVEN_BYTES {
            return Err(io::ErrorKind::QuotaExceeded.into());
        }
        let mut bytes = vec![0; len];
        let read = self.disk.read_at(offset, &mut bytes);
        read.inspect_err(|error| tracing::warn!(%error, offset, len, "what is inspected cannot be read"))?;
        Ok(bytes)
    }

    /// Hears what there is on standard error without waiting for more.
    fn last_words(&mut self) -> io::Result<()> {
        while let Some(errors) = &self.errors {
            let none = Timespec::try_from(Duration::ZERO).map_err(io::Error::other)?;
            let mut fds = [PollFd::from_borrowed_fd(errors.as_fd(), PollFlags::IN)];
            match rustix::event::poll(&mut fds, Some(&none)) {
                Ok(0) => return Ok(()),
                Ok(_) => self.hear_errors()?,
                Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
            if self.heard.said.len() == MAX_SAID_BYTES {
                return Ok(());
            }
        }
        Ok(())
    }
}
