//! Archives of cpio in the form that a kernel unpacks as its initramfs: `newc`, with or without checksums. Only names are
//! kept; what is in the files is passed over.

use std::io::{self, BufRead, Read};

/// First bytes of an entry.
pub(super) const MAGICS: [&[u8; 6]; 2] = [b"070701", b"070702"];
/// Numbers of a header, eight hexadecimal digits each.
const NUMBERS: usize = 13;
const NUMBER_BYTES: usize = 8;
/// Length of a header, in bytes; the name comes right behind it.
pub(super) const HEADER_BYTES: usize = 6 + NUMBERS * NUMBER_BYTES;
/// Which of its numbers are the mode, and the lengths of content and name.
const MODE: usize = 1;
const CONTENT_BYTES: usize = 6;
const NAME_BYTES: usize = 11;
/// Longest name, in bytes; some tools fill names up with zeroes, so that contents are aligned to blocks.
const MAX_NAME_BYTES: u32 = 16 << 10;
/// Name of the entry that ends an archive.
const TRAILER: &[u8] = b"TRAILER!!!";

/// What a name stands for, as far as it matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    File,
    Link,
    Other,
}

/// An entry of an archive.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) name: Vec<u8>,
    pub(super) kind: Kind,
}

/// Why an archive cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum CpioError {
    /// The bytes cannot be read or unpacked.
    #[error("cannot read the archive")]
    Read(#[from] io::Error),
    /// No archive has such bytes.
    #[error("the archive is malformed: {what}")]
    Malformed { what: &'static str },
}

/// The next entry, whose first six bytes, `magic`, are read already; none at the end of the archive. Its content is passed
/// over.
pub(super) fn entry(from: &mut impl BufRead, magic: &[u8; 6]) -> Result<Option<Entry>, CpioError> {
    if !MAGICS.contains(&magic) {
        return Err(CpioError::Malformed { what: "no entry where one must begin" });
    }
    let mut raw = [0; HEADER_BYTES - 6];
    from.read_exact(&mut raw)?;
    let numbers = numbers(&raw).ok_or(CpioError::Malformed { what: "a header with other than hexadecimal digits" })?;
    let name_bytes = numbers[NAME_BYTES];
    if name_bytes > MAX_NAME_BYTES {
        return Err(CpioError::Malformed { what: "a name longer than any path" });
    }
    let mut name = Vec::new();
    from.take(u64::from(name_bytes)).read_to_end(&mut name)?;
    if name.len() as u64 != u64::from(name_bytes) {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    name.truncate(name.iter().position(|&byte| byte == 0).unwrap_or(name.len()));
    // Header and name together, and the content, are filled up to a multiple of four bytes.
    let name_end = HEADER_BYTES as u64 + u64::from(name_bytes);
    skip(from, name_end.next_multiple_of(4) - name_end)?;
    if name == TRAILER {
        return Ok(None);
    }
    skip(from, u64::from(numbers[CONTENT_BYTES]).next_multiple_of(4))?;
    Ok(Some(Entry { name, kind: kind(numbers[MODE]) }))
}

fn numbers(raw: &[u8]) -> Option<[u32; NUMBERS]> {
    let mut numbers = [0; NUMBERS];
    for (number, digits) in numbers.iter_mut().zip(raw.chunks_exact(NUMBER_BYTES)) {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        *number = u32::from_str_radix(digits, 16).ok()?;
    }
    Some(numbers)
}

const fn kind(mode: u32) -> Kind {
    match mode & 0o170_000 {
        0o100_000 => Kind::File,
        0o120_000 => Kind::Link,
        _ => Kind::Other,
    }
}

/// Passes over bytes, without a copy of them.
fn skip(from: &mut impl BufRead, mut count: u64) -> io::Result<()> {
    while count > 0 {
        let here = from.fill_buf()?.len();
        if here == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let now = usize::try_from(count).unwrap_or(usize::MAX).min(here);
        from.consume(now);
        count -= now as u64;
    }
    Ok(())
}

/// Passes over zero bytes, with which archives are filled up; whether anything comes after them.
pub(super) fn skip_zeroes(from: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let here = from.fill_buf()?;
        if here.is_empty() {
            return Ok(false);
        }
        let (zeroes, all) = (here.iter().take_while(|&&byte| byte == 0).count(), here.len());
        from.consume(zeroes);
        if zeroes < all {
            return Ok(true);
        }
    }
}
