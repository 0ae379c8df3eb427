use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Sender};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use serde_json::Value;

use super::Question;
use crate::disk::identity::Transport;
use crate::disk::roots::Roots;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::host::BootMode;
use crate::hardware::inventory::{Attachment, BlockDevice, Inventory, Link, LinkState, SecureBoot, Serials};
use crate::hardware::machines::catalogue;
use crate::hardware::model::HardwareModel;
use crate::hardware::survey::{LldpClient, PATIENCE, Survey};

fn reason<T>(fact: &Fact<T>) -> UnknownReason {
    fact.why_unknown().expect("unknown").reason
}

fn text(fact: &Fact<String>) -> &str {
    fact.value().map_or("?", String::as_str)
}

/// Bus and driver of everything that something hangs on.
fn drivers(path: &Fact<Vec<Link>>) -> String {
    let link = |link: &Link| format!("{}:{}", link.bus, text(&link.driver));
    path.items().iter().map(link).collect::<Vec<_>>().join(" ")
}

fn disk_line(disk: &BlockDevice) -> String {
    let BlockDevice { name, transport, attachment, controller, path, .. } = disk;
    format!("{name} {transport} {attachment:?} {} [{}]", text(controller), drivers(path))
}

#[test]
fn every_server_of_the_catalogue_is_known_by_its_model() {
    let expected = [
        ("2288H V5 of Huawei", "huawei 2288h v5 (x86_64)"),
        ("2288H V5 of xFusion", "xfusion 2288h v5 (x86_64)"),
        ("5288 V5 of xFusion", "xfusion 5288 v5 (x86_64)"),
        ("2288H V6 of xFusion", "xfusion 2288h v6 (x86_64)"),
        ("RH2288H V3", "huawei rh2288h v3 (x86_64)"),
        ("CH121 V3", "huawei ch121 v3 (x86_64)"),
        ("TaiShan 2280 V2", "huawei taishan 2280 v2 (aarch64)"),
        ("TaiShan 200 (Model 2280)", "huawei taishan 200 (model 2280) (aarch64)"),
        ("virtio VM", "qemu standard pc (q35 + ich9, 2009) (x86_64)"),
        ("hostile", "huawei\\u{1b}[2j 2288h v5\\u{202e}\\u{0}5v (x86_64)"),
        ("empty", "unknown vendor unknown product (x86_64)"),
    ];
    let model = |(name, inventory): &(&'static str, Inventory)| (*name, HardwareModel::of(inventory).to_string());
    let seen: Vec<_> = catalogue::inventories().iter().map(model).collect();
    assert_eq!(seen, expected.map(|(name, model)| (name, model.to_owned())));
}

#[test]
fn disks_say_what_they_hang_on() {
    let expected = [
        ("2288H V5 of Huawei", "nvme0n1 nvme Nvme 0000:3b:00.0 [pci:nvme]"),
        ("2288H V5 of Huawei", "sda scsi Raid 0000:18:00.0 [scsi:sd pci:megaraid_sas]"),
        ("RH2288H V3", "sda scsi Raid 0000:18:00.0 [scsi:sd pci:megaraid_sas]"),
        ("RH2288H V3", "sdb scsi Sdi 0000:82:00.0 [scsi:sd pci:scsi_ep_front]"),
        ("CH121 V3", "sda sas Sas 0000:18:00.0 [scsi:sd pci:mpt3sas]"),
        ("TaiShan 2280 V2", "nvme0n1 nvme Nvme 0000:05:00.0 [pci:nvme]"),
        ("TaiShan 2280 V2", "sda sas Sas 0000:74:02.0 [scsi:sd pci:hisi_sas_v3_hw]"),
        ("virtio VM", "vda virtio Virtio 0000:00:04.0 [virtio:virtio_blk pci:virtio-pci]"),
        ("hostile", "sda scsi Other ? []"),
    ];
    let wanted = |name: &str| expected.iter().any(|(wanted, _)| *wanted == name);
    let mut seen = Vec::new();
    for (name, inventory) in catalogue::inventories().iter().filter(|(name, _)| wanted(name)) {
        seen.extend(inventory.disks.value().expect("disks").iter().map(|disk| (*name, disk_line(disk))));
    }
    assert_eq!(seen, expected.map(|(name, line)| (name, line.to_owned())));
}

#[test]
fn a_server_says_what_it_is_and_how_it_starts() {
    let inventory = catalogue::inventory("2288H V5 of Huawei");
    assert_eq!(text(&inventory.system.product_sku), "Purley");
    assert_eq!(text(&inventory.board.name), "BC11SPSCB0");
    assert_eq!(inventory.chassis.kind, Fact::Known(23));
    assert_eq!((text(&inventory.bios.version), text(&inventory.bios.date)), ("7.97", "09/08/2021"));
    assert_eq!(text(&inventory.serials.system), "2102311XBS10K1000001");
    assert_eq!(reason(&inventory.serials.chassis), UnknownReason::Placeholder);
    assert_eq!(inventory.firmware.boot_mode, Fact::Known(BootMode::Uefi));
    assert_eq!(inventory.firmware.secure_boot, Fact::Known(SecureBoot::Disabled));
    assert_eq!(inventory.tpms, Fact::Known(vec![]));
    let [bmc] = inventory.bmcs.items() else { panic!("{:?}", inventory.bmcs) };
    assert_eq!((text(&bmc.firmware_version), text(&bmc.ipmi_version)), ("6.54", "2.0"));
    assert_eq!(reason(&bmc.address), UnknownReason::NotReported);
}

#[test]
fn a_server_says_what_processors_and_memory_it_has() {
    let inventory = catalogue::inventory("2288H V5 of Huawei");
    let cpu = &inventory.cpu;
    assert_eq!((text(&cpu.vendor), text(&cpu.model)), ("GenuineIntel", "Intel(R) Xeon(R) Gold 6151 CPU @ 3.00GHz"));
    assert_eq!((&cpu.sockets, &cpu.cores, &cpu.threads), (&Fact::Known(2), &Fact::Known(4), &Fact::Known(8)));
    let flags = cpu.flags.value().expect("flags");
    assert!(flags.contains(&"avx2".to_owned()) && !flags.contains(&"fpu".to_owned()), "{flags:?}");

    assert_eq!(inventory.memory.usable_bytes, Fact::Known(391_000_000 << 10));
    assert_eq!(inventory.memory.installed_bytes, Fact::Known(384 << 30));
    assert_eq!(inventory.memory.dimms.items().len(), 12);
}

#[test]
fn a_server_says_what_cards_it_has() {
    let inventory = catalogue::inventory("2288H V5 of Huawei");
    let [ahci, raid, nvme] = inventory.storage_controllers.items() else {
        panic!("{:?}", inventory.storage_controllers)
    };
    assert_eq!((ahci.address.as_str(), text(&ahci.driver)), ("0000:00:17.0", "ahci"));
    assert_eq!(text(&raid.modalias), "pci:v00001000d00000016sv000019E5sd0000D215bc01sc04i00");
    assert_eq!(text(&raid.names.vendor), "Broadcom / LSI");
    assert_eq!(text(&raid.names.device), "MegaRAID Tri-Mode SAS3508");
    assert_eq!(text(&raid.names.subsystem), "SR450C-M 4G");
    assert_eq!(text(&raid.names.class), "RAID bus controller");
    assert_eq!(reason(&nvme.names.subsystem), UnknownReason::Missing);
    assert_eq!((nvme.class.to_string(), nvme.numa_node.clone()), ("010802".to_owned(), Fact::Known(0)));

    let [first, second] = inventory.nics.items() else { panic!("{:?}", inventory.nics) };
    assert_eq!((text(&first.mac), text(&first.controller)), ("28:a6:db:11:22:01", "0000:5e:00.0"));
    assert_eq!((&first.link, &first.speed_mbps), (&Fact::Known(LinkState::Up), &Fact::Known(25_000)));
    assert_eq!((drivers(&second.path), text(&second.controller)), ("pci:i40e".to_owned(), "0000:5e:00.1"));
    assert_eq!(reason(&second.neighbour), UnknownReason::NotReported);
    assert_eq!(inventory.network_controllers.items().len(), 2);
}

#[test]
fn what_a_kernel_has_no_name_for_is_named_by_the_firmware() {
    let inventory = catalogue::inventory("TaiShan 2280 V2");
    assert_eq!((text(&inventory.cpu.vendor), text(&inventory.cpu.model)), ("HiSilicon", "Kunpeng 920-4826"));
    assert_eq!((&inventory.cpu.cores, &inventory.cpu.threads), (&Fact::Known(4), &Fact::Known(4)));
    let machine = catalogue::taishan_2280_v2();
    fs::remove_file(machine.fixture.path("sys/firmware/dmi/tables/DMI")).expect("tables");
    let inventory = machine.inventory();
    assert_eq!(text(&inventory.cpu.model), "HiSilicon 0xd01");
    assert_eq!(reason(&inventory.memory.dimms), UnknownReason::Missing);
    assert_eq!(reason(&inventory.memory.installed_bytes), UnknownReason::Missing);
}

#[test]
fn a_guest_has_blocks_of_memory_no_modules_and_no_bmc_that_anyone_knows_of() {
    let inventory = catalogue::inventory("virtio VM");
    assert_eq!(inventory.memory.installed_bytes, Fact::Known(2 << 30));
    assert_eq!(inventory.firmware.boot_mode, Fact::Known(BootMode::Bios));
    assert_eq!(inventory.firmware.secure_boot, Fact::Known(SecureBoot::Unsupported));
    assert_eq!(reason(&inventory.bmcs), UnknownReason::Missing);
    assert_eq!(drivers(&inventory.nics.items()[0].path), "virtio:virtio_net pci:virtio-pci");
    assert_eq!(reason(&inventory.chassis.kind), UnknownReason::Placeholder);
}

#[test]
fn whatever_stands_in_the_place_of_a_value_costs_that_value_alone() {
    let inventory = catalogue::inventory("hostile");
    for (fact, expected) in [
        (&inventory.system.product_version, UnknownReason::Malformed),
        (&inventory.system.product_sku, UnknownReason::Malformed),
        (&inventory.system.product_family, UnknownReason::Missing),
        (&inventory.board.vendor, UnknownReason::Placeholder),
        (&inventory.board.name, UnknownReason::Unreadable),
        (&inventory.board.version, UnknownReason::Missing),
        (&inventory.serials.system, UnknownReason::Placeholder),
        (&inventory.serials.system_uuid, UnknownReason::Placeholder),
        (&inventory.cpu.model, UnknownReason::Missing),
        (&inventory.disks.items()[0].controller, UnknownReason::Unreadable),
        (&inventory.nics.items()[0].mac, UnknownReason::Placeholder),
    ] {
        assert_eq!(reason(fact), expected, "{fact:?}");
    }
    assert_eq!(text(&inventory.serials.asset_tag), "x\\u{d}\\u{a}Forged: line");
    assert_eq!(text(&inventory.disks.items()[0].model), "Evil\\u{1b}[8m");
    assert_eq!(reason(&inventory.chassis.kind), UnknownReason::Malformed);
    assert_eq!(reason(&inventory.memory.usable_bytes), UnknownReason::Unreadable);
    assert_eq!(reason(&inventory.memory.dimms), UnknownReason::Unreadable);
    assert_eq!(reason(&inventory.firmware.secure_boot), UnknownReason::Unreadable);
    assert_eq!(reason(&inventory.nics.items()[0].link), UnknownReason::Unreadable);
    assert_eq!(inventory.storage_controllers.items().len(), 1);
}

/// All files below a directory, and none behind a link.
fn files(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).expect("directory").map(|entry| entry.expect("entry"));
    let below = |entry: fs::DirEntry| match entry.file_type().expect("type") {
        kind if kind.is_dir() => files(&entry.path()),
        kind if kind.is_file() => vec![entry.path()],
        _ => Vec::new(),
    };
    entries.flat_map(below).collect()
}

