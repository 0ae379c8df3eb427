//! The compatibility gate on a real Debian image, as it is and with drivers taken out of it, for servers with each usual
//! disk controller.

use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use bms_agent::compatibility::{Fitness, Judgement, Question, Requirements, judge, modaliases};
use bms_agent::hardware::alias::Aliases;
use bms_agent::hardware::fact::Fact;
use bms_agent::hardware::host::BootMode;
use bms_agent::hardware::inventory::{BlockDevice, Inventory, Link, LinkState, Nic};
use bms_agent::inspect::check::Checks;
use bms_agent::inspect::child::Inspector;
use bms_agent::inspect::evidence::Modalias;
use bms_agent::inspect::examine::{Examination, Request};
use bms_agent::inspect::profile::Profile;
use bms_agent::inspect::reader::FileReader;
use bms_agent::inspect::report::Status;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use tokio_util::sync::CancellationToken;

use super::{run, text};

const GIB: u64 = 1 << 30;
/// Where the partitions of the image begin, in bytes, and what of Debian is on them.
const BOOT_OFFSET: u64 = 1 << 20;
const ROOT_OFFSET: u64 = 321 << 20;
const INITRAMFS: &str = "::/debian/initrd.img";

/// What each controller shows: the disk first.
const NVME: &[&str] = &["pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02"];
const VIRTIO_BLK: &[&str] = &["virtio:d00000002v00001AF4", "pci:v00001AF4d00001042sv00001AF4sd00001100bc01sc00i00"];
const MEGASAS: &[&str] = &["scsi:t-0x00", "pci:v00001000d00000060sv00001000sd00001013bc01sc04i00"];
const VIRTIO_SCSI: &[&str] =
    &["scsi:t-0x00", "virtio:d00000008v00001AF4", "pci:v00001AF4d00001048sv00001AF4sd00001100bc01sc00i00"];
const CONTROLLERS: [(&str, &[&str]); 4] =
    [("nvme", NVME), ("virtio-blk", VIRTIO_BLK), ("megasas", MEGASAS), ("virtio-scsi", VIRTIO_SCSI)];
const NETWORK: &[&str] = &["virtio:d00000001v00001AF4", "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"];

fn links(modaliases: &[&str]) -> Fact<Vec<Link>> {
    let link = |modalias: &&str| Link {
        bus: modalias.split(':').next().unwrap_or_default().to_owned(),
        name: "at its place".to_owned(),
        modalias: (*modalias).to_owned(),
        driver: Fact::Known("driver".to_owned()),
    };
    Fact::Known(modaliases.iter().map(link).collect())
}

/// A server that boots through UEFI from a disk behind this controller, with one network card.
fn server(controller: &[&str]) -> Inventory {
    let disk = BlockDevice {
        name: "disk".to_owned(),
        size_bytes: 5 * GIB,
        logical_block_size: 512,
        path: links(controller),
        ..BlockDevice::default()
    };
    let nic = Nic { name: "eth0".to_owned(), link: Fact::Known(LinkState::Up), path: links(NETWORK), ..Nic::default() };
    let mut server = Inventory::default();
    server.cpu.architecture = Fact::Known(std::env::consts::ARCH.to_owned());
    server.firmware.boot_mode = Fact::Known(BootMode::Uefi);
    (server.disks, server.nics) = (Fact::Known(vec![disk]), Fact::Known(vec![nic]));
    server.network_controllers = Fact::Known(Vec::new());
    server
}

/// What the child of the daemon finds, asked for the devices of all these servers.
fn examine(image: &Path) -> Examination {
    let file = File::open(image).expect("open");
    let len_bytes = file.metadata().expect("metadata").len();
    let mut devices: Vec<Modalias> = Vec::new();
    for (_, controller) in CONTROLLERS {
        let server = server(controller);
        devices.extend(modaliases(&server, server.disks.items().first()));
    }
    let checks = Checks::built_in().expect("checks").into();
    let request = Request { logical_block_size: None, profile: Profile::default(), checks, devices };
    let inspector = Inspector::new(Path::new(env!("CARGO_BIN_EXE_bms-agent")));
    inspector.examine(&FileReader::new(file, len_bytes), &request, &CancellationToken::new()).expect("an answer")
}

