//! The compatibility gate: asked of the agent, of a file of facts, and by installs.

use std::fs;
use std::path::Path;

use bms_agent::hardware::fact::Fact;
use bms_agent::hardware::host::BootMode;
use bms_agent::hardware::inventory::{BlockDevice, Inventory, Link, LinkState, Nic, SCHEMA};
use bms_agent::rpc::proto::v1::CheckCompatibilityRequest;
use bms_agent::rpc::proto::v1::check_compatibility_request::Image;
use serde_json::Value;

use crate::support::client::Client;
use crate::support::ctl::Answer;
use crate::support::image::{fixture_root, fixtures};
use crate::support::nginx::Nginx;
use crate::support::repository::Repository;
use crate::support::{Daemon, GIB, LoopDisk};

const NVME: &[&str] = &["pci:v0000144Dd0000A808sv0000144Dsd0000A801bc01sc08i02"];
const MEGARAID: &[&str] = &["scsi:t-0x00", "pci:v00001000d0000005Dsv000019E5sd0000D207bc01sc04i00"];
const NOBODYS: &[&str] = &["pci:v0000DEADd0000BEEFsv00000000sd00000000bc01sc00i00"];
const VIRTIO_NET: &[&str] = &["virtio:d00000001v00001AF4", "pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00"];

fn path(modaliases: &[&str]) -> Fact<Vec<Link>> {
    let link = |modalias: &&str| Link {
        bus: "pci".to_owned(),
        name: "0000:3b:00.0".to_owned(),
        modalias: (*modalias).to_owned(),
        driver: Fact::Known("its-driver".to_owned()),
    };
    Fact::Known(modaliases.iter().map(link).collect())
}

fn disk(name: &str, modaliases: &[&str]) -> BlockDevice {
    BlockDevice {
        name: name.to_owned(),
        serial: Fact::Known(format!("serial of {name}")),
        size_bytes: 480 * GIB,
        logical_block_size: 512,
        path: path(modaliases),
        ..BlockDevice::default()
    }
}

/// A 2288H V5 with three disks, of which one hangs on a controller that no driver is for.
fn server() -> Inventory {
    let mut server = Inventory { schema: SCHEMA, ..Inventory::default() };
    server.system.vendor = Fact::Known("XFUSION".to_owned());
    server.system.product_name = Fact::Known("2288H V5".to_owned());
    server.cpu.architecture = Fact::Known("x86_64".to_owned());
    server.memory.installed_bytes = Fact::Known(64 * GIB);
    server.firmware.boot_mode = Fact::Known(BootMode::Uefi);
    server.disks = Fact::Known(vec![disk("nvme0n1", NVME), disk("sda", MEGARAID), disk("sdb", NOBODYS)]);
    let nic =
        Nic { name: "eno1".to_owned(), link: Fact::Known(LinkState::Up), path: path(VIRTIO_NET), ..Nic::default() };
    server.nics = Fact::Known(vec![nic]);
    server
}

/// The findings, each as `ID status`.
fn findings(answer: &Value) -> Vec<String> {
    let findings = answer["findings"].as_array().unwrap_or_else(|| panic!("findings: {answer}"));
    let text = |finding: &Value| format!("{} {}", finding["id"], finding["status"]).replace('"', "");
    findings.iter().map(text).collect()
}

fn of<'a>(answer: &'a Answer, id: &str) -> &'a Value {
    let findings = answer.json["findings"].as_array().unwrap_or_else(|| panic!("findings: {}", answer.json));
    findings.iter().find(|finding| finding["id"] == id).unwrap_or_else(|| panic!("{id} in {}", answer.json))
}

fn assert_fits(answer: &Answer) {
    assert_eq!((answer.code, answer.json["fitness"].as_str()), (0, Some("fit")), "{}", answer.json);
    assert!(!findings(&answer.json).iter().any(|finding| finding.ends_with("fail")), "{}", answer.json);
}

