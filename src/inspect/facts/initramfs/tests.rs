use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::Write as _;

use proptest::prelude::{any, prop, proptest};

use super::super::compressed::Compression;
use super::super::compressed::tests::{ALL, pack};
use super::{InitramfsError, MAX_ENTRIES, modules};

const FILE: u32 = 0o100_644;
const LINK: u32 = 0o120_777;
const DIRECTORY: u32 = 0o040_755;

/// An archive, made by another implementation of the format.
fn archive(entries: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for &(name, mode, content) in entries {
        let len = u32::try_from(content.len()).expect("small");
        let mut entry = cpio::newc::Builder::new(name).mode(mode).write(&mut out, len);
        entry.write_all(content).expect("memory");
        entry.finish().expect("memory");
    }
    cpio::newc::trailer(out).expect("memory")
}

fn microcode() -> Vec<u8> {
    let mut early =
        archive(&[("early_cpio", FILE, b"1\n"), ("kernel/x86/microcode/GenuineIntel.bin", FILE, &[0xa5; 3001])]);
    early.resize(early.len().next_multiple_of(512), 0);
    early
}

fn main_archive() -> Vec<u8> {
    archive(&[
        ("usr/lib/modules/6.1.0-1/kernel/drivers/ata", DIRECTORY, b""),
        ("usr/lib/modules/6.1.0-1/kernel/drivers/ata/ahci.ko", FILE, &[7; 5]),
        ("usr/lib/modules/6.1.0-1/kernel/virtio-blk.ko.xz", FILE, &[7; 4099]),
        ("lib/modules/6.1.0-1/weak-updates/scsi_ep_front.ko", LINK, b"/lib/modules/6.1.0-0/extra/scsi_ep_front.ko"),
        ("lib/modules/6.1.0-1/modules.dep", FILE, b"kernel/other.ko:"),
        ("etc/dir.ko", DIRECTORY, b""),
    ])
}

fn expected() -> BTreeMap<String, String> {
    let pair = |(name, entry): (&str, &str)| (name.to_owned(), entry.to_owned());
    [
        ("ahci", "usr/lib/modules/6.1.0-1/kernel/drivers/ata/ahci.ko"),
        ("virtio_blk", "usr/lib/modules/6.1.0-1/kernel/virtio-blk.ko.xz"),
        ("scsi_ep_front", "lib/modules/6.1.0-1/weak-updates/scsi_ep_front.ko"),
    ]
    .map(pair)
    .into()
}

fn read(bytes: &[u8]) -> Result<BTreeMap<String, String>, InitramfsError> {
    modules(bytes, &Cell::new(64 << 20))
}

#[test]
fn modules_are_found_behind_microcode_in_every_compression() {
    assert_eq!(read(&main_archive()).expect("plain"), expected());
    for compression in ALL {
        let packed = pack(compression, &main_archive());
        assert_eq!(read(&packed).expect("alone"), expected(), "{compression:?} alone");
        let both = [microcode(), packed].concat();
        assert_eq!(read(&both).expect("behind microcode"), expected(), "{compression:?} behind microcode");
    }
}

#[test]
fn modules_of_all_segments_count() {
    let first = archive(&[("lib/modules/1/a.ko", FILE, b"a")]);
    let second = archive(&[("lib/modules/1/b.ko.zst", FILE, b"b")]);
    let third = archive(&[("lib/modules/1/c.ko.gz", FILE, b"c")]);
    let gzip = pack(Compression::Gzip, &[second, vec![0; 100], third].concat());
    let zstd = pack(Compression::Zstd, &main_archive());
    let all = read(&[microcode(), first, vec![0; 36], gzip, vec![0; 7], zstd, vec![0; 512]].concat()).expect("reads");
    let names: Vec<&str> = all.keys().map(String::as_str).collect();
    assert_eq!(names, ["a", "ahci", "b", "c", "scsi_ep_front", "virtio_blk"]);
}

