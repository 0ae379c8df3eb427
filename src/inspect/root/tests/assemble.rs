use super::{MemFs, found_path};
use crate::inspect::fs::{FileSystem, FsKind};
use crate::inspect::root::assemble::{Assembled, Join, LogicalName, Part, System, assemble, boot_partitions};

const ESP: &str = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b";
const EXTENDED_BOOT: &str = "bc13c2ff-59e6-4262-a352-b275fd6f7172";

fn part(number: u32, fs: MemFs) -> Part<'static> {
    Part {
        partition: number,
        logical: None,
        type_id: String::new(),
        part_uuid: format!("0badcafe-{number:02x}"),
        part_label: format!("name {number}"),
        fs: Ok(Box::new(fs)),
    }
}

fn unread(number: u32, why: &str) -> Part<'static> {
    Part { fs: Err(why.to_owned()), ..part(number, MemFs::new()) }
}

fn logical(group: &str, volume: &str, fs: MemFs) -> Part<'static> {
    let logical = Some(LogicalName { group: group.to_owned(), volume: volume.to_owned() });
    Part { logical, ..part(3, fs) }
}

/// A root with this fstab.
fn linux(fstab: &'static str) -> MemFs {
    MemFs::new().file("etc/os-release", "ID=x").dir("usr").dir("boot").file("etc/fstab", fstab)
}

fn boot() -> MemFs {
    MemFs::new().file("vmlinuz", "kernel").dir("efi").named("0a-0b", "Boot disk")
}

/// What was joined in: where, and as what; `-` for what could not be.
fn joins(assembled: &Assembled<'_>) -> Vec<(String, String)> {
    assert_eq!(assembled.systems.len(), 1, "{:?}", assembled.unread);
    let shown = |join: &Join| (join.at.clone(), join.outcome.clone().unwrap_or_else(|why| format!("-{why}")));
    assembled.systems[0].joins.iter().map(shown).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|&(at, what)| (at.to_owned(), what.to_owned())).collect()
}

#[test]
fn a_root_is_told_by_its_release_file_and_directories() {
    let with_release = |path: &str| MemFs::new().dir("bin").dir("etc").file(path, "");
    for path in [
        "etc/os-release",
        "usr/lib/os-release",
        "etc/euleros-release",
        "etc/redhat-release",
        "etc/SuSE-release",
        "etc/debian_version",
    ] {
        let parts = [part(1, with_release(path))];
        let assembled = assemble(&parts);
        assert_eq!(assembled.systems.len(), 1, "{path}");
        assert_eq!(assembled.systems[0].system, System::Linux);
        assert_eq!(assembled.systems[0].name, "partition 1");
    }
    let separate_usr = MemFs::new().link("etc/os-release", "../usr/lib/os-release").dir("usr");
    assert_eq!(assemble(&[part(1, separate_usr)]).systems.len(), 1, "a link into what is not joined in yet");
    for fs in [
        MemFs::new(),
        MemFs::new().dir("etc").dir("usr"),
        MemFs::new().file("etc/os-release", ""),
        MemFs::new().file("usr/lib/os-release", ""),
        MemFs::new().file("lib/os-release", "").dir("bin"),
    ] {
        assert!(assemble(&[part(1, fs)]).systems.is_empty());
    }
}

#[test]
fn windows_is_told_by_its_registry_whatever_the_size_of_its_letters() {
    for (path, kind, expected) in [
        ("Windows/System32/config/SYSTEM", FsKind::Ntfs, 1),
        ("WINDOWS/system32/Config/system", FsKind::Ntfs, 1),
        ("Windows/System32/config/SYSTEM", FsKind::Ext, 0),
        ("Windows/System32/config/SOFTWARE", FsKind::Ntfs, 0),
    ] {
        let parts = [part(0, MemFs::new().file(path, "").of_kind(kind))];
        let assembled = assemble(&parts);
        assert_eq!(assembled.systems.len(), expected, "{path}");
        assert!(assembled.systems.iter().all(|it| it.system == System::Windows && it.name == "the whole disk"));
    }
}

