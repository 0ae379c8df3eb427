//! The indexes of an xz file, read from its end: the content's length without decompressing anything.
//!
//! Nothing here is trusted for more than the length: the decoder checks index and blocks against each other.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;

use super::stream::FileReader;

/// Length of a stream's header and of its footer, in bytes.
const HEADER_BYTES: u64 = 12;
const HEADER_MAGIC: [u8; 6] = *b"\xfd7zXZ\0";

/// Length of the content of all streams of `file`, in bytes.
///
/// # Errors
/// `InvalidData` or `UnexpectedEof` if the file does not end with an index that leads back to its start.
pub(super) fn content_len(file: &File, file_bytes: u64) -> io::Result<u64> {
    let (mut end, mut total) = (file_bytes, 0);
    while end > 0 {
        end = skip_padding(file, end)?;
        let stream = Stream::ending_at(file, end)?;
        total = sum(total, stream.content_bytes)?;
        end = stream.start;
    }
    Ok(total)
}

struct Stream {
    start: u64,
    content_bytes: u64,
}

impl Stream {
    /// The stream whose footer ends at `end`.
    fn ending_at(file: &File, end: u64) -> io::Result<Self> {
        let footer_start = end.checked_sub(HEADER_BYTES).ok_or_else(no_footer)?;
        let footer: [u8; 12] = read_array(file, footer_start)?;
        let [_, _, _, _, a, b, c, d, _, _, b'Y', b'Z'] = footer else {
            return Err(no_footer());
        };
        let index_bytes = (u64::from(u32::from_le_bytes([a, b, c, d])) + 1) * 4;
        let index_start = footer_start.checked_sub(index_bytes).ok_or_else(impossible_index)?;
        let index = FileReader::new(file, index_start).take(index_bytes);
        let (blocks_bytes, content_bytes) = read_index(BufReader::new(index))?;
        let start = index_start.checked_sub(sum(blocks_bytes, HEADER_BYTES)?).ok_or_else(impossible_index)?;
        if read_array(file, start)? != HEADER_MAGIC {
            return Err(impossible_index());
        }
        Ok(Self { start, content_bytes })
    }
}

/// Streams may be followed by zeroes, four at a time.
fn skip_padding(file: &File, mut end: u64) -> io::Result<u64> {
    while end >= 4 && read_array(file, end - 4)? == [0; 4] {
        end -= 4;
    }
    Ok(end)
}

/// The length of all blocks, and of their content, in bytes.
fn read_index(mut index: impl Read) -> io::Result<(u64, u64)> {
    if read_byte(&mut index)? != 0 {
        return Err(impossible_index());
    }
    let (mut blocks_bytes, mut content_bytes) = (0, 0);
    // The index ends with the bytes that its reader is limited to, whatever the number of records says.
    for _ in 0..read_number(&mut index)? {
        let unpadded_bytes = read_number(&mut index)?;
        let padded_bytes = unpadded_bytes.checked_next_multiple_of(4).ok_or_else(impossible_index)?;
        blocks_bytes = sum(blocks_bytes, padded_bytes)?;
        content_bytes = sum(content_bytes, read_number(&mut index)?)?;
    }
    Ok((blocks_bytes, content_bytes))
}

/// A number of up to 63 bits, seven in each byte, least significant first.
fn read_number(index: &mut impl Read) -> io::Result<u64> {
    let mut value = 0;
    for shift in (0..63).step_by(7) {
        let byte = read_byte(index)?;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(impossible_index())
}

fn read_byte(index: &mut impl Read) -> io::Result<u8> {
    let mut byte = [0];
    index.read_exact(&mut byte)?;
    Ok(byte[0])
}

fn read_array<const N: usize>(file: &File, offset: u64) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn sum(a: u64, b: u64) -> io::Result<u64> {
    a.checked_add(b).ok_or_else(impossible_index)
}

fn no_footer() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "no xz footer at its end: it is truncated, or something follows it")
}

fn impossible_index() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "impossible xz index")
}
