//! A made-up Windows on an NTFS of its own: one in which nothing is wrong, and one that lacks what it needs.

use bms_agent::image::manifest::OsFamily;
use bms_agent::inspect::profile::{NetworkMode, Profile, Sdi};
use bms_agent::inspect::report::Status;

use super::Case;
use super::disk::Layout;
use super::tree::Tree;

const CLOUDBASE: &str = "Program Files/Cloudbase Solutions/Cloudbase-Init";
const INF: &str = "Windows/System32/DriverStore/FileRepository/EpScsiAdapter.inf_amd64_1234/EpScsiAdapter.inf";
const CHECKS: [&str; 3] = ["CB-01", "BN-W1", "SDI-W1"];

fn write(tree: &Tree) {
    tree.write("Windows/System32/config/SYSTEM", "regf");
    tree.write(
        "Windows/System32/ntoskrnl.exe",
        [b"MZ".as_slice(), &[0; 58], &64_u32.to_le_bytes(), b"PE\0\0\x64\x86"].concat(),
    );
    tree.write("boot/efi/EFI/BOOT/BOOTX64.EFI", "a boot loader");
    let plug_ins = [
        "LocalScripts",
        "MTU",
        "CreateUser",
        "SetUserPassword",
        "SetUserSSHPublicKeys",
        "SetHostName",
        "ExtendVolumes",
        "UserData",
        "WindowsLicensing",
    ];
    let plug_ins = plug_ins.map(|name| format!("cloudbaseinit.plugins.{name}Plugin")).join(",\r\n  ");
    let services = "cloudbaseinit.HttpService,cloudbaseinit.ConfigDriveService";
    let scripts = "C:\\Program Files\\Cloudbase Solutions\\Cloudbase-Init\\LocalScripts\\";
    tree.write(
        &format!("{CLOUDBASE}/conf/cloudbase-init.conf"),
        format!("[DEFAULT]\r\nmetadata_services={services}\r\nplugins={plug_ins}\r\nlocal_scripts_path={scripts}\r\n"),
    );
    for end in ["py", "conf"] {
        tree.write(&format!("{CLOUDBASE}/LocalScripts/bms-network-config.{end}"), "x");
    }
    write_driver(tree, "2.0.2.12");
}

fn write_driver(tree: &Tree, version: &str) {
    let text = format!("[Version]\r\nDriverVer = 04/13/2017,{version}\r\n");
    let units = text.encode_utf16().flat_map(u16::to_le_bytes);
    tree.write(INF, [0xff, 0xfe].into_iter().chain(units).collect::<Vec<u8>>());
}

/// What the checks for Windows come to on a disk.
fn statuses(change: fn(&Tree)) -> [(Status, String); 3] {
    let profile = Profile {
        network_mode: Some(NetworkMode::Centralized),
        sdi: Some(Sdi::Sd100),
        firmware: Some("uefi".to_owned()),
        ..Profile::default()
    };
    let case = Case { layout: Layout::windows(), profile, tree: Tree::new() };
    write(&case.tree);
    change(&case.tree);
    let found = case.examine();
    assert_eq!(found.os.expect("an installed system").family, OsFamily::Windows, "{:?}", found.notes);
    let findings = found.report.findings;
    CHECKS.map(|id| {
        let finding = findings.iter().find(|finding| finding.id == id).expect("a finding");
        (finding.status, finding.reason.clone())
    })
}

#[test]
#[ignore = "needs root, loop devices, FUSE and ntfs-3g"]
fn windows_is_looked_into_on_its_own_file_system() {
    for (status, reason) in statuses(|_| ()) {
        assert_eq!(status, Status::Pass, "{reason}");
    }
    let broken = statuses(|tree| {
        tree.remove(&format!("{CLOUDBASE}/conf"));
        tree.remove(&format!("{CLOUDBASE}/LocalScripts/bms-network-config.py"));
        write_driver(tree, "2.0.2.9");
    });
    for ((status, reason), expected) in broken.into_iter().zip(["is not there", "is not there", "is older than"]) {
        assert!(status == Status::Fail && reason.contains(expected), "{status:?}: {reason}");
    }
}