#[test]
fn all_roots_are_given_and_so_is_what_cannot_be_read() {
    let parts = [part(1, linux("")), unread(2, "LUKS is not supported"), part(3, linux(""))];
    let assembled = assemble(&parts);
    let names: Vec<_> = assembled.systems.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["partition 1", "partition 3"]);
    assert_eq!(assembled.unread, ["partition 2: LUKS is not supported"]);
}

#[test]
fn every_way_to_name_a_file_system_is_understood() {
    for source in [
        "UUID=0A-0b",
        "UUID=\"0a-0b\"",
        "LABEL=Boot\\040disk",
        "PARTUUID=0BADCAFE-02",
        "PARTLABEL=name\\0402",
        "/dev/disk/by-uuid/0a-0b",
        "/dev/disk/by-label/Boot\\134x20disk",
        "/dev/disk/by-partuuid/0badcafe-02",
        "/dev/disk/by-partlabel/name\\134x202",
        "/dev/sda2",
    ] {
        let fstab = Box::leak(format!("/dev/sda1 / ext4\n{source} /boot xfs defaults 0 0\n").into_boxed_str());
        let parts = [part(1, linux(fstab)), part(2, boot())];
        let assembled = assemble(&parts);
        assert_eq!(joins(&assembled), pairs(&[("/boot", "partition 2")]), "{source}");
        assert_eq!(found_path(&assembled.systems[0].root, "/boot/vmlinuz").as_deref(), Some("/boot/vmlinuz"));
    }
    for source in ["/dev/mapper/my--vg-lv--boot", "/dev/my-vg/lv-boot"] {
        let fstab = Box::leak(format!("/dev/mapper/my--vg-root / ext4\n{source} /boot xfs\n").into_boxed_str());
        let parts = [logical("my-vg", "root", linux(fstab)), logical("my-vg", "lv-boot", boot())];
        let assembled = assemble(&parts);
        assert_eq!(joins(&assembled), pairs(&[("/boot", "volume my-vg/lv-boot")]), "{source}");
    }
}

#[test]
fn what_is_not_on_the_disk_is_unknown_below_its_directory() {
    for (source, why) in [
        ("UUID=ff", "UUID=ff is not on this disk"),
        ("LABEL=", "LABEL= is not on this disk"),
        ("UUID=dup", "UUID=dup is on this disk more than once"),
        ("server:/export", "server:/export names no file system of this disk"),
        ("ID=1", "ID=1 names no file system of this disk"),
        ("/dev/disk/by-id/ata-1", "/dev/disk/by-id/ata-1 names no file system of this disk"),
        ("/dev/mapper/vg-lv", "/dev/mapper/vg-lv is not on this disk"),
        ("/dev/sdb2", "/dev/sdb2 names no file system of this disk"),
        ("/dev/sda9", "/dev/sda9 is not on this disk"),
    ] {
        let fstab = Box::leak(format!("/dev/sda1 / ext4\n{source} /boot xfs\n").into_boxed_str());
        let twins = [part(3, MemFs::new().named("dup", "")), part(4, MemFs::new().named("dup", ""))];
        let [third, fourth] = twins;
        let parts = [part(1, linux(fstab)), part(2, boot()), third, fourth];
        let assembled = assemble(&parts);
        assert_eq!(joins(&assembled), pairs(&[("/boot", &format!("-{why}"))]));
        let root = &assembled.systems[0].root;
        let error = root.find("/boot/vmlinuz").expect_err("unknown");
        assert_eq!(error.to_string(), format!("what is joined in at /boot: {why}"));
        assert!(root.find("/etc/fstab").expect("readable").is_some());
    }
    let parts = [part(1, linux("UUID=1 / ext4\nUUID=2 /var ext4\n")), unread(2, "LUKS is not supported")];
    let why = "-UUID=2 is not on this disk, or on a part of it that cannot be read";
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/var", why)]));
    let parts = [part(1, linux("PARTUUID=0badcafe-02 /var ext4\n")), unread(2, "LUKS is not supported")];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/var", "-partition 2: LUKS is not supported")]));
}

