//! Streams of every codec, at every border, against the content they hold; and streams that break.

use std::io::{self, Cursor, Read, Write as _};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::{Command, Stdio};

use flate2::write::GzEncoder;
use liblzma::write::XzEncoder;

use super::super::super::hash::tree_of;
use super::super::super::scan::tests::content_of_input;
use super::super::super::tree::Group;
use super::super::{Foreign, Format, OpenOptions, SourceError};
use super::{GroupSize, Input, Peeked};

const GROUP: usize = 64 << 10;
const RUN: usize = 4 << 20;
const STREAMED: [Format; 4] = [Format::Raw, Format::Gzip, Format::Xz, Format::Zstd];

/// Text, with groups of zeroes and some noise in between.
fn content(len: usize) -> Vec<u8> {
    let mut content: Vec<u8> = b"to be compressed ".iter().copied().cycle().take(len).collect();
    for (index, group) in content.chunks_mut(GROUP).enumerate() {
        match index % 5 {
            1 | 2 => group.fill(0),
            3 => blake3::Hasher::new().finalize_xof().fill(&mut group[..100.min(len % GROUP)]),
            _ => {}
        }
    }
    content
}

fn encode(format: Format, content: &[u8]) -> Vec<u8> {
    match format {
        Format::Gzip => {
            let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(content).expect("written");
            encoder.finish().expect("finished")
        }
        Format::Xz => {
            let mut encoder = XzEncoder::new(Vec::new(), 0);
            encoder.write_all(content).expect("written");
            encoder.finish().expect("finished")
        }
        Format::Zstd => {
            let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
            encoder.include_checksum(true).expect("set");
            encoder.write_all(content).expect("written");
            encoder.finish().expect("finished")
        }
        Format::Raw | Format::Qcow2 => content.to_vec(),
    }
}

/// Gives what it holds in odd parts, as pipes do, and then ends as it is told to.
struct Pipe {
    bytes: Cursor<Vec<u8>>,
    end: Option<io::ErrorKind>,
}

impl Read for Pipe {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let len = buf.len().min(70_001);
        match (self.bytes.read(&mut buf[..len])?, self.end.take()) {
            (0, Some(end)) => Err(end.into()),
            (read, end) => {
                self.end = end;
                Ok(read)
            }
        }
    }
}

fn peeked(bytes: Vec<u8>) -> Peeked {
    Peeked::new(Path::new("a pipe"), Box::new(Pipe { bytes: Cursor::new(bytes), end: None })).expect("reads")
}

fn input(bytes: Vec<u8>) -> Result<Input, SourceError> {
    peeked(bytes).into_input(&OpenOptions::default())
}

/// The error of a stream, wherever it comes.
fn refused(bytes: Vec<u8>) -> SourceError {
    let scanned = input(bytes).and_then(|input| content_of_input(input, GroupSize::default()));
    scanned.map(|content| content.len()).expect_err("refused")
}

fn group_size(bytes: usize) -> GroupSize {
    GroupSize::new(bytes as u64).expect("valid")
}

#[test]
fn streams_of_every_codec_and_length_give_content_and_root_of_what_they_hold() {
    let borders = [GROUP, 2 * GROUP, RUN, RUN + GROUP, 2 * RUN].into_iter().flat_map(|at| [at - 1, at, at + 1]);
    for len in [0, 1].into_iter().chain(borders) {
        let content = content(len);
        for format in STREAMED {
            let bytes = encode(format, &content);
            // Groups of which many, exactly one, and a quarter fit in a run.
            for size in [GROUP, RUN, 4 * RUN].map(group_size) {
                let open = || input(bytes.clone()).expect("opens");
                assert_eq!((open().format(), open().len_bytes()), (format, None));
                let scanned = content_of_input(open(), size).expect("scans");
                assert!(scanned == content, "{len} bytes of {format}");
                let tree = tree_of(open(), size, NonZeroUsize::MIN).expect("scans");
                assert_eq!(tree.root(), blake3::hash(&content), "{len} bytes of {format}");
            }
        }
    }
}

