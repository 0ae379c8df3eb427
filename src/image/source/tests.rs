//! Sources made by the tools that people make them with, and hostile ones.

use std::ffi::OsStr;
use std::fs::{self, OpenOptions as FileOptions};
use std::io::Write as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::super::scan::tests::{content_of, layout_of};
use super::{Format, OpenOptions, Qcow2Refusal, Source, SourceError, open};

const MIB: u64 = 1 << 20;

/// A directory with a raw file of some content: text, noise, zeroes that are written, and holes.
struct Fixture {
    directory: TempDir,
    raw: PathBuf,
    content: Vec<u8>,
}

impl Fixture {
    fn new() -> Self {
        Self::of_len(5 * MIB + 512)
    }

    fn of_len(len_bytes: u64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let raw = directory.path().join("disk.raw");
        let mut content = vec![0; usize::try_from(len_bytes).expect("small")];
        let mut noise = blake3::Hasher::new().finalize_xof();
        let parts = content.chunks_mut(300_000).enumerate();
        for (index, part) in parts {
            match index % 4 {
                0 => noise.fill(part),
                1 => part.iter_mut().zip(b"to be compressed ".iter().cycle()).for_each(|(to, from)| *to = *from),
                _ => {}
            }
        }
        fs::write(&raw, &content).expect("written");
        Self { directory, raw, content }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Runs a shell command in the directory, and gives the path of the file that it made.
    fn make(&self, name: &str, command: &str) -> PathBuf {
        run("sh", ["-c", command], self.directory.path());
        self.path(name)
    }

    fn assert_scans(&self, path: &Path, format: Format) {
        let source = open(path, &OpenOptions::default()).expect("opens");
        assert_eq!(source.format(), format);
        assert_eq!(source.len_bytes(), self.content.len() as u64);
        assert!(scanned(&source).expect("scans") == self.content, "{} differs", path.display());
    }
}

fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>, directory: &Path) {
    let output = Command::new(program).args(arguments).current_dir(directory).output().expect("runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn scanned(source: &Source) -> Result<Vec<u8>, SourceError> {
    content_of(source, layout_of(source), 2)
}

/// Opens and scans; the error of whichever fails.
fn refused(path: &Path, options: &OpenOptions) -> SourceError {
    let result = open(path, options).and_then(|source| scanned(&source));
    result.map(|content| content.len()).expect_err("refused")
}

fn auto(path: &Path) -> SourceError {
    refused(path, &OpenOptions::default())
}

fn declared(format: Format) -> OpenOptions {
    OpenOptions { format: Some(format), len_bytes: None }
}

fn of_len(len_bytes: u64) -> OpenOptions {
    OpenOptions { format: None, len_bytes: Some(len_bytes) }
}

fn append(path: &Path, bytes: &[u8]) {
    FileOptions::new().append(true).open(path).and_then(|mut file| file.write_all(bytes)).expect("appended");
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    FileOptions::new().write(true).open(path).and_then(|file| file.write_all_at(bytes, offset)).expect("written");
}

/// Cuts bytes off the end of a file.
fn cut(path: &Path, bytes: u64) {
    let file = FileOptions::new().write(true).open(path).expect("opens");
    file.set_len(file.metadata().expect("known").len() - bytes).expect("cut");
}

#[test]
fn every_format_gives_the_raw_content() {
    for len_bytes in [0, 512, MIB, 5 * MIB + 512] {
        let fixture = Fixture::of_len(len_bytes);
        fixture.assert_scans(&fixture.raw, Format::Raw);
        fixture.assert_scans(&fixture.make("gz", "gzip -c disk.raw > gz"), Format::Gzip);
        fixture.assert_scans(&fixture.make("xz", "xz -0 -c disk.raw > xz"), Format::Xz);
        fixture.assert_scans(&fixture.make("zst", "zstd -q disk.raw -o zst"), Format::Zstd);
        fixture.assert_scans(&fixture.make("piped", "zstd -q < disk.raw > piped"), Format::Zstd);
        fixture.assert_scans(&fixture.make("qcow2", "qemu-img convert -O qcow2 disk.raw qcow2"), Format::Qcow2);
    }
}

#[test]
fn compressed_streams_of_odd_lengths_come_back() {
    for len_bytes in [1, 65_535, 65_536, 65_537, 4 * MIB + 1] {
        let fixture = Fixture::of_len(len_bytes);
        fixture.assert_scans(&fixture.make("gz", "gzip -c disk.raw > gz"), Format::Gzip);
        fixture.assert_scans(&fixture.make("xz", "xz -0 -c disk.raw > xz"), Format::Xz);
        fixture.assert_scans(&fixture.make("zst", "zstd -q disk.raw -o zst"), Format::Zstd);
    }
}

#[test]
fn members_frames_and_streams_are_joined() {
    let fixture = Fixture::new();
    let split = "split -b 1000001 disk.raw part.";
    let each = |command: &str, to: &str| format!("{split} && for part in part.*; do {command} $part; done > {to}");
    fixture.assert_scans(&fixture.make("gz", &each("gzip -c", "gz")), Format::Gzip);
    fixture.assert_scans(&fixture.make("xz", &each("xz -0 -c", "xz")), Format::Xz);
    fixture.assert_scans(&fixture.make("zst", &each("zstd -qc", "zst")), Format::Zstd);
    fixture.assert_scans(&fixture.make("piped", &each("zstd -qc <", "piped")), Format::Zstd);
    fixture.assert_scans(&fixture.make("blocks", "xz -0 --block-size=100000 -c disk.raw > blocks"), Format::Xz);
}

#[test]
fn skippable_frames_and_stream_padding_are_no_content() {
    let fixture = Fixture::new();
    let zstd = fixture.make("zst", "printf '\\120\\052\\115\\030\\003\\0\\0\\0abc' > zst && zstd -qc disk.raw >> zst");
    fixture.assert_scans(&zstd, Format::Zstd);
    let xz = fixture.make("xz", "xz -0 -c disk.raw > xz && head -c 8 /dev/zero >> xz");
    fixture.assert_scans(&xz, Format::Xz);
}

#[test]
fn qcow2_of_all_kinds_of_clusters_comes_back() {
    let fixture = Fixture::new();
    for options in ["compat=0.10", "cluster_size=512", "cluster_size=2M", "refcount_bits=1", "preallocation=full"] {
        let command = format!("qemu-img convert -O qcow2 -o {options} disk.raw qcow2");
        fixture.assert_scans(&fixture.make("qcow2", &command), Format::Qcow2);
    }
    for options in ["cluster_size=512", "cluster_size=64K", "cluster_size=2M"] {
        let command = format!("qemu-img convert -c -O qcow2 -o {options} disk.raw qcow2");
        fixture.assert_scans(&fixture.make("qcow2", &command), Format::Qcow2);
    }
}

#[test]
fn zero_clusters_of_qcow2_are_zero_even_where_data_was() {
    let mut fixture = Fixture::new();
    // The first zeroes keep their old clusters, the second give them up; both lie over data.
    let qcow2 = fixture.make(
        "qcow2",
        "qemu-img convert -c -O qcow2 disk.raw qcow2 && \
         qemu-io -c 'write -P 7 2M 1M' -c 'write -z 2M 128k' -c 'write -z -u 2560k 128k' -c 'write -z 64k 64k' qcow2",
    );
    let at = |kib: usize| kib << 10;
    fixture.content[at(2048)..at(3072)].fill(7);
    for range in [at(2048)..at(2176), at(2560)..at(2688), at(64)..at(128)] {
        fixture.content[range].fill(0);
    }
    fixture.assert_scans(&qcow2, Format::Qcow2);
}

#[test]
fn an_empty_qcow2_of_a_tebibyte_is_one_hole() {
    let fixture = Fixture::of_len(0);
    let qcow2 = fixture.make("qcow2", "qemu-img create -q -f qcow2 qcow2 1T");
    let source = open(&qcow2, &OpenOptions::default()).expect("opens");
    assert_eq!(source.len_bytes(), 1 << 40);
    let super::Content::Random(content) = source.content() else { panic!("qcow2 reads anywhere") };
    assert_eq!(content.next_data(0).expect("reads"), None);
}

#[test]
fn the_gpt_tells_the_logical_block_size() {
    for (offset, size) in [(512, Some(512)), (4096, Some(4096)), (1024, None)] {
        let fixture = Fixture::of_len(MIB);
        overwrite(&fixture.raw, 0, &[0; 8192]);
        overwrite(&fixture.raw, offset, b"EFI PART");
        for path in [fixture.raw.clone(), fixture.make("zst", "zstd -q disk.raw -o zst")] {
            assert_eq!(open(&path, &OpenOptions::default()).expect("opens").logical_block_size(), size);
        }
    }
    let fixture = Fixture::of_len(1);
    assert_eq!(open(&fixture.raw, &OpenOptions::default()).expect("opens").logical_block_size(), None);
}

#[test]
fn only_files_open() {
    let fixture = Fixture::of_len(1);
    assert!(matches!(auto(&fixture.path("nothing")), SourceError::Open { .. }));
    assert!(matches!(auto(fixture.directory.path()), SourceError::NotAFile { .. }));
    // A pipe without a writer, which would block who opens it.
    assert!(matches!(auto(&fixture.make("pipe", "mkfifo pipe")), SourceError::NotAFile { .. }));
    assert!(matches!(auto(Path::new("/dev/zero")), SourceError::NotAFile { .. }));
}

#[test]
fn a_declared_format_must_be_the_files() {
    let fixture = Fixture::new();
    for format in [Format::Qcow2, Format::Gzip, Format::Xz, Format::Zstd] {
        let error = refused(&fixture.raw, &declared(format));
        assert!(matches!(error, SourceError::FormatMismatch { declared, .. } if declared == format), "{error:?}");
    }
    let zstd = fixture.make("zst", "zstd -q disk.raw -o zst");
    let source = open(&zstd, &declared(Format::Raw)).expect("anything may be raw");
    assert_eq!(scanned(&source).expect("scans"), fs::read(&zstd).expect("reads"));
}

#[test]
fn images_in_formats_that_are_not_read_are_not_taken_for_raw() {
    let fixture = Fixture::of_len(MIB);
    for format in ["vmdk", "vhdx", "vdi", "vpc", "qed"] {
        let path = fixture.make("image", &format!("qemu-img convert -O {format} disk.raw image"));
        assert!(matches!(auto(&path), SourceError::FormatUnsupported { .. }), "{format}");
    }
}

#[test]
fn a_wrong_declared_length_is_refused() {
    let fixture = Fixture::new();
    let actual_len = fixture.content.len() as u64;
    let sources = [
        fixture.raw.clone(),
        fixture.make("qcow2", "qemu-img convert -O qcow2 disk.raw qcow2"),
        fixture.make("gz", "gzip -c disk.raw > gz"),
        fixture.make("xz", "xz -0 -c disk.raw > xz"),
        fixture.make("zst", "zstd -q disk.raw -o zst"),
        fixture.make("piped", "zstd -q < disk.raw > piped"),
    ];
    for path in sources {
        let longer = refused(&path, &of_len(actual_len + 1));
        let expected = matches!(longer, SourceError::LengthMismatch { actual, .. } if actual == actual_len);
        assert!(expected, "{longer:?}");
        let shorter = refused(&path, &of_len(actual_len - 1));
        assert!(
            matches!(shorter, SourceError::LengthMismatch { .. } | SourceError::LongerThanKnown { .. }),
            "{shorter:?}"
        );
        let source = open(&path, &of_len(actual_len)).expect("opens");
        assert!(scanned(&source).expect("scans") == fixture.content);
    }
}

#[test]
fn a_bomb_ends_at_the_declared_length() {
    let fixture = Fixture::of_len(0);
    for compress in ["gzip -1", "zstd -q"] {
        let path = fixture.make("bomb", &format!("head -c 300M /dev/zero | {compress} > bomb"));
        let error = refused(&path, &of_len(MIB));
        assert!(matches!(error, SourceError::LongerThanKnown { len_bytes: MIB, .. }), "{error:?}");
    }
}

#[test]
fn a_truncated_file_is_refused_wherever_it_ends() {
    let fixture = Fixture::new();
    for (name, command) in [
        ("gz", "gzip -c disk.raw > gz"),
        ("xz", "xz -0 -c disk.raw > xz"),
        ("zst", "zstd -q disk.raw -fo zst"),
        ("piped", "zstd -q < disk.raw > piped"),
        ("qcow2", "qemu-img convert -O qcow2 disk.raw qcow2"),
        ("packed", "qemu-img convert -c -O qcow2 disk.raw packed"),
    ] {
        let len_bytes = fs::metadata(fixture.make(name, command)).expect("known").len();
        for missing in [len_bytes - 20, len_bytes - 100, len_bytes / 2, 100_000, 65_536] {
            let path = fixture.make(name, command);
            cut(&path, missing);
            let error = auto(&path);
            assert!(
                matches!(
                    error,
                    SourceError::Truncated { .. } | SourceError::Damaged { .. } | SourceError::Qcow2 { .. }
                ),
                "{name} without {missing} of {len_bytes}: {error:?}"
            );
        }
    }
}

#[test]
fn a_stream_without_its_last_byte_is_refused_even_with_all_content() {
    let fixture = Fixture::new();
    let len_bytes = fixture.content.len() as u64;
    for (name, command) in
        [("gz", "gzip -c disk.raw > gz"), ("xz", "xz -0 -c disk.raw > xz"), ("zst", "zstd -q disk.raw -o zst")]
    {
        let path = fixture.make(name, command);
        cut(&path, 1);
        let error = refused(&path, &of_len(len_bytes));
        assert!(matches!(error, SourceError::Truncated { .. } | SourceError::Damaged { .. }), "{name}: {error:?}");
    }
}

#[test]
fn bytes_after_the_content_are_refused() {
    let fixture = Fixture::new();
    let len_bytes = fixture.content.len() as u64;
    for (name, command) in
        [("gz", "gzip -c disk.raw > gz"), ("xz", "xz -0 -c disk.raw > xz"), ("zst", "zstd -q disk.raw -fo zst")]
    {
        for garbage in [&b"garbage"[..], b"x", b"twelve bytes and more"] {
            let path = fixture.make(name, command);
            append(&path, garbage);
            let error = refused(&path, &of_len(len_bytes));
            assert!(
                matches!(
                    error,
                    SourceError::TrailingGarbage { .. } | SourceError::Damaged { .. } | SourceError::Truncated { .. }
                ),
                "{name}: {error:?}"
            );
        }
    }
}

#[test]
fn a_flipped_bit_in_compressed_content_is_refused() {
    let fixture = Fixture::new();
    for (name, command) in
        [("gz", "gzip -c disk.raw > gz"), ("xz", "xz -0 -c disk.raw > xz"), ("zst", "zstd -q disk.raw -o zst")]
    {
        let path = fixture.make(name, command);
        let mut bytes = fs::read(&path).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, bytes).expect("written");
        auto(&path);
    }
}

