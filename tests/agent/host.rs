//! What the agent says of the server that it runs on, against what the kernel and other programs say of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use bms_agent::hardware::facts_file;
use bms_agent::rpc::proto::v1::{GetHostRequest, Host, Inventory, UnknownReason};
use serde_json::Value;

use crate::support::client::Client;
use crate::support::{Daemon, run};

/// A host with all of its hardware.
async fn full(client: &Client, serials: bool) -> (Host, Inventory) {
    let request = GetHostRequest { full: true, serials };
    let host = client.hosts().get_host(request).await.expect("host").into_inner().host.expect("a host");
    let inventory = host.inventory.clone().expect("an inventory");
    (host, inventory)
}

fn reason(inventory: &Inventory, field: &str) -> Option<UnknownReason> {
    inventory.unknown_facts.iter().find(|fact| fact.field == field).map(|fact| fact.reason())
}

/// What a file of the kernel says, if it is there and says anything.
fn said(path: impl AsRef<Path>) -> Option<String> {
    let text = fs::read_to_string(path).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

fn number(path: impl AsRef<Path>) -> u64 {
    said(&path).and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("a number in {:?}", path.as_ref()))
}

/// Entries of a directory that stand for devices: what software made is below `devices/virtual`.
fn devices(directory: &str) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().map(|entry| entry.expect("entry").path());
    let is_device = |path: &PathBuf| !path.canonicalize().expect("link").starts_with("/sys/devices/virtual");
    let mut devices: Vec<_> = entries.filter(is_device).collect();
    devices.sort();
    devices
}

fn name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).expect("a name")
}

