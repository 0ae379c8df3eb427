//! Partition tables made by others, made by hand, and made of noise.

use std::fs::File;
use std::io::Cursor;
use std::process::Command;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, proptest};
use proptest::{prop_assert, sample};

use super::{MAX_PARTITIONS, Partition, PartitionTable, TableError, TableKind, is_bootable, read};
use crate::reason::{DomainError as _, Reason};

const LINUX_GUID: &str = "0fc63daf-8483-4772-8e79-3d69d8477de4";
const LINUX_GUID_BYTES: [u8; 16] = *b"\xaf\x3d\xc6\x0f\x83\x84\x72\x47\x8e\x79\x3d\x69\xd8\x47\x7d\xe4";
const DISK_BYTES: usize = 4 << 20;

fn read_bytes(disk: &[u8], block_size: u32) -> PartitionTable {
    read(&mut Cursor::new(disk), disk.len() as u64, block_size).expect("readable")
}

fn bootable(disk: &[u8], block_size: u32) -> bool {
    is_bootable(&mut Cursor::new(disk), disk.len() as u64, block_size).expect("readable")
}

/// A disk with a GPT that another implementation wrote: three partitions, numbers 1, 2 and 128.
fn gpt_disk(block_size: u32) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; DISK_BYTES]);
    let mut gpt = gptman::GPT::new_from(&mut disk, u64::from(block_size), [7; 16]).expect("GPT");
    for (number, (first, last, name)) in
        [(1, (64, 99, "EFI System")), (2, (100, 199, "r\u{1b}[2Jt")), (128, (200, 200, ""))]
    {
        gpt[number] = gptman::GPTPartitionEntry {
            partition_type_guid: LINUX_GUID_BYTES,
            unique_partition_guid: [
                0,
                1,
                2,
                3,
                4,
                5,
                6,
                7,
                8,
                9,
                10,
                11,
                12,
                13,
                14,
                u8::try_from(number).expect("small"),
            ],
            starting_lba: first,
            ending_lba: last,
            attribute_bits: 0,
            partition_name: name.into(),
        };
    }
    gpt.write_into(&mut disk).expect("write");
    gptman::GPT::write_protective_mbr_into(&mut disk, u64::from(block_size)).expect("write");
    disk.into_inner()
}

/// Puts an entry into a boot record.
fn set_entry(disk: &mut [u8], record: usize, slot: usize, (type_id, start, blocks): (u8, u32, u32)) {
    let entry = record + 446 + slot * 16;
    disk[entry + 4] = type_id;
    disk[entry + 8..entry + 12].copy_from_slice(&start.to_le_bytes());
    disk[entry + 12..entry + 16].copy_from_slice(&blocks.to_le_bytes());
    disk[record + 510..record + 512].copy_from_slice(&[0x55, 0xaa]);
}

/// Makes the checksums of the header at `header`, with its entries at `entries`, right again.
fn reseal(disk: &mut [u8], header: usize, entries: std::ops::Range<usize>) {
    let mut crc = flate2::Crc::new();
    crc.update(&disk[entries]);
    disk[header + 88..header + 92].copy_from_slice(&crc.sum().to_le_bytes());
    disk[header + 16..header + 20].fill(0);
    let mut crc = flate2::Crc::new();
    crc.update(&disk[header..header + 92]);
    disk[header + 16..header + 20].copy_from_slice(&crc.sum().to_le_bytes());
}

#[test]
fn a_gpt_is_read_with_either_block_size() {
    for block_size in [512, 4096] {
        let disk = gpt_disk(block_size);
        let table = read_bytes(&disk, block_size);
        let bytes = u64::from(block_size);
        let partition = |number, first: u64, blocks: u64, label: &str| Partition {
            number,
            offset_bytes: first * bytes,
            size_bytes: blocks * bytes,
            label: label.to_owned(),
            type_id: LINUX_GUID.to_owned(),
            part_uuid: format!("03020100-0504-0706-0809-0a0b0c0d0e{number:02x}"),
        };
        assert_eq!(table.kind, TableKind::Gpt);
        assert_eq!(
            table.partitions,
            [partition(1, 64, 36, "EFI System"), partition(2, 100, 100, "r\\u{1b}[2Jt"), partition(128, 200, 1, "")]
        );
        assert!(bootable(&disk, block_size));
        assert_eq!(read_bytes(&disk, 512 + 4096 - block_size), PartitionTable::NONE, "the other block size");
    }
}

