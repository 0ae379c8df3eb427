use std::collections::BTreeSet;

use super::evidence;
use crate::inspect::evidence::{
    BootEvidence, DriverEvidence, KernelEvidence, MAX_KERNELS_BYTES, Modalias, ModulePlace,
};
use crate::inspect::facts::Known;
use crate::inspect::facts::boot::efi;
use crate::inspect::facts::gather::{BootFacts, Facts};
use crate::inspect::facts::test_tree::{Tree, initramfs, module};

const NVME: &str = "pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02";
const SCSI_DISK: &str = "scsi:t-0x00";
const DIRECTORY: &str = "lib/modules/6.1.0-1";

/// An image with one kernel that has drivers for NVMe, as files, and for SCSI disks, compiled in.
fn image() -> Tree {
    let tree = Tree::new();
    tree.file("boot/vmlinuz-6.1.0-1", "kernel");
    tree.file("boot/grub/grub.cfg", "menuentry a {\n linux /boot/vmlinuz-6.1.0-1 ro\n initrd /boot/initrd\n}\n");
    tree.file(
        "boot/initrd",
        initramfs(&["lib/modules/6.1.0-1/kernel/nvme.ko", "lib/modules/6.1.0-1/kernel/nvme-core.ko"]),
    );
    write(&tree, "modules.dep", "kernel/nvme-core.ko:\nkernel/nvme.ko: kernel/nvme-core.ko\n");
    write(&tree, "modules.alias", "alias pci:v*d*sv*sd*bc01sc08i02* nvme\n");
    write(&tree, "modules.builtin", "kernel/drivers/scsi/sd_mod.ko\n");
    write(&tree, "modules.builtin.modinfo", "sd_mod.alias=scsi:t-0x00*\0sd_mod.license=GPL\0");
    write(&tree, "kernel/nvme.ko", "");
    write(&tree, "kernel/nvme-core.ko", "");
    tree
}

fn write(tree: &Tree, name: &str, content: &str) {
    tree.file(&format!("{DIRECTORY}/{name}"), content);
}

fn modalias(text: &str) -> Modalias {
    Modalias::new(text).expect("a modalias")
}

fn look(tree: &Tree, devices: &[&str]) -> BootEvidence {
    let root = tree.root();
    let layout = Known::Unknown("it is no disk".to_owned());
    let facts = Facts::gather(&root, BootFacts::read(&root, efi::loaders_of_host(&root), layout));
    let devices: Vec<_> = devices.iter().map(|device| modalias(device)).collect();
    evidence(&facts, &devices).bounded()
}

fn kernel(tree: &Tree) -> KernelEvidence {
    match look(tree, &[NVME, SCSI_DISK]).kernels {
        Known::Is(mut kernels) => kernels.remove(0),
        Known::Unknown(why) => panic!("unknown: {why}"),
    }
}

fn drivers(tree: &Tree) -> DriverEvidence {
    match kernel(tree).drivers {
        Known::Is(drivers) => drivers,
        Known::Unknown(why) => panic!("unknown: {why}"),
    }
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|&name| name.to_owned()).collect()
}

#[test]
fn a_kernel_says_what_it_has_for_each_device() {
    let kernel = kernel(&image());
    assert_eq!(kernel.release, "6.1.0-1");
    assert_eq!(kernel.initramfs, Known::Is(Some("/boot/initrd".to_owned())));
    let drivers = kernel.drivers.as_known().expect("known");
    assert_eq!(drivers.claims[&modalias(NVME)], Known::Is(set(&["nvme"])));
    assert_eq!(drivers.claims[&modalias(SCSI_DISK)], Known::Is(set(&["sd_mod"])));
    let names: Vec<_> = drivers.modules.keys().map(String::as_str).collect();
    assert_eq!(names, ["nvme", "nvme_core", "sd_mod"]);
    let nvme = &drivers.modules["nvme"];
    assert_eq!(nvme.place, ModulePlace::File("/lib/modules/6.1.0-1/kernel/nvme.ko".to_owned()));
    assert_eq!((nvme.is_in_initramfs, &nvme.block), (true, &Known::Is(None)));
    assert_eq!(nvme.needs, set(&["nvme_core"]));
    assert_eq!(drivers.modules["sd_mod"].place, ModulePlace::Builtin);
}