#[test]
fn zstd_beyond_eight_mebibytes_of_window_is_refused() {
    let fixture = Fixture::of_len(20 * MIB);
    fixture.assert_scans(&fixture.make("zst", "zstd -q --long=23 < disk.raw > zst"), Format::Zstd);
    let error = auto(&fixture.make("long", "zstd -q --long=27 < disk.raw > long"));
    let window = 128 * MIB;
    assert!(matches!(error, SourceError::ZstdWindow { window_bytes, .. } if window_bytes == window), "{error:?}");
    assert!(error.to_string().contains("--long"));
}

#[test]
fn a_zstd_dictionary_is_refused() {
    let fixture = Fixture::new();
    let command = "split -b 4000 disk.raw part. && zstd -q --train part.* -o dictionary --dictID=77 && \
                   zstd -q -D dictionary disk.raw -o zst";
    let error = auto(&fixture.make("zst", command));
    assert!(matches!(error, SourceError::ZstdDictionary { id: 77, .. }), "{error:?}");
}

#[test]
fn an_xz_dictionary_beyond_the_limit_is_refused() {
    let fixture = Fixture::of_len(MIB);
    let error = auto(&fixture.make("xz", "xz -0 --lzma2=preset=0,dict=128MiB -c disk.raw > xz"));
    assert!(matches!(error, SourceError::XzMemory { .. }), "{error:?}");
}