#[test]
fn the_backup_serves_when_the_first_table_is_damaged() {
    for block_size in [512, 4096] {
        let header = usize::try_from(block_size).expect("small");
        let whole = gpt_disk(block_size);
        for damaged in [header, header + 8, header + 16, header + 72, header + 88, 2 * header, 2 * header + 128 * 127] {
            let mut disk = whole.clone();
            disk[damaged] ^= 1;
            assert_eq!(read_bytes(&disk, block_size), read_bytes(&whole, block_size), "byte {damaged}");
            let backup = disk.len() - header;
            disk[backup + 16] ^= 1;
            assert_eq!(read_bytes(&disk, block_size), PartitionTable::NONE, "byte {damaged}, and the backup");
        }
    }
}

#[test]
fn a_gpt_without_its_protective_record_is_no_table() {
    let mut disk = gpt_disk(512);
    disk[450] = 0x83;
    let table = read_bytes(&disk, 512);
    assert_eq!(table.kind, TableKind::Mbr);
    disk[..512].fill(0);
    assert_eq!(read_bytes(&disk, 512), PartitionTable::NONE);
    assert!(!bootable(&disk, 512));
}

#[test]
fn a_disk_without_its_boot_region_is_not_bootable() {
    for block_size in [512, 4096] {
        let mut disk = gpt_disk(block_size);
        disk[..1 << 20].fill(0);
        disk[(3 << 20)..].fill(0);
        assert!(!bootable(&disk, block_size));
    }
}

#[test]
fn a_boot_signature_alone_is_bootable_but_no_table() {
    let mut disk = vec![0; DISK_BYTES];
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    assert_eq!(read_bytes(&disk, 512), PartitionTable::NONE);
    assert!(bootable(&disk, 512));
    disk[446] = 0x41;
    set_entry(&mut disk, 0, 1, (0x83, 8, 8));
    assert_eq!(read_bytes(&disk, 512), PartitionTable::NONE, "code where the boot indicators would be");
}

#[test]
fn gpt_headers_with_impossible_numbers_are_no_table() {
    let sealed = |offset: usize, value: &[u8]| {
        let mut disk = gpt_disk(512);
        disk[DISK_BYTES - 512..].fill(0);
        disk[512 + offset..512 + offset + value.len()].copy_from_slice(value);
        reseal(&mut disk, 512, 1024..1024 + 16384);
        read_bytes(&disk, 512).kind
    };
    assert_eq!(sealed(56, &[9; 16]), TableKind::Gpt, "another disk GUID, resealed");
    for (what, offset, value) in [
        ("entries of size 0", 84, 0_u32),
        ("entries of size 1", 84, 1),
        ("entries of 129 bytes", 84, 129),
        ("entries of 2 GiB", 84, 1 << 31),
        ("no entries", 80, 0),
        ("2^32 entries", 80, u32::MAX),
        ("16385 entries", 80, 16385),
        ("entries beyond the disk", 76, u32::MAX),
        ("usable blocks beyond the disk", 52, 1),
        ("header of 91 bytes", 12, 91),
        ("header of 4 GiB", 12, u32::MAX),
        ("another revision", 8, 0x0002_0000),
        ("header of another place", 24, 2),
    ] {
        assert_eq!(sealed(offset, &value.to_le_bytes()), TableKind::None, "{what}");
    }
}

#[test]
fn gpt_entries_that_do_not_lie_on_the_disk_are_left_out() {
    let mut disk = gpt_disk(512);
    for (entry, first, last) in [(0, 200_u64, 100_u64), (1, 64, u64::MAX), (2, 0, u64::MAX), (3, u64::MAX, u64::MAX)] {
        let at = 1024 + entry * 128;
        disk[at..at + 16].copy_from_slice(&LINUX_GUID_BYTES);
        disk[at + 32..at + 40].copy_from_slice(&first.to_le_bytes());
        disk[at + 40..at + 48].copy_from_slice(&last.to_le_bytes());
    }
    reseal(&mut disk, 512, 1024..1024 + 16384);
    let numbers: Vec<u32> = read_bytes(&disk, 512).partitions.iter().map(|partition| partition.number).collect();
    assert_eq!(numbers, [128]);
}