#[test]
fn a_module_that_is_removed_is_lost_or_not_in_the_initramfs() {
    let tree = image();
    tree.remove(&format!("{DIRECTORY}/kernel/nvme-core.ko"));
    tree.file("boot/initrd", initramfs(&["lib/modules/6.1.0-1/kernel/nvme-core.ko"]));
    let modules = drivers(&tree).modules;
    let lost = ModulePlace::Lost("/lib/modules/6.1.0-1/kernel/nvme-core.ko".to_owned());
    assert_eq!((&modules["nvme_core"].place, modules["nvme_core"].is_in_initramfs), (&lost, true));
    assert!(!modules["nvme"].is_in_initramfs);

    write(&tree, "modules.dep", "");
    let modules = drivers(&tree).modules;
    assert_eq!(modules["nvme"].place, ModulePlace::Nowhere);
    tree.remove(&format!("{DIRECTORY}/modules.dep"));
    let modules = drivers(&tree).modules;
    assert_eq!(modules["nvme"].place, ModulePlace::Unindexed("/lib/modules/6.1.0-1/kernel/nvme.ko".to_owned()));
}

#[test]
fn a_module_from_elsewhere_must_have_been_made_for_the_kernel() {
    let place = |directory: &str, content: Vec<u8>| {
        let tree = image();
        write(&tree, "modules.dep", &format!("{directory}/nvme.ko:\n"));
        tree.file(&format!("{DIRECTORY}/{directory}/nvme.ko"), content);
        drivers(&tree).modules["nvme"].place.clone()
    };
    let path = |directory: &str| format!("/{DIRECTORY}/{directory}/nvme.ko");
    let [right, wrong] = ["6.1.0-1", "6.0.0"].map(|release| module(&[&format!("vermagic={release} SMP mod_unload")]));
    assert_eq!(place("updates/dkms", right), ModulePlace::File(path("updates/dkms")));
    let misfit = ModulePlace::Misfit { path: path("extra"), built_for: "6.0.0".to_owned() };
    assert_eq!(place("extra", wrong.clone()), misfit);
    assert_eq!(place("weak-updates", wrong), ModulePlace::File(path("weak-updates")), "it was found to fit");
    for content in [b"no module".to_vec(), module(&["license=GPL"])] {
        assert!(matches!(place("extra", content), ModulePlace::Unknown(_)));
    }
}

#[test]
fn what_keeps_a_module_from_being_loaded_is_told_with_its_place() {
    let block = |tree: &Tree| drivers(tree).modules["nvme"].block.as_known().expect("known").clone().expect("blocked");
    let tree = image();
    tree.file("etc/modprobe.d/a.conf", "blacklist nvme\n");
    let found = block(&tree);
    assert_eq!((found.place.as_str(), found.text.as_str()), ("/etc/modprobe.d/a.conf:1", "blacklist nvme"));
    assert!(found.spares_dependencies);
    tree.file("etc/modprobe.d/b.conf", "\ninstall nvme /bin/false\n");
    let found = block(&tree);
    assert_eq!((found.place.as_str(), found.spares_dependencies), ("/etc/modprobe.d/b.conf:2", false));

    for (parameter, spares) in [("modprobe.blacklist=x,nvme", true), ("module_blacklist=nvme", false)] {
        let tree = image();
        let menu = format!(
            "menuentry a {{\n linux /boot/vmlinuz-6.1.0-1 {parameter}\n initrd /boot/initrd\n}}\n\
            menuentry b {{\n linux /boot/vmlinuz-6.1.0-1 single module_blacklist=sd_mod\n initrd /boot/initrd\n}}\n"
        );
        tree.file("boot/grub/grub.cfg", menu);
        let found = block(&tree);
        assert_eq!((found.place.as_str(), found.spares_dependencies), ("/boot/grub/grub.cfg", spares), "{parameter}");
        assert_eq!(drivers(&tree).modules["sd_mod"].block, Known::Is(None), "a line for repair does not count");
    }
}

#[test]
fn a_kernel_whose_patterns_cannot_be_read_is_not_one_without_drivers() {
    let tree = image();
    tree.remove(&format!("{DIRECTORY}/modules.alias"));
    let claims = drivers(&tree).claims;
    assert!(matches!(&claims[&modalias(NVME)], Known::Unknown(why) if why.ends_with("modules.alias is missing")));
    assert_eq!(claims[&modalias(SCSI_DISK)], Known::Is(set(&["sd_mod"])));
}

