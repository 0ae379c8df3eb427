//! Reading the log from its oldest line to its newest, and holding each line against the one before.
//!
//! Memory is bounded by one line, whatever is in the files.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use serde::de::IgnoredAny;

use super::error::{AuditError, Damage};
use super::line::{BEGIN, GENESIS, Head, Link, MAX_LINE_BYTES, Record, decode};
use super::ring;

/// A line of the log that was held against the one before it.
#[derive(Debug, Clone, Copy)]
pub struct Entry<'a> {
    /// Its number.
    pub seq: u64,
    /// Its hash, which the next line has.
    pub hash: blake3::Hash,
    /// Its bytes without the newline: JSON.
    pub bytes: &'a [u8],
}

impl Entry<'_> {
    /// What it says.
    ///
    /// # Errors
    /// If it is of a kind that this version does not know.
    pub fn record(&self) -> Result<Record, serde_json::Error> {
        serde_json::from_slice(self.bytes)
    }
}

/// A line at the end of the newest file that is not whole: a crash cut it short, or it is being written just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file.
    pub path: PathBuf,
    /// Bytes of the line.
    pub bytes: u64,
}

/// A log without damage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Files that were read.
    pub files: u64,
    /// Whole lines in them.
    pub lines: u64,
    /// Number of the oldest line that is kept; 1 of an empty log.
    pub first_seq: u64,
    /// Number of the newest line; 0 of an empty log.
    pub last_seq: u64,
    /// Hash of the newest line; [`GENESIS`] of an empty log.
    pub last_hash: blake3::Hash,
    /// What is behind the newest line, if there is anything.
    pub torn: Option<Torn>,
    /// Whole lines of the newest file, in bytes.
    pub(super) newest_bytes: u64,
}

/// Reads the whole log and proves its chain.
///
/// # Errors
/// If a line was changed, removed, added or moved, a file is missing, or one cannot be read.
pub fn verify(dir: &Path) -> Result<Verified, AuditError> {
    read(dir, |_entry| ())
}

/// The same, and hands on each line after it was held against the one before.
///
/// # Errors
/// As [`verify`]. Lines before the damage were handed on.
pub fn read(dir: &Path, mut visit: impl FnMut(Entry<'_>)) -> Result<Verified, AuditError> {
    let files = ring::list(dir)?;
    let mut walk = Walk::new();
    for (place, first_seq) in files.iter().enumerate() {
        let path = ring::path(dir, *first_seq);
        let file = match open(&path) {
            // The agent removes its oldest file when it begins another one, also while this is read.
            Err(AuditError::Io { source, .. }) if is_gone(&source) && walk.last.is_none() => continue,
            file => file?,
        };
        walk.begin(path, *first_seq)?;
        walk.lines(BufReader::new(file), place + 1 == files.len(), &mut visit)?;
    }
    walk.verified()
}

/// Reads bytes as if they were the one file of a log.
#[cfg(any(test, feature = "fuzz"))]
pub(crate) fn read_anything(bytes: &[u8]) -> Result<Verified, AuditError> {
    let mut walk = Walk::new();
    let first_seq =
        bytes.split(|byte| *byte == b'\n').next().and_then(|line| decode(line).ok()).map_or(1, |head| head.seq);
    walk.begin(PathBuf::from("audit"), first_seq)?;
    walk.lines(bytes, true, &mut |entry| drop(entry.record()))?;
    walk.verified()
}

fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Opens a file of the log; whatever else is in its place holds nobody up.
fn open(path: &Path) -> Result<File, AuditError> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path).map_err(AuditError::io(path))?;
    match file.metadata().map_err(AuditError::io(path))?.is_file() {
        true => Ok(file),
        false => Err(AuditError::Damaged { path: path.to_owned(), line: 0, what: Damage::NoFile }),
    }
}

/// How a line ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Piece {
    /// With a newline.
    Whole,
    /// With the file.
    Unfinished,
    /// Not within what a line may have.
    TooLong,
    /// There is none.
    None,
}

/// Where a reader is in the chain.
#[derive(Debug)]
struct Walk {
    path: PathBuf,
    files: u64,
    lines: u64,
    first_seq: Option<u64>,
    /// The number that the next line must have.
    next_seq: u64,
    /// The line before; none before the oldest that is kept.
    last: Option<Link>,
    torn: Option<Torn>,
    /// Line of the file, and bytes of its whole lines.
    line: u64,
    file_bytes: u64,
}

impl Walk {
    const fn new() -> Self {
        Self {
            path: PathBuf::new(),
            files: 0,
            lines: 0,
            first_seq: None,
            next_seq: 1,
            last: None,
            torn: None,
            line: 0,
            file_bytes: 0,
        }
    }