#[test]
fn large_gpt_entries_are_read_and_many_are_cut() {
    // 16384 entries, all used: 2 MiB from block 2 on.
    let mut disk = gpt_disk(512);
    let entries = 1024..1024 + (2 << 20);
    for entry in disk[entries.clone()].chunks_exact_mut(128) {
        entry[..16].copy_from_slice(&LINUX_GUID_BYTES);
        entry[32..40].copy_from_slice(&5000_u64.to_le_bytes());
        entry[40..48].copy_from_slice(&5000_u64.to_le_bytes());
    }
    disk[512 + 80..512 + 84].copy_from_slice(&16384_u32.to_le_bytes());
    reseal(&mut disk, 512, entries.clone());
    let table = read_bytes(&disk, 512);
    assert_eq!((table.kind, table.partitions.len()), (TableKind::Gpt, MAX_PARTITIONS));

    disk[512 + 80..512 + 88].copy_from_slice(&[&512_u32.to_le_bytes()[..], &4096_u32.to_le_bytes()].concat());
    reseal(&mut disk, 512, entries);
    assert_eq!(read_bytes(&disk, 512).partitions.len(), MAX_PARTITIONS);
}

#[test]
fn an_mbr_is_read_with_its_logical_partitions() {
    for block_size in [512_u32, 4096] {
        let bytes = usize::try_from(block_size).expect("small");
        let mut disk = vec![0; DISK_BYTES];
        set_entry(&mut disk, 0, 0, (0x83, 16, 100));
        set_entry(&mut disk, 0, 2, (0x05, 200, 400));
        set_entry(&mut disk, 0, 3, (0x82, 700, u32::MAX));
        set_entry(&mut disk, 200 * bytes, 0, (0x83, 8, 50));
        set_entry(&mut disk, 200 * bytes, 1, (0x05, 100, 100));
        set_entry(&mut disk, 300 * bytes, 1, (0x05, 150, 50));
        set_entry(&mut disk, 350 * bytes, 0, (0x8e, 8, 20));
        disk[440..444].copy_from_slice(&0x0bad_cafe_u32.to_le_bytes());
        let table = read_bytes(&disk, block_size);
        let part_uuids: Vec<_> = table.partitions.iter().map(|p| p.part_uuid.as_str()).collect();
        assert_eq!(part_uuids, ["0badcafe-01", "0badcafe-03", "0badcafe-04", "0badcafe-05", "0badcafe-06"]);
        let seen: Vec<_> = table
            .partitions
            .iter()
            .map(|p| {
                (p.number, p.offset_bytes / u64::from(block_size), p.size_bytes / u64::from(block_size), &*p.type_id)
            })
            .collect();
        let to_the_end = DISK_BYTES as u64 / u64::from(block_size) - 700;
        assert_eq!(table.kind, TableKind::Mbr);
        assert_eq!(
            seen,
            [
                (1, 16, 100, "0x83"),
                (3, 200, 400, "0x05"),
                (4, 700, to_the_end, "0x82"),
                (5, 208, 50, "0x83"),
                (6, 358, 20, "0x8e"),
            ]
        );
    }
}

#[test]
fn a_loop_of_extended_records_ends() {
    let mut disk = vec![0; DISK_BYTES];
    set_entry(&mut disk, 0, 0, (0x0f, 100, 1000));
    for (record, link) in [(100, 50), (150, 70), (170, 50)] {
        set_entry(&mut disk, record * 512, 0, (0x83, 1, 2));
        set_entry(&mut disk, record * 512, 1, (0x05, link, 10));
    }
    assert_eq!(read_bytes(&disk, 512).partitions.len(), 4);
}

#[test]
fn a_long_chain_of_extended_records_is_cut() {
    let mut disk = vec![0; DISK_BYTES];
    set_entry(&mut disk, 0, 0, (0x0f, 100, 8000));
    for record in 0..1000_u32 {
        let at = (100 + record as usize * 2) * 512;
        set_entry(&mut disk, at, 0, (0x83, 1, 1));
        set_entry(&mut disk, at, 1, (0x05, (record + 1) * 2, 2));
    }
    let partitions = read_bytes(&disk, 512).partitions;
    assert_eq!(partitions.len(), 1 + MAX_PARTITIONS - 4);
}

