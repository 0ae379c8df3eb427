//! Every parser of this project as a function of bytes, for whoever throws bytes at it: `fuzz/` for hours, and the tests here
//! for seconds. Nothing else calls this, and only for them it is there: with the feature `fuzz`, and in tests.
//!
//! What a parser makes of the bytes is dropped. It may refuse them in any way but one: a panic is a defect, and so is an
//! input that takes seconds. Parsers of libraries are not among these; the child that runs them may die.

#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::io::{self, Read};
use std::path::Path;
use std::rc::Rc;

use super::check::{self, Checks};
use super::evidence::Modalias;
use super::facts::boot::efi;
use super::facts::cloud_init::first_statement;
use super::facts::cmdline::CommandLine;
use super::facts::gather::{BootFacts, Facts};
use super::facts::ini::Ini;
use super::facts::kernel::{alias, modinfo, modules};
use super::facts::{Known, boot, drivers, glob, initramfs, sysv};
use super::fs::ext::superblock;
use super::fs::fat::FatFs;
use super::fs::ntfs::NtfsFs;
use super::fs::{Entry, FileSystem, FsError, FsKind, Identity, Kind, Metadata};
use super::profile::{Profile, Profiles};
use super::reader::{DiskReader, Metered, check_bounds};
use super::root::Root;
use super::{child, examine, free, lvm, volumes};
use crate::audit;

