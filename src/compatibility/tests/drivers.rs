//! Rules of drivers: of evidence as it is, and of made-up kernels that evidence is gathered of.

use super::fixture::{Case, HINIC, MEGARAID, SCSI_DISK, X722, link, modalias, nic, set, unknown, why};
use crate::compatibility::modaliases;
use crate::disk::identity::Transport;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::{Attachment, LinkState};
use crate::hardware::pci::PciDevice;
use crate::image::manifest::OsFamily;
use crate::inspect::evidence::{BlockEvidence, KernelEvidence, MAX_DEVICES, Modalias, ModulePlace};
use crate::inspect::facts::Known;
use crate::inspect::facts::drivers::evidence;
use crate::inspect::facts::gather::{BootFacts, Facts};
use crate::inspect::facts::test_tree::{Tree, initramfs};
use crate::inspect::report::Status::{self, Fail, NotApplicable, Pass, Unknown, Warn};

/// What is changed about a fitting pair, and what HW-07, HW-08 and HW-09 then come to.
type Row = (&'static str, fn(&mut Case), [Status; 3]);

fn statuses(case: &Case) -> [Status; 3] {
    ["HW-07", "HW-08", "HW-09"].map(|id| case.status(id))
}

fn lost() -> ModulePlace {
    ModulePlace::Lost("/lib/modules/6.1.0-1/kernel/x.ko".to_owned())
}

fn blocked(spares_dependencies: bool) -> Known<Option<BlockEvidence>> {
    Known::Is(Some(BlockEvidence {
        place: "/etc/modprobe.d/a:1".to_owned(),
        text: "no".to_owned(),
        spares_dependencies,
    }))
}

const LACKS: &[Row] = &[
    ("nothing", |_| {}, [Pass, Pass, Pass]),
    (
        "no module for the controller",
        |case| {
            case.drivers().claims.insert(modalias(MEGARAID), Known::Is(set(&[])));
        },
        [Fail, Fail, Pass],
    ),
    ("the file is gone", |case| case.module("megaraid_sas").place = lost(), [Fail, Pass, Pass]),
    (
        "no list names it",
        |case| {
            case.module("megaraid_sas").place = ModulePlace::Unindexed("/x.ko".to_owned());
        },
        [Fail, Pass, Pass],
    ),
    (
        "made for another kernel",
        |case| {
            case.module("megaraid_sas").place =
                ModulePlace::Misfit { path: "/x.ko".to_owned(), built_for: "5.0".to_owned() };
        },
        [Fail, Pass, Pass],
    ),
    ("no list and no file", |case| case.module("sd_mod").place = ModulePlace::Nowhere, [Fail, Pass, Pass]),
    ("what it needs is gone", |case| case.module("scsi_mod").place = lost(), [Fail, Pass, Pass]),
    ("not in the initramfs", |case| case.module("megaraid_sas").is_in_initramfs = false, [Pass, Fail, Pass]),
    ("the disk's is not in the initramfs", |case| case.module("sd_mod").is_in_initramfs = false, [Pass, Fail, Pass]),
    ("what it needs is not", |case| case.module("scsi_mod").is_in_initramfs = false, [Pass, Fail, Pass]),
    (
        "built in",
        |case| {
            for name in ["megaraid_sas", "sd_mod", "scsi_mod", "i40e"] {
                case.module(name).place = ModulePlace::Builtin;
                case.module(name).is_in_initramfs = false;
                case.module(name).block = blocked(false);
            }
            case.kernels()[0].initramfs = Known::Is(None);
        },
        [Pass, Pass, Pass],
    ),
    ("blocked", |case| case.module("megaraid_sas").block = blocked(true), [Fail, Fail, Pass]),
    ("what it needs is blocked for its own devices", |case| case.module("scsi_mod").block = blocked(true), [Pass; 3]),
    ("what it needs is blocked", |case| case.module("scsi_mod").block = blocked(false), [Fail, Fail, Pass]),
    ("the card's is blocked", |case| case.module("i40e").block = blocked(true), [Pass, Pass, Fail]),
    ("the card's is gone", |case| case.module("i40e").place = lost(), [Pass, Pass, Fail]),
    ("no initramfs", |case| case.kernels()[0].initramfs = Known::Is(None), [Pass, Fail, Pass]),
    ("an initramfs that cannot be read", |case| case.kernels()[0].initramfs = why(), [Pass, Unknown, Pass]),
    ("blocks that cannot be read", |case| case.module("i40e").block = why(), [Pass, Pass, Unknown]),
    (
        "patterns that cannot be read",
        |case| {
            case.drivers().claims.insert(modalias(SCSI_DISK), why());
        },
        [Unknown, Unknown, Pass],
    ),
    (
        "a place that is not known",
        |case| {
            case.module("sd_mod").place = ModulePlace::Unknown("why".to_owned());
        },
        [Unknown, Pass, Pass],
    ),
    (
        "a device that was not asked about",
        |case| {
            case.drivers().claims.remove(&modalias(X722));
        },
        [Pass, Pass, Unknown],
    ),
    (
        "a module that nothing is said of",
        |case| {
            case.drivers().modules.remove("scsi_mod");
        },
        [Unknown, Unknown, Pass],
    ),
    ("drivers that are not known", |case| case.kernels()[0].drivers = why(), [Unknown; 3]),
    ("kernels that are not known", |case| case.evidence().kernels = why(), [Unknown; 3]),
    ("no kernel", |case| case.kernels().clear(), [Fail; 3]),
    ("Windows", |case| case.requirements.family = Some(OsFamily::Windows), [Unknown, NotApplicable, Unknown]),
    ("no disk", |case| case.has_target = false, [Unknown, Unknown, Pass]),
    ("a disk that hangs on something unknown", |case| case.disk().path = unknown(), [Unknown, Unknown, Pass]),
    ("a disk that hangs on nothing", |case| case.disk().path = Fact::Known(Vec::new()), [Unknown, Unknown, Pass]),
    ("a disk over iSCSI", |case| case.disk().transport = Transport::Iscsi, [Unknown, Unknown, Pass]),
    (
        "a disk below no hardware",
        |case| case.disk().path = Fact::Known(vec![link("scsi", "2:0:0:0", SCSI_DISK)]),
        [Unknown, Unknown, Pass],
    ),
    (
        "a modalias that is none",
        |case| {
            case.disk().path = Fact::Known(vec![link("pci", "0", "pci: \u{1b}")]);
        },
        [Unknown, Unknown, Pass],
    ),
    ("cards that are not known", |case| case.host.nics = unknown(), [Pass, Pass, Unknown]),
    ("no cards", |case| case.nics().clear(), [Pass, Pass, NotApplicable]),
    (
        "no interface, and perhaps a card",
        |case| {
            case.nics().clear();
            case.host.network_controllers = unknown();
        },
        [Pass, Pass, Unknown],
    ),
    ("cards that are not listed, and one in use", |case| case.host.network_controllers = unknown(), [Pass; 3]),
];

#[test]
fn each_way_to_lack_a_driver_is_found() {
    for (what, change, expected) in LACKS {
        let mut case = Case::fit();
        change(&mut case);
        assert_eq!(statuses(&case), *expected, "{what}");
    }
}

#[test]
fn a_failure_names_controller_modalias_and_kernel() {
    let mut case = Case::fit();
    case.module("megaraid_sas").is_in_initramfs = false;
    let finding = case.finding("HW-08");
    let reason = format!(
        "pci 0000:3b:00.0 of disk sda ({MEGARAID}) under 6.1.0-1: megaraid_sas is not in /boot/initrd.img-6.1.0-1"
    );
    assert_eq!(finding.reason, reason);
    let seen: Vec<_> = finding.evidence.iter().map(|evidence| evidence.path.as_str()).collect();
    let controller = format!("6.1.0-1: pci 0000:3b:00.0 {MEGARAID}");
    assert_eq!(seen, [format!("6.1.0-1: scsi 0:2:0:0 {SCSI_DISK}"), controller]);
}

#[test]
fn every_kernel_that_can_be_booted_counts() {
    let mut case = Case::fit();
    let mut second = case.kernels()[0].clone();
    second.release = "6.2.0".to_owned();
    let Known::Is(drivers) = &mut second.drivers else { panic!("known") };
    drivers.modules.get_mut("megaraid_sas").expect("there").place = lost();
    case.kernels().push(second);
    let finding = case.finding("HW-07");
    assert!(finding.status == Fail && finding.reason.contains("under 6.2.0: "), "{}", finding.reason);
}

#[test]
fn one_usable_module_of_several_is_enough() {
    let mut case = Case::fit();
    case.drivers().claims.insert(modalias(X722), Known::Is(set(&["gone", "i40e"])));
    let i40e = case.module("i40e").clone();
    case.drivers().modules.insert("gone".to_owned(), i40e);
    case.module("gone").place = lost();
    assert_eq!(case.status("HW-09"), Pass);
    case.module("i40e").block = blocked(true);
    assert_eq!(case.status("HW-09"), Fail);
}

#[test]
fn cards_with_a_link_are_needed_or_else_all() {
    let mut case = Case::fit();
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Pass, Warn), "the idle card has no driver");
    case.nics()[1].link = Fact::Known(LinkState::Up);
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Fail, NotApplicable), "both are linked");
    case.nics()[0].link = Fact::Known(LinkState::Down);
    case.nics()[1].link = unknown();
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Fail, NotApplicable), "any may be the one");
    case.nics().truncate(1);
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Pass, NotApplicable));
    case.host.network_controllers = unknown();
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Unknown, NotApplicable), "there may be another");
    case.nics()[0].link = Fact::Known(LinkState::Up);
    assert_eq!((case.status("HW-09"), case.status("HW-10")), (Pass, Unknown));
}

