//! Images made in a moment: a GPT with noise and holes, and what is known of their groups.

use std::fs;
use std::io::Cursor;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bms_agent::disk::device::Geometry;
use bms_agent::image::group::{ChainingValue, GroupSize, Layout, is_zero};
use bms_agent::image::tree::OffersDigest;
use bms_agent::provision::boot_region;
use bms_agent::rpc::proto::v1::{GroupOffer, ImageSpec, PushFinish};
use tempfile::TempDir;

use super::{LoopDisk, MIB, Seed};

const LINUX_FILE_SYSTEM: [u8; 16] = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";

/// An image, as a file and in memory.
#[derive(Debug)]
pub(crate) struct Image {
    dir: TempDir,
    pub(crate) bytes: Vec<u8>,
    pub(crate) layout: Layout,
    block_size: u32,
}

impl Image {
    /// An image of whole blocks with a GPT for blocks of 512 bytes, half of its MiBs noise and half holes.
    pub(crate) fn new(len_bytes: u64, seed: &mut Seed) -> Self {
        Self::with_block_size(len_bytes, 512, seed)
    }

    pub(crate) fn with_block_size(len_bytes: u64, block_size: u32, seed: &mut Seed) -> Self {
        let mut bytes = noise(len_bytes, seed);
        let whole = len_bytes / u64::from(block_size) * u64::from(block_size);
        let end = usize::try_from(whole).expect("fits memory");
        put_gpt(&mut bytes[..end], block_size, seed);
        Self::of(bytes, block_size, GroupSize::default())
    }

    /// As `new`, in groups of 64 KiB.
    pub(crate) fn in_small_groups(len_bytes: u64, seed: &mut Seed) -> Self {
        let image = Self::new(len_bytes, seed);
        Self { layout: Layout::new(len_bytes, GroupSize::new(64 << 10).expect("valid")), ..image }
    }

    /// Noise without holes and without a table, in groups of 64 KiB.
    pub(crate) fn dense(len_bytes: u64, seed: &mut Seed) -> Self {
        Self::of(seed.bytes(len_bytes), 512, GroupSize::new(64 << 10).expect("valid"))
    }

    fn of(bytes: Vec<u8>, block_size: u32, group_size: GroupSize) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        fs::write(dir.path().join("image.raw"), &bytes).expect("write");
        let layout = Layout::new(bytes.len() as u64, group_size);
        Self { dir, bytes, layout, block_size }
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.dir.path().join("image.raw")
    }

    pub(crate) fn path_text(&self) -> String {
        self.path().display().to_string()
    }

    pub(crate) fn len(&self) -> u64 {
        self.layout.len_bytes()
    }

    pub(crate) fn root(&self) -> String {
        blake3::hash(&self.bytes).to_string()
    }

    pub(crate) fn spec(&self) -> ImageSpec {
        ImageSpec {
            size_bytes: self.len(),
            group_size_bytes: self.layout.group_size().bytes(),
            root: Vec::new(),
            logical_block_size_bytes: self.block_size,
        }
    }

    pub(crate) fn group(&self, group: u64) -> &[u8] {
        &self.bytes[self.group_range(group)]
    }

    pub(crate) fn group_range(&self, group: u64) -> Range<usize> {
        let range = self.layout.byte_range(group, 1);
        usize::try_from(range.start).expect("fits")..usize::try_from(range.end).expect("fits")
    }

    pub(crate) fn chaining_value(&self, group: u64) -> Option<ChainingValue> {
        let data = self.group(group);
        (!is_zero(data)).then(|| self.layout.chaining_value(group, data))
    }

    /// Groups that are no holes.
    pub(crate) fn data_groups(&self) -> Vec<u64> {
        (0..self.layout.groups()).filter(|&group| !is_zero(self.group(group))).collect()
    }

    pub(crate) fn data_bytes(&self) -> u64 {
        self.data_groups().iter().map(|&group| self.layout.group_len(group) as u64).sum()
    }

    /// One offer a group.
    pub(crate) fn offers(&self) -> Vec<GroupOffer> {
        let offer = |group| GroupOffer {
            first_group: group,
            group_count: 1,
            chaining_values: self.chaining_value(group).map(|value| value.0.to_vec()).unwrap_or_default(),
        };
        (0..self.layout.groups()).map(offer).collect()
    }

    pub(crate) fn finish(&self) -> PushFinish {
        let mut digest = OffersDigest::default();
        for group in 0..self.layout.groups() {
            match self.chaining_value(group) {
                Some(value) => digest.data(&value),
                None => digest.hole(),
            }
        }
        PushFinish { offers_digest: digest.finish().to_vec() }
    }

    /// Data groups that an install in place has to send, were it begun now: those that differ on the disk, or lie in the
    /// boot region, which is zero while an install runs.
    pub(crate) fn missing_on(&self, disk: &LoopDisk) -> Vec<u64> {
        let mut on_disk = disk.read_all();
        let geometry =
            Geometry { len_bytes: on_disk.len() as u64, logical_block_size: self.block_size, rotational: false };
        for range in boot_region::ranges(geometry, self.len()) {
            on_disk[usize::try_from(range.start).expect("fits")..usize::try_from(range.end).expect("fits")].fill(0);
        }
        let differs = |&group: &u64| on_disk[self.group_range(group)] != *self.group(group);
        self.data_groups().into_iter().filter(differs).collect()
    }

    pub(crate) fn missing_bytes_on(&self, disk: &LoopDisk) -> u64 {
        self.missing_on(disk).iter().map(|&group| self.layout.group_len(group) as u64).sum()
    }
}