#[test]
fn names_that_change_from_server_to_server_count_only_if_nothing_contradicts_them() {
    let boot_of = |fstab: &'static str| {
        let parts = [part(1, linux(fstab)), part(2, boot())];
        let outcome = assemble(&parts).systems.remove(0).joins.remove(0).outcome;
        outcome.is_ok()
    };
    assert!(boot_of("/dev/vda1 / ext4\n/dev/vda2 /boot xfs\n"));
    assert!(boot_of("/dev/nvme0n1p1 / ext4\n/dev/nvme0n1p2 /boot xfs\n/dev/sda3 /data xfs\n"));
    assert!(boot_of("UUID=1 / ext4\n/dev/vda2 /boot xfs\n"), "one disk alone is named");
    assert!(!boot_of("UUID=1 / ext4\n/dev/vda2 /boot xfs\n/dev/vdb1 /data xfs\n"), "two disks are named");
    assert!(!boot_of("/dev/vda1 / ext4\n/dev/vdb2 /boot xfs\n"), "another disk than that of the root");
    assert!(!boot_of("/dev/vda3 / ext4\n/dev/vda2 /boot xfs\n"), "the root is not where its name says");
}

#[test]
fn file_systems_are_joined_in_from_the_top_down_and_others_are_left_out() {
    let fstab = "# a comment\nUUID=e /boot/efi vfat umask=0077 0 1\nUUID=0a-0b /boot/ xfs\nUUID=r / ext4\n\
        UUID=h /home ext4\ntmpfs /var/tmp tmpfs\nUUID=s none swap\nUUID=v /var/lib ext4\nUUID=o /optional ext4\n";
    let esp = MemFs::new().file("EFI/BOOT/BOOTX64.EFI", "loader").named("E", "");
    let var = MemFs::new().file("dpkg/status", "").named("v", "");
    let parts = [part(1, esp), part(2, boot()), part(3, linux(fstab).dir("var")), part(4, var)];
    let assembled = assemble(&parts);
    let expected = [("/boot", "partition 2"), ("/boot/efi", "partition 1"), ("/var/lib", "partition 4")];
    assert_eq!(joins(&assembled), pairs(&expected));
    let root = &assembled.systems[0].root;
    for path in ["/boot/efi/EFI/BOOT/BOOTX64.EFI", "/boot/vmlinuz", "/var/lib/dpkg/status"] {
        assert_eq!(found_path(root, path).as_deref(), Some(path));
    }
}

#[test]
fn a_directory_that_is_a_link_is_joined_in_where_it_leads() {
    let fstab = "UUID=0a-0b /opt xfs\n";
    let parts = [part(1, linux(fstab).link("opt", "/var/opt").dir("var/opt")), part(2, boot())];
    let assembled = assemble(&parts);
    assert_eq!(joins(&assembled), pairs(&[("/var/opt", "partition 2")]));
    let root = &assembled.systems[0].root;
    assert_eq!(found_path(root, "/opt/vmlinuz").as_deref(), Some("/var/opt/vmlinuz"));
}