/// A parser: its name, which is also that of its directory in `fuzz/corpus`, and how to run it.
pub type Target = (&'static str, fn(&[u8]));

/// All of them.
pub const TARGETS: &[Target] = &[
    ("partition_table", partition_table),
    ("free_space", free_space),
    ("ext_superblock", |data| drop(superblock::check(&*disk(data)))),
    ("fat", fat),
    ("ntfs", ntfs),
    ("lvm", |data| drop(lvm::find(&[disk(data)]))),
    ("lvm_text", |data| drop(lvm::describe(data))),
    ("child_wire", child::hear_anything),
    ("initramfs", |data| drop(initramfs::modules(data, &Cell::new(MAX_UNPACKED_BYTES)))),
    ("modules_dep", |data| {
        drop(modules::parse_dep(data, "/lib/modules/6.1.0"));
        drop(modules::parse_needed(data, &["a", "nvme"].map(str::to_owned).into()));
    }),
    ("modules_alias", modules_alias),
    ("modinfo", |data| drop(modinfo::parse(data))),
    ("grub", |data| look_into("boot/grub/grub.cfg", data)),
    ("grub_legacy", |data| look_into("boot/grub/menu.lst", data)),
    ("grubenv", |data| drop(boot::grub::parse_environment(data))),
    ("bls", |data| look_into("boot/loader/entries/a.conf", data)),
    ("fstab", |data| look_into("etc/fstab", data)),
    ("cloud_cfg", |data| look_into("etc/cloud/cloud.cfg", data)),
    ("python", python),
    ("os_release", |data| look_into("etc/os-release", data)),
    ("unit", |data| look_into("usr/lib/systemd/system/cloud-init.service", data)),
    ("upstart", |data| look_into("etc/init/cloud-init.conf", data)),
    ("sysv", |data| text(data).lines().filter_map(sysv::started_by).for_each(drop)),
    ("kernel_image", |data| look_into("boot/vmlinuz", data)),
    ("command_line", command_line),
    ("ds_identify", |data| look_into("etc/cloud/ds-identify.cfg", data)),
    ("inf", |data| look_into(INF, data)),
    ("modprobe", |data| look_into("etc/modprobe.d/a.conf", data)),
    ("dpkg_status", |data| look_into("var/lib/dpkg/status", data)),
    ("rpm_sqlite", |data| look_into("var/lib/rpm/rpmdb.sqlite", data)),
    ("rpm_ndb", |data| look_into("var/lib/rpm/Packages.db", data)),
    ("rpm_bdb", |data| look_into("var/lib/rpm/Packages", data)),
    ("ini", |data| drop(Ini::parse(&text(data)))),
    ("glob", pattern),
    ("checks", |data| drop(Checks::parse(Path::new("fuzz"), &text(data)))),
    ("profiles", |data| drop(toml::from_str::<Profiles>(&text(data)))),
    ("audit_log", |data| drop(audit::read_anything(data))),
    ("request", |data| drop(serde_json::from_slice::<examine::Request>(data))),
];

/// Runs the target of a name.
///
/// # Panics
/// If the parser does, or if there is no such target.
pub fn run(name: &str, data: &[u8]) {
    let target = TARGETS.iter().find(|target| target.0 == name);
    assert!(target.is_some(), "no target is called {name}");
    target.iter().for_each(|(_, parse)| parse(data));
}

/// Most bytes that an initramfs is unpacked to.
const MAX_UNPACKED_BYTES: u64 = 16 << 20;
/// Most bytes that are compared with patterns.
const MAX_STEPS: u64 = 1 << 24;
/// Most bytes that are read of a disk.
const MAX_READ_BYTES: u64 = 64 << 20;
/// Most names of a file system that are looked at, and of how many directories in one another.
const MAX_NAMES: usize = 200;
const MAX_DEPTH: usize = 8;
/// Most bytes that are read of a file.
const MAX_FILE_BYTES: u64 = 200_000;

fn text(data: &[u8]) -> String {
    String::from_utf8_lossy(data).into_owned()
}

fn partition_table(data: &[u8]) {
    for logical_block_size in [512, 4096] {
        volumes::list(&*disk(data), logical_block_size).ok();
    }
}

fn free_space(data: &[u8]) {
    drop(free::find(&*disk(data), 512));
}

fn fat(data: &[u8]) {
    FatFs::open(&disk(data)).map(|fs| walk(&fs, "", 0, &mut 0)).ok();
}

fn ntfs(data: &[u8]) {
    NtfsFs::open(&disk(data)).map(|fs| walk(&fs, "", 0, &mut 0)).ok();
}

fn modules_alias(data: &[u8]) {
    let (loadable, builtin) = data.split_at(data.len() / 2);
    let aliases = alias::Aliases::parse(loadable.to_vec(), builtin.to_vec());
    let modaliases = ["pci:v000019E5d00000200sv000019E5sd0000D139bc01sc07i00", "scsi:t-0x00"];
    drop(aliases.drivers_for(&modaliases, &Cell::new(MAX_STEPS)));
}

fn command_line(data: &[u8]) {
    let line = CommandLine { source: String::new(), text: text(data) };
    line.consoles().chain(line.root()).for_each(drop);
    line.blacklisted_modules().chain(line.refused_modules()).for_each(drop);
    line.is_cloud_init_disabled();
    line.is_for_repair();
}

fn python(data: &[u8]) {
    first_statement(&text(data), "activate_datasource");
}

fn pattern(data: &[u8]) {
    text(data).split_once('\n').map(|(pattern, name)| glob::matches(pattern, name));
}

/// Looks at all there is, within bounds.
fn walk(fs: &dyn FileSystem, directory: &str, depth: usize, seen: &mut usize) {
    for entry in fs.list(directory).unwrap_or_default() {
        *seen += 1;
        if *seen > MAX_NAMES {
            return;
        }
        let path = if directory.is_empty() { entry.name } else { format!("{directory}/{}", entry.name) };
        match entry.kind {
            Kind::Directory if depth < MAX_DEPTH => walk(fs, &path, depth + 1, seen),
            Kind::Symlink => drop(fs.read_link(&path)),
            Kind::File => {
                let read = fs.open(&path).map(|file| io::copy(&mut file.take(MAX_FILE_BYTES), &mut io::sink()));
                drop(read);
            }
            Kind::Directory | Kind::Special => {}
        }
        drop(fs.metadata(&path));
    }
}

/// Does with an image all that an inspection does. One of its files is as it is given.
fn look_into(path: &'static str, data: &[u8]) {
    let rest = if path.starts_with("Windows/") { &REST_OF_WINDOWS[..] } else { &REST };
    let files = rest.iter().map(|(path, content)| (*path, content.as_bytes())).chain([(path, data)]);
    let root = Root::new(Box::new(Files { identity: Identity::default(), files: files.collect() }));
    let boot = BootFacts::read(&root, efi::loaders_of_host(&root), Known::Unknown(String::new()));
    let facts = Facts::gather(&root, boot);
    let Ok(checks) = Checks::built_in() else { return };
    drop(check::evaluate(&checks, &facts, &Profile::default()).bounded());
    let Ok(device) = Modalias::new("pci:v1") else { return };
    drop(drivers::evidence(&facts, &[device]).bounded());
}

/// Enough of an image for every kind of check to have something to look at.
const REST: [(&str, &str); 10] = [
    ("etc/os-release", "ID=debian\nVERSION_ID=12\n"),
    ("usr/lib/systemd/systemd", "\x7fELF"),
    (
        "usr/lib/systemd/system/cloud-init.service",
        "[Unit]\nAfter=network.target\n[Install]\nWantedBy=cloud-init.target\n",
    ),
    ("usr/lib/python3/dist-packages/cloudinit/version.py", "__VERSION__ = \"22.4\"\n"),
    ("usr/bin/cloud-init", "#!/usr/bin/python3\n"),
    ("etc/cloud/cloud.cfg", "datasource_list: [ConfigDrive]\n"),
    ("boot/vmlinuz-6.1.0", "MZ"),
    // The kernel has to say its release itself.
    ("boot/grub/grub.cfg", "menuentry a {\n linux /boot/vmlinuz root=/dev/sda1\n}\n"),
    ("lib/modules/6.1.0/modules.dep", "kernel/a.ko: kernel/b.ko\nkernel/b.ko:\n"),
    ("lib/modules/6.1.0/modules.alias", "alias pci:* a\n"),
];

/// The same for Windows, and the driver that a check there looks for.
const REST_OF_WINDOWS: [(&str, &str); 1] = [("Windows/System32/config/SYSTEM", "regf")];
const INF: &str = "Windows/System32/DriverStore/FileRepository/epscsiadapter.inf_a/epscsiadapter.inf";

/// A file system of a few files. A path that is the begin of another one's is a directory.
#[derive(Debug)]
struct Files<'a> {
    identity: Identity,
    files: BTreeMap<&'static str, &'a [u8]>,
}

