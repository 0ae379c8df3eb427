//! The frames of a zstd file, walked from header to header without decompressing anything.
//!
//! Finds the content's length, and refuses early what the decoder would only refuse in the middle of an install.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use super::SourceError;

/// log2 of the largest window: 8 MiB, which is what RFC 8878 asks every decoder to give.
pub(super) const WINDOW_LOG_MAX: u32 = 23;

/// Longest header: magic, descriptor, window, dictionary id, content size.
const HEADER_BYTES: usize = 4 + 1 + 1 + 4 + 8;
const MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];

/// Walks all frames. Returns the content's length in bytes, if every frame tells its own.
///
/// # Errors
/// If a frame needs a window or a dictionary that it does not get, and if the file does not end with a frame.
pub(super) fn walk(file: &File, path: &Path, file_bytes: u64) -> Result<Option<u64>, SourceError> {
    let mut walk = Walk { file, path, at: 0 };
    let mut total = Some(0_u64);
    while walk.at < file_bytes {
        let frame_bytes = walk.frame()?;
        // A sum that no length can hold is as good as no length: the decoder will count.
        total = total.zip(frame_bytes).and_then(|(sum, bytes)| sum.checked_add(bytes));
    }
    if walk.at > file_bytes { Err(walk.truncated()) } else { Ok(total) }
}

/// Checks the header of the first frame of a stream, of which `head` is the first bytes. What these do not show, and all
/// that follows, the decoder finds.
///
/// # Errors
/// If the frame needs a window or a dictionary that it does not get.
pub(super) fn check_head(head: &[u8], path: &Path) -> Result<(), SourceError> {
    if head.starts_with(&MAGIC) { Header::parse(head).map_or(Ok(()), |header| header.check(path)) } else { Ok(()) }
}

struct Walk<'a> {
    file: &'a File,
    path: &'a Path,
    at: u64,
}

/// The fields of a frame header that matter here.
struct Header {
    header_bytes: usize,
    window_bytes: u64,
    dictionary_id: u64,
    content_bytes: Option<u64>,
    has_checksum: bool,
}

impl Walk<'_> {
    /// Steps over one frame; returns the length of its content, if it tells. Skippable frames have none.
    fn frame(&mut self) -> Result<Option<u64>, SourceError> {
        let mut bytes = [0; HEADER_BYTES];
        let read = self.read_up_to(&mut bytes)?;
        let bytes = &bytes[..read];
        match bytes {
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, a, b, c, d, ..] => {
                self.at += 8 + u64::from(u32::from_le_bytes([*a, *b, *c, *d]));
                Ok(Some(0))
            }
            [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Err(self.truncated()),
            _ if bytes.starts_with(&MAGIC) => {
                let header = Header::parse(bytes).ok_or_else(|| self.truncated())?;
                header.check(self.path)?;
                self.at += header.header_bytes as u64;
                self.blocks()?;
                self.at += if header.has_checksum { 4 } else { 0 };
                Ok(header.content_bytes)
            }
            _ => Err(SourceError::TrailingGarbage { path: self.path.to_owned(), offset_bytes: self.at }),
        }
    }

    /// Steps over the blocks of a frame.
    fn blocks(&mut self) -> Result<(), SourceError> {
        loop {
            let mut bytes = [0; 3];
            if self.read_up_to(&mut bytes)? < bytes.len() {
                return Err(self.truncated());
            }
            let header = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]);
            self.at += 3 + match (header >> 1) & 3 {
                0 | 2 => u64::from(header >> 3),
                // One byte, repeated.
                1 => 1,
                _ => return Err(self.damaged("reserved block type")),
            };
            if header & 1 == 1 {
                return Ok(());
            }
        }
    }

    /// Reads at the present offset; fewer bytes only at the end of the file.
    fn read_up_to(&self, buf: &mut [u8]) -> Result<usize, SourceError> {
        let mut len = 0;
        while len < buf.len() {
            match self.file.read_at(&mut buf[len..], self.at + len as u64) {
                Ok(0) => break,
                Ok(read) => len += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => {
                    return Err(SourceError::Read { path: self.path.to_owned(), source });
                }
            }
        }
        Ok(len)
    }

    fn truncated(&self) -> SourceError {
        SourceError::Truncated { path: self.path.to_owned() }
    }

    fn damaged(&self, what: &'static str) -> SourceError {
        let source = io::Error::new(io::ErrorKind::InvalidData, what);
        SourceError::Damaged { path: self.path.to_owned(), source }
    }
}

impl Header {
    fn check(&self, path: &Path) -> Result<(), SourceError> {
        let max_bytes = 1 << WINDOW_LOG_MAX;
        if self.window_bytes > max_bytes {
            return Err(SourceError::ZstdWindow { path: path.to_owned(), window_bytes: self.window_bytes, max_bytes });
        }
        match u32::try_from(self.dictionary_id) {
            Ok(0) | Err(_) => Ok(()),
            Ok(id) => Err(SourceError::ZstdDictionary { path: path.to_owned(), id }),
        }
    }

    /// None if the header is longer than `bytes`, which then end with the file.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes.get(MAGIC.len()..)?;
        let descriptor = take(&mut rest, 1)?;
        let single_segment = descriptor & 0x20 != 0;
        let window = if single_segment { None } else { Some(take(&mut rest, 1)?) };
        let dictionary_id = take(&mut rest, [0, 1, 2, 4][usize::try_from(descriptor & 3).ok()?])?;
        let content_bytes = match (descriptor >> 6, single_segment) {
            (0, false) => None,
            (0, true) => Some(take(&mut rest, 1)?),
            (1, _) => Some(take(&mut rest, 2)? + 256),
            (2, _) => Some(take(&mut rest, 4)?),
            _ => Some(take(&mut rest, 8)?),
        };
        let window_bytes = match window {
            Some(window) => (1 << (10 + (window >> 3))) / 8 * (8 + (window & 7)),
            None => content_bytes.unwrap_or(0),
        };
        let header_bytes = bytes.len() - rest.len();
        Some(Self { header_bytes, window_bytes, dictionary_id, content_bytes, has_checksum: descriptor & 4 != 0 })
    }
}

/// Takes a little-endian number of `len` bytes.
fn take(bytes: &mut &[u8], len: usize) -> Option<u64> {
    let (field, rest) = bytes.split_at_checked(len)?;
    *bytes = rest;
    Some(field.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
}