#[test]
fn a_stream_has_the_holes_of_the_file() {
    let content = content(3 * RUN + 77);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&content).expect("written");
    let size = group_size(GROUP);
    let workers = NonZeroUsize::new(3).expect("three");
    let of_file = tree_of(Input::open(file.path(), &OpenOptions::default()).expect("opens"), size, workers);
    let of_file = of_file.expect("scans");
    assert!(of_file.groups().contains(&Group::Hole));
    for format in STREAMED {
        let tree = tree_of(input(encode(format, &content)).expect("opens"), size, workers).expect("scans");
        assert_eq!(tree, of_file, "{format}");
    }
}

#[test]
fn a_compressed_file_is_opened_without_counting_it_and_scans_the_same() {
    let content = content(RUN + 5);
    let directory = tempfile::tempdir().expect("a directory");
    for (format, known) in [(Format::Gzip, None), (Format::Xz, Some(content.len())), (Format::Raw, Some(content.len()))]
    {
        let path = directory.path().join(format.name());
        std::fs::write(&path, encode(format, &content)).expect("written");
        let input = Input::open(&path, &OpenOptions::default()).expect("opens");
        assert_eq!((input.format(), input.len_bytes()), (format, known.map(|len| len as u64)));
        assert!(content_of_input(input, GroupSize::default()).expect("scans") == content, "{format}");
    }
}

#[test]
fn members_streams_and_frames_are_joined() {
    let content = content(RUN + 5);
    for format in [Format::Gzip, Format::Xz, Format::Zstd] {
        let parts: Vec<u8> = content.chunks(1_000_000).flat_map(|part| encode(format, part)).collect();
        let scanned = content_of_input(input(parts).expect("opens"), GroupSize::default()).expect("scans");
        assert!(scanned == content, "{format}");
    }
}

#[test]
fn a_truncated_stream_is_refused_wherever_it_ends() {
    let content = content(RUN + 5);
    for format in [Format::Gzip, Format::Xz, Format::Zstd] {
        let bytes = encode(format, &content);
        for len in [bytes.len() - 1, bytes.len() - 9, bytes.len() / 2, 100, 20, 7] {
            let error = refused(bytes[..len].to_vec());
            let expected = matches!(error, SourceError::Truncated { .. } | SourceError::Damaged { .. });
            assert!(expected, "{format} cut to {len}: {error:?}");
        }
    }
}

#[test]
fn a_flipped_bit_or_bytes_after_the_end_are_refused() {
    let content = content(RUN + 5);
    for format in [Format::Gzip, Format::Xz, Format::Zstd] {
        let bytes = encode(format, &content);
        let mut flipped = bytes.clone();
        flipped[bytes.len() / 2] ^= 1;
        let garbage = [&bytes[..], b"garbage and more"].concat();
        for damaged in [flipped, garbage] {
            let error = refused(damaged);
            let expected = matches!(error, SourceError::Truncated { .. } | SourceError::Damaged { .. });
            assert!(expected, "{format}: {error:?}");
        }
    }
}

#[test]
fn a_stream_that_breaks_is_told_from_one_that_is_damaged() {
    let content = content(RUN + 5);
    for format in STREAMED {
        let mut bytes = encode(format, &content);
        bytes.truncate(bytes.len() / 2);
        for end in [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset] {
            let pipe = Pipe { bytes: Cursor::new(bytes.clone()), end: Some(end) };
            let input = Peeked::new(Path::new("a pipe"), Box::new(pipe)).expect("reads");
            let input = input.into_input(&OpenOptions::default());
            let error = input.and_then(|input| content_of_input(input, GroupSize::default())).expect_err("broken");
            let same = matches!(&error, SourceError::Read { source, .. } if source.kind() == end);
            assert!(same, "{format}: {error:?}");
        }
    }
}

