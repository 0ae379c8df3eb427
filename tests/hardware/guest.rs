//! The guest: a server of known hardware, made of QEMU's devices, and what the agent and the usual tools said on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use bms_agent::hardware::inventory::{Attachment, Inventory};
use serde_json::Value;
use tempfile::TempDir;

const GIB: u64 = 1 << 30;
/// The firmware: 64-bit UEFI that keeps its variables in a file.
const FIRMWARE: [&str; 2] = ["/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"];
/// How long the guest may take, in seconds. It is emulated, and takes one minute of two fast cores that do nothing else.
const PATIENCE: &str = "900";
/// Main memory of the guest, in bytes.
pub(crate) const MEMORY_BYTES: u64 = GIB;

/// A disk of the guest.
pub(crate) struct Disk {
    /// Its serial number.
    pub(crate) serial: &'static str,
    /// What QEMU makes it of: `{}` is the image and the serial number.
    devices: &'static [&'static str],
    pub(crate) size_bytes: u64,
    pub(crate) logical_block_size: u32,
    pub(crate) physical_block_size: u32,
    pub(crate) attachment: Attachment,
    /// The drivers of all that it hangs on, nearest first.
    pub(crate) drivers: &'static [&'static str],
}

/// The disks. Sizes differ, so that none is taken for another.
pub(crate) const DISKS: [Disk; 9] = [
    Disk {
        serial: "RESULTS",
        devices: &["virtio-blk-pci,{}"],
        size_bytes: GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Virtio,
        drivers: &["virtio_blk", "virtio-pci"],
    },
    Disk {
        serial: "S4GENX0N700001",
        devices: &["nvme,bus=port1,{}"],
        size_bytes: 5 * GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Nvme,
        drivers: &["nvme"],
    },
    Disk {
        serial: "S4GENX0N700002",
        devices: &["nvme,bus=port2,logical_block_size=4096,physical_block_size=4096,{}"],
        size_bytes: 6 * GIB,
        logical_block_size: 4096,
        physical_block_size: 4096,
        attachment: Attachment::Nvme,
        drivers: &["nvme"],
    },
    Disk {
        serial: "V512",
        devices: &["virtio-blk-pci,disable-legacy=on,{}"],
        size_bytes: 7 * GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Virtio,
        drivers: &["virtio_blk", "virtio-pci"],
    },
    Disk {
        serial: "V4096",
        devices: &["virtio-blk-pci,logical_block_size=4096,physical_block_size=4096,{}"],
        size_bytes: 8 * GIB,
        logical_block_size: 4096,
        physical_block_size: 4096,
        attachment: Attachment::Virtio,
        drivers: &["virtio_blk", "virtio-pci"],
    },
    Disk {
        serial: "R0001",
        devices: &[
            "megasas-gen2,id=raid,bus=port3",
            "scsi-hd,bus=raid.0,vendor=HUAWEI,product=LD0,wwn=0x6141877071d86d23,{}",
        ],
        size_bytes: 9 * GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Raid,
        drivers: &["sd", "megaraid_sas"],
    },
    Disk {
        serial: "E0001",
        devices: &["mptsas1068,id=sas", "scsi-hd,bus=sas.0,scsi-id=1,wwn=0x5000c500a1b2c3d3,{}"],
        size_bytes: 10 * GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Scsi,
        drivers: &["sd", "mptsas"],
    },
    Disk {
        serial: "VS0001",
        devices: &["virtio-scsi-pci,id=scsi", "scsi-hd,bus=scsi.0,rotation_rate=1,wwn=0x5000c500a1b2c3d4,{}"],
        size_bytes: 11 * GIB,
        logical_block_size: 512,
        physical_block_size: 512,
        attachment: Attachment::Virtio,
        drivers: &["sd", "virtio_scsi", "virtio-pci"],
    },
    Disk {
        serial: "W420XYZ1",
        devices: &["ide-hd,bus=ide.1,model=ST2000NM0055,rotation_rate=7200,physical_block_size=4096,\
                    wwn=0x5000c500a1b2c3d5,{}"],
        size_bytes: 12 * GIB,
        logical_block_size: 512,
        physical_block_size: 4096,
        attachment: Attachment::Sata,
        drivers: &["sd", "ahci"],
    },
];

