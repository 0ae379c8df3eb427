//! Hears a child that has the disk itself and only answers, on all its pipes at once, as long as it may speak.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio_util::sync::CancellationToken;

use super::{InspectError, PIECE_BYTES, TICK};

/// An end of a pipe from the child, and what came out of it.
#[derive(Debug)]
pub(super) struct Pipe {
    /// None once the child has closed its end.
    end: Option<File>,
    pub(super) kept: Vec<u8>,
    /// Most bytes that are kept; what goes beyond is read and forgotten.
    limit: usize,
}

impl Pipe {
    pub(super) fn new(end: Option<impl Into<OwnedFd>>, limit: usize) -> Self {
        Self { end: end.map(|end| File::from(end.into())), kept: Vec::new(), limit }
    }

    /// Reads what is there, once.
    fn take(&mut self, piece: &mut [u8]) -> io::Result<()> {
        let Some(end) = &mut self.end else { return Ok(()) };
        let len = end.read(piece)?;
        let room = self.limit - self.kept.len();
        self.kept.extend_from_slice(&piece[..len.min(room)]);
        if len == 0 {
            self.end = None;
        }
        Ok(())
    }
}

/// Listens to all pipes until the child has closed them, or its time is over.
pub(super) fn hear(pipes: &mut [Pipe], cancel: &CancellationToken, limit: Duration) -> Result<(), InspectError> {
    let deadline = Instant::now() + limit;
    let mut piece = vec![0; PIECE_BYTES];
    while pipes.iter().any(|pipe| pipe.end.is_some()) {
        if cancel.is_cancelled() {
            return Err(InspectError::Cancelled);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(InspectError::TimedOut { limit });
        }
        let ready = wait(pipes, left.min(TICK)).map_err(InspectError::Hear)?;
        let open = pipes.iter_mut().filter(|pipe| pipe.end.is_some());
        for (pipe, _) in open.zip(ready).filter(|(_, ready)| *ready) {
            pipe.take(&mut piece).map_err(InspectError::Hear)?;
        }
    }
    Ok(())
}

/// Waits until one of the open pipes can be read, for at most `time`; says of each whether it can.
fn wait(pipes: &[Pipe], time: Duration) -> io::Result<Vec<bool>> {
    let timeout = Timespec::try_from(time).map_err(io::Error::other)?;
    let mut open: Vec<PollFd<'_>> =
        pipes.iter().filter_map(|pipe| pipe.end.as_ref()).map(|end| PollFd::new(end, PollFlags::IN)).collect();
    match rustix::event::poll(&mut open, Some(&timeout)) {
        Ok(_) => Ok(open.iter().map(|fd| !fd.revents().is_empty()).collect()),
        Err(rustix::io::Errno::INTR) => Ok(Vec::new()),
        Err(errno) => Err(errno.into()),
    }
}
