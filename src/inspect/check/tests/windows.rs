//! Tests of checks for Windows.

use super::fixture::{Image, loader};
use crate::inspect::facts::Known;
use crate::inspect::profile::{NetworkMode, Sdi};
use crate::inspect::report::{Status, Verdict};

const CONF: &str = "Program Files/Cloudbase Solutions/Cloudbase-Init/conf/cloudbase-init.conf";
const SCRIPT: &str = "Program Files/Cloudbase Solutions/Cloudbase-Init/LocalScripts/bms-network-config.py";
const INF: &str = "Windows/System32/DriverStore/FileRepository/EpScsiAdapter.inf_amd64_1234/EpScsiAdapter.inf";

fn windows() -> Image {
    let mut image = Image::empty();
    image.profile.network_mode = Some(NetworkMode::Centralized);
    image.profile.sdi = Some(Sdi::Sd100);
    image.profile.firmware = Some("uefi".to_owned());
    image.boot.loaders = Known::Is(vec![loader("Boot", "bootx64.efi", "a"), loader("Microsoft", "bootmgfw.efi", "a")]);
    image.write("Windows/System32/config/SYSTEM", "regf");
    let plugins = [
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
    let plugins = plugins.map(|name| format!("cloudbaseinit.plugins.{name}Plugin")).join(",\r\n  ");
    let services = "cloudbaseinit.metadata.services.httpservice.HttpService,cloudbaseinit.metadata.services.configdrive.ConfigDriveService";
    let scripts = "C:\\Program Files\\Cloudbase Solutions\\Cloudbase-Init\\LocalScripts\\";
    image.write(
        CONF,
        &format!("[DEFAULT]\r\nmetadata_services={services}\r\nplugins={plugins}\r\nlocal_scripts_path={scripts}\r\n"),
    );
    image.write(SCRIPT, "import x\n");
    image.write(&SCRIPT.replace(".py", ".conf"), "[NETWORK_CONFIG]\n");
    let inf = "[Version]\r\nDriverVer = 04/13/2017,2.0.2.12\r\n".encode_utf16().flat_map(u16::to_le_bytes);
    image.write_bytes(INF, &[0xff, 0xfe].into_iter().chain(inf).collect::<Vec<u8>>());
    image
}

#[test]
fn an_image_of_windows_passes_its_own_checks_alone() {
    let report = windows().report();
    for finding in &report.findings {
        let expected = if ["CB-01", "BN-W1", "SDI-W1", "BOOT-02"].contains(&finding.id.as_str()) {
            Status::Pass
        } else {
            Status::NotApplicable
        };
        assert_eq!(finding.status, expected, "{finding:?}");
    }
    assert_eq!(report.verdicts.cloud_init, Verdict::Pass);
    assert_eq!((report.verdicts.sdi_driver, report.verdicts.image), (Verdict::Pass, Verdict::Pass));
}

#[test]
fn what_windows_lacks_fails() {
    type Row = (&'static str, &'static str, fn(&mut Image));
    let broken: [Row; 8] = [
        ("BOOT-02", "", |image| image.boot.loaders = Known::Is(vec![loader("Microsoft", "bootmgfw.efi", "a")])),
        ("CB-01", "is not there", |image| image.remove(CONF)),
        ("CB-01", "plugins lacks *.MTUPlugin", |image| image.replace(CONF, "MTUPlugin", "OtherPlugin")),
        ("CB-01", "lacks *.ConfigDriveService", |image| image.replace(CONF, "ConfigDriveService", "EC2Service")),
        ("BN-W1", "is not there", |image| image.remove(SCRIPT)),
        ("BN-W1", "local_scripts_path lacks", |image| image.replace(CONF, "LocalScripts\\", "Elsewhere\\")),
        ("SDI-W1", "is not there", |image| image.remove(INF)),
        ("SDI-W1", "2.0.2.9 is older than 2.0.2.12", |image| {
            image.write(INF, "[Version]\nDriverVer=01/01/2016,2.0.2.9\n");
        }),
    ];
    for (id, reason, break_it) in broken {
        let mut image = windows();
        break_it(&mut image);
        let finding = image.finding(id);
        assert_eq!(finding.status, Status::Fail, "{finding:?}");
        assert!(finding.reason.contains(reason), "{finding:?}");
        assert!(!finding.remedy.is_empty());
    }
}