/// A network card of the guest.
pub(crate) struct Card {
    pub(crate) mac: &'static str,
    device: &'static str,
    /// Speed of its link, in Mbit/s; none if its cable is pulled.
    pub(crate) speed_mbps: Option<u32>,
    /// The drivers of all that it hangs on, nearest first.
    pub(crate) drivers: &'static [&'static str],
}

pub(crate) const CARDS: [Card; 3] = [
    Card {
        mac: "28:a6:db:11:22:01",
        device: "virtio-net-pci,speed=25000,duplex=full",
        speed_mbps: Some(25_000),
        drivers: &["virtio_net", "virtio-pci"],
    },
    Card { mac: "28:a6:db:11:22:02", device: "e1000e", speed_mbps: Some(1000), drivers: &["e1000e"] },
    Card { mac: "28:a6:db:11:22:03", device: "e1000e", speed_mbps: None, drivers: &["e1000e"] },
];

/// Version of the firmware of the BMC.
pub(crate) const BMC_VERSION: &str = "6.54";
const BMC: [&str; 4] = ["-device", "ipmi-bmc-sim,id=bmc,fwrev1=6,fwrev2=0x54", "-device", "isa-ipmi-kcs,bmc=bmc"];
/// The server as a product: one that was sold as Huawei's, with a firmware of xFusion.
const SMBIOS: [&str; 6] = [
    "type=0,vendor=INSYDE Corp.,version=7.97,date=09/08/2021,uefi=on",
    "type=1,manufacturer=XFUSION,product=2288H V5,version=Purley,serial=2102311XBS10K1000001,sku=Purley,family=Purley",
    "type=2,manufacturer=XFUSION,product=BC11SPSCB10,version=V100R005,serial=026DNN10K1000001",
    "type=3,manufacturer=XFUSION,version=Rack,serial=To be filled by O.E.M.,asset=rack 7",
    "type=4,manufacturer=Intel(R) Corporation,version=Intel(R) Xeon(R) Gold 6151 CPU @ 3.00GHz",
    "type=17,manufacturer=Samsung,loc_pfx=DIMM000 J11,serial=0x39A5A7C1,part=M393A4K40CB2-CVF,speed=2666",
];

/// What was said on the guest.
pub(crate) struct Answers(BTreeMap<String, Vec<u8>>);

impl Answers {
    /// What a command printed.
    pub(crate) fn text(&self, name: &str) -> &str {
        str::from_utf8(self.bytes(name)).expect("UTF-8")
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_str(self.text(name)).expect("JSON")
    }

    pub(crate) fn bytes(&self, name: &str) -> &[u8] {
        self.0.get(name).unwrap_or_else(|| panic!("no {name}, but {:?}", self.0.keys()))
    }

    /// What the agent says to those who may see serial numbers.
    pub(crate) fn inventory(&self) -> Inventory {
        serde_json::from_value(self.json("host")["inventory"].take()).expect("an inventory")
    }
}

/// The image of Debian, whose kernel and initramfs the guest has.
pub(crate) fn image() -> PathBuf {
    let fixtures = std::env::var_os("BMS_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache"));
    fixtures.join("disk.raw")
}

/// The answers of one guest, which all tests share.
pub(crate) static ANSWERS: LazyLock<Answers> = LazyLock::new(|| {
    let directory = tempfile::tempdir().expect("directory");
    make(&directory);
    run(directory.path());
    answers(&directory.path().join("RESULTS"))
});

/// Makes what the guest boots, and its disks.
fn make(directory: &TempDir) {
    let programs = [env!("CARGO_BIN_EXE_bms-agent"), env!("CARGO_BIN_EXE_bmsctl")];
    let made = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/hardware/guest.sh"))
        .args([image().as_path(), directory.path()])
        .args(programs)
        .output()
        .expect("guest.sh");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for disk in &DISKS {
        let file = File::create(directory.path().join(disk.serial)).expect("create");
        file.set_len(disk.size_bytes).expect("length");
    }
    fs::copy(FIRMWARE[1], directory.path().join("variables")).expect("variables of the firmware");
}

