//! What parent and child say to each other when a disk or image is looked into: first the request; then the child asks
//! for bytes, any number of times, and the parent gives them; then the child answers, and that is the end.
//!
//! Every message has its length in front. Neither side believes a length beyond the limits here.

use std::io::{self, Read, Write};

use crate::inspect::evidence::MAX_KERNELS_BYTES;
use crate::inspect::report::MAX_REPORT_BYTES;

/// Most bytes of a request: a profile, and the operator's own checks.
pub(super) const MAX_REQUEST_BYTES: usize = 1 << 20;
/// Most bytes that are asked for at once.
pub(super) const MAX_READ_BYTES: usize = 1 << 20;
/// Most bytes of an answer: a report, what the kernels have for the devices, and what is short: the rest of what servers
/// must match, and the notes on what could not be looked into.
pub(super) const MAX_ANSWER_BYTES: usize = MAX_REPORT_BYTES + MAX_KERNELS_BYTES + (64 << 10);

/// The child wants bytes: an offset and a length follow.
const WANT: u8 = b'?';
/// The child answers: a length and the answer follow.
const ANSWER: u8 = b'=';
/// The parent gives the bytes that follow.
const GIVEN: u8 = b'+';
/// The parent cannot read them.
const REFUSED: u8 = b'-';

/// Length of the message that wants bytes.
const WANT_BYTES: usize = 1 + 8 + 4;
/// Length of what comes before an answer.
const ANSWER_HEAD_BYTES: usize = 1 + 4;

/// What the child says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Said<'a> {
    /// It wants so many bytes from there.
    Want { offset: u64, len: usize },
    /// It is done.
    Answer(&'a [u8]),
}

/// A child that does not keep to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// It says something that is not of this form, or something after its end.
    #[error("it does not keep to the protocol")]
    Form,
    /// It wants, or says, more at once than there may be.
    #[error("a message of {len} bytes is too long")]
    TooLong {
        /// The length that it gave.
        len: usize,
    },
}