#[test]
fn tables_of_sgdisk_are_read() {
    let dir = tempfile::tempdir().expect("tempdir");
    let path = dir.path().join("disk");
    File::create(&path).expect("create").set_len(64 << 20).expect("length");
    let sgdisk = |arguments: &[&str]| {
        let output = Command::new("sgdisk").args(arguments).arg(&path).output().expect("sgdisk, of the package gdisk");
        assert!(output.status.success(), "{output:?}");
    };
    let table = || read(&mut File::open(&path).expect("open"), 64 << 20, 512).expect("readable");
    sgdisk(&["-n1:2048:+8M", "-t1:ef00", "-c1:EFI", "-n2:0:0", "-t2:8300", "-c2:größe 容量"]);
    let gpt = table();
    assert_eq!(gpt.kind, TableKind::Gpt);
    let [esp, root] = gpt.partitions.as_slice() else { panic!("{gpt:?}") };
    assert_eq!((esp.number, esp.offset_bytes, esp.size_bytes), (1, 1 << 20, 8 << 20));
    assert_eq!((&*esp.label, &*esp.type_id), ("EFI", "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"));
    assert_eq!((root.number, root.offset_bytes, &*root.label), (2, 9 << 20, "größe 容量"));

    sgdisk(&["-m1:2"]);
    let mbr = table();
    assert_eq!(mbr.kind, TableKind::Mbr);
    assert_eq!(mbr.partitions.iter().map(|p| &*p.type_id).collect::<Vec<_>>(), ["0xef", "0x83"]);
    assert_eq!(mbr.partitions[1].offset_bytes, 9 << 20);
}

#[test]
fn a_disk_that_gives_fewer_bytes_than_it_has_is_an_error() {
    let disk = gpt_disk(512);
    let error = read(&mut Cursor::new(&disk[..600]), DISK_BYTES as u64, 512).expect_err("short");
    assert!(matches!(error, TableError::Unreadable { offset_bytes: 512, .. }), "{error}");
    assert_eq!(error.reason(), Reason::DiskIo);
    for bytes in [0, 1, 500, 1000, 1 << 17] {
        assert!(matches!(read(&mut Cursor::new(&disk), 1, bytes), Err(TableError::BlockSizeInvalid { .. })));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_cut_disk_has_a_table_or_none_but_no_panic(len in 0..DISK_BYTES, block_size in sample::select(vec![512_u32, 4096])) {
        let disk = gpt_disk(block_size);
        let table = read_bytes(&disk[..len], block_size);
        prop_assert!(table.partitions.iter().all(|p| p.offset_bytes + p.size_bytes <= len as u64));
    }

    #[test]
    fn damaged_tables_never_reach_beyond_the_disk(
        damage in vec((0..20_000_usize, any::<u8>()), 1..40),
        block_size in sample::select(vec![512_u32, 4096]),
    ) {
        let mut disk = gpt_disk(block_size);
        let len = disk.len();
        for (offset, byte) in damage {
            // Only half of the damage spares the sealed parts, so that the record is tried as well.
            disk[if offset % 2 == 0 { 440 + offset % 72 } else { offset }] = byte;
        }
        disk[len - 4096..].fill(0);
        let table = read_bytes(&disk, block_size);
        prop_assert!(table.partitions.len() <= MAX_PARTITIONS);
        prop_assert!(table.partitions.iter().all(|p| p.offset_bytes + p.size_bytes <= len as u64));
    }

    #[test]
    fn noise_behind_a_boot_signature_does_no_harm(mut noise in vec(any::<u8>(), 512..16_384), protective: bool) {
        noise[510..512].copy_from_slice(&[0x55, 0xaa]);
        for slot in 0..4 {
            noise[446 + slot * 16] = 0;
        }
        if protective {
            noise[450] = 0xee;
        }
        let len = noise.len() as u64;
        let table = read_bytes(&noise, 512);
        prop_assert!(table.partitions.iter().all(|p| p.size_bytes > 0 && p.offset_bytes + p.size_bytes <= len));
    }

    #[test]
    fn resealed_headers_with_any_numbers_do_no_harm(numbers in vec(any::<u8>(), 52), kept in 0..52_usize) {
        let mut disk = gpt_disk(512);
        disk[DISK_BYTES - 512..].fill(0);
        disk[512 + 40 + kept..512 + 92].copy_from_slice(&numbers[kept..]);
        reseal(&mut disk, 512, 1024..1024 + 16384);
        let table = read_bytes(&disk, 512);
        prop_assert!(table.partitions.iter().all(|p| p.offset_bytes + p.size_bytes <= DISK_BYTES as u64));
    }
}