#[test]
fn partitions_for_booting_are_joined_in_without_fstab() {
    let typed = |number, type_id: &str, fs| Part { type_id: type_id.to_owned(), ..part(number, fs) };
    let root = || MemFs::new().file("etc/os-release", "").dir("usr").dir("boot/efi").dir("efi");
    let parts = [typed(1, ESP, MemFs::new()), part(2, root())];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/boot/efi", "partition 1")]));
    let parts = [typed(1, "0xef", MemFs::new()), part(2, linux("UUID=1 / ext4\n").dir("efi"))];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/efi", "partition 1")]));
    let parts = [typed(1, ESP, MemFs::new()), typed(2, EXTENDED_BOOT, MemFs::new()), part(3, root())];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/boot", "partition 2"), ("/efi", "partition 1")]));
    let parts = [typed(1, ESP, MemFs::new()), part(2, linux(""))];
    assert_eq!(joins(&assemble(&parts)), pairs(&[]), "no directory for it");
    let fstab = "UUID=0a-0b /boot xfs\n";
    let parts = [typed(1, ESP, MemFs::new()), part(2, linux(fstab).dir("efi")), part(3, boot())];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/boot", "partition 3")]), "fstab says how it boots");
    let parts = [typed(1, ESP, MemFs::new()), typed(2, ESP, MemFs::new()), part(3, root())];
    let why = format!("-there are several partitions of type {ESP}");
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/boot/efi", &why)]));
    let parts = [Part { fs: Err("odd".to_owned()), ..typed(1, ESP, MemFs::new()) }, part(2, root())];
    assert_eq!(joins(&assemble(&parts)), pairs(&[("/boot/efi", "-partition 1: odd")]));
}