/// A repository with the Debian image twice: bound to a model that there is, and to one that there is not.
fn repository(dir: &Path) -> Repository {
    let repository = Repository::directory(dir).init(&[]);
    let raw = fixtures().join("disk.raw");
    let bound = ["--version", "1", "--kind", "private", "--source-model"];
    repository.import(&raw, "fits", &[&bound[..], &["Huawei / 2288H V5 / x86_64"]].concat());
    repository.import(&raw, "other", &[&bound[..], &["Huawei / no server has this name / x86_64"]].concat());
    repository
}

/// What is said of an image for the server of a file of facts.
fn judged(repository: &Repository, facts: &Path, image: &str, options: &[&str]) -> Answer {
    let facts = facts.to_str().expect("UTF-8");
    repository.ctl(&["image", "compat", image], &[&["--host-facts", facts], options].concat())
}

/// Judges for another server, by its facts.
fn judge_elsewhere(repository: &Repository, facts: &Path) {
    fs::write(facts, serde_json::to_vec(&server()).expect("JSON")).expect("written");
    let judged = |image, options: &[&str]| judged(repository, facts, image, options);
    for name in ["name=nvme0n1", "serial=serial of sda"] {
        assert_fits(&judged("fits", &["--disk", name]));
    }
    let undriven = judged("fits", &["--disk", "name=sdb"]);
    assert_eq!((undriven.code, undriven.json["fitness"].as_str()), (7, Some("unknown")), "{}", undriven.json);
    let reason = of(&undriven, "HW-07")["reason"].as_str().expect("a reason");
    assert!(reason.contains(NOBODYS[0]) && reason.contains("no module is for it"), "{reason}");
    let unchosen = judged("fits", &[]);
    assert_eq!((unchosen.code, of(&unchosen, "HW-05")["status"].as_str()), (7, Some("unknown")));
    let other = judged("other", &["--disk", "name=nvme0n1"]);
    assert_eq!((other.code, of(&other, "HW-01")["status"].as_str()), (6, Some("fail")), "{}", other.json);
    let overridden = judged("other", &["--disk", "name=nvme0n1", "--override", "HW-01"]);
    assert_eq!((overridden.code, of(&overridden, "HW-01")["overridden_by"].as_str()), (0, Some("the caller")));
    assert_eq!(judged("fits", &["--disk", "name=sdz"]).refusal(), "DISK_NOT_FOUND");
    assert_eq!(judged("fits", &["--override", "HW-77"]).refusal(), "OVERRIDE_INVALID");
}

/// The agent, and the facts that it gives, say the same of this server.
fn judge_here(repository: &Repository, facts: &Path, daemon: &Daemon, disk: &LoopDisk) {
    let shown = daemon.ctl(&["host", "show"]).done();
    fs::write(facts, shown.to_string()).expect("written");
    let by_agent = daemon.ctl(&["image", "compat", "fits", "--all"]);
    assert!([6, 7].contains(&by_agent.code), "no disk was chosen: {}", by_agent.json);
    assert_eq!(findings(&by_agent.json), findings(&judged(repository, facts, "fits", &["--all"]).json));
    let on_loop = daemon.ctl(&["image", "compat", "fits", "--disk", &disk.selector(), "--all"]);
    assert_eq!(of(&on_loop, "HW-05")["status"], "pass", "{}", on_loop.json);
    assert_eq!(of(&on_loop, "HW-07")["status"], "not_applicable", "{}", on_loop.json);
}

/// A manifest alone is judged as far as it goes.
fn judge_manifest(dir: &Path, repository: &Repository, daemon: &Daemon) {
    let shown = repository.ctl(&["image", "show", "other"], &[]).done();
    let id = shown["image_id"].as_str().expect("an id");
    let manifest = fs::read(dir.join("images").join(id).join("manifest.json")).expect("the manifest");
    let ask = |manifest: Vec<u8>| {
        let request = CheckCompatibilityRequest {
            image: Some(Image::Manifest(manifest)),
            ..CheckCompatibilityRequest::default()
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async { Client::connect(daemon).await.provisioning().check_compatibility(request).await })
    };
    let answer = ask(manifest).expect("judged").into_inner();
    assert!(answer.inspection.is_none(), "nothing was looked into");
    let findings = answer.compatibility.expect("a judgement").findings;
    let open: Vec<_> =
        findings.iter().filter(|judged| judged.open).filter_map(|judged| judged.finding.as_ref()).collect();
    assert!(open.iter().any(|finding| finding.id == "HW-09"), "{findings:?}");
    let model = findings.iter().find(|judged| judged.finding.as_ref().is_some_and(|finding| finding.id == "HW-01"));
    let model = model.expect("a finding of the model");
    assert!(!model.open && model.finding.as_ref().is_some_and(|finding| !finding.remedy.is_empty()), "{model:?}");
    let malformed = ask(b"{}".to_vec()).expect_err("no manifest");
    assert_eq!(malformed.code(), tonic::Code::InvalidArgument, "{malformed:?}");
}