#[test]
fn names_that_are_filled_up_with_zeroes_are_read() {
    // As dracut-cpio writes them, so that contents begin at a block: 110 + 3986 = 4096.
    let name = b"lib/modules/1/a.ko";
    let numbers: [u32; 13] = [1, FILE, 0, 0, 1, 0, 4, 0, 0, 0, 0, 3986, 0];
    let mut padded = b"070702".to_vec();
    padded.extend(numbers.iter().flat_map(|number| format!("{number:08x}").into_bytes()));
    padded.extend(name);
    padded.resize(4096, 0);
    padded.extend(b"body");
    padded.extend(archive(&[("lib/modules/1/b.ko", FILE, b"b")]));
    assert_eq!(read(&padded).expect("reads").into_keys().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn what_cannot_be_read_to_its_end_is_an_error() {
    let whole = main_archive();
    let gzip = pack(Compression::Gzip, &whole);
    let lzo = b"\x89LZO\x00\x0d\x0a\x1a\x0a rest".as_slice();
    let lz4 = b"\x04\x22\x4d\x18\x64\x40\xa7 rest".as_slice();
    for bytes in [b"".as_slice(), &[0; 600], b"short", b"no initramfs", b"070707old", lzo, lz4, &whole[..300]] {
        read(bytes).expect_err("no whole initramfs");
    }
    read(&gzip[..gzip.len() / 2]).expect_err("cut off");
    read(&[gzip.as_slice(), b"junk at its end"].concat()).expect_err("junk");
    read(&pack(Compression::Gzip, &gzip)).expect_err("packed twice, which no kernel unpacks");
    assert!(read(lzo).expect_err("lzo").source_text().contains("lzo"));
}

impl InitramfsError {
    fn source_text(&self) -> String {
        crate::text::chain(self)
    }
}

#[test]
fn a_bomb_ends_at_the_budget() {
    let bomb = pack(
        Compression::Gzip,
        &[b"070701".as_slice(), &[b'0'; 48], b"ffffffff", &[b'0'; 48], &vec![0; 8 << 20]].concat(),
    );
    let budget = Cell::new(1 << 20);
    let error = modules(bomb.as_slice(), &budget).expect_err("a bomb");
    assert!(matches!(error, InitramfsError::Limit { what: "bytes", limit: 1_048_576 }), "{error}");
    assert_eq!(budget.get(), 0);
}

#[test]
fn what_is_read_and_what_is_unpacked_both_count() {
    let plain = main_archive();
    let packed = pack(Compression::Zstd, &plain);
    for (bytes, used) in [(plain.clone(), plain.len()), (packed.clone(), packed.len() + plain.len())] {
        let budget = Cell::new(1 << 20);
        modules(bytes.as_slice(), &budget).expect("reads");
        assert_eq!((1 << 20) - budget.get(), used as u64);
        modules(bytes.as_slice(), &Cell::new(used as u64 - 1)).expect_err("a byte short");
    }
}

#[test]
fn a_list_without_end_ends_at_the_limit() {
    let one = archive(&[("x", FILE, b"")]);
    let one = &one[..one.len() - 124];
    let many = one.repeat(usize::try_from(MAX_ENTRIES).expect("small") + 1);
    let error = read(&many).expect_err("too many");
    assert!(matches!(error, InitramfsError::Limit { what: "entries", limit: MAX_ENTRIES }), "{error}");
    read(&one.repeat(1000)).expect("without a last entry");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        read(&bytes).ok();
        read(&[b"070701".as_slice(), &bytes].concat()).ok();
    }

    #[test]
    fn changed_bytes_are_read_without_a_panic(
        compression in 0..ALL.len() + 1,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let plain = main_archive();
        let main = ALL.get(compression).map_or(plain.clone(), |&compression| pack(compression, &plain));
        let mut bytes = [microcode(), main].concat();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        read(&bytes).ok();
    }
}