#[test]
fn the_door_of_the_service_processor_is_not_needed() {
    let mut case = Case::fit();
    let mut door = nic("usb0", "usb:v12D1p0003d0001dc00dsc00dp00ic02isc0Dip00in00", LinkState::Up);
    door.path = Fact::Known(vec![link("usb", "1-1:1.0", "usb:v12D1p0003")]);
    case.nics().push(door.clone());
    assert_eq!(case.status("HW-09"), Pass);
    case.nics().retain(|nic| nic.name == "usb0");
    assert_eq!(case.status("HW-09"), NotApplicable, "it alone is no card");
}

#[test]
fn a_card_without_a_driver_on_this_system_is_not_forgotten() {
    let mut case = Case::fit();
    case.nics().truncate(1);
    let controller = |address: &str| PciDevice {
        address: address.to_owned(),
        modalias: Fact::Known(HINIC.to_owned()),
        ..PciDevice::default()
    };
    case.host.network_controllers = Fact::Known(vec![controller("of eno1"), controller("0000:86:00.0")]);
    let finding = case.finding("HW-10");
    assert_eq!(finding.status, Warn);
    assert!(finding.reason.starts_with("pci 0000:86:00.0 of network card 0000:86:00.0"), "{}", finding.reason);
    case.nics().clear();
    assert_eq!(case.status("HW-09"), Fail, "it may be the one");
}