/// The refusal of a qcow2 image made by `qemu-img` with some arguments.
fn qcow2_refusal(arguments: &str) -> Qcow2Refusal {
    let fixture = Fixture::of_len(MIB);
    let error = auto(&fixture.make("qcow2", &format!("qemu-img {arguments}")));
    let SourceError::Qcow2 { reason, .. } = error else { panic!("{error:?}") };
    reason
}

#[test]
fn qcow2_that_reaches_beyond_its_file_or_is_not_understood_is_refused() {
    let backing = "create -q -f qcow2 -b disk.raw -F raw qcow2";
    assert_eq!(qcow2_refusal(backing), Qcow2Refusal::BackingFile);
    let data_file = "create -q -f qcow2 -o data_file=data,data_file_raw=on qcow2 1M";
    assert_eq!(qcow2_refusal(data_file), Qcow2Refusal::DataFile);
    let zstd = "convert -c -O qcow2 -o compression_type=zstd disk.raw qcow2";
    assert_eq!(qcow2_refusal(zstd), Qcow2Refusal::Compression);
    let extended = "create -q -f qcow2 -o extended_l2=on qcow2 1M";
    assert_eq!(qcow2_refusal(extended), Qcow2Refusal::ExtendedL2);
    let aes = "create -q -f qcow2 --object secret,id=s,data=secret \
               -o encrypt.format=aes,encrypt.key-secret=s qcow2 1M";
    assert_eq!(qcow2_refusal(aes), Qcow2Refusal::Encrypted { method: 1 });
}

