use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{any, prop, proptest};

use super::modinfo::{ModuleError, module_info, parse};
use super::modules::{parse_builtin, parse_dep, parse_needed};
use super::{Kernel, Place, kernels, module_name};
use crate::inspect::facts::Known;
use crate::inspect::facts::compressed::Compression;
use crate::inspect::facts::compressed::tests::pack;
use crate::inspect::facts::test_tree::{Tree, initramfs, module};
use crate::inspect::fs::{Entry, FileSystem, FsError, FsKind, Identity, Metadata};

fn all(tree: &Tree) -> Vec<Kernel> {
    match kernels(&tree.root()) {
        Known::Is(kernels) => kernels,
        Known::Unknown(why) => panic!("unknown: {why}"),
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

/// An image with one kernel in /boot, with modules, an initramfs and no menu.
pub(super) fn plain() -> Tree {
    let tree = Tree::new();
    tree.file("boot/vmlinuz-6.1.0-1", "kernel");
    tree.file("boot/initrd.img-6.1.0-1", initramfs(&["lib/modules/6.1.0-1/kernel/nvme-core.ko"]));
    tree.file("usr/lib/modules/6.1.0-1/modules.dep", "kernel/nvme-core.ko:\nkernel/nvme.ko.xz: kernel/nvme-core.ko\n");
    tree.file("usr/lib/modules/6.1.0-1/modules.builtin", "kernel/fs/ext4.ko\nkernel/virtio-pci.ko\n");
    tree.link("lib", "usr/lib");
    tree
}

#[test]
fn a_kernel_in_boot_is_found_with_its_modules_and_initramfs() {
    let kernels = all(&plain());
    assert_eq!(kernels.len(), 1);
    let kernel = &kernels[0];
    assert_eq!((kernel.release.as_str(), kernel.is_bootable), ("6.1.0-1", true));
    assert_eq!(kernel.image.as_deref(), Some("/boot/vmlinuz-6.1.0-1"));
    assert_eq!(kernel.builtin, Known::Is(set(&["ext4", "virtio_pci"])));
    let modules = kernel.modules.as_known().expect("known");
    assert_eq!(modules["nvme"], "/lib/modules/6.1.0-1/kernel/nvme.ko.xz");
    assert_eq!(modules["nvme_core"], "/lib/modules/6.1.0-1/kernel/nvme-core.ko");
    let initramfs = kernel.initramfs.as_known().expect("known").as_ref().expect("there");
    assert_eq!(initramfs.path, "/boot/initrd.img-6.1.0-1");
    assert_eq!(initramfs.modules["nvme_core"], "lib/modules/6.1.0-1/kernel/nvme-core.ko");
}

#[test]
fn only_what_a_menu_offers_can_be_booted() {
    let tree = plain();
    tree.file("boot/vmlinuz-6.2.0", "kernel");
    tree.file("lib/modules/6.3.0/modules.order", "");
    tree.file("lib/modules/6.4.0/extra/left.ko", "");
    let menu = "menuentry a {\n linux /boot/vmlinuz-6.1.0-1 console=ttyS0\n initrd /boot/initrd.img-6.1.0-1\n}\n\
        menuentry memtest {\n linux16 /boot/memtest86+.bin\n}\nmenuentry gone {\n linux /boot/vmlinuz-6.5.0\n}\n";
    tree.file("boot/grub/grub.cfg", menu);
    let kernels = all(&tree);
    let seen: Vec<_> = kernels.iter().map(|k| (k.release.as_str(), k.is_bootable, k.image.is_some())).collect();
    let expected = [("6.1.0-1", true, true), ("6.2.0", false, true), ("6.3.0", false, false), ("6.5.0", true, false)];
    assert_eq!(seen, expected);
    assert_eq!(kernels[0].command_lines[0].source, "/boot/grub/grub.cfg");
    assert_eq!(kernels[0].command_lines[0].consoles().collect::<Vec<_>>(), ["ttyS0"]);
    assert_eq!(kernels[1].builtin, Known::Is(set(&[])), "without its directory it has no modules");
    assert_eq!(kernels[1].initramfs, Known::Is(None));
}

/// Adds a rescue kernel, a copy of the one of this release, with an initramfs that has every driver.
fn add_rescue(tree: &Tree, release: &str) {
    let mut copy = vec![0; 4096];
    copy[0x202..0x206].copy_from_slice(b"HdrS");
    copy[0x20e..0x210].copy_from_slice(&0x800_u16.to_le_bytes());
    let text = format!("{release} (builder@host) #1 SMP");
    copy[0xa00..][..text.len()].copy_from_slice(text.as_bytes());
    tree.file("boot/vmlinuz-0-rescue-abc", copy);
    let every = format!("lib/modules/{release}/kernel/megaraid_sas.ko");
    tree.file("boot/initramfs-0-rescue-abc.img", initramfs(&[&every]));
}

const BLS_RESCUE: &str =
    "version 0-rescue-abc\nlinux /vmlinuz-0-rescue-abc\ninitrd /initramfs-0-rescue-abc.img\noptions rescue\n";
const BLS_USUAL: &str = "version 6.1.0-1\nlinux /vmlinuz-6.1.0-1\ninitrd /initrd.img-6.1.0-1\noptions usual\n";
const GRUB_BOTH: &str = "menuentry r {\n linux16 /vmlinuz-0-rescue-abc rescue\n initrd16 /initramfs-0-rescue-abc.img\n}\n\
    menuentry a {\n linux16 /vmlinuz-6.1.0-1 usual\n initrd16 /initrd.img-6.1.0-1\n}\n";

#[test]
fn a_rescue_kernel_does_not_stand_for_the_one_that_it_is_a_copy_of() {
    // Its entry comes first in both, and its release may be that of a kernel which is gone.
    for (copied, menus) in [
        ("6.1.0-1", &[("loader/entries/0.conf", BLS_RESCUE), ("loader/entries/a.conf", BLS_USUAL)][..]),
        ("5.0", &[("loader/entries/0.conf", BLS_RESCUE), ("loader/entries/a.conf", BLS_USUAL)]),
        ("6.1.0-1", &[("grub2/grub.cfg", GRUB_BOTH)]),
        ("5.0", &[]),
    ] {
        let tree = plain();
        add_rescue(&tree, copied);
        menus.iter().for_each(|(path, menu)| tree.file(&format!("boot/{path}"), menu));
        let kernels = all(&tree);
        assert_eq!(kernels.len(), 1, "{kernels:#?}");
        assert_eq!(kernels[0].image.as_deref(), Some("/boot/vmlinuz-6.1.0-1"));
        let lines: Vec<_> = kernels[0].command_lines.iter().map(|line| line.text.as_str()).collect();
        assert!(lines.is_empty() == menus.is_empty() && lines.iter().all(|line| *line == "usual"), "{lines:?}");
        let initramfs = kernels[0].initramfs.as_known().expect("known").as_ref().expect("there");
        assert_eq!(initramfs.modules.keys().collect::<Vec<_>>(), ["nvme_core"]);
    }
}

#[test]
fn a_rescue_kernel_that_is_offered_alone_is_what_boots() {
    let tree = plain();
    add_rescue(&tree, "6.1.0-1");
    tree.file("boot/loader/entries/0.conf", BLS_RESCUE);
    let kernels = all(&tree);
    assert_eq!(kernels.len(), 1, "{kernels:#?}");
    assert_eq!(kernels[0].image.as_deref(), Some("/boot/vmlinuz-0-rescue-abc"));
    let initramfs = kernels[0].initramfs.as_known().expect("known").as_ref().expect("there");
    assert_eq!(initramfs.modules.keys().collect::<Vec<_>>(), ["megaraid_sas"]);
}

#[test]
fn a_kernel_is_where_the_menu_says_or_nowhere() {
    let tree = plain();
    tree.file("boot/grub/grub.cfg", "menuentry a {\n linux /old/disk/vmlinuz-6.1.0-1\n}\n");
    let kernels = all(&tree);
    assert_eq!((kernels.len(), kernels[0].is_bootable, kernels[0].image.as_deref()), (1, true, None));
}

#[test]
fn a_release_is_read_from_the_kernel_itself_if_nothing_else_tells_it() {
    for packed in [false, true] {
        let tree = plain();
        let mut image = vec![0x55; 600 << 10];
        image[(256 << 10) - 20..][..40].copy_from_slice(b"Linux version 6.1.0-1 (debian-kernel@x) ");
        let image = if packed { pack(Compression::Gzip, &image) } else { image };
        tree.file("boot/efi/debian/vmlinuz", image);
        tree.file("boot/efi/loader/entries/debian.conf", "linux /debian/vmlinuz\n");
        let kernels = all(&tree);
        assert_eq!((kernels.len(), kernels[0].release.as_str()), (1, "6.1.0-1"), "packed: {packed}");
        assert_eq!(kernels[0].initramfs, Known::Is(None), "the entry has none");
    }
    let tree = plain();
    tree.file("boot/efi/debian/vmlinuz", "nothing");
    tree.file("boot/efi/loader/entries/debian.conf", "linux /debian/vmlinuz\n");
    let Known::Unknown(why) = kernels(&tree.root()) else { panic!("nothing tells what boots") };
    assert!(why.contains("/debian/vmlinuz"), "{why}");
    tree.file("boot/efi/abcdef/6.1.0-1/linux", "nothing");
    tree.file("boot/efi/loader/entries/debian.conf", "linux /abcdef/6.1.0-1/linux\n");
    assert_eq!(all(&tree)[0].image.as_deref(), Some("/boot/efi/abcdef/6.1.0-1/linux"), "as systemd lays it out");
}

#[test]
fn only_so_many_kernels_are_searched_and_described() {
    let tree = plain();
    for number in 0..=super::MAX_KERNELS {
        tree.file(&format!("boot/odd{number}"), "nothing");
        tree.file(&format!("boot/loader/entries/{number}.conf"), format!("linux /odd{number}\n"));
    }
    assert!(matches!(kernels(&tree.root()), Known::Unknown(why) if why.contains("without a release")));
    let tree = plain();
    for number in 0..super::MAX_KERNELS {
        tree.file(&format!("boot/vmlinuz-5.{number}"), "kernel");
    }
    assert!(matches!(kernels(&tree.root()), Known::Unknown(why) if why.contains("number of kernels")));
}

#[test]
fn an_initramfs_with_modules_of_another_kernel_has_none_for_this_one() {
    let tree = plain();
    tree.file("boot/initrd.img-6.1.0-1", initramfs(&["usr/lib/modules/5.0/kernel/nvme.ko", "modules/own.ko"]));
    let kernels = all(&tree);
    let initramfs = kernels[0].initramfs.as_known().expect("known").as_ref().expect("there");
    assert_eq!(initramfs.modules.keys().collect::<Vec<_>>(), ["own"]);
    assert_eq!(initramfs.other_releases, set(&["5.0"]));
    tree.file("boot/initrd.img-6.1.0-1", "no initramfs");
    assert!(matches!(&all(&tree)[0].initramfs, Known::Unknown(why) if why.starts_with("/boot/initrd.img-6.1.0-1: ")));
}

#[test]
fn an_initramfs_may_be_several_files_and_must_be_complete() {
    let tree = plain();
    tree.file("boot/ucode.img", initramfs(&["kernel/x86/microcode/a.bin"]));
    let menu = |initrds: &str| format!("menuentry a {{\n linux /vmlinuz-6.1.0-1\n initrd {initrds}\n}}\n");
    tree.file("boot/grub/grub.cfg", menu("/ucode.img /initrd.img-6.1.0-1 $tuned_initrd"));
    let seen = all(&tree)[0].initramfs.clone();
    assert_eq!(seen.as_known().expect("known").as_ref().expect("there").modules.len(), 1);
    let set = |value: &str| format!("set tuned_initrd=\"{value}\"\n{}", menu("/initrd.img-6.1.0-1 $tuned_initrd"));
    for tuned in ["", "/ucode.img", "/ucode.img /ucode.img"] {
        tree.file("boot/grub/grub.cfg", set(tuned));
        assert!(matches!(&all(&tree)[0].initramfs, Known::Is(Some(found)) if found.modules.len() == 1), "{tuned:?}");
    }
    tree.file("boot/grub/grub.cfg", menu("/ucode.img /missing.img"));
    assert_eq!(all(&tree)[0].initramfs, Known::Is(None));
    let tree = plain();
    tree.file("boot/grub/grub.cfg", "set tuned_initrd=\"\"\n");
    let bls = "linux /vmlinuz-6.1.0-1\ninitrd /initrd.img-6.1.0-1 $tuned_initrd\n";
    tree.file("boot/loader/entries/a.conf", bls);
    assert!(matches!(&all(&tree)[0].initramfs, Known::Is(Some(found)) if found.modules.len() == 1));
}

#[test]
fn modules_from_elsewhere_count_even_if_depmod_does_not_know_them() {
    let tree = plain();
    let top = "usr/lib/modules/6.1.0-1";
    tree.link(&format!("{top}/weak-updates/hw/scsi_ep_front.ko"), "/lib/modules/6.0.0/extra/scsi_ep_front.ko");
    tree.file(&format!("{top}/updates/dkms/nvme.ko"), "not the one that counts");
    tree.file(&format!("{top}/kernel/unlisted.ko"), "");
    let kernels = all(&tree);
    let modules = kernels[0].modules.as_known().expect("known");
    assert_eq!(modules["scsi_ep_front"], "/lib/modules/6.1.0-1/weak-updates/hw/scsi_ep_front.ko");
    assert_eq!(modules["nvme"], "/lib/modules/6.1.0-1/kernel/nvme.ko.xz");
    assert!(!modules.contains_key("unlisted"));
    assert_eq!(kernels[0].unindexed, set(&["scsi_ep_front"]));

    let tree = Tree::new();
    tree.file("lib/modules/1.0/modules.builtin", "");
    tree.file("lib/modules/1.0/kernel/a/b/listed.ko.zst", "");
    let kernels = all(&tree);
    assert_eq!(kernels[0].unindexed, set(&["listed"]), "all there is, without modules.dep");
}

#[test]
fn a_module_tells_what_it_is_in_every_compression() {
    let tree = Tree::new();
    let plain =
        module(&["version=1.0.13", "license=GPL", "vermagic=6.1.0-1 SMP mod_unload ", "alias=pci:v1*", "alias=a", "x"]);
    tree.file("a.ko", &plain);
    for (name, compression) in
        [("a.ko.gz", Compression::Gzip), ("a.ko.xz", Compression::Xz), ("a.ko.zst", Compression::Zstd)]
    {
        tree.file(name, pack(compression, &plain));
    }
    tree.link("weak/a.ko", "../a.ko");
    let root = tree.root();
    for path in ["a.ko", "a.ko.gz", "a.ko.xz", "a.ko.zst", "weak/a.ko"] {
        let info = module_info(&root, path).expect("a module");
        assert_eq!(info.version.as_deref(), Some("1.0.13"), "{path}");
        assert_eq!(info.vermagic.as_deref(), Some("6.1.0-1 SMP mod_unload "), "{path}");
        assert_eq!(info.release(), Some("6.1.0-1"));
        assert_eq!(info.aliases, ["pci:v1*", "a"]);
    }
    assert_eq!(module_info(&root, "weak/a.ko").expect("a module").file, "/a.ko");
}

#[test]
fn what_is_no_module_is_an_error() {
    let tree = Tree::new();
    tree.link("dangling.ko", "nowhere.ko");
    tree.file("empty.ko", "");
    tree.file("text.ko", "no object file at all");
    tree.file("huge.ko.gz", pack(Compression::Gzip, &vec![0; (32 << 20) + 1]));
    tree.file("cut.ko.gz", &pack(Compression::Gzip, &module(&["version=1"]))[..30]);
    let mut plain = module(&["version=1"]);
    let name = plain.windows(8).position(|window| window == b".modinfo").expect("there");
    plain[name + 1] = b'x';
    tree.file("other.ko", plain);
    let root = tree.root();
    let error = |path: &str| module_info(&root, path).expect_err("no module");
    assert!(matches!(error("dangling.ko"), ModuleError::Missing));
    assert!(matches!(error("empty.ko"), ModuleError::NoObject(_)));
    assert!(matches!(error("text.ko"), ModuleError::NoObject(_)));
    assert!(matches!(error("huge.ko.gz"), ModuleError::TooLong { .. }));
    assert!(matches!(error("cut.ko.gz"), ModuleError::Read(_)));
    assert!(matches!(error("other.ko"), ModuleError::NoModule));
}

#[test]
fn names_of_modules_lose_their_endings_and_dashes() {
    for (path, name) in [
        ("kernel/a/virtio-blk.ko.xz", Some("virtio_blk")),
        ("scsi_ep_front.ko", Some("scsi_ep_front")),
        ("/x/a.ko.zst", Some("a")),
        ("a.ko.gz", Some("a")),
        ("a.kox", None),
        ("a.ko.lz4", None),
        (".ko", None),
        ("a.ko/b", None),
    ] {
        assert_eq!(module_name(path).as_deref(), name, "{path}");
    }
}

#[test]
fn what_a_module_needs_is_behind_its_colon() {
    let list = b"kernel/a-b.ko.xz: kernel/c.ko.xz  kernel/d.ko.xz\nkernel/c.ko.xz:\nkernel/e.ko: kernel/c.ko\nbroken\n";
    let needed = parse_needed(list, &set(&["a_b", "c", "x"]));
    assert_eq!(needed, BTreeMap::from([("a_b".to_owned(), set(&["c", "d"])), ("c".to_owned(), set(&[]))]));
}

#[test]
fn a_module_is_built_in_in_a_file_or_nowhere() {
    let tree = plain();
    tree.file("usr/lib/modules/6.1.0-1/extra/new.ko", "");
    let kernels = all(&tree);
    let kernel = &kernels[0];
    assert_eq!(kernel.directory.as_deref(), Some("/lib/modules/6.1.0-1"));
    assert_eq!(kernel.place("virtio-pci"), Place::Builtin);
    assert_eq!(kernel.place("nvme-core"), Place::Loadable("/lib/modules/6.1.0-1/kernel/nvme-core.ko"));
    assert_eq!(kernel.place("new"), Place::Unindexed("/lib/modules/6.1.0-1/extra/new.ko"));
    assert_eq!(kernel.place("ahci"), Place::Nowhere);
    let unsure = Kernel { builtin: Known::Unknown("why".to_owned()), ..kernel.clone() };
    assert_eq!(unsure.place("ahci"), Place::Unknown("why"));
    assert!(matches!(unsure.place("nvme_core"), Place::Loadable(_)));
}

/// A file system that cannot be read at all.
#[derive(Debug)]
struct Broken(Identity);

impl Broken {
    fn error<T>() -> Result<T, FsError> {
        Err(FsError::Unsupported { what: "a made-up feature".to_owned() })
    }
}

impl FileSystem for Broken {
    fn kind(&self) -> FsKind {
        FsKind::Ext
    }
    fn identity(&self) -> &Identity {
        &self.0
    }
    fn metadata(&self, _: &str) -> Result<Option<Metadata>, FsError> {
        Self::error()
    }
    fn read_link(&self, _: &str) -> Result<String, FsError> {
        Self::error()
    }
    fn open(&self, _: &str) -> Result<Box<dyn std::io::Read + '_>, FsError> {
        Self::error()
    }
    fn list(&self, _: &str) -> Result<Vec<Entry>, FsError> {
        Self::error()
    }
}

#[test]
fn what_cannot_be_read_is_unknown_and_not_absent() {
    let tree = plain();
    let mut root = tree.root();
    root.join("/boot", Box::new(Broken(Identity::default())));
    assert_eq!(kernels(&root), Known::Unknown("a made-up feature is not supported".to_owned()));
    let mut root = tree.root();
    root.join("/usr/lib/modules/6.1.0-1/extra", Box::new(Broken(Identity::default())));
    let Known::Is(kernels) = kernels(&root) else { panic!("known") };
    assert!(matches!(kernels[0].modules, Known::Unknown(_)));
    assert!(matches!(kernels[0].builtin, Known::Is(_)));
}

#[test]
fn a_menu_in_boot_is_enough_if_the_efi_system_partition_cannot_be_read() {
    let tree = plain();
    let mut root = tree.root();
    root.join("/boot/efi", Box::new(Broken(Identity::default())));
    assert!(matches!(kernels(&root), Known::Unknown(_)), "there may be another menu on it");
    tree.file("boot/grub/grub.cfg", "menuentry a {\n linux /vmlinuz-6.1.0-1\n}\n");
    let Known::Is(kernels) = kernels(&root) else { panic!("the menu is there") };
    assert_eq!((kernels.len(), kernels[0].is_bootable), (1, true));
}

proptest! {
    #[test]
    fn arbitrary_lists_and_modules_are_read_without_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..600),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        parse_dep(&bytes, "/lib/modules/1").expect("short");
        parse_builtin(&bytes);
        super::release::of_pc(&bytes);
        parse_needed(&bytes, &set(&["a"]));
        parse(&bytes).expect_err("no module");
        let mut module = module(&["version=1", "vermagic=6.1 SMP"]);
        for (at, byte) in changes {
            let at = at.index(module.len());
            module[at] = byte;
        }
        parse(&module).ok();
    }
}
