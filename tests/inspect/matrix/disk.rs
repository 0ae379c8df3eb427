//! Disks of several layouts, made of a tree by the tools of each file system. Nothing is mounted but what no tool can make
//! otherwise: NTFS, and a btrfs with subvolumes.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::lvm::{self, EXTENT_BYTES};
use super::tree::Tree;
use crate::file_systems::rig::{Image, prototype};
use crate::{run, text};

const MIB: u64 = 1 << 20;
/// Types of partitions in a GPT.
const ESP: uuid::Uuid = uuid::uuid!("c12a7328-f81f-11d2-ba4b-00a0c93ec93b");
const LINUX: uuid::Uuid = uuid::uuid!("0fc63daf-8483-4772-8e79-3d69d8477de4");
const BASIC_DATA: uuid::Uuid = uuid::uuid!("ebd0a0a2-b9e5-4433-87c0-68b6b72699c7");
const LVM: uuid::Uuid = uuid::uuid!("e6d6d379-f507-44c2-a23c-238f2a3df928");

/// The root of a system as SLES installs it, and what lies in subvolumes beside it.
const SNAPSHOT: &str = "@/.snapshots/1/snapshot";
const BESIDE: [&str; 3] = ["opt", "var", "usr/local"];

/// What a disk begins with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    /// For UEFI.
    Gpt,
    /// For a BIOS, with its boot code.
    Mbr,
    /// A file system alone, with boot code before it.
    None,
}

/// What a volume is made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ext4,
    Xfs,
    /// The root is in `@`.
    Btrfs,
    /// btrfs as SLES has it: the root is a snapshot, which is the default subvolume, and others are beside it.
    Snapshots,
    Fat,
    Ntfs,
}

/// A file system, and the directory whose content it has.
#[derive(Debug, Clone, Copy)]
pub(super) struct Volume {
    pub(super) at: &'static str,
    pub(super) kind: Kind,
    pub(super) mib: u64,
    /// Name of the logical volume that it is in, if it is in one.
    pub(super) logical: Option<&'static str>,
}

/// How a disk is divided.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    pub(super) name: &'static str,
    pub(super) table: Table,
    pub(super) block_size: u32,
    pub(super) boot_code: bool,
    pub(super) volumes: Vec<Volume>,
}

const fn volume(at: &'static str, kind: Kind, mib: u64) -> Volume {
    Volume { at, kind, mib, logical: None }
}

const fn logical(at: &'static str, kind: Kind, mib: u64, name: &'static str) -> Volume {
    Volume { at, kind, mib, logical: Some(name) }
}

const ESP_VOLUME: Volume = volume("/boot/efi", Kind::Fat, 16);

impl Layout {
    fn new(name: &'static str, table: Table, volumes: &[Volume]) -> Self {
        Self { name, table, block_size: 512, boot_code: table != Table::Gpt, volumes: volumes.to_vec() }
    }

    /// The one that is broken in every way: small, and started by either firmware.
    pub(super) fn plain() -> Self {
        Self::new("ext4 on MBR with an ESP", Table::Mbr, &[ESP_VOLUME, volume("/", Kind::Ext4, 32)])
    }

    pub(super) fn all() -> Vec<Self> {
        let boot = volume("/boot", Kind::Ext4, 32);
        let large_blocks = Self::new("4096", Table::Gpt, &[ESP_VOLUME, volume("/", Kind::Ext4, 64)]);
        let volumes =
            [ESP_VOLUME, boot, logical("/var", Kind::Ext4, 32, "var-data"), logical("/", Kind::Ext4, 64, "root")];
        vec![
            Self::new("ext4 with /boot on GPT", Table::Gpt, &[ESP_VOLUME, boot, volume("/", Kind::Ext4, 64)]),
            Self::new("XFS on MBR", Table::Mbr, &[volume("/", Kind::Xfs, 304)]),
            Self::new("btrfs on GPT", Table::Gpt, &[ESP_VOLUME, volume("/", Kind::Btrfs, 160)]),
            Self::new("LVM", Table::Gpt, &volumes),
            Self::new("no partition table", Table::None, &[volume("/", Kind::Ext4, 64)]),
            Self { name: "ext4 on GPT with blocks of 4096 bytes", block_size: 4096, ..large_blocks },
            Self::plain(),
        ]
    }