#[test]
fn impossible_qcow2_headers_are_refused() {
    let fixture = Fixture::of_len(MIB);
    let fields: [(u64, &[u8], Qcow2Refusal); 12] = [
        (4, &[0, 0, 0, 1], Qcow2Refusal::Version { version: 1 }),
        (4, &[0, 0, 0, 4], Qcow2Refusal::Version { version: 4 }),
        (20, &[0, 0, 0, 8], Qcow2Refusal::Field { field: "cluster_bits", value: 8 }),
        (20, &[0, 0, 0, 22], Qcow2Refusal::Field { field: "cluster_bits", value: 22 }),
        // LUKS, as far as anybody reads before the refusal. qemu-img, which could make a whole one, first measures how fast the
        // processor is, and gives up where CPU time is counted in coarse steps.
        (32, &[0, 0, 0, 2], Qcow2Refusal::Encrypted { method: 2 }),
        // A disk of 16 EiB with an L1 table for 1 MiB, and an L1 table of 32 GiB.
        (24, &[0xff; 8], Qcow2Refusal::Field { field: "l1_size", value: 1 }),
        (36, &[0xff; 4], Qcow2Refusal::Field { field: "l1_size", value: 0xffff_ffff }),
        (40, &[0x7f; 8], Qcow2Refusal::Field { field: "l1_table_offset", value: 0x7f7f_7f7f_7f7f_7f7f }),
        (72, &[0x80, 0, 0, 0, 0, 0, 0, 0], Qcow2Refusal::UnknownFeatures { bits: 1 << 63 }),
        (79, &[1], Qcow2Refusal::Unclean),
        (96, &[0, 0, 0, 63], Qcow2Refusal::Field { field: "refcount_order", value: 63 }),
        (0x8001, b"CD001", Qcow2Refusal::Polyglot),
    ];
    for (offset, bytes, expected) in fields {
        let path = fixture.make("qcow2", "qemu-img convert -O qcow2 disk.raw qcow2");
        overwrite(&path, offset, bytes);
        let error = auto(&path);
        let reason = matches!(error, SourceError::Qcow2 { reason, .. } if reason == expected);
        assert!(reason, "{error:?} instead of {expected:?}");
    }
}