fn judge_on(controller: &[&str], image: &Examination) -> Judgement {
    let (host, aliases) = (server(controller), Aliases::built_in().expect("aliases"));
    let requirements = Requirements { size_bytes: 4 * GIB, ..Requirements::default() };
    let target = host.disks.items().first();
    let question = Question { requirements: &requirements, image: Some(image), host: &host, target, aliases: &aliases };
    judge(&question, &[]).expect("no override")
}

/// The findings that refuse: their ids, and why.
fn refusals(judgement: &Judgement) -> Vec<(&str, &str)> {
    let refuses = |status| matches!(status, Status::Fail | Status::Unknown);
    let findings = judgement.findings.iter().map(|judged| &judged.finding);
    findings.filter(|finding| refuses(finding.status)).map(|finding| (&*finding.id, &*finding.reason)).collect()
}

fn debian() -> PathBuf {
    let fixtures = std::env::var_os("BMS_FIXTURES").map(PathBuf::from);
    let fixtures = fixtures.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cache"));
    fixtures.join("disk.raw")
}

/// Takes a module out of the installed system, and nowhere else.
fn remove_module(disk: &Path, path: &str) {
    let file_system = format!("{}?offset={ROOT_OFFSET}", text(disk));
    assert!(!run("debugfs", &["-R", &format!("stat {path}"), &file_system]).is_empty(), "{path} is there");
    run("debugfs", &["-w", "-R", &format!("rm {path}"), &file_system]);
}

/// Takes a module out of the initramfs, and nowhere else: by another name it is no module.
fn remove_from_initramfs(disk: &Path, module: &str) {
    let packed = disk.with_extension("initrd");
    let boot = format!("{}@@{BOOT_OFFSET}", text(disk));
    run("mcopy", &["-o", "-i", &boot, INITRAMFS, text(&packed)]);
    let mut plain = Vec::new();
    MultiGzDecoder::new(File::open(&packed).expect("open")).read_to_end(&mut plain).expect("an initramfs");
    let name = format!("/{module}.ko\0").into_bytes();
    let at = plain.windows(name.len()).position(|window| window == name).expect("the module is there");
    plain[at + name.len() - 2] = b'_';
    let mut packer = GzEncoder::new(File::create(&packed).expect("create"), Compression::fast());
    packer.write_all(&plain).and_then(|()| packer.finish()).expect("packed");
    run("mcopy", &["-o", "-i", &boot, text(&packed), INITRAMFS]);
    fs::remove_file(&packed).expect("remove");
}

#[test]
#[ignore = "needs the image of tests/fixtures/debian-image.sh, and debugfs and mcopy"]
fn a_real_image_fits_its_controllers_and_without_a_driver_all_but_one() {
    let whole = examine(&debian());
    for (name, controller) in CONTROLLERS {
        let judgement = judge_on(controller, &whole);
        assert_eq!(judgement.fitness, Fitness::Fit, "{name}: {:?}", refusals(&judgement));
    }
    let directory = tempfile::tempdir().expect("directory");
    let disk = directory.path().join("disk.raw");
    run("cp", &["--sparse=always", "--reflink=auto", text(&debian()), text(&disk)]);
    let release = &whole.report.kernels.first().expect("a kernel").release;
    remove_module(&disk, &format!("/usr/lib/modules/{release}/kernel/drivers/nvme/host/nvme.ko"));
    remove_from_initramfs(&disk, "megaraid_sas");

    let broken = examine(&disk);
    for (name, controller) in CONTROLLERS {
        let judgement = judge_on(controller, &broken);
        let refusals = refusals(&judgement);
        let expected = match name {
            "nvme" => vec![("HW-07", format!("/lib/modules/{release}/kernel/drivers/nvme/host/nvme.ko is missing"))],
            "megasas" => vec![("HW-08", "megaraid_sas is not in /boot/efi/debian/initrd.img".to_owned())],
            _ => Vec::new(),
        };
        let ids: Vec<_> = refusals.iter().map(|(id, _)| *id).collect();
        assert_eq!(ids, expected.iter().map(|(id, _)| *id).collect::<Vec<_>>(), "{name}: {refusals:?}");
        for ((_, reason), (_, why)) in refusals.iter().zip(&expected) {
            let modalias = controller.last().expect("a controller");
            assert!(reason.contains(modalias) && reason.contains(&**release) && reason.ends_with(why), "{reason}");
        }
    }
}