    /// That of SLES.
    pub(super) fn snapshots() -> Self {
        Self::new("btrfs with snapshots", Table::Gpt, &[ESP_VOLUME, volume("/", Kind::Snapshots, 300)])
    }

    /// That of Windows.
    pub(super) fn windows() -> Self {
        Self::new("NTFS on GPT", Table::Gpt, &[ESP_VOLUME, volume("/", Kind::Ntfs, 100)])
    }

    /// The firmware that it is for.
    pub(super) fn firmware(&self) -> &'static str {
        if self.table == Table::Gpt { "uefi" } else { "bios" }
    }

    pub(super) fn fstab(&self) -> String {
        let lines = |(number, volume): (usize, &Volume)| {
            let (kind, options) = match volume.kind {
                Kind::Ext4 => ("ext4", "errors=remount-ro"),
                Kind::Xfs => ("xfs", "defaults"),
                Kind::Btrfs => ("btrfs", "defaults,subvol=@"),
                Kind::Snapshots => ("btrfs", "defaults"),
                Kind::Fat => ("vfat", "umask=0077"),
                Kind::Ntfs => ("ntfs", "defaults"),
            };
            let source = source(number, volume);
            let others = BESIDE.iter().filter(|_| volume.kind == Kind::Snapshots);
            let others = others.map(|at| format!("{source} /{at} btrfs subvol=/@/{at} 0 0\n")).collect::<String>();
            format!("{source} {} {kind} {options} 0 1\n{others}", volume.at)
        };
        self.volumes.iter().enumerate().map(lines).collect()
    }

    /// What names the root.
    pub(super) fn root_source(&self) -> String {
        let mut volumes = self.volumes.iter().enumerate();
        let (number, root) = volumes.find(|(_, volume)| volume.at == "/").expect("a root");
        source(number, root)
    }

    /// What the boot loader calls the directory /boot.
    pub(super) fn boot_prefix(&self) -> &'static str {
        if self.volumes.iter().any(|volume| volume.at == "/boot") {
            ""
        } else if self.volumes.iter().any(|volume| volume.kind == Kind::Btrfs) {
            "/@/boot"
        } else {
            "/boot"
        }
    }

    /// A disk with the files of a tree, which has none of them afterwards.
    pub(super) fn make(&self, tree: &Tree) -> Disk {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("disk.raw");
        let parts = self.parts();
        let end = parts.last().map_or(0, |part| part.offset_bytes + part.len_bytes);
        let tail = if self.table == Table::None { 0 } else { MIB };
        let file = File::create_new(&path).expect("create");
        file.set_len(end + tail).expect("length");
        self.take_files(tree, directory.path());
        for part in &parts {
            part.fill(directory.path(), self.block_size, &path);
        }
        match self.table {
            Table::Gpt => put_gpt(&path, u64::from(self.block_size), &parts),
            Table::Mbr => put_mbr(&path, &parts),
            Table::None => {}
        }
        if self.boot_code {
            put_boot_code(&path);
        }
        Disk { _directory: directory, path }
    }

    /// Moves the files of each volume to a directory with its number, those first that are deepest in the tree.
    fn take_files(&self, tree: &Tree, directory: &Path) {
        let mut volumes: Vec<_> = self.volumes.iter().enumerate().collect();
        volumes.sort_by_key(|(_, volume)| std::cmp::Reverse(volume.at.len()));
        for (number, volume) in volumes {
            let (at, to) = (volume.at.trim_start_matches('/'), directory.join(number.to_string()));
            let to = if volume.kind == Kind::Btrfs { to.join("@") } else { to };
            fs::create_dir_all(&to).expect("directory");
            for entry in fs::read_dir(tree.path(at)).expect("directory").map(|entry| entry.expect("entry")) {
                fs::rename(entry.path(), to.join(entry.file_name())).expect("rename");
            }
        }
    }

    /// The partitions: one for each file system, and a last one for all logical volumes.
    fn parts(&self) -> Vec<Part<'_>> {
        let mut parts = Vec::new();
        let mut offset_bytes = if self.table == Table::None { 0 } else { MIB };
        let numbered = || self.volumes.iter().enumerate();
        for (number, volume) in numbered().filter(|(_, volume)| volume.logical.is_none()) {
            let len_bytes = volume.mib * MIB;
            parts.push(Part { offset_bytes, len_bytes, volumes: vec![(number, volume)] });
            offset_bytes += len_bytes;
        }
        let volumes: Vec<_> = numbered().filter(|(_, volume)| volume.logical.is_some()).collect();
        if !volumes.is_empty() {
            let bytes: u64 = volumes.iter().map(|(_, volume)| volume.mib * MIB).sum();
            parts.push(Part { offset_bytes, len_bytes: lvm::FIRST_AT + bytes, volumes });
        }
        parts
    }
}

