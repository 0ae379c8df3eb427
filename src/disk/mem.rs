//! A block device in memory for tests: it enforces the rules of O_DIRECT, records what was done in which order, and
//! fails on command.

use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};

use nix::errno::Errno;

use super::device::{BlockDevice, Geometry};

/// What was done to the device, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    Write { offset: u64, data: Vec<u8> },
    Zero { range: Range<u64> },
    Flush,
}

/// Which call a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
    Zero,
    Flush,
}

/// What happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The call fails, and nothing is done.
    Errno(Errno),
    /// Half of a write is done; the call says so.
    Short,
    /// The call succeeds, but one bit of what is then on the device is wrong.
    Corrupt,
}

#[derive(Default)]
struct State {
    content: Vec<u8>,
    events: Vec<Event>,
    faults: Vec<(Call, Range<usize>, Fault)>,
    hooks: Vec<(Call, usize, Hook)>,
    calls: [usize; 4],
    reads: Vec<Range<u64>>,
    unreadable: Vec<Range<u64>>,
    diskseq: u64,
}

/// Something that happens beside a call.
type Hook = Box<dyn FnOnce() + Send>;

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("calls", &self.calls).finish_non_exhaustive()
    }
}

/// The device. Clones are the same device.
#[derive(Debug, Clone)]
pub(crate) struct MemDevice {
    geometry: Geometry,
    zeroes_fast: bool,
    state: Arc<Mutex<State>>,
    opened_seq: u64,
}

impl MemDevice {
    pub(crate) fn new(content: Vec<u8>, logical_block_size: u32) -> Self {
        let geometry = Geometry { len_bytes: content.len() as u64, logical_block_size, rotational: false };
        Self {
            geometry,
            zeroes_fast: true,
            state: Arc::new(Mutex::new(State { content, ..State::default() })),
            opened_seq: 0,
        }
    }

    /// The same device, which cannot zero by itself.
    pub(crate) fn without_fast_zeroes(self) -> Self {
        Self { zeroes_fast: false, ..self }
    }

    pub(crate) fn rotational(mut self) -> Self {
        self.geometry.rotational = true;
        self
    }

    /// Makes the `nth` call of a kind, counted from 0, go wrong.
    pub(crate) fn inject(&self, call: Call, nth: usize, fault: Fault) {
        self.state().faults.push((call, nth..nth + 1, fault));
    }

    /// Makes all calls of a kind from the `nth` on go wrong.
    pub(crate) fn inject_from(&self, call: Call, nth: usize, fault: Fault) {
        self.state().faults.push((call, nth..usize::MAX, fault));
    }

    /// Lets something happen just before the `nth` call of a kind, counted from 0, is carried out.
    pub(crate) fn before(&self, call: Call, nth: usize, hook: impl FnOnce() + Send + 'static) {
        self.state().hooks.push((call, nth, Box::new(hook)));
    }

    /// Makes every read fail that touches a range.
    pub(crate) fn make_unreadable(&self, range: Range<u64>) {
        self.state().unreadable.push(range);
    }

    /// What was read so far, in order.
    pub(crate) fn reads(&self) -> Vec<Range<u64>> {
        self.state().reads.clone()
    }

    /// How many calls of a kind there were.
    pub(crate) fn calls(&self, call: Call) -> usize {
        self.state().calls[call as usize]
    }

    /// Puts another device in its place.
    pub(crate) fn replace(&self) {
        self.state().diskseq += 1;
    }

    pub(crate) fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// Changes the content behind everyone's back.
    pub(crate) fn edit(&self, change: impl FnOnce(&mut Vec<u8>)) {
        change(&mut self.state().content);
    }

    pub(crate) fn events(&self) -> Vec<Event> {
        self.state().events.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the device")
    }

    /// Carries out what was to happen before a call of this kind.
    fn announce(&self, call: Call) {
        let mut state = self.state();
        let nth = state.calls[call as usize];
        let at = state.hooks.iter().position(|(kind, when, _)| *kind == call && *when == nth);
        let hook = at.map(|at| state.hooks.swap_remove(at).2);
        drop(state);
        hook.into_iter().for_each(|hook| hook());
    }

    fn check(&self, offset: u64, len: u64, address: usize) -> io::Result<()> {
        let block = u64::from(self.geometry.logical_block_size);
        let aligned =
            offset.is_multiple_of(block) && len.is_multiple_of(block) && (address as u64).is_multiple_of(block);
        if !aligned {
            return Err(Errno::EINVAL.into());
        }
        if offset + len > self.geometry.len_bytes {
            return Err(Errno::ENOSPC.into());
        }
        Ok(())
    }
}