/// An inventory, unless taking it hangs.
fn take_in_time(survey: &Survey) -> Option<Inventory> {
    let (tell, hear) = mpsc::sync_channel(1);
    let survey = survey.clone();
    thread::spawn(move || drop(tell.send(survey.take())));
    hear.recv_timeout(Duration::from_secs(60)).ok()
}

#[test]
fn a_fifo_in_the_place_of_any_file_makes_nobody_wait() {
    let machine = catalogue::huawei_2288h_v5();
    let (root, survey) = (machine.fixture.path(""), machine.survey());
    let all = files(&root);
    assert!(all.len() > 100, "{all:?}");
    for path in all {
        let aside = root.join("aside");
        fs::rename(&path, &aside).expect("away");
        nix::unistd::mkfifo(&path, Mode::from_bits_truncate(0o600)).expect("mkfifo");
        // A busy machine may be late once; who waits for the other end of a FIFO is late every time.
        let is_told = |_| {
            let inventory = take_in_time(&survey).unwrap_or_else(|| panic!("{} makes wait", path.display()));
            !serde_json::to_string(&inventory).expect("JSON").contains("timed_out")
        };
        assert!((0..5).any(is_told), "{} makes wait", path.display());
        fs::rename(&aside, &path).expect("back");
    }
}