/// What fstab calls a volume.
fn source(number: usize, volume: &Volume) -> String {
    match volume.logical {
        Some(name) => format!("/dev/mapper/system-{}", name.replace('-', "--")),
        None if volume.kind == Kind::Fat => format!("UUID=ACDC-000{number}"),
        None => format!("UUID={}", uuid(number)),
    }
}

fn uuid(number: usize) -> String {
    format!("5e1f0000-0000-4000-8000-00000000000{number}")
}

/// A made-up disk.
pub(super) struct Disk {
    _directory: TempDir,
    pub(super) path: PathBuf,
}

/// A partition, and the volumes in it with their numbers: one, or all that are logical.
struct Part<'a> {
    offset_bytes: u64,
    len_bytes: u64,
    volumes: Vec<(usize, &'a Volume)>,
}

impl Part<'_> {
    fn fill(&self, files: &Path, block_size: u32, disk: &Path) {
        let mut pieces = Vec::new();
        let mut first = 0;
        for (number, volume) in &self.volumes {
            let image = make_volume(&files.join(number.to_string()), *number, volume, block_size);
            let Some(name) = volume.logical else { return copy(&image.path, 0, disk, self.offset_bytes, volume.mib) };
            // The first volume begins with the last extent of its place: a volume need not be in order.
            let extents = volume.mib * MIB / EXTENT_BYTES;
            let order = vec![(first + 1, extents - 1), (first, 1)];
            let mut from_mib = 0;
            for (at, count) in &order {
                let to = self.offset_bytes + lvm::FIRST_AT + at * EXTENT_BYTES;
                let mib = count * EXTENT_BYTES / MIB;
                copy(&image.path, from_mib, disk, to, mib);
                from_mib += mib;
            }
            pieces.push((name, order));
            first += extents;
        }
        let begin = lvm::begin(first, &pieces);
        writer(disk).write_all_at(&begin, self.offset_bytes).expect("write");
    }

    fn guid(&self) -> [u8; 16] {
        let kind = match self.volumes.as_slice() {
            [(_, volume)] if volume.kind == Kind::Fat => ESP,
            [(_, volume)] if volume.kind == Kind::Ntfs => BASIC_DATA,
            [(_, volume)] if volume.logical.is_none() => LINUX,
            _ => LVM,
        };
        kind.to_bytes_le()
    }
}

/// An image of a file system with these files.
fn make_volume(files: &Path, number: usize, volume: &Volume, block_size: u32) -> Disk {
    let directory = tempfile::tempdir().expect("directory");
    let image = directory.path().join("image");
    File::create(&image).expect("create").set_len(volume.mib * MIB).expect("length");
    let (uuid, image_text, files_text) = (uuid(number), text(&image), text(files));
    match volume.kind {
        Kind::Ext4 => run("mkfs.ext4", &["-q", "-b", "4096", "-U", &uuid, "-d", files_text, image_text]),
        Kind::Btrfs => run("mkfs.btrfs", &["-q", "-U", &uuid, "--rootdir", files_text, image_text]),
        Kind::Snapshots => make_snapshots(files, &uuid, &image),
        Kind::Ntfs => make_ntfs(files, &image),
        Kind::Xfs => {
            let prototype_file = directory.path().join("prototype");
            fs::write(&prototype_file, prototype(files)).expect("write");
            run("mkfs.xfs", &["-q", "-m", &format!("uuid={uuid}"), "-p", text(&prototype_file), image_text])
        }
        Kind::Fat => {
            let (id, block_size) = (format!("ACDC000{number}"), block_size.to_string());
            run("mkfs.vfat", &["-i", &id, "-S", &block_size, image_text]);
            let entries = fs::read_dir(files).expect("directory").map(|entry| entry.expect("entry").path());
            for entry in entries.collect::<Vec<_>>() {
                run("mcopy", &["-s", "-Q", "-i", image_text, text(&entry), "::/"]);
            }
            String::new()
        }
    };
    Disk { _directory: directory, path: image }
}

