//! The file of a capture: complete and right, or not there.

use std::fs;
use std::path::PathBuf;

use bms_agent::image::group::{GroupSize, Layout, is_zero};
use bms_agent::image::tree::{Group, OffersDigest};
use bms_agent::rpc::proto::v1::{CaptureBegun, CaptureFinished, CapturedGroups, Encoding};
use tempfile::TempDir;

use super::file::{CaptureFile, FileError, Part};
use crate::exit::Exit;

const GROUP: usize = 64 << 10;

/// A disk of five groups, of which two are holes and the last is short.
struct Bench {
    dir: TempDir,
    content: Vec<u8>,
    layout: Layout,
}

impl Bench {
    fn new() -> Self {
        let mut content = vec![0; 4 * GROUP + 512];
        blake3::Hasher::new().finalize_xof().fill(&mut content);
        content[GROUP..3 * GROUP].fill(0);
        let layout = Layout::new(content.len() as u64, GroupSize::new(GROUP as u64).expect("valid"));
        Self { dir: tempfile::tempdir().expect("directory"), content, layout }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("disk.raw")
    }

    fn begin(&self) -> Part {
        let begun = CaptureBegun {
            size_bytes: self.layout.len_bytes(),
            group_size_bytes: GROUP as u64,
            free_bytes: 7,
            notes: vec!["a note".to_owned()],
            ..CaptureBegun::default()
        };
        CaptureFile::create(&self.path()).expect("created").begin(&begun).expect("begun")
    }

    /// All groups of the disk, the last first.
    fn parts(&self) -> Vec<CapturedGroups> {
        let data = |first: u64, count: u64, encoding: Encoding| {
            let range = self.layout.byte_range(first, count);
            let data =
                &self.content[usize::try_from(range.start).expect("small")..usize::try_from(range.end).expect("small")];
            let value = |(group, data): (u64, &[u8])| self.layout.chaining_value(group, data).0;
            let payload = match encoding {
                Encoding::Zstd => zstd::bulk::compress(data, 1).expect("zstd"),
                Encoding::Raw | Encoding::Unspecified => data.to_vec(),
            };
            CapturedGroups {
                first_group: first,
                group_count: count,
                chaining_values: (first..).zip(data.chunks(GROUP)).flat_map(value).collect(),
                encoding: encoding.into(),
                payload: payload.into(),
            }
        };
        let holes = CapturedGroups { first_group: 1, group_count: 2, ..CapturedGroups::default() };
        vec![data(3, 2, Encoding::Zstd), data(0, 1, Encoding::Raw), holes]
    }

    fn finished(&self) -> CaptureFinished {
        let group = |(group, data): (u64, &[u8])| match is_zero(data) {
            true => Group::Hole,
            false => Group::Data(self.layout.chaining_value(group, data)),
        };
        let groups: Vec<_> = (0..).zip(self.content.chunks(GROUP)).map(group).collect();
        CaptureFinished {
            root: blake3::hash(&self.content).as_bytes().to_vec(),
            offers_digest: OffersDigest::of(&groups).to_vec(),
        }
    }

    /// Nothing is left of a capture that failed.
    fn check_empty(&self) {
        assert_eq!(fs::read_dir(self.dir.path()).expect("directory").count(), 0);
    }
}

#[test]
fn groups_in_any_order_and_encoding_become_the_file() {
    let bench = Bench::new();
    let mut part = bench.begin();
    bench.parts().iter().for_each(|groups| part.take(groups).expect("good"));
    assert!(!bench.path().exists(), "not before the end");
    let view = part.finish(&bench.finished()).expect("complete");
    assert!(fs::read(bench.path()).expect("read") == bench.content);
    assert_eq!(view.root, blake3::hash(&bench.content).to_string());
    assert_eq!((view.size_bytes, view.data_bytes, view.hole_bytes, view.free_bytes), (262_656, 131_584, 131_072, 7));
    assert_eq!(fs::read_dir(bench.dir.path()).expect("directory").count(), 1);
}

#[test]
fn a_damaged_group_is_named_and_leaves_nothing() {
    let bench = Bench::new();
    for at in [0, GROUP - 1] {
        let mut part = bench.begin();
        let mut groups = bench.parts().remove(1);
        let mut payload = groups.payload.to_vec();
        payload[at] ^= 1;
        groups.payload = payload.into();
        let error = part.take(&groups).expect_err("damaged");
        assert!(matches!(error, FileError::Damaged { group: 0 }), "{error}");
        assert_eq!(error.exit(), Exit::Mismatch);
        drop(part);
        bench.check_empty();
    }
}

#[test]
fn messages_that_make_no_sense_are_refused() {
    let bench = Bench::new();
    let good = bench.parts().remove(1);
    let with = |change: fn(&mut CapturedGroups)| {
        let mut groups = good.clone();
        change(&mut groups);
        groups
    };
    for groups in [
        with(|groups| groups.group_count = 0),
        with(|groups| groups.group_count = 2),
        with(|groups| groups.first_group = 5),
        with(|groups| groups.first_group = u64::MAX),
        with(|groups| groups.chaining_values.truncate(31)),
        with(|groups| groups.chaining_values.clear()),
        with(|groups| groups.encoding = 0),
        with(|groups| groups.encoding = Encoding::Zstd.into()),
        with(|groups| groups.payload.truncate(GROUP - 1)),
        with(|groups| groups.payload.clear()),
    ] {
        bench.begin().take(&groups).expect_err("refused");
    }
    let mut part = bench.begin();
    part.take(&good).expect("good");
    assert!(matches!(part.take(&good), Err(FileError::Protocol { what: "a group that came twice" })));
}

#[test]
fn what_is_not_whole_or_has_another_root_gets_no_name() {
    let bench = Bench::new();
    let mut part = bench.begin();
    bench.parts().iter().take(2).for_each(|groups| part.take(groups).expect("good"));
    part.finish(&bench.finished()).expect_err("holes are missing");
    bench.check_empty();
    for (root, digest) in [(1, 0), (0, 1)] {
        let mut part = bench.begin();
        bench.parts().iter().for_each(|groups| part.take(groups).expect("good"));
        let mut finished = bench.finished();
        finished.root[0] ^= root;
        finished.offers_digest[0] ^= digest;
        assert_eq!(part.finish(&finished).expect_err("another root").exit(), Exit::Mismatch);
        bench.check_empty();
    }
}

#[test]
fn nothing_is_overwritten() {
    let bench = Bench::new();
    let mut part = bench.begin();
    bench.parts().iter().for_each(|groups| part.take(groups).expect("good"));
    fs::write(bench.path(), "precious").expect("written");
    assert_eq!(part.finish(&bench.finished()).expect_err("taken meanwhile").exit(), Exit::Refused);
    assert_eq!(CaptureFile::create(&bench.path()).expect_err("taken").exit(), Exit::Refused);
    assert_eq!(fs::read(bench.path()).expect("read"), b"precious");
}