#[test]
fn who_never_answers_costs_no_more_than_patience() {
    let machine = catalogue::huawei_2288h_v5();
    let mut survey = machine.survey();
    let command = ["/bin/sh", "-c", "exec sleep 600"].map(str::to_owned).into();
    survey.lldp = Some(LldpClient { socket: "/".into(), command, ..LldpClient::default() });
    let begun = Instant::now();
    let inventory = take_in_time(&survey).expect("in time");
    assert!(begun.elapsed() >= PATIENCE);
    assert_eq!(reason(&inventory.nics.items()[0].neighbour), UnknownReason::TimedOut);
    assert_eq!(inventory.bmcs.items().len(), 1);
}

#[test]
fn a_bmc_that_hangs_costs_itself_until_it_answers() {
    let machine = catalogue::huawei_2288h_v5();
    let survey = machine.survey();
    let (answer, hang) = mpsc::channel();
    let ask = move || hang.recv().expect("an answer");
    let hung = survey.questions.bmcs.ask(ask).wait(Instant::now());
    assert_eq!(reason(&hung), UnknownReason::TimedOut);
    let inventory = survey.take();
    assert_eq!(reason(&inventory.bmcs), UnknownReason::TimedOut);
    assert_eq!((inventory.disks.items().len(), inventory.nics.items().len()), (2, 2));
    answer.send(Fact::Known(Vec::new())).expect("somebody waits");
    while survey.take().bmcs.items().is_empty() {
        thread::yield_now();
    }
}