#[test]
fn ports_of_one_card_are_named_together() {
    let mut case = Case::fit();
    case.nics().insert(1, nic("eno2", X722, LinkState::Up));
    case.module("i40e").place = lost();
    assert!(case.finding("HW-09").reason.contains(" of network card eno1, eno2 ("));
}

#[test]
fn what_no_driver_serves_on_the_way_to_a_disk_needs_none() {
    let mut case = Case::fit();
    let mut bridge = link("acpi", "PNP0A08:00", "acpi:PNP0A08:");
    bridge.driver = Fact::unknown(UnknownReason::Missing);
    let Fact::Known(path) = &mut case.disk().path else { panic!("known") };
    path.push(bridge);
    assert_eq!(statuses(&case), [Pass; 3]);
    let Fact::Known(path) = &mut case.disk().path else { panic!("known") };
    path[2].driver = unknown();
    assert_eq!(statuses(&case), [Unknown, Unknown, Pass], "it was not asked about");
}

#[test]
fn an_image_is_asked_about_the_disk_first_and_about_nothing_twice() {
    let mut case = Case::fit();
    case.nics().insert(0, nic("eno2", X722, LinkState::Down));
    let asked = modaliases(&case.host, case.host.disks.items().first());
    assert_eq!(asked.iter().map(Modalias::as_str).collect::<Vec<_>>(), [SCSI_DISK, MEGARAID, X722, HINIC]);
    case.nics().extend((0..200).map(|number| nic("x", &format!("pci:v{number}"), LinkState::Up)));
    case.nics().push(nic("y", "not one", LinkState::Up));
    let asked = modaliases(&case.host, case.host.disks.items().first());
    assert_eq!((asked.len(), asked[1].as_str()), (MAX_DEVICES, MEGARAID));
}