#[test]
fn a_kernel_without_a_directory_of_modules_has_no_drivers() {
    let tree = Tree::new();
    tree.file("boot/vmlinuz-6.1.0-1", "kernel");
    let drivers = drivers(&tree);
    assert_eq!(drivers.claims, [NVME, SCSI_DISK].map(|device| (modalias(device), Known::Is(set(&[])))).into());
    assert!(drivers.modules.is_empty());
}

#[test]
fn only_kernels_that_can_be_booted_count() {
    let tree = image();
    tree.file("boot/vmlinuz-6.2.0", "kernel");
    tree.file("lib/modules/6.2.0/modules.dep", "");
    let releases = |tree: &Tree| {
        let kernels = look(tree, &[NVME]).kernels;
        kernels.map(|kernels| kernels.iter().map(|kernel| kernel.release.clone()).collect::<Vec<_>>())
    };
    assert_eq!(releases(&tree), Known::Is(vec!["6.1.0-1".to_owned()]));
    tree.remove("boot/grub/grub.cfg");
    assert_eq!(releases(&tree), Known::Is(vec!["6.1.0-1".to_owned(), "6.2.0".to_owned()]));
    assert!(matches!(look(&tree, &[]).kernels, Known::Unknown(_)), "nothing was asked");
}

#[test]
fn hostile_lists_make_no_long_answer() {
    let tree = image();
    let needs: String = (0..300).map(|number| format!(" kernel/m{number}.ko")).collect();
    write(&tree, "modules.dep", &format!("kernel/nvme.ko:{needs}\n"));
    assert!(matches!(kernel(&tree).drivers, Known::Unknown(why) if why.starts_with("more than 256")));

    let tree = image();
    let needs: String = (0..33).map(|number| format!(" extra/m{number}.ko")).collect();
    let lines: String = (0..33).map(|number| format!("extra/m{number}.ko:\n")).collect();
    write(&tree, "modules.dep", &format!("kernel/nvme.ko:{needs}\n{lines}"));
    for number in 0..33 {
        tree.file(&format!("{DIRECTORY}/extra/m{number}.ko"), module(&["vermagic=6.1.0-1"]));
    }
    let modules = drivers(&tree).modules;
    let unknown = modules.values().filter(|module| matches!(module.place, ModulePlace::Unknown(_)));
    assert_eq!(unknown.count(), 1, "no more are read");

    let tree = image();
    let name = |number: usize| format!("{number:03}{}", "\u{1b}".repeat(60));
    let needs: String = (0..200).map(|number| format!(" {}.ko", name(number))).collect();
    let lines: String = (0..200).map(|number| format!("kernel/{}.ko:{needs}\n", name(number))).collect();
    write(&tree, "modules.dep", &format!("kernel/nvme.ko:{needs}\n{lines}"));
    let found = look(&tree, &[NVME]);
    assert!(serde_json::to_vec(&found).expect("JSON").len() <= MAX_KERNELS_BYTES + 1024, "{found:?}");

    let tree = image();
    write(&tree, "modules.dep", "kernel/nvme.ko: kernel/\u{1b}x.ko\n");
    let modules = drivers(&tree).modules;
    assert_eq!((&modules["nvme"].needs, &modules["\\u{1b}x"].place), (&set(&["\\u{1b}x"]), &ModulePlace::Nowhere));
}

#[test]
fn evidence_crosses_to_the_parent_and_nothing_else_does() {
    let found = look(&image(), &[NVME, SCSI_DISK]);
    let json = serde_json::to_string(&found).expect("JSON");
    assert_eq!(serde_json::from_str::<BootEvidence>(&json).expect("the same"), found);
    for (from, to) in [
        ("\"needs\"", "\"wants\""),
        ("\"builtin\"", "\"elsewhere\""),
        (NVME, "pci:v 1"),
        (SCSI_DISK, ""),
        ("\"bios\"", "\"bios\":{\"is\":true},\"x\""),
    ] {
        let wrong = json.replacen(from, to, 1);
        assert_ne!(wrong, json, "{from}");
        serde_json::from_str::<BootEvidence>(&wrong).expect_err(from);
    }
}