impl Files<'_> {
    /// What is below a directory: names that may come more than once.
    fn below<'a>(&'a self, directory: &'a str) -> impl Iterator<Item = &'a str> {
        self.files.keys().filter_map(move |path| match directory {
            "" => Some(*path),
            _ => path.strip_prefix(directory)?.strip_prefix('/'),
        })
    }
}

impl FileSystem for Files<'_> {
    fn kind(&self) -> FsKind {
        FsKind::Ext
    }

    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn metadata(&self, path: &str) -> Result<Option<Metadata>, FsError> {
        let file = self.files.get(path).map(|content| (Kind::File, content.len() as u64));
        let directory = || self.below(path).next().map(|_| (Kind::Directory, 0));
        let found = file.or_else(directory);
        Ok(found.map(|(kind, size_bytes)| Metadata { kind, size_bytes, mode: Some(0o755) }))
    }

    fn read_link(&self, _: &str) -> Result<String, FsError> {
        Err(FsError::Malformed { what: "no link".to_owned() })
    }

    fn open(&self, path: &str) -> Result<Box<dyn Read + '_>, FsError> {
        match self.files.get(path) {
            Some(content) => Ok(Box::new(*content)),
            None => Err(FsError::Malformed { what: "no file".to_owned() }),
        }
    }

    fn list(&self, directory: &str) -> Result<Vec<Entry>, FsError> {
        let entry = |path: &str| match path.split_once('/') {
            Some((name, _)) => Entry { name: name.to_owned(), kind: Kind::Directory },
            None => Entry { name: path.to_owned(), kind: Kind::File },
        };
        let mut entries: Vec<Entry> = self.below(directory).map(entry).collect();
        entries.dedup();
        Ok(entries)
    }
}

/// Bytes of a sector, and of its number before it.
const SECTOR_BYTES: usize = 512;
const NUMBER_BYTES: usize = 4;

/// A disk of which some sectors are written: its length as 8 bytes, then any number of sectors, each after its number as
/// 4 bytes. A fuzzer changes what counts, and a seed is small.
#[derive(Debug)]
struct Sectors {
    len_bytes: u64,
    sectors: BTreeMap<u64, [u8; SECTOR_BYTES]>,
}

fn disk(data: &[u8]) -> Rc<dyn DiskReader> {
    let (len, rest) = data.split_first_chunk().unwrap_or((&[0; 8], &[]));
    let sector = |record: &[u8]| {
        let (number, content) = record.split_first_chunk()?;
        Some((u64::from(u32::from_le_bytes(*number)), *content.first_chunk()?))
    };
    let sectors = rest.chunks_exact(NUMBER_BYTES + SECTOR_BYTES).filter_map(sector).collect();
    Rc::new(Metered::new(Sectors { len_bytes: u64::from_le_bytes(*len), sectors }, MAX_READ_BYTES))
}

impl DiskReader for Sectors {
    fn len_bytes(&self) -> u64 {
        self.len_bytes
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        check_bounds(self.len_bytes, offset, out.len())?;
        let mut at = offset;
        let mut rest = out;
        while !rest.is_empty() {
            let skip = usize::try_from(at % SECTOR_BYTES as u64).map_err(io::Error::other)?;
            let len = rest.len().min(SECTOR_BYTES - skip);
            let (now, later) = rest.split_at_mut(len);
            match self.sectors.get(&(at / SECTOR_BYTES as u64)) {
                Some(sector) => now.copy_from_slice(&sector[skip..skip + len]),
                None => now.fill(0),
            }
            at += len as u64;
            rest = later;
        }
        Ok(())
    }
}