/// An install of what no server has is refused before it begins.
fn install_elsewhere(daemon: &Daemon, disk: &LoopDisk) {
    let options = ["--repository", "main", "--inspection", "off"];
    let image = Path::new("other");
    let refused = daemon.install(image, disk, &options);
    assert!(["IMAGE_INCOMPATIBLE", "COMPATIBILITY_UNKNOWN"].contains(&refused.refusal()), "{}", refused.json);
    assert_eq!(refused.error()["metadata"]["findings"], "HW-01", "{}", refused.json);
    assert!(daemon.disk(disk)["interrupted_install"].is_null(), "nothing was begun");
    let more = ["--override", "HW-01", "--override", "CI-01"];
    assert_eq!(daemon.install(image, disk, &[&options[..], &more].concat()).refusal(), "OVERRIDE_INVALID");

    let installed = daemon.install(image, disk, &[&options[..], &["--override", "HW-01"]].concat()).done();
    let warnings = installed["result"]["warnings"].to_string();
    assert!(warnings.contains("HW-01 was overridden by user 0") && disk.is_bootable(), "{warnings}");
    assert!(daemon.log().contains("HW-01 was overridden by user 0"), "who overrides is logged");
}

#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn an_image_is_judged_for_this_server_for_another_and_before_it_is_written() {
    let dir = tempfile::tempdir().expect("directory");
    let repository = repository(dir.path());
    let facts = dir.path().join("facts.json");
    judge_elsewhere(&repository, &facts);
    let daemon = Daemon::start_with(&format!("allow_loop_devices = true\n{}", repository.table()));
    let disk = LoopDisk::new(5 * GIB);
    judge_here(&repository, &facts, &daemon, &disk);
    judge_manifest(dir.path(), &repository, &daemon);
    install_elsewhere(&daemon, &disk);
}

/// The Debian image whose GPT is for blocks of 4096 bytes, on a disk of 512, from a server that says nothing of blocks.
#[test]
#[ignore = "needs root and loop devices: tests/run.sh"]
fn what_a_look_finds_not_to_fit_leaves_a_disk_that_cannot_boot() {
    let image = fixtures().join("disk-4k.raw");
    let size = fs::metadata(&image).expect("the image").len();
    let root = fixture_root("disk-4k.raw");
    let nginx = Nginx::serve(&fixtures());
    let url = format!("{}disk-4k.raw", nginx.url());
    let daemon = Daemon::start_with(&format!("allowed_urls = [{:?}]\nallow_loop_devices = true\n", nginx.url()));
    let disk = LoopDisk::new(5 * GIB);
    let size = size.to_string();
    let common = ["--size", size.as_str(), "--root", root.as_str()];
    let refused = daemon.install(Path::new(&url), &disk, &common);
    assert_eq!((refused.code, refused.reason()), (1, "IMAGE_INCOMPATIBLE"), "{}", refused.json);
    assert_eq!(refused.error()["metadata"]["findings"], "HW-06", "{}", refused.json);
    let message = refused.error()["message"].as_str().expect("a message");
    assert!(message.contains("the GPT is for blocks of 4096 bytes, and"), "{message}");
    assert!(!disk.is_bootable());
    assert_eq!(daemon.disk(&disk)["interrupted_install"]["reason"], "IMAGE_INCOMPATIBLE");
}
