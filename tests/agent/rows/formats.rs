//! Rows 93 to 112: files in formats that the daemon does not read, frames that are no frames, and partition tables that a
//! stranger left on a disk.
//!
//! The daemon converts nothing: what is no raw content is refused by its first bytes. What `bmsctl` makes of such files
//! when it imports them is tried where it is done.

use std::time::{Duration, Instant};

use bms_agent::rpc::proto::v1::push_image_request::Message;
use bms_agent::rpc::proto::v1::{
    Compression, DiskSelector, Encoding, GroupOffer, HttpImage, ImageSpec, InspectDiskRequest, image_source,
};
use prost::Message as _;
use tonic::Code;

use super::messages::{INSPECT_DISK, PLAN, plan};
use super::{Rows, Then, former, install, push, refused};
use crate::support::client::{begin, data};
use crate::support::liar::{Liar, Lie};
use crate::support::{Image, LoopDisk, MIB, Seed};

const FORMAT: (Code, &str) = (Code::FailedPrecondition, "SOURCE_FORMAT");
const DAMAGED: (Code, &str) = (Code::DataLoss, "SOURCE_DAMAGED");
/// How long a look at a table may take, with all other disks.
const SOON: Duration = Duration::from_secs(5);
/// How long an install may take that ends with a frame that is none.
const FRAME_WITHIN: Duration = Duration::from_secs(60);

/// A qcow2 image of 1 GiB as far as its header tells.
fn qcow2(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut head = vec![0; 112];
    head[..8].copy_from_slice(b"QFI\xfb\0\0\0\x03");
    head[20..24].copy_from_slice(&16_u32.to_be_bytes());
    head[24..32].copy_from_slice(&(1_u64 << 30).to_be_bytes());
    head[100..104].copy_from_slice(&112_u32.to_be_bytes());
    change(&mut head);
    head
}