/// What the child has said, and how many bytes that took; none while there is more to come.
pub(super) fn parse(said: &[u8]) -> Result<Option<(Said<'_>, usize)>, WireError> {
    match said {
        [] => Ok(None),
        [WANT, rest @ ..] => {
            let Some((offset, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let Some(len) = rest.first_chunk() else { return Ok(None) };
            let len = length(*len, MAX_READ_BYTES)?;
            Ok(Some((Said::Want { offset: u64::from_le_bytes(*offset), len }, WANT_BYTES)))
        }
        [ANSWER, rest @ ..] => {
            let Some((len, rest)) = rest.split_first_chunk() else { return Ok(None) };
            let len = length(*len, MAX_ANSWER_BYTES)?;
            Ok(rest.get(..len).map(|answer| (Said::Answer(answer), ANSWER_HEAD_BYTES + len)))
        }
        [_, ..] => Err(WireError::Form),
    }
}

fn length(bytes: [u8; 4], limit: usize) -> Result<usize, WireError> {
    let len = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or(usize::MAX);
    if len > limit { Err(WireError::TooLong { len }) } else { Ok(len) }
}

/// The request, as the parent sends it.
pub(super) fn request(content: &[u8]) -> io::Result<Vec<u8>> {
    framed(None, content)
}

/// What the parent says of bytes that were wanted.
pub(super) fn given(bytes: io::Result<Vec<u8>>) -> Vec<u8> {
    match bytes {
        Ok(bytes) => [&[GIVEN], bytes.as_slice()].concat(),
        Err(_told_to_the_parent) => vec![REFUSED],
    }
}

fn framed(tag: Option<u8>, content: &[u8]) -> io::Result<Vec<u8>> {
    let len = u32::try_from(content.len()).map_err(io::Error::other)?;
    Ok([tag.as_slice(), &len.to_le_bytes(), content].concat())
}

/// The child's end.
#[derive(Debug)]
pub(super) struct Line<R, W> {
    from: R,
    to: W,
}

impl<R: Read, W: Write> Line<R, W> {
    pub(super) const fn new(from: R, to: W) -> Self {
        Self { from, to }
    }

    /// Waits for the request.
    pub(super) fn request(&mut self) -> io::Result<Vec<u8>> {
        let mut len = [0; 4];
        self.from.read_exact(&mut len)?;
        let len = length(len, MAX_REQUEST_BYTES).map_err(io::Error::other)?;
        let mut request = vec![0; len];
        self.from.read_exact(&mut request)?;
        Ok(request)
    }

    /// Asks for bytes.
    pub(super) fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let mut at = offset;
        for piece in out.chunks_mut(MAX_READ_BYTES) {
            let len = u32::try_from(piece.len()).map_err(io::Error::other)?;
            self.to.write_all(&[&[WANT][..], &at.to_le_bytes(), &len.to_le_bytes()].concat())?;
            self.to.flush()?;
            let mut status = [0];
            self.from.read_exact(&mut status)?;
            if status != [GIVEN] {
                return Err(io::Error::other("the disk or image cannot be read there"));
            }
            self.from.read_exact(piece)?;
            at += u64::from(len);
        }
        Ok(())
    }

    /// Says the last thing.
    pub(super) fn answer(&mut self, answer: &[u8]) -> io::Result<()> {
        self.to.write_all(&framed(Some(ANSWER), answer)?)?;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Cursor};

    use proptest::prelude::{ProptestConfig, any, prop_assert, proptest};

    use super::{Line, MAX_ANSWER_BYTES, MAX_READ_BYTES, Said, WireError, given, parse, request};

    #[test]
    fn what_the_child_says_the_parent_understands() {
        let mut heard = Vec::new();
        let answers = [request(b"look").expect("short"), given(Ok(vec![7; 5])), given(Err(io::Error::other("bad")))];
        let mut line = Line::new(Cursor::new(answers.concat()), &mut heard);
        assert_eq!(line.request().expect("a request"), b"look");
        let mut out = [0; 5];
        line.read_at(1 << 40, &mut out).expect("given");
        assert_eq!(out, [7; 5]);
        line.read_at(3, &mut out).expect_err("refused");
        line.answer(b"done").expect("said");

        let (first, len) = parse(&heard).expect("well said").expect("whole");
        assert_eq!(first, Said::Want { offset: 1 << 40, len: 5 });
        let (second, next) = parse(&heard[len..]).expect("well said").expect("whole");
        assert_eq!(second, Said::Want { offset: 3, len: 5 });
        let (last, end) = parse(&heard[len + next..]).expect("well said").expect("whole");
        assert_eq!((last, len + next + end), (Said::Answer(b"done"), heard.len()));
        for cut in 0..len {
            assert_eq!(parse(&heard[..cut]), Ok(None), "{cut} bytes are not all of it");
        }
    }

    #[test]
    fn what_is_too_long_is_refused_before_it_comes() {
        let want = |len: usize| [&b"?"[..], &[0; 8], &u32::try_from(len).expect("short").to_le_bytes()].concat();
        let answer = |len: usize| [&b"="[..], &u32::try_from(len).expect("short").to_le_bytes()].concat();
        assert!(matches!(parse(&want(MAX_READ_BYTES)), Ok(Some(_))));
        assert_eq!(parse(&want(MAX_READ_BYTES + 1)), Err(WireError::TooLong { len: MAX_READ_BYTES + 1 }));
        assert_eq!(parse(&answer(MAX_ANSWER_BYTES)), Ok(None));
        assert_eq!(parse(&answer(MAX_ANSWER_BYTES + 1)), Err(WireError::TooLong { len: MAX_ANSWER_BYTES + 1 }));
        assert_eq!(parse(b"x"), Err(WireError::Form));
    }

    #[test]
    fn a_long_read_is_asked_for_in_pieces() {
        let mut heard = Vec::new();
        let answers = [given(Ok(vec![1; MAX_READ_BYTES])), given(Ok(vec![2; 10]))].concat();
        let mut out = vec![0; MAX_READ_BYTES + 10];
        Line::new(Cursor::new(answers), &mut heard).read_at(0, &mut out).expect("given");
        assert!(out[..MAX_READ_BYTES].iter().all(|byte| *byte == 1) && out[MAX_READ_BYTES..] == [2; 10]);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn whatever_a_child_says_is_bounded(said in any::<Vec<u8>>()) {
            match parse(&said) {
                Ok(Some((Said::Want { len, .. }, used))) => prop_assert!(len <= MAX_READ_BYTES && used <= said.len()),
                Ok(Some((Said::Answer(answer), used))) => prop_assert!(answer.len() < used && used <= said.len()),
                Ok(None) | Err(_) => {}
            }
        }
    }
}
