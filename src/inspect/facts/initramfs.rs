//! What is in an initramfs: the modules that a kernel can load before it sees its root disk.
//!
//! An initramfs is a chain of cpio archives, the first ones often with microcode alone, some of them compressed. It is read
//! as a stream, and as the kernel reads it: nothing but the names of modules is kept. What is bounded: the length of the
//! file, of what comes out of it, and of the names in it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read};

mod cpio;

#[cfg(test)]
mod tests;

use self::cpio::{CpioError, Entry, Kind};
use super::compressed::{Compression, MAGIC_BYTES};
use super::kernel::module_name;

/// Bytes that are read or unpacked at once.
const BUFFER_BYTES: usize = 128 << 10;
/// Most entries of one initramfs.
const MAX_ENTRIES: u64 = 200_000;
/// Most bytes of names that are kept of one initramfs.
const MAX_KEPT_BYTES: usize = 8 << 20;

/// Why it is not known what is in an initramfs.
#[derive(Debug, thiserror::Error)]
pub enum InitramfsError {
    /// It cannot be read, or not be unpacked.
    #[error("cannot read or unpack the initramfs")]
    Read(#[from] io::Error),
    /// It is none.
    #[error("the initramfs is malformed: {what}")]
    Malformed {
        /// What is wrong with it.
        what: &'static str,
    },
    /// More than is read of any.
    #[error("{what} of the initramfs are beyond the limit of {limit}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// How much would be read.
        limit: u64,
    },
}

impl From<CpioError> for InitramfsError {
    fn from(error: CpioError) -> Self {
        match error {
            CpioError::Read(source) => Self::Read(source),
            CpioError::Malformed { what } => Self::Malformed { what },
        }
    }
}

/// The modules in an initramfs, by name (with `_` for `-`): names of its entries. `budget` is the most bytes that are read
/// and unpacked; what was is taken off it.
///
/// # Errors
/// [`InitramfsError`], if it cannot be read to its end.
pub fn modules(file: impl Read, budget: &Cell<u64>) -> Result<BTreeMap<String, String>, InitramfsError> {
    let limit = budget.get();
    let mut listing = Listing { budget, entries: 0, kept_bytes: 0, modules: BTreeMap::new() };
    let read = listing.read_segments(&mut listing.buffered(file));
    match read {
        Ok(()) => Ok(listing.modules),
        Err(InitramfsError::Read(_)) if budget.get() == 0 => Err(InitramfsError::Limit { what: "bytes", limit }),
        Err(error) => Err(error),
    }
}

struct Listing<'a> {
    budget: &'a Cell<u64>,
    entries: u64,
    kept_bytes: usize,
    modules: BTreeMap<String, String>,
}

impl<'a> Listing<'a> {
    fn buffered<R: Read>(&self, from: R) -> BufReader<Bounded<'a, R>> {
        BufReader::with_capacity(BUFFER_BYTES, Bounded { from, budget: self.budget })
    }

    /// Reads archives, plain or compressed, until the file ends.
    fn read_segments(&mut self, file: &mut impl BufRead) -> Result<(), InitramfsError> {
        let mut is_empty = true;
        while cpio::skip_zeroes(file)? {
            is_empty = false;
            let mut magic = [0; MAGIC_BYTES];
            file.read_exact(&mut magic)?;
            match Compression::of(&magic) {
                Some(compression) => {
                    let mut packed = magic.chain(&mut *file);
                    let mut plain = self.buffered(compression.decoder(&mut packed)?);
                    self.read_archives(&mut plain)?;
                }
                None => self.read_archive(file, magic)?,
            }
        }
        if is_empty { Err(InitramfsError::Malformed { what: "it is empty" }) } else { Ok(()) }
    }

    /// Reads the archives of one compressed stream.
    fn read_archives(&mut self, plain: &mut impl BufRead) -> Result<(), InitramfsError> {
        while cpio::skip_zeroes(plain)? {
            let mut magic = [0; MAGIC_BYTES];
            plain.read_exact(&mut magic)?;
            self.read_archive(plain, magic)?;
        }
        Ok(())
    }

    /// Reads one archive, whose first bytes are read already. It may end without its last entry, as for the kernel.
    fn read_archive(&mut self, from: &mut impl BufRead, mut magic: [u8; MAGIC_BYTES]) -> Result<(), InitramfsError> {
        while let Some(entry) = cpio::entry(from, &magic)? {
            self.keep(&entry)?;
            if from.fill_buf()?.is_empty() {
                break;
            }
            from.read_exact(&mut magic)?;
        }
        Ok(())
    }

    fn keep(&mut self, entry: &Entry) -> Result<(), InitramfsError> {
        self.entries += 1;
        if self.entries > MAX_ENTRIES {
            return Err(InitramfsError::Limit { what: "entries", limit: MAX_ENTRIES });
        }
        if entry.kind == Kind::Other {
            return Ok(());
        }
        let path = crate::inspect::fs::name(&entry.name);
        let Some(module) = module_name(&path) else { return Ok(()) };
        self.kept_bytes += module.len() + path.len();
        if self.kept_bytes > MAX_KEPT_BYTES {
            return Err(InitramfsError::Limit { what: "bytes of names", limit: MAX_KEPT_BYTES as u64 });
        }
        self.modules.insert(module, path);
        Ok(())
    }
}

/// A stream that fails, and does not end, where the budget ends.
struct Bounded<'a, R> {
    from: R,
    budget: &'a Cell<u64>,
}

impl<R: Read> Read for Bounded<'_, R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let left = self.budget.get();
        if left == 0 {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let most = usize::try_from(left).unwrap_or(usize::MAX).min(out.len());
        let count = self.from.read(&mut out[..most])?;
        // What was read to unpack this counts, too, and is taken off already.
        self.budget.set(self.budget.get().saturating_sub(count as u64));
        Ok(count)
    }
}