/// Names of what firmware looks for boot loaders on, if the disk has one system; or why that is not known.
fn booted_from(parts: &[Part<'_>]) -> Result<Vec<String>, String> {
    let system = assemble(parts).systems.remove(0);
    boot_partitions(parts, &system).map(|found| found.into_iter().map(|(name, _)| name).collect())
}

#[test]
fn firmware_starts_from_partitions_of_its_type_whatever_fstab_says() {
    let typed = |number, type_id: &str, fs: MemFs| Part { type_id: type_id.to_owned(), ..part(number, fs) };
    let fat = || MemFs::new().file("EFI/BOOT/BOOTX64.EFI", "loader").named("e", "").of_kind(FsKind::Fat);
    let windows = || MemFs::new().file("Windows/System32/config/SYSTEM", "").of_kind(FsKind::Ntfs);
    let stale = || linux("").file("boot/efi/EFI/BOOT/BOOTX64.EFI", "loader");
    let ok = |names: &[&str]| Ok(names.iter().map(|&name| name.to_owned()).collect());
    for (parts, expected, why) in [
        (vec![typed(1, ESP, fat()), part(2, windows())], ok(&["partition 1"]), "Windows has no fstab"),
        (vec![typed(1, "0xef", fat()), part(2, linux("UUID=r / ext4\n"))], ok(&["partition 1"]), "no directory for it"),
        (vec![typed(1, ESP, fat()), part(2, linux("UUID=x /boot ext4\n"))], ok(&["partition 1"]), "fstab is silent"),
        (vec![typed(1, ESP, fat()), part(2, linux("UUID=x /boot/efi vfat\n"))], ok(&["partition 1"]), "fstab is wrong"),
        (vec![typed(1, ESP, fat()), typed(2, ESP, fat()), part(3, linux(""))], ok(&["partition 1", "partition 2"]), ""),
        (vec![part(1, fat()), part(2, linux("UUID=e /boot/efi vfat\n"))], ok(&["partition 1"]), "of another type"),
        (vec![part(1, fat()), part(2, linux("UUID=e /opt vfat\n"))], ok(&[]), "some FAT"),
        (vec![part(1, stale())], ok(&[]), "a directory is no partition"),
        (vec![typed(1, ESP, MemFs::new().named("e", "")), part(2, linux("UUID=e /efi ext4\n"))], ok(&[]), "no FAT"),
        (vec![part(1, linux("UUID=x /efi vfat\n"))], Err("UUID=x is not on this disk".to_owned()), ""),
        (
            vec![Part { fs: Err("odd".to_owned()), ..typed(1, ESP, fat()) }, part(2, linux(""))],
            Err("partition 1: odd".to_owned()),
            "",
        ),
    ] {
        assert_eq!(booted_from(&parts), expected, "{why}");
    }
    let parts = [typed(1, ESP, fat()), part(2, linux("").dir("efi/EFI"))];
    let system = assemble(&parts).systems.remove(0);
    let found = boot_partitions(&parts, &system).expect("known");
    assert_eq!(found_path(&found[0].1, "/EFI/BOOT/BOOTX64.EFI").as_deref(), Some("/EFI/BOOT/BOOTX64.EFI"));
}

#[test]
fn subvolumes_of_btrfs_are_roots_and_are_joined_in() {
    let fstab = "UUID=b / btrfs subvol=@\nUUID=b /var btrfs defaults,subvol=/@var\nUUID=b /opt btrfs subvol=@opt\n";
    let fs = MemFs::new()
        .file("@/etc/os-release", "")
        .file("@/etc/fstab", fstab)
        .dir("@/usr")
        .dir("@/var")
        .subvolume("@var", 257, MemFs::new().file("log/messages", ""))
        .named("b", "");
    let parts = [part(1, fs.of_kind(FsKind::Btrfs))];
    let assembled = assemble(&parts);
    let expected = [("/var", "partition 1"), ("/opt", "-partition 1 has no subvolume @opt")];
    assert_eq!(joins(&assembled), pairs(&expected));
    let root = &assembled.systems[0].root;
    assert_eq!(found_path(root, "/var/log/messages").as_deref(), Some("/var/log/messages"));
    let not_btrfs = MemFs::new().file("@/etc/os-release", "").dir("@/usr");
    assert!(assemble(&[part(1, not_btrfs)]).systems.is_empty());
}

/// As SLES does: what is open is the default subvolume, a snapshot that has nothing of the others.
#[test]
fn subvolumes_are_named_from_the_top_whatever_is_open() {
    let fstab = "UUID=b / btrfs defaults\nUUID=b /opt btrfs subvol=/@/opt\nUUID=b /var btrfs subvolid=260\n\
        UUID=b /usr/local btrfs subvolid=300,subvol=/@/usr/local\nUUID=b /boot btrfs subvolid=5x\n\
        UUID=b /efi btrfs subvolid=7\n";
    let fs = linux(fstab)
        .dir("opt")
        .dir("var")
        .subvolume("@/opt", 258, MemFs::new().file("huawei/agent", ""))
        .subvolume("@/usr/local", 259, MemFs::new().file("bin/tool", ""))
        .subvolume("@/var", 260, MemFs::new().file("log/messages", ""))
        .named("b", "");
    let parts = [part(2, fs.of_kind(FsKind::Btrfs))];
    let assembled = assemble(&parts);
    let expected = [
        ("/opt", "partition 2"),
        ("/var", "partition 2"),
        ("/boot", "-subvolid=5x is no number"),
        ("/efi", "-partition 2 has no subvolume 7"),
        ("/usr/local", "partition 2"),
    ];
    assert_eq!(joins(&assembled), pairs(&expected));
    for path in ["/opt/huawei/agent", "/var/log/messages", "/usr/local/bin/tool"] {
        assert_eq!(found_path(&assembled.systems[0].root, path).as_deref(), Some(path));
    }
}

#[test]
fn a_table_that_cannot_be_read_leaves_everything_unknown_that_it_could_join_in() {
    let long = "UUID=1 /x ext4\n".repeat(5000).leak();
    let parts = [part(1, linux(long))];
    let assembled = assemble(&parts);
    let root = &assembled.systems[0].root;
    for path in ["/boot", "/usr/bin", "/var/lib/dpkg", "/opt/huawei", "/efi"] {
        root.find(path).expect_err(path);
    }
    assert!(root.find("/etc/os-release").expect("readable").is_some());
}

#[test]
fn a_file_system_that_cannot_be_looked_into_is_told() {
    let fs: Box<dyn FileSystem> = super::broken("x");
    let parts = [Part { fs: Ok(fs), ..part(7, MemFs::new()) }];
    let assembled = assemble(&parts);
    assert_eq!(assembled.unread, ["partition 7: x"]);
}