/// Makes a btrfs of subvolumes in an empty image; what lies beside the root is not in it.
fn make_snapshots(files: &Path, uuid: &str, image: &Path) -> String {
    run("mkfs.btrfs", &["-q", "-U", uuid, text(image)]);
    let image = Image::of(image);
    let mounted = image.mount("rw");
    let create = |name: &str| {
        let path = mounted.path.join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("directories");
        run("btrfs", &["-q", "subvolume", "create", text(&path)]);
        path
    };
    for name in ["@", "@/.snapshots"] {
        create(name);
    }
    let root = create(SNAPSHOT);
    run("cp", &["-a", &format!("{}/.", text(files)), text(&root)]);
    for at in BESIDE {
        let (in_root, beside) = (root.join(at), create(&format!("@/{at}")));
        fs::create_dir_all(&in_root).expect("directories");
        run("cp", &["-a", &format!("{}/.", text(&in_root)), text(&beside)]);
        fs::remove_dir_all(&in_root).expect("remove");
        fs::create_dir(&in_root).expect("directory");
    }
    run("btrfs", &["subvolume", "set-default", text(&root)])
}

/// Makes an NTFS in an empty image.
fn make_ntfs(files: &Path, image: &Path) -> String {
    run("mkfs.ntfs", &["-F", "-Q", "-q", text(image)]);
    let image = Image::of(image);
    let mounted = image.mount_as("ntfs-3g", "rw");
    run("cp", &["-r", &format!("{}/.", text(files)), text(&mounted.path)])
}

/// Copies so many MiB, but leaves holes where there is nothing.
fn copy(from: &Path, from_mib: u64, disk: &Path, offset_bytes: u64, mib: u64) {
    let (from, to) = (format!("if={}", text(from)), format!("of={}", text(disk)));
    let (skip, seek) = (format!("skip={}", from_mib * MIB), format!("seek={offset_bytes}"));
    let count = format!("count={}", mib * MIB);
    let flags = ["bs=64K", "conv=sparse,notrunc", "iflag=skip_bytes,count_bytes", "oflag=seek_bytes", "status=none"];
    run("dd", &[&[from.as_str(), &to, &skip, &seek, &count], &flags[..]].concat());
}

fn writer(disk: &Path) -> File {
    OpenOptions::new().write(true).open(disk).expect("open")
}

fn put_gpt(path: &Path, block_size: u64, parts: &[Part<'_>]) {
    let mut disk = OpenOptions::new().read(true).write(true).open(path).expect("open");
    let mut gpt = gptman::GPT::new_from(&mut disk, block_size, [7; 16]).expect("GPT");
    for (number, part) in (1_u8..).zip(parts) {
        gpt[u32::from(number)] = gptman::GPTPartitionEntry {
            partition_type_guid: part.guid(),
            unique_partition_guid: [number; 16],
            starting_lba: part.offset_bytes / block_size,
            ending_lba: (part.offset_bytes + part.len_bytes) / block_size - 1,
            attribute_bits: 0,
            partition_name: "test".into(),
        };
    }
    gpt.write_into(&mut disk).expect("write");
    gptman::GPT::write_protective_mbr_into(&mut disk, block_size).expect("write");
}

fn put_mbr(path: &Path, parts: &[Part<'_>]) {
    let disk = writer(path);
    for (number, part) in (0..).zip(parts) {
        let is_esp = part.volumes[0].1.kind == Kind::Fat;
        let mut entry = [0; 16];
        entry[4] = if is_esp { 0xef } else { 0x83 };
        let sectors = [part.offset_bytes, part.len_bytes].map(|bytes| u32::try_from(bytes / 512).expect("small"));
        entry[8..].copy_from_slice(&sectors.map(u32::to_le_bytes).concat());
        disk.write_all_at(&entry, 446 + 16 * number).expect("write");
    }
    disk.write_all_at(&[0x55, 0xaa], 510).expect("write");
}

fn put_boot_code(path: &Path) {
    let disk = writer(path);
    disk.write_all_at(&[0xeb, 0x63, 0x90], 0).expect("write");
    disk.write_all_at(&[0x55, 0xaa], 510).expect("write");
}