/// `MemTotal`, in bytes.
fn memory_bytes() -> u64 {
    let info = fs::read_to_string("/proc/meminfo").expect("meminfo");
    let kib = info.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("MemTotal");
    kib << 10
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn the_inventory_is_what_the_kernel_shows() {
    let daemon = Daemon::start();
    let (host, inventory) = full(&Client::connect(&daemon).await, false).await;
    let cpu = inventory.cpu.as_ref().expect("processors");
    assert_eq!(cpu.architecture, Some(run("uname", &["-m"])));
    let info = fs::read_to_string("/proc/cpuinfo").expect("cpuinfo");
    let threads = info.lines().filter(|line| line.starts_with("processor")).count();
    assert_eq!(cpu.threads.map(usize::try_from), Some(Ok(threads)));
    assert_eq!(inventory.memory.as_ref().and_then(|memory| memory.usable_bytes), Some(memory_bytes()));

    for (field, known, file) in [
        (
            "system.product_name",
            inventory.system.as_ref().and_then(|system| system.product_name.as_ref()),
            "product_name",
        ),
        ("system.vendor", inventory.system.as_ref().and_then(|system| system.vendor.as_ref()), "sys_vendor"),
        ("bios.version", inventory.bios.as_ref().and_then(|bios| bios.version.as_ref()), "bios_version"),
    ] {
        let expected = said(Path::new("/sys/class/dmi/id").join(file));
        match known {
            Some(known) => assert_eq!(Some(known), expected.as_ref(), "{field}"),
            None if expected.is_some() => assert_eq!(reason(&inventory, field), Some(UnknownReason::Placeholder)),
            None => assert_eq!(reason(&inventory, field), Some(UnknownReason::Missing), "{field}"),
        }
    }
    let vendor = said("/sys/class/dmi/id/sys_vendor").unwrap_or_else(|| "unknown vendor".to_owned());
    assert!(host.model.contains(&format!("({})", host.architecture)), "{}", host.model);
    assert!(host.hardware_model.is_some_and(|model| model.sys_vendor.is_none_or(|seen| seen == vendor)));
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn disks_controllers_and_interfaces_are_those_of_sysfs() {
    let daemon = Daemon::start();
    let (_, inventory) = full(&Client::connect(&daemon).await, false).await;
    let drives = |path: &PathBuf| ["sr", "fd"].iter().any(|drive| name(path).starts_with(drive));
    let disks: Vec<_> = devices("/sys/block").into_iter().filter(|path| !drives(path)).collect();
    let expected: Vec<_> = disks.iter().map(|path| (name(path).to_owned(), 512 * number(path.join("size")))).collect();
    let seen: Vec<_> = inventory.disks.iter().map(|disk| (disk.name.clone(), disk.size_bytes)).collect();
    assert_eq!(seen, expected);
    for (disk, path) in inventory.disks.iter().zip(&disks) {
        assert_eq!(u64::from(disk.logical_block_size), number(path.join("queue/logical_block_size")));
        assert_eq!(Some(&disk.device_number), said(path.join("dev")).as_ref());
        let device = path.canonicalize().expect("link");
        let is_above = |address: &String| device.components().any(|part| part.as_os_str() == address.as_str());
        assert!(disk.controller.as_ref().is_none_or(is_above), "{disk:?} is {device:?}");
    }

    let is_storage = |path: &PathBuf| said(path.join("class")).is_some_and(|class| class.starts_with("0x01"));
    let is_own = |path: &PathBuf| !path.join("physfn").exists();
    let expected: Vec<_> = devices("/sys/bus/pci/devices").into_iter().filter(is_storage).filter(is_own).collect();
    let seen: Vec<_> = inventory.storage_controllers.iter().map(|device| device.address.as_str()).collect();
    assert_eq!(seen, expected.iter().map(|path| name(path)).collect::<Vec<_>>());
    for (device, path) in inventory.storage_controllers.iter().zip(&expected) {
        assert_eq!(device.modalias, said(path.join("modalias")));
        let driver = path.join("driver").canonicalize().ok();
        assert_eq!(device.driver.as_deref(), driver.as_deref().map(name));
    }

    let nics = devices("/sys/class/net").into_iter().filter(|path| path.join("device").exists());
    let expected: Vec<_> = nics
        .filter(|path| is_own(&path.join("device")))
        .map(|path| (name(&path).to_owned(), said(path.join("address"))))
        .collect();
    let seen: Vec<_> = inventory.nics.into_iter().map(|nic| (nic.name, nic.mac)).collect();
    assert_eq!(seen, expected);
}

#[tokio::test]
#[ignore = "needs root and loop devices: tests/run.sh"]
async fn serial_numbers_are_withheld_unless_they_are_asked_for() {
    let daemon = Daemon::start();
    let client = Client::connect(&daemon).await;
    let light = client.hosts().get_host(GetHostRequest { full: false, serials: true }).await.expect("host");
    assert_eq!(light.into_inner().host.and_then(|host| host.inventory), None);

    let (_, withheld) = full(&client, false).await;
    let serials = withheld.serials.clone().expect("serials");
    let all = [serials.system, serials.system_uuid, serials.board, serials.chassis, serials.asset_tag];
    assert!(all.iter().all(Option::is_none), "{all:?}");
    assert_eq!(reason(&withheld, "serials.system"), Some(UnknownReason::Withheld));
    assert!(withheld.disks.iter().all(|disk| disk.serial.is_none() && disk.wwn.is_none()));

    let (_, shown) = full(&client, true).await;
    assert!(shown.unknown_facts.iter().all(|fact| fact.reason() != UnknownReason::Withheld));
    let expected = said("/sys/class/dmi/id/product_serial");
    assert!(shown.serials.and_then(|serials| serials.system).is_none_or(|seen| Some(seen) == expected));
    assert_eq!(shown.generation, withheld.generation, "it is the same hardware");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn bmsctl_shows_the_hardware_to_people_and_gives_it_to_programs() {
    let daemon = Daemon::start();
    let document = daemon.ctl(&["host", "show"]).done();
    let inventory = &document["inventory"];
    assert_eq!(inventory["memory"]["usable_bytes"]["value"], memory_bytes());
    assert_eq!(inventory["serials"]["system"]["unknown"]["reason"], "withheld");
    assert!(document["model"].as_str().is_some_and(|model| model.ends_with(&format!("({})", run("uname", &["-m"])))));
    let asked = daemon.ctl(&["host", "show", "--serials"]).done();
    assert_ne!(asked["inventory"]["serials"]["system"]["unknown"]["reason"], "withheld");

    let file = tempfile::NamedTempFile::new().expect("file");
    fs::write(file.path(), document.to_string()).expect("write");
    let kept = facts_file::read(file.path()).expect("facts");
    assert_eq!(&serde_json::to_value(kept).expect("JSON"), inventory);

    let printed = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bmsctl"));
        command.arg("--socket").arg(daemon.socket()).args(["host", "show"]).args(options);
        String::from_utf8(command.output().expect("bmsctl").stdout).expect("UTF-8")
    };
    let text = printed(&["--full"]);
    let disks = inventory["disks"]["value"].as_array().expect("disks").iter();
    for shown in ["Serial numbers\nsystem       [withheld]", "\nusable ", "\nNetwork interfaces\n"]
        .into_iter()
        .chain(disks.filter_map(|disk| disk["name"].as_str()))
        .chain(document["kernel_release"].as_str())
    {
        assert!(text.contains(shown), "{shown:?} is not in {text}");
    }
    assert!(!printed(&["--serials"]).contains("[withheld]"));
    let short = printed(&[]);
    assert!(short.starts_with("model") && !short.contains("Serial numbers"), "{short}");
    assert_eq!(daemon.ctl(&["host", "show", "--full"]).done()["inventory"]["schema"], Value::from(1));
}