/// Whatever the bytes, there is content or an error: no panic, no hang, and no memory by a number from the file.
#[test]
fn damaged_metadata_gives_content_or_an_error() {
    let fixture = Fixture::of_len(MIB);
    let mut noise = blake3::Hasher::new().finalize_xof();
    for (name, command) in [
        ("qcow2", "qemu-img convert -O qcow2 -o cluster_size=4K disk.raw qcow2"),
        ("packed", "qemu-img convert -c -O qcow2 -o cluster_size=4K disk.raw packed"),
        ("xz", "xz -0 --block-size=100000 -c disk.raw > xz"),
        ("zst", "zstd -q disk.raw -o zst"),
        ("gz", "gzip -c disk.raw > gz"),
    ] {
        let original = fs::read(fixture.make(name, command)).expect("reads");
        for _ in 0..300 {
            let mut random = [0; 8];
            noise.fill(&mut random);
            let mut bytes = original.clone();
            // The head and the tail are where metadata is: half of the hits go there.
            let span = if random[0] & 1 == 0 { bytes.len() } else { bytes.len().min(40_000) };
            let at = usize::from_le_bytes([random[1], random[2], random[3], 0, 0, 0, 0, 0]) % span;
            let at = if random[0] & 2 == 0 { at } else { bytes.len() - 1 - at };
            bytes[at] ^= random[4] | 1;
            let path = fixture.path("damaged");
            fs::write(&path, bytes).expect("written");
            let Ok(source) = open(&path, &OpenOptions::default()) else {
                continue;
            };
            if source.len_bytes() < 4 * MIB {
                drop(scanned(&source));
            }
        }
    }
}

#[test]
fn a_source_can_be_scanned_again() {
    let fixture = Fixture::new();
    let path = fixture.make("xz", "xz -0 -c disk.raw > xz");
    let source = open(&path, &OpenOptions::default()).expect("opens");
    for _ in 0..2 {
        assert!(scanned(&source).expect("scans") == fixture.content, "every scan begins at the start");
    }
}