impl State {
    fn strike(&mut self, call: Call) -> Option<Fault> {
        let counter = &mut self.calls[call as usize];
        let nth = *counter;
        *counter += 1;
        self.faults.iter().find(|(kind, at, _)| *kind == call && at.contains(&nth)).map(|(_, _, fault)| *fault)
    }

    fn slice(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let start = usize::try_from(offset).expect("a small device");
        &mut self.content[start..start + len]
    }
}

impl BlockDevice for MemDevice {
    fn name(&self) -> &'static str {
        "mem0"
    }

    fn geometry(&self) -> Geometry {
        self.geometry
    }

    fn read_at(&self, offset: u64, data: &mut [u8]) -> io::Result<()> {
        self.announce(Call::Read);
        self.check(offset, data.len() as u64, data.as_ptr().addr())?;
        let mut state = self.state();
        let fault = state.strike(Call::Read);
        let range = offset..offset + data.len() as u64;
        state.reads.push(range.clone());
        if state.unreadable.iter().any(|bad| bad.start < range.end && range.start < bad.end) {
            return Err(Errno::ENODATA.into());
        }
        data.copy_from_slice(state.slice(offset, data.len()));
        match fault {
            None => Ok(()),
            Some(Fault::Errno(errno)) => Err(errno.into()),
            Some(Fault::Short) => Err(io::ErrorKind::UnexpectedEof.into()),
            Some(Fault::Corrupt) => {
                data[0] ^= 1;
                Ok(())
            }
        }
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.announce(Call::Write);
        self.check(offset, data.len() as u64, data.as_ptr().addr())?;
        let mut state = self.state();
        let fault = state.strike(Call::Write);
        let done = match fault {
            Some(Fault::Errno(errno)) => return Err(errno.into()),
            Some(Fault::Short) => &data[..data.len() / 2],
            Some(Fault::Corrupt) | None => data,
        };
        state.slice(offset, done.len()).copy_from_slice(done);
        state.events.push(Event::Write { offset, data: done.to_vec() });
        match fault {
            Some(Fault::Short) => return Err(io::ErrorKind::WriteZero.into()),
            Some(Fault::Corrupt) => state.slice(offset, data.len())[data.len() / 2] ^= 0x10,
            Some(Fault::Errno(_)) | None => {}
        }
        Ok(())
    }

    fn zero_range(&self, range: Range<u64>) -> io::Result<()> {
        if !self.zeroes_fast {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.announce(Call::Zero);
        let len = range.end - range.start;
        self.check(range.start, len, 0)?;
        let mut state = self.state();
        let fault = state.strike(Call::Zero);
        if let Some(Fault::Errno(errno)) = fault {
            return Err(errno.into());
        }
        let len = usize::try_from(len).expect("a small device");
        state.slice(range.start, len).fill(0);
        if fault == Some(Fault::Corrupt) {
            state.slice(range.start, len)[len / 2] = 1;
        }
        state.events.push(Event::Zero { range });
        Ok(())
    }

    fn flush(&self) -> io::Result<()> {
        self.announce(Call::Flush);
        let mut state = self.state();
        match state.strike(Call::Flush) {
            Some(Fault::Errno(errno)) => Err(errno.into()),
            Some(Fault::Short | Fault::Corrupt) | None => {
                state.events.push(Event::Flush);
                Ok(())
            }
        }
    }

    fn fresh_reader(&self) -> io::Result<Box<dyn BlockDevice>> {
        Ok(Box::new(self.clone()))
    }

    fn is_same(&self) -> io::Result<bool> {
        Ok(self.state().diskseq == self.opened_seq)
    }

    fn reread_partition_table(&self) -> io::Result<()> {
        Err(Errno::EINVAL.into())
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockDevice as _, MemDevice};
    use crate::disk::buffer::AlignedBuffer;

    #[test]
    fn refuses_what_direct_io_refuses() {
        let device = MemDevice::new(vec![0; 1 << 20], 4096);
        let buffer = AlignedBuffer::zeroed(8192);
        assert!(device.write_at(0, &buffer).is_ok());
        assert!(device.write_at(512, &buffer).is_err(), "offset");
        assert!(device.write_at(0, &buffer[..512]).is_err(), "length");
        assert!(device.write_at(0, &buffer[1024..1024 + 4096]).is_err(), "address");
        assert!(device.write_at((1 << 20) - 4096, &buffer).is_err(), "end");
    }
}