/// Runs the guest from power on to power off.
fn run(directory: &Path) {
    let mut guest = Command::new("timeout")
        .args([PATIENCE, "qemu-system-x86_64", "-nodefaults", "-no-reboot", "-S", "-monitor", "stdio"])
        .args(["-display", "none", "-serial", "file:console"])
        .args(["-machine", "q35", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2,sockets=2,cores=1,threads=1"])
        .args(["-m", &format!("{}M", MEMORY_BYTES >> 20), "-uuid", "4c4c4544-0051-3010-8058-b7c04f4d3332"])
        .args(["-drive", &format!("if=pflash,format=raw,readonly=on,file={}", FIRMWARE[0])])
        .args(["-drive", "if=pflash,format=raw,file=variables"])
        .args(["-kernel", "vmlinuz", "-initrd", "initrd.img", "-append", &command_line()])
        .args(SMBIOS.iter().flat_map(|table| ["-smbios", *table]))
        .args(BMC)
        .args(ports())
        .args(DISKS.iter().flat_map(disk_arguments))
        .args(CARDS.iter().enumerate().flat_map(|(number, card)| card_arguments(number, card)))
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("qemu-system-x86_64");
    // The guest stands still until cables are pulled that are to be.
    let pulled = CARDS.iter().enumerate().filter(|(_, card)| card.speed_mbps.is_none());
    let orders: String = pulled.map(|(number, _)| format!("set_link card{number} off\n")).collect();
    let mut monitor = guest.stdin.take().expect("a pipe");
    writeln!(monitor, "{orders}cont").expect("the monitor");
    let ended = guest.wait_with_output().expect("the guest");
    drop(monitor);
    let console = fs::read(directory.join("console")).unwrap_or_default();
    let (console, said) = (String::from_utf8_lossy(&console), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success() && console.contains("guest: done"), "{}: {said}\n{console}", ended.status);
}

/// What the kernel is told. What it does not know it gives to init.
fn command_line() -> String {
    let links = CARDS.iter().filter(|card| card.speed_mbps.is_some()).count();
    format!("console=ttyS0 quiet panic=-1 rdinit=/guest/init disks={} links={links}", DISKS.len())
}

/// Ports for cards that are not to be on the bus of the chip set.
fn ports() -> impl Iterator<Item = String> {
    (1..=3).flat_map(|port| ["-device".to_owned(), format!("pcie-root-port,id=port{port},chassis={port},slot={port}")])
}

fn disk_arguments(disk: &Disk) -> Vec<String> {
    let serial = disk.serial;
    let mut arguments = vec!["-drive".to_owned(), format!("if=none,format=raw,id={serial},file={serial}")];
    for device in disk.devices {
        arguments.extend(["-device".to_owned(), device.replace("{}", &format!("drive={serial},serial={serial}"))]);
    }
    arguments
}

fn card_arguments(number: usize, card: &Card) -> [String; 4] {
    // Without a ROM the firmware does not try to boot from it.
    let device = format!("{},id=card{number},netdev=net{number},mac={},romfile=", card.device, card.mac);
    ["-netdev".to_owned(), format!("user,id=net{number},restrict=on"), "-device".to_owned(), device]
}

/// The archive that init has left on a disk.
fn answers(disk: &Path) -> Answers {
    let mut file = File::open(disk).expect("the disk for results");
    let mut answers = BTreeMap::new();
    loop {
        let mut entry = cpio::newc::Reader::new(file).expect("an archive");
        if entry.entry().is_trailer() {
            return Answers(answers);
        }
        let name = entry.entry().name().trim_start_matches("./").to_owned();
        let mut answer = Vec::new();
        entry.read_to_end(&mut answer).expect("an answer");
        answers.insert(name, answer);
        file = entry.finish().expect("the end of an answer");
    }
}