/// Heads of files that are no raw content.
fn foreign() -> Vec<(&'static str, &'static str, Vec<u8>)> {
    let at = |offset: usize, mark: &[u8]| [vec![0; offset], mark.to_vec()].concat();
    let put =
        |at: usize, bytes: &'static [u8]| move |head: &mut Vec<u8>| head[at..at + bytes.len()].copy_from_slice(bytes);
    let descriptor = b"# Disk DescriptorFile\nversion=1\nRW 2048 FLAT \"/etc/passwd\" 0\n";
    vec![
        ("93: qcow2", "qcow2", qcow2(|_| {})),
        ("93: VMDK", "vmdk", at(0, b"KDMV\x01\0\0\0")),
        ("93: VHDX", "vhdx", at(0, b"vhdxfile")),
        ("93: VHD", "vhd", at(0, b"conectix")),
        ("93: VDI", "vdi", at(0x40, b"\x7f\x10\xda\xbe")),
        ("93: QED", "qed", at(0, b"QED\0")),
        ("93: LUKS", "luks", at(0, b"LUKS\xba\xbe\0\x01")),
        ("94: a backing file", "backing", qcow2(put(8, b"\0\0\0\0\0\0\0\x70\0\0\0\x0b"))),
        ("95: a data file", "datafile", qcow2(put(72, b"\0\0\0\0\0\0\0\x04"))),
        ("96: a bit that nobody knows", "bit", qcow2(put(72, b"\x80\0\0\0\0\0\0\0"))),
        ("96: version 1", "v1", qcow2(put(4, b"\0\0\0\x01"))),
        ("96: version 4", "v4", qcow2(put(4, b"\0\0\0\x04"))),
        ("97: an L1 table of 32 GiB", "l1", qcow2(put(36, b"\xff\xff\xff\xff"))),
        ("97: refcounts of 2^63 bits", "refcount", qcow2(put(96, b"\0\0\0\x3f"))),
        ("97: clusters of 2^63 bytes", "cluster", qcow2(put(20, b"\0\0\0\x3f"))),
        (
            "98: qcow2 and ISO 9660",
            "polyglot",
            [qcow2(|_| {}), vec![0; 32_768 - 112], b"\x01CD001\x01".to_vec()].concat(),
        ),
        ("99: a VMDK that is another file", "descriptor", descriptor.to_vec()),
        ("105: bzip2", "bz2", at(0, b"BZh91AY&SY")),
        ("105: lz4", "lz4", at(0, b"\x04\x22\x4d\x18")),
        ("105: zip", "zip", at(0, b"PK\x03\x04")),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn files_in_formats_that_are_not_read_are_refused_unless_somebody_says_that_they_are_raw() {
    let padded = |mut head: Vec<u8>| {
        head.resize(1 << 20, 0);
        head
    };
    let iso = || padded([vec![0; 32_768], b"\x01CD001\x01".to_vec()].concat());
    let files = foreign().into_iter().map(|(_, name, head)| (name, Lie::File(padded(head))));
    let liar = Liar::serve(files.chain([("iso", Lie::File(iso()))]));
    let rows = Rows::start(&format!("allowed_urls = [{:?}]", liar.url()));
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let source = |name: &str, content: &[u8], compression: Compression| {
        image_source::Source::Http(HttpImage {
            url: format!("{}{name}", liar.url()),
            size_bytes: MIB,
            root: blake3::hash(content).as_bytes().to_vec(),
            compression: compression.into(),
            ..HttpImage::default()
        })
    };
    for (row, name, head) in foreign() {
        let content = padded(head);
        let before = disk.hash_all();
        let untold = install(&client, &disk, source(name, &content, Compression::Unspecified)).await;
        assert_eq!(refused(&untold), FORMAT, "{row}");
        let wrong = install(&client, &disk, source(name, &content, Compression::Zstd)).await;
        assert_eq!(refused(&wrong), FORMAT, "{row}: as zstd");
        assert_eq!(disk.hash_all(), before, "{row}: nothing was written");
        rows.after(row).await;
    }
    let content = padded(qcow2(|_| {}));
    for (row, name, content, compression) in [
        ("93: qcow2 that is raw, as somebody says", "qcow2", content, Compression::None),
        ("93: ISO 9660, which disks may begin as", "iso", iso(), Compression::Unspecified),
    ] {
        install(&client, &disk, source(name, &content, compression)).await.expect(row);
        assert_eq!(disk.hash(MIB), blake3::hash(&content).to_string(), "{row}");
    }
}

/// A frame of zstd: the descriptor and what follows it, then blocks.
fn frame(head: &[u8], blocks: &[u8]) -> Vec<u8> {
    [b"\x28\xb5\x2f\xfd", head, blocks].concat()
}

/// Blocks of one byte, again and again.
fn runs(count: u32, each: u32) -> Vec<u8> {
    let block = |number: u32| {
        let header = u32::from(number + 1 == count) | 1 << 1 | each << 3;
        [&header.to_le_bytes()[..3], &[7]].concat()
    };
    (0..count).flat_map(block).collect()
}

/// A row, the name of a file, the file, and what an install of it is told.
type Frame = (&'static str, &'static str, Vec<u8>, (Code, &'static str));

/// What is no frame of `content`, and what an install from a URL is told.
fn frames(content: &[u8]) -> Vec<Frame> {
    let length = (Code::DataLoss, "SOURCE_LENGTH");
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 1).expect("encoder");
    encoder.include_checksum(true).expect("checksum");
    std::io::Write::write_all(&mut encoder, content).expect("written");
    let right = encoder.finish().expect("finished");
    let mut broken = right.clone();
    *broken.last_mut().expect("some") ^= 1;
    let half = right[..right.len() / 2].to_vec();
    let skippable = |len: u32| [&[0x50, 0x2a, 0x4d, 0x18], &len.to_le_bytes()[..]].concat();
    vec![
        // 128 KiB a block, in a window of as much.
        ("101: 10 GiB out of 320 KiB", "bomb", frame(&[0, 0x38], &runs(81_920, 128 << 10)), length),
        ("102: a window of 2 GiB", "window", frame(&[0, 21 << 3], &runs(1, 1 << 10)), FORMAT),
        ("102: a window of 3.75 TiB", "widest", frame(&[0, 0xff], &runs(1, 1 << 10)), FORMAT),
        ("103: a dictionary", "dictionary", frame(&[1, 0x38, 9], &runs(8, 128 << 10)), FORMAT),
        ("103: a frame to skip that is not there", "skip", [right.clone(), skippable(u32::MAX)].concat(), DAMAGED),
        ("103: bytes behind the last frame", "garbage", [right.as_slice(), b"garbage"].concat(), DAMAGED),
        ("103: another frame behind the last", "twice", [right.as_slice(), &right].concat(), length),
        ("104: half a frame", "half", half, DAMAGED),
        ("104: a frame without its last byte", "cut", right[..right.len() - 1].to_vec(), DAMAGED),
        ("104: a checksum that is wrong", "checksum", broken, DAMAGED),
        ("104: a block of a kind that there is not", "kind", frame(&[0, 0x38], &[7, 0, 0]), DAMAGED),
    ]
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn frames_that_are_none_or_too_much_end_an_install() {
    let image = Image::dense(MIB, &mut Seed::quiet(113));
    let all = frames(&image.bytes);
    let right = zstd::encode_all(image.bytes.as_slice(), 1).expect("a frame");
    let files = all.iter().map(|(_, name, bytes, _)| (*name, Lie::File(bytes.clone())));
    let liar = Liar::serve(files.chain([("right", Lie::File(right))]));
    let rows = Rows::start(&format!("allowed_urls = [{:?}]", liar.url()));
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let source = |name: &str| {
        image_source::Source::Http(HttpImage {
            url: format!("{}{name}", liar.url()),
            size_bytes: MIB,
            root: blake3::hash(&image.bytes).as_bytes().to_vec(),
            compression: Compression::Zstd.into(),
            ..HttpImage::default()
        })
    };
    install(&client, &disk, source("right")).await.expect("as it should be");
    client.disk(&disk).await;
    rows.secure.rests();
    for (row, name, bytes, expected) in all {
        disk.write(0, &former());
        let begin_time = Instant::now();
        let result = install(&client, &disk, source(name)).await;
        assert_eq!(refused(&result), expected, "{row}, from a URL");
        assert!(begin_time.elapsed() < FRAME_WITHIN, "{row}");
        // A push has frames of whole groups, here of all sixteen.
        let values = image.offers().into_iter().flat_map(|offer| offer.chaining_values).collect();
        let offer = GroupOffer { first_group: 0, group_count: 16, chaining_values: values };
        let mut part = data(&image, 0);
        (part.group_count, part.encoding, part.payload) = (16, Encoding::Zstd.into(), bytes.into());
        // A run is looked at when it is whole, or when another one begins.
        let messages = [Message::Offer(offer), Message::Data(part), Message::Data(data(&image, 3))];
        let result = push(&client, begin(&image, &disk), messages.to_vec(), Then::Stays).await;
        assert_eq!(refused(&result), (Code::InvalidArgument, "GROUP_DATA_MALFORMED"), "{row}, pushed");
        let touched = client.disk(&disk).await.interrupted_install.is_some();
        assert!(touched && !disk.is_bootable(), "{row}");
        rows.after(row).await;
    }
}

/// First byte of the header of a GPT, and of its entries.
const HEADER: usize = 512;
const ENTRIES: usize = 1024;
const ENTRY: usize = 128;

/// Makes the checksums of the first table right.
fn seal(disk: &mut [u8]) {
    let entries = crc32fast::hash(&disk[ENTRIES..ENTRIES + 128 * ENTRY]);
    disk[HEADER + 88..HEADER + 92].copy_from_slice(&entries.to_le_bytes());
    disk[HEADER + 16..HEADER + 20].fill(0);
    let header = crc32fast::hash(&disk[HEADER..HEADER + 92]);
    disk[HEADER + 16..HEADER + 20].copy_from_slice(&header.to_le_bytes());
}

/// What is left on a disk, and which table the agent sees: its kind, and how many partitions.
fn tables() -> Vec<(&'static str, Vec<u8>, (&'static str, usize))> {
    let gpt = Image::new(8 * MIB, &mut Seed::quiet(115)).bytes;
    let backup = gpt.len() - 512;
    let changed = |change: &dyn Fn(&mut [u8])| {
        let mut disk = gpt.clone();
        change(&mut disk);
        disk
    };
    // With its first table alone, sealed after a change.
    let sealed = |at: usize, bytes: &[u8]| {
        changed(&|disk| {
            disk[at..at + bytes.len()].copy_from_slice(bytes);
            disk[backup..].fill(0);
            seal(disk);
        })
    };
    let lba = |number: u64| number.to_le_bytes();
    let (entry, second) = (ENTRIES, ENTRIES + ENTRY);
    // Each record of the chain is 1 MiB after the one before, and the second points back to the first.
    let chain = changed(&|disk| {
        disk.fill(0);
        put_record(disk, 0, [0x05, 2048, 8192]);
        put_record(disk, 2048 * 512, [0x05, 0, 8192]);
    });
    vec![
        ("100: a GPT behind another MBR", changed(&|disk| put_record(disk, 0, [0x83, 2048, 4096])), ("mbr", 1)),
        ("100: a GPT without an MBR", changed(&|disk| disk[..512].fill(0)), ("", 0)),
        ("106: the first header is damaged", changed(&|disk| disk[HEADER + 16] ^= 1), ("gpt", 2)),
        ("106: the first entries are damaged", changed(&|disk| disk[ENTRIES] ^= 1), ("gpt", 2)),
        (
            "107: both headers are damaged",
            changed(&|disk| {
                disk[HEADER + 16] ^= 1;
                disk[backup + 16] ^= 1;
            }),
            ("", 0),
        ),
        ("108: 2^32 - 1 entries", sealed(HEADER + 80, &u32::MAX.to_le_bytes()), ("", 0)),
        ("108: entries of 0 bytes", sealed(HEADER + 84, &0_u32.to_le_bytes()), ("", 0)),
        ("108: entries of 1 byte", sealed(HEADER + 84, &1_u32.to_le_bytes()), ("", 0)),
        ("108: entries of 2^31 bytes", sealed(HEADER + 84, &(1_u32 << 31).to_le_bytes()), ("", 0)),
        ("108: a header of 2^32 - 1 bytes", sealed(HEADER + 12, &u32::MAX.to_le_bytes()), ("", 0)),
        ("108: entries behind the disk", sealed(HEADER + 72, &lba(u64::MAX)), ("", 0)),
        ("109: partitions that overlap", sealed(second + 32, &lba(2048)), ("gpt", 2)),
        ("109: a partition that ends before it begins", sealed(entry + 40, &lba(1)), ("gpt", 1)),
        ("109: a partition that ends behind the disk", sealed(entry + 40, &lba(1 << 40)), ("gpt", 1)),
        ("109: a partition that ends at 2^64 - 1", sealed(entry + 40, &lba(u64::MAX)), ("gpt", 1)),
        ("110: extended partitions in a ring", chain, ("mbr", 1)),
        (
            "111: half a surrogate, and the end of a line",
            sealed(entry + 56, b"\x00\xd8\x0a\x00\x1b\x00\x2e\x20"),
            ("gpt", 2),
        ),
    ]
}

/// An MBR with one entry: type, first sector, sectors.
fn put_record(disk: &mut [u8], at: usize, [kind, first, count]: [u32; 3]) {
    let record = &mut disk[at..at + 512];
    record[446..510].fill(0);
    record[450] = u8::try_from(kind).expect("a type");
    record[454..458].copy_from_slice(&first.to_le_bytes());
    record[458..462].copy_from_slice(&count.to_le_bytes());
    record[510..].copy_from_slice(&[0x55, 0xaa]);
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn whatever_table_a_disk_has_it_is_listed_looked_into_and_may_be_overwritten() {
    let rows = Rows::start("");
    let (client, disk) = (rows.client("operator").await, LoopDisk::new(8 * MIB));
    let look = InspectDiskRequest { disk: Some(disk.wire_selector()), profile: None }.encode_to_vec();
    client.ask(INSPECT_DISK, look.clone()).await.expect("a look");
    rows.secure.rests();
    for (row, content, (kind, partitions)) in tables() {
        disk.write(0, &content);
        let begin = Instant::now();
        let listed = client.disk(&disk).await;
        assert!(begin.elapsed() < SOON, "{row}: {:?}", begin.elapsed());
        assert_eq!((listed.partition_table.as_str(), listed.partitions.len()), (kind, partitions), "{row}");
        for partition in &listed.partitions {
            assert!(partition.offset_bytes + partition.size_bytes <= 8 * MIB, "{row}: {partition:?}");
            assert!(!partition.label.contains(|c: char| c.is_control() || c == '\u{202e}'), "{row}: {partition:?}");
        }
        client.ask(INSPECT_DISK, look.clone()).await.unwrap_or_else(|told| panic!("{row}: {told:?}"));
        client.ask(PLAN, plan(disk.wire_selector()).encode_to_vec()).await.expect(row);
        assert!(disk.read_all() == content, "{row}: looked at, and not mended");
        rows.after(row).await;
    }
    let spec = ImageSpec { size_bytes: MIB, logical_block_size_bytes: 4096, ..ImageSpec::default() };
    let request = bms_agent::rpc::proto::v1::PlanInstallRequest { image: Some(spec), ..plan(disk.wire_selector()) };
    let told = client.refusal(PLAN, request.encode_to_vec()).await;
    assert_eq!(
        told.what(),
        (Code::FailedPrecondition, "BLOCK_SIZE_MISMATCH"),
        "112: an image for blocks of 4096 bytes"
    );
    let by_size = DiskSelector { logical_block_size_bytes: Some(4096), ..disk.wire_selector() };
    let told = client.refusal(PLAN, plan(by_size).encode_to_vec()).await;
    assert_eq!(told.what(), (Code::NotFound, "DISK_NOT_FOUND"), "112: a disk with blocks of 4096 bytes");
    rows.after("112").await;
}