const DIRECTORY: &str = "lib/modules/6.1.0-1";

/// An image with one kernel as distributions make it, for all devices of the fitting server.
fn kernel() -> Tree {
    let tree = Tree::new();
    tree.file("boot/vmlinuz-6.1.0-1", "kernel");
    pack(&tree, &["megaraid_sas", "sd_mod", "scsi_mod"]);
    let write = |name: &str, content: &str| tree.file(&format!("{DIRECTORY}/{name}"), content);
    write(
        "modules.alias",
        &format!(
            "# comment\nalias pci:v00001000d0000005Dsv*sd*bc*sc*i* megaraid_sas\n\
        alias scsi:t-0x00* sd_mod\nalias {X722} i40e\nalias pci:v000019E5d00000200sv*sd*bc*sc*i* hinic\n"
        ),
    );
    write(
        "modules.dep",
        "kernel/megaraid_sas.ko: kernel/scsi_mod.ko\nkernel/sd_mod.ko: kernel/scsi_mod.ko\n\
        kernel/scsi_mod.ko:\nkernel/i40e.ko:\n",
    );
    write("modules.builtin", "kernel/hinic.ko\n");
    write("modules.builtin.modinfo", "hinic.license=GPL\0shpchp.alias=pci:v*d*sv*sd*bc06sc04i00*\0");
    for name in ["megaraid_sas", "sd_mod", "scsi_mod", "i40e"] {
        write(&format!("kernel/{name}.ko"), "");
    }
    tree
}

fn pack(tree: &Tree, modules: &[&str]) {
    let names: Vec<_> = modules.iter().map(|name| format!("{DIRECTORY}/kernel/{name}.ko")).collect();
    tree.file("boot/initrd.img-6.1.0-1", initramfs(&names.iter().map(String::as_str).collect::<Vec<_>>()));
}

/// The fitting server, and this image.
fn on(tree: &Tree) -> Case {
    let mut case = Case::fit();
    let root = tree.root();
    let facts = Facts::gather(&root, BootFacts::read(&root, why(), why()));
    let devices = modaliases(&case.host, case.host.disks.items().first());
    case.evidence().kernels = evidence(&facts, &devices).bounded().kernels;
    case
}

#[test]
fn a_whole_kernel_drives_the_server() {
    let case = on(&kernel());
    assert_eq!(statuses(&case), [Pass; 3], "{:#?}", case.judge());
    assert_eq!(case.status("HW-10"), Pass, "hinic is built in");
}