#[test]
fn nothing_is_an_empty_or_unprintable_text() {
    fn check(value: &Value) {
        match value {
            Value::String(text) => {
                assert!(!text.is_empty());
                assert_eq!(crate::text::printable(text), *text);
            }
            Value::Array(items) => items.iter().for_each(check),
            Value::Object(fields) => fields.values().for_each(check),
            Value::Null => panic!("null says nothing"),
            Value::Bool(_) | Value::Number(_) => (),
        }
    }
    for (_, inventory) in catalogue::inventories() {
        check(&serde_json::to_value(inventory).expect("JSON"));
    }
}

#[test]
fn a_kernel_that_shows_nothing_has_nothing_but_says_so() {
    let inventory = catalogue::inventory("empty");
    assert_eq!(reason(&inventory.system.product_name), UnknownReason::Missing);
    assert_eq!(reason(&inventory.firmware.boot_mode), UnknownReason::Missing);
    assert_eq!(reason(&inventory.storage_controllers), UnknownReason::Missing);
    assert_eq!(reason(&inventory.nics), UnknownReason::Missing);
    assert_eq!(reason(&inventory.bmcs), UnknownReason::Missing);
    assert_eq!(inventory.disks, Fact::Known(vec![]));
}

#[test]
fn an_inventory_survives_json_and_one_of_another_version_costs_only_what_is_new() {
    for (name, inventory) in catalogue::inventories() {
        let json = serde_json::to_string(inventory).expect("JSON");
        assert_eq!(serde_json::from_str::<Inventory>(&json).expect("JSON"), *inventory, "{name}");
    }
    let newer = r#"{
        "schema": 2, "gpus": [],
        "system": {"vendor": {"value": "Huawei"}, "product_name": {"unknown": {"reason": "eaten", "by": "mice"}}},
        "disks": {"value": [{"name": "sda", "transport": "light", "attachment": "string", "colour": "red"}]}
    }"#;
    let inventory: Inventory = serde_json::from_str(newer).expect("JSON");
    assert_eq!(text(&inventory.system.vendor), "Huawei");
    assert_eq!(reason(&inventory.system.product_name), UnknownReason::Other);
    assert_eq!(reason(&inventory.board.name), UnknownReason::NotReported);
    let disk = &inventory.disks.items()[0];
    assert_eq!((disk.transport, disk.attachment), (Transport::Unknown, Attachment::Other));
}