#[test]
fn a_declared_length_is_that_of_the_content_or_an_error() {
    let content = content(RUN + 5);
    for format in STREAMED {
        let open = |len: usize| {
            let options = OpenOptions { format: None, len_bytes: Some(len as u64) };
            peeked(encode(format, &content)).into_input(&options).expect("opens")
        };
        let scanned = |len| content_of_input(open(len), GroupSize::default()).map(|content| content.len());
        assert_eq!(open(content.len()).len_bytes(), Some(content.len() as u64));
        assert_eq!(scanned(content.len()).expect("scans"), content.len());
        let longer = scanned(content.len() + 1).expect_err("shorter than declared");
        assert!(matches!(longer, SourceError::LengthMismatch { .. }), "{longer:?}");
        for len in [content.len() - 1, RUN, 1, 0] {
            let shorter = scanned(len).expect_err("longer than declared");
            assert!(matches!(shorter, SourceError::LongerThanKnown { .. }), "{len} bytes: {shorter:?}");
        }
    }
}

#[test]
fn an_endless_stream_ends_at_its_declared_length() {
    let stream = Peeked::new(Path::new("zeroes"), Box::new(io::repeat(0))).expect("reads");
    let input = stream.into_input(&OpenOptions { format: None, len_bytes: Some(1 << 30) }).expect("opens");
    let error = tree_of(input, GroupSize::default(), NonZeroUsize::MIN).expect_err("it goes on");
    assert!(matches!(error, SourceError::LongerThanKnown { .. }), "{error:?}");
}

#[test]
fn the_gpt_of_a_stream_tells_the_logical_block_size_and_is_still_there() {
    let mut content = content(RUN);
    content[4096..4104].copy_from_slice(b"EFI PART");
    for format in STREAMED {
        let input = input(encode(format, &content)).expect("opens");
        assert_eq!(input.logical_block_size(), Some(4096));
        assert!(content_of_input(input, GroupSize::default()).expect("scans") == content, "{format}");
    }
}

#[test]
fn first_bytes_of_a_stream_tell_what_it_is_and_are_still_there() {
    let qcow2 = peeked(b"QFI\xfb and so on".to_vec());
    assert_eq!(qcow2.format(None).expect("known"), Format::Qcow2);
    assert!(matches!(qcow2.format(Some(Format::Xz)), Err(SourceError::FormatMismatch { .. })));
    let error = qcow2.into_input(&OpenOptions::default()).expect_err("not from a stream");
    assert!(matches!(error, SourceError::NoStream { format: Format::Qcow2, .. }), "{error:?}");

    let vmdk = peeked(b"KDMV and so on".to_vec());
    let error = vmdk.format(None).expect_err("not read");
    assert!(matches!(error, SourceError::FormatUnsupported { found: Foreign::Vmdk, .. }), "{error:?}");
    let raw =
        vmdk.into_input(&OpenOptions { format: Some(Format::Raw), len_bytes: None }).expect("anything may be raw");
    assert_eq!(content_of_input(raw, GroupSize::default()).expect("scans"), b"KDMV and so on");
}

#[test]
fn what_a_zstd_stream_needs_too_much_of_is_refused_at_its_start() {
    let mut long = zstd::Encoder::new(Vec::new(), 1).expect("an encoder");
    long.window_log(27).expect("set");
    long.write_all(&content(RUN)).expect("written");
    let error = peeked(long.finish().expect("finished")).into_input(&OpenOptions::default()).expect_err("refused");
    assert!(matches!(error, SourceError::ZstdWindow { window_bytes: 134_217_728, .. }), "{error:?}");
}

#[test]
fn a_pipe_from_a_program_is_read_to_its_end() {
    let content = content(2 * RUN + 5);
    let mut file = tempfile::NamedTempFile::new().expect("a file");
    file.write_all(&content).expect("written");
    for (program, arguments) in [("cat", &[][..]), ("gzip", &["-c"]), ("xz", &["-0", "-c"]), ("zstd", &["-qc"])] {
        let child = Command::new(program).args(arguments).arg(file.path()).stdout(Stdio::piped()).spawn();
        let mut child = child.expect("starts");
        let stdout = Box::new(child.stdout.take().expect("piped"));
        let input = Peeked::new(Path::new(program), stdout).expect("reads").into_input(&OpenOptions::default());
        let scanned = content_of_input(input.expect("opens"), GroupSize::default()).expect("scans");
        assert!(scanned == content, "{program}");
        assert!(child.wait().expect("ended").success());
    }
}