#[test]
fn a_driver_that_is_removed_or_blocked_is_missed_where_it_is_missing() {
    let tree = kernel();
    tree.remove(&format!("{DIRECTORY}/kernel/megaraid_sas.ko"));
    assert_eq!(statuses(&on(&tree)), [Fail, Pass, Pass]);
    assert!(on(&tree).finding("HW-07").reason.ends_with("/lib/modules/6.1.0-1/kernel/megaraid_sas.ko is missing"));

    let tree = kernel();
    pack(&tree, &["megaraid_sas", "sd_mod"]);
    assert_eq!(statuses(&on(&tree)), [Pass, Fail, Pass]);
    assert!(on(&tree).finding("HW-08").reason.contains("scsi_mod is not in /boot/initrd.img-6.1.0-1"));

    let tree = kernel();
    tree.file("etc/modprobe.d/no.conf", "blacklist megaraid_sas\nblacklist scsi_mod\ninstall i40e /bin/false\n");
    assert_eq!(statuses(&on(&tree)), [Fail; 3]);
    assert!(on(&tree).finding("HW-07").reason.contains("/etc/modprobe.d/no.conf:1 keeps megaraid_sas"));

    let tree = kernel();
    tree.file(&format!("{DIRECTORY}/modules.alias"), "alias scsi:t-0x00* sd_mod\n");
    assert_eq!(statuses(&on(&tree)), [Fail; 3]);
}

#[test]
fn a_kernel_that_does_not_say_what_its_built_in_drivers_are_for_is_asked_for_the_usual_ones() {
    let tree = kernel();
    let write = |name: &str, content: &str| tree.file(&format!("{DIRECTORY}/{name}"), content);
    write("modules.alias", "");
    write("modules.dep", "");
    write("modules.builtin.modinfo", "megaraid_sas.license=GPL\0");
    write("modules.builtin", "kernel/megaraid_sas.ko\nkernel/sd_mod.ko\nkernel/i40e.ko\nkernel/hinic.ko\n");
    tree.remove("boot/initrd.img-6.1.0-1");
    assert_eq!(statuses(&on(&tree)), [Pass; 3], "{:#?}", on(&tree).judge());
    write("modules.builtin", "kernel/sd_mod.ko\n");
    assert_eq!(statuses(&on(&tree)), [Fail; 3], "all drivers of these devices are known");
    assert!(on(&tree).finding("HW-07").reason.contains("no module is for it"));
}

#[test]
fn a_kernel_whose_patterns_cannot_be_read_is_unknown() {
    let tree = kernel();
    tree.remove(&format!("{DIRECTORY}/modules.alias"));
    assert_eq!(statuses(&on(&tree)), [Unknown; 3]);
    let tree = kernel();
    tree.remove("boot/initrd.img-6.1.0-1");
    assert_eq!(statuses(&on(&tree)), [Pass, Fail, Pass]);
    tree.file("boot/initrd.img-6.1.0-1", "no archive");
    assert_eq!(statuses(&on(&tree)), [Pass, Unknown, Pass]);
}

#[test]
fn nothing_is_asked_for_booting_from_a_disk_that_is_no_hardware() {
    let of_booting = ["HW-03", "HW-07", "HW-08", "HW-09", "HW-10"];
    for (attachment, expected) in
        [(Attachment::Virtual, [NotApplicable; 5]), (Attachment::Other, [Fail, Unknown, Unknown, Pass, Warn])]
    {
        let mut case = Case::fit();
        case.disk().path = Fact::unknown(UnknownReason::Missing);
        case.disk().attachment = attachment;
        case.evidence().uefi = Known::Is(None);
        assert_eq!(of_booting.map(|id| case.status(id)), expected, "{attachment:?}");
        case.disk().size_bytes = 1;
        assert_eq!(case.status("HW-05"), Fail);
    }
}

#[test]
fn more_kernels_than_any_image_has_are_not_judged() {
    let mut case = Case::fit();
    case.nics().extend((0..64).map(|number| nic("x", &format!("pci:v{number}"), LinkState::Up)));
    let kernel = |number: u32| KernelEvidence { release: number.to_string(), initramfs: why(), drivers: why() };
    for (count, reason) in [(16, "it cannot be read"), (17, "too much to say"), (2000, "too much to say")] {
        *case.kernels() = (0..count).map(kernel).collect();
        let image = case.image.as_mut().expect("there");
        image.evidence = image.evidence.clone().bounded();
        let finding = case.finding("HW-09");
        assert!(finding.status == Unknown && finding.reason.contains(reason), "{count}: {}", finding.reason);
        case.evidence().kernels = Known::Is(Vec::new());
    }
}