#[test]
fn serial_numbers_can_be_kept_from_a_caller() {
    for (name, inventory) in catalogue::inventories() {
        let Serials { system, system_uuid, board, chassis, asset_tag } = &inventory.serials;
        let serials = [system, system_uuid, board, chassis, asset_tag];
        let parts = inventory.memory.dimms.items().iter().map(|dimm| &dimm.serial);
        let disks = inventory.disks.items().iter().flat_map(|disk| [&disk.serial, &disk.wwn]);
        let secrets: Vec<_> = serials.into_iter().chain(parts).chain(disks).filter_map(Fact::value).cloned().collect();
        let json = serde_json::to_string(&inventory.clone().without_serials()).expect("JSON");
        assert!(secrets.iter().all(|secret| !json.contains(secret.as_str())), "{name}: {json}");
    }
    let all = catalogue::inventory("2288H V5 of Huawei");
    let kept = all.clone().without_serials();
    assert!(all.serials.board.value().is_some());
    assert_eq!(reason(&kept.serials.board), UnknownReason::Withheld);
    assert_eq!(reason(&kept.serials.chassis), UnknownReason::Withheld);
    assert_eq!(kept.generation, all.generation);
    assert_eq!(reason(&kept.disks.items()[0].serial), UnknownReason::Withheld);
    assert_eq!(text(&kept.system.product_name), "2288H V5");
}

/// Asks a question that is answered when the sender is dropped, and gives up on it.
fn hang<T: Clone + Send + 'static>(question: &Question<T>) -> Sender<()> {
    let (release, hear) = mpsc::channel::<()>();
    let asked = question.ask(move || {
        hear.recv().expect_err("nothing is sent");
        Fact::unknown(UnknownReason::Missing)
    });
    assert_eq!(reason(&asked.wait(Instant::now())), UnknownReason::TimedOut);
    release
}

#[test]
fn a_gate_has_what_it_compares_and_asks_no_device_and_no_daemon() {
    let machine = catalogue::huawei_2288h_v5();
    let survey = machine.survey();
    let _asked = (hang(&survey.questions.bmcs), hang(&survey.questions.speeds), hang(&survey.questions.neighbours));
    let (inventory, all) = (survey.take_for_gate(), catalogue::inventory("2288H V5 of Huawei"));
    assert_eq!(reason(&inventory.bmcs), UnknownReason::NotReported);
    assert_eq!(reason(&inventory.generation), UnknownReason::NotReported);
    let [nic, _] = inventory.nics.items() else { panic!("{:?}", inventory.nics) };
    assert_eq!(reason(&nic.speed_mbps), UnknownReason::NotReported);
    assert_eq!(reason(&nic.neighbour), UnknownReason::NotReported);
    let compared = |inventory: &Inventory| {
        let Inventory { system, cpu, memory, firmware, disks, .. } = inventory.clone();
        let nics: Vec<_> = inventory.nics.items().iter().map(|nic| (nic.link.clone(), nic.path.clone())).collect();
        (system, cpu, memory, firmware, disks, nics)
    };
    assert_eq!(compared(&inventory), compared(all));
}

#[test]
fn a_driver_that_does_not_answer_costs_the_speeds_alone() {
    let machine = catalogue::huawei_2288h_v5();
    let survey = machine.survey();
    let _asked = hang(&survey.questions.speeds);
    let (inventory, all) = (survey.take(), catalogue::inventory("2288H V5 of Huawei"));
    let (nic, whole) = (&inventory.nics.items()[0], &all.nics.items()[0]);
    assert_eq!(reason(&nic.speed_mbps), UnknownReason::TimedOut);
    assert_eq!((&nic.link, &nic.mac, &nic.path), (&whole.link, &whole.mac, &whole.path));
    assert_eq!(inventory.generation, all.generation);
}

#[test]
fn a_firmware_that_does_not_answer_costs_secure_boot_alone() {
    let machine = catalogue::huawei_2288h_v5();
    let survey = machine.survey();
    let _asked = hang(&survey.questions.secure_boot);
    for inventory in [survey.take(), survey.take_for_gate()] {
        assert_eq!(reason(&inventory.firmware.secure_boot), UnknownReason::TimedOut);
        assert_eq!(inventory.firmware.boot_mode, Fact::Known(BootMode::Uefi));
        assert_eq!(inventory.nics.items().len(), 2);
    }
}

#[test]
fn this_machine_can_be_surveyed() {
    let survey = Survey::new(Roots::default());
    let inventory = survey.take();
    assert_eq!(text(&inventory.cpu.architecture), std::env::consts::ARCH);
    assert!(inventory.cpu.threads.value().is_some_and(|threads| *threads > 0));
    assert!(inventory.memory.usable_bytes.value().is_some_and(|bytes| *bytes > 0));
    assert_eq!(survey.clone().take().generation, inventory.generation);
}