    /// Goes on with the file whose first line has this number.
    fn begin(&mut self, path: PathBuf, first_seq: u64) -> Result<(), AuditError> {
        self.path = path;
        (self.line, self.file_bytes) = (0, 0);
        self.files += 1;
        match self.last {
            // Older lines were kept in files that are gone, or there are none before.
            None => self.next_seq = first_seq,
            Some(_) if first_seq == self.next_seq => {}
            Some(_) => return Err(self.damaged(Damage::MissingFile { expected: self.next_seq, found: first_seq })),
        }
        if self.last.is_none() && first_seq == 1 {
            self.last = Some(Link { seq: 0, hash: GENESIS });
        }
        Ok(())
    }

    fn lines(
        &mut self,
        mut reader: impl BufRead,
        is_newest: bool,
        visit: &mut impl FnMut(Entry<'_>),
    ) -> Result<(), AuditError> {
        let mut line = Vec::new();
        loop {
            let piece = next_line(&mut reader, &mut line).map_err(AuditError::io(&self.path))?;
            self.line += 1;
            match piece {
                Piece::None if self.line == 1 && !is_newest => return Err(self.damaged(Damage::Empty)),
                Piece::None => return Ok(()),
                Piece::TooLong => return Err(self.damaged(Damage::TooLong)),
                Piece::Unfinished if is_newest && may_be_torn(&line) => {
                    self.tear(line.len());
                    return Ok(());
                }
                Piece::Unfinished => return Err(self.damaged(Damage::Unfinished)),
                Piece::Whole => match self.check(&line) {
                    Ok(link) => visit(Entry { seq: link.seq, hash: link.hash, bytes: &line }),
                    Err(Damage::Malformed) if is_newest && may_be_torn(&line) && self.is_at_end(&mut reader)? => {
                        self.tear(line.len() + 1);
                        return Ok(());
                    }
                    Err(what) => return Err(self.damaged(what)),
                },
            }
        }
    }

    fn is_at_end(&self, reader: &mut impl BufRead) -> Result<bool, AuditError> {
        reader.fill_buf().map(<[u8]>::is_empty).map_err(AuditError::io(&self.path))
    }

    /// Holds a line against the one before, and takes it for the last one.
    fn check(&mut self, line: &[u8]) -> Result<Link, Damage> {
        let Head { seq, prev } = decode(line)?;
        if seq != self.next_seq {
            return Err(Damage::Sequence { expected: self.next_seq, found: seq });
        }
        if self.last.is_some_and(|last| last.hash.to_hex().as_str() != prev) {
            return Err(Damage::Chain);
        }
        let link = Link { seq, hash: blake3::hash(line) };
        self.last = Some(link);
        self.first_seq.get_or_insert(seq);
        self.next_seq = seq.checked_add(1).ok_or(Damage::Shapeless)?;
        self.lines += 1;
        self.file_bytes += line.len() as u64 + 1;
        Ok(link)
    }

    fn tear(&mut self, bytes: usize) {
        self.torn = Some(Torn { path: self.path.clone(), bytes: bytes as u64 });
    }

    fn damaged(&self, what: Damage) -> AuditError {
        AuditError::Damaged { path: self.path.clone(), line: self.line, what }
    }

    fn verified(self) -> Result<Verified, AuditError> {
        let last = match self.last {
            Some(last) => last,
            None if self.files == 0 => Link { seq: 0, hash: GENESIS },
            // A file that is empty follows another one, whose last line it goes on from.
            None => return Err(self.damaged(Damage::MissingFile { expected: 1, found: self.next_seq })),
        };
        Ok(Verified {
            files: self.files,
            lines: self.lines,
            first_seq: self.first_seq.unwrap_or(self.next_seq),
            last_seq: last.seq,
            last_hash: last.hash,
            torn: self.torn,
            newest_bytes: self.file_bytes,
        })
    }
}

/// Whether a crash within one append can have left this, which is cut off then. Durable lines whose newline was changed look
/// much the same, but hold the begin of another line, or go on behind their end: with more than the zero that stands for
/// a newline whose page was not written.
fn may_be_torn(line: &[u8]) -> bool {
    let mut values = serde_json::Deserializer::from_slice(line).into_iter::<IgnoredAny>();
    let is_whole = matches!(values.next(), Some(Ok(_)));
    let goes_on = is_whole && !matches!(line.get(values.byte_offset()..), Some([] | [0]));
    !goes_on && !line.windows(BEGIN.len()).skip(1).any(|bytes| bytes == BEGIN)
}

/// Reads up to the next newline, which is left out, and no further than a line may go.
fn next_line(reader: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<Piece> {
    line.clear();
    reader.by_ref().take(MAX_LINE_BYTES as u64).read_until(b'\n', line)?;
    Ok(match line.last() {
        None => Piece::None,
        Some(b'\n') => {
            line.pop();
            Piece::Whole
        }
        Some(_) if line.len() >= MAX_LINE_BYTES => Piece::TooLong,
        Some(_) => Piece::Unfinished,
    })
}