/// MiB by MiB noise or zeroes.
fn noise(len_bytes: u64, seed: &mut Seed) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(len_bytes).expect("fits memory")];
    for chunk in bytes.chunks_mut(1 << 20) {
        if seed.below(2) == 0 {
            seed.fill(chunk);
        }
    }
    bytes
}

/// Two partitions, written by another implementation.
fn put_gpt(bytes: &mut [u8], block_size: u32, seed: &mut Seed) {
    let blocks = bytes.len() as u64 / u64::from(block_size);
    let first = MIB / u64::from(block_size);
    let mut disk = Cursor::new(bytes);
    let mut gpt = gptman::GPT::new_from(&mut disk, u64::from(block_size), guid(seed)).expect("GPT");
    for (number, starting_lba, ending_lba) in [(1, first, first * 2 - 1), (2, first * 2, blocks - first - 1)] {
        gpt[number] = gptman::GPTPartitionEntry {
            partition_type_guid: LINUX_FILE_SYSTEM,
            unique_partition_guid: guid(seed),
            starting_lba,
            ending_lba,
            attribute_bits: 0,
            partition_name: "test".into(),
        };
    }
    gpt.write_into(&mut disk).expect("write");
    gptman::GPT::write_protective_mbr_into(&mut disk, u64::from(block_size)).expect("write");
}

fn guid(seed: &mut Seed) -> [u8; 16] {
    let mut guid = [0; 16];
    seed.fill(&mut guid);
    guid
}

/// The directory of the real images, which `tests/fixtures/debian-image.sh` makes.
pub(crate) fn fixtures() -> PathBuf {
    let default = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache");
    let dir = std::env::var_os("BMS_FIXTURES").map_or(default, PathBuf::from);
    assert!(dir.join("ready").is_file(), "no images in {}: run tests/fixtures/debian-image.sh", dir.display());
    dir
}

/// What `b3sum` said of an image when it was made.
pub(crate) fn fixture_root(name: &str) -> String {
    let list = fs::read_to_string(fixtures().join("ready")).expect("read");
    let line = list.lines().find_map(|line| line.strip_suffix(&format!("  {name}")));
    line.unwrap_or_else(|| panic!("{name} is not in {list}")).to_owned()
}
