//! Every way of the table of checks to break a system, each on a disk of its own.

use std::collections::BTreeSet;

use bms_agent::inspect::check::Checks;
use bms_agent::inspect::profile::{BootSource, NetworkMode, Sdi};
use bms_agent::inspect::report::{Status, Verdict};

use super::Case;
use super::disk::{Kind, Layout, Table, Volume};
use super::kernel::{self, BOOT_DRIVERS};
use super::rpm;
use super::system::{Distribution, PLUG_IN, PLUG_IN_CONF, PLUG_IN_DIRECTORY};
use Status::{Fail, Pass, Unknown, Warn};

/// A way to change a system: the check that it is about, what that comes to, a part of the reason, the change.
type Row = (&'static str, Status, &'static str, fn(&mut Case));

/// The system that is broken.
const SYSTEM: Distribution = Distribution::CentOs;
const RELEASE: &str = SYSTEM.release();
const UNITS: &str = "etc/systemd/system";
const UNIT: &str = "usr/lib/systemd/system/bms-network-config.service";
const VERSION: &str = "usr/lib/python3.6/site-packages/cloudinit/version.py";
const SOURCE: &str = "usr/lib/python3.6/site-packages/cloudinit/sources/DataSourceOpenStack.py";
const CONFIG: &str = "etc/cloud/cloud.cfg";
/// These have tests of their own.
const OF_WINDOWS: [&str; 3] = ["CB-01", "BN-W1", "SDI-W1"];

impl Case {
    fn datasources(&self, list: &str) {
        self.tree.replace(CONFIG, "[ OpenStack ]", list);
    }

    fn disable_unit(&self, target: &str, name: &str) {
        self.tree.remove(&format!("{UNITS}/{target}.wants/{name}.service"));
    }

    fn mask(&self, name: &str) {
        self.tree.link(&format!("{UNITS}/{name}.service"), "/dev/null");
    }

    fn options(&self, from: &str, to: &str) {
        self.tree.replace(&SYSTEM.menu(), from, to);
    }

    fn sdi_module(&self, version: &str, release: &str) {
        self.tree.write(&SYSTEM.sdi_module(), kernel::sdi_module(version, release));
    }

    fn distributed(&mut self) {
        self.profile.network_mode = Some(NetworkMode::Distributed);
        self.tree.write_unit("NetworkManager", "[Unit]\n", "multi-user.target");
    }

    fn uefi(&mut self) {
        self.profile.firmware = Some("uefi".to_owned());
    }
}

const CLOUD_INIT: &[Row] = &[
    ("CI-01", Fail, "no package cloud-init", |case| {
        case.tree.remove("usr/bin/cloud-init");
        case.tree.remove(VERSION);
        case.tree.write("var/lib/rpm/Packages.db", rpm::database(&["bash"]));
    }),
    ("CI-01", Fail, "cloud.cfg is not there", |case| case.tree.remove(CONFIG)),
    ("CI-01", Fail, "instead of a file", |case| case.tree.make_fifo(CONFIG)),
    ("CI-02", Fail, "cloud-final is masked", |case| case.mask("cloud-final")),
    ("CI-02", Fail, "cloud-config is masked", |case| case.tree.write(&format!("{UNITS}/cloud-config.service"), "")),
    ("CI-02", Fail, "cloud-init-local is not started", |case| {
        case.disable_unit("cloud-init.target", "cloud-init-local");
    }),
    ("CI-02", Fail, "cloud-final is not started", |case| {
        case.tree.link(&format!("{UNITS}/cloud-init.target"), "/dev/null");
    }),
    ("CI-02", Fail, "no service cloud-init;", |case| {
        case.tree.remove("usr/lib/systemd/system/cloud-init.service");
    }),
    ("CI-02", Fail, "cloud-init.disabled", |case| case.tree.write("etc/cloud/cloud-init.disabled", "")),
    ("CI-02", Fail, "command line", |case| case.options(" ro ", " ro cloud-init=disabled ")),
    ("CI-03", Fail, "not OpenStack alone", |case| case.datasources("[ ConfigDrive, OpenStack ]")),
    ("CI-03", Warn, "None after OpenStack", |case| case.datasources("[ OpenStack, None ]")),
    ("CI-03", Fail, "not set", |case| case.tree.replace(CONFIG, "datasource_list", "other_list")),
    ("CI-03", Fail, "not OpenStack alone", |case| {
        case.tree.write("etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list: [ NoCloud, OpenStack, None ]\n");
    }),
    ("CI-03", Pass, "", |case| {
        case.datasources("[ Ec2 ]");
        case.tree.write("etc/cloud/cloud.cfg.d/99_last.cfg", "datasource_list: [ OpenStack ]\n");
    }),
    ("CI-03", Fail, "switches cloud-init off", |case| {
        case.tree.write("etc/cloud/ds-identify.cfg", "policy: disabled\n");
    }),
    ("CI-03", Unknown, "malformed", |case| case.tree.write(CONFIG, "a: [b\n")),
    ("CI-04", Fail, "does not recognise", |case| case.tree.write(VERSION, "__VERSION__ = \"18.5\"\n")),
    ("CI-04", Pass, "takes every server", |case| {
        case.tree.write(VERSION, "__VERSION__ = \"18.5\"\n");
        case.tree.write(SOURCE, "def detect_openstack(accept_oracle=False):\n    return True\n");
    }),
    ("CI-05", Fail, "network.config is not set", |case| case.tree.replace(CONFIG, "network: {config: disabled}", "")),
    ("CI-05", Fail, "apply_network_config is true", |case| {
        case.tree.replace(CONFIG, "apply_network_config: False", "apply_network_config: True");
    }),
    ("CI-06", Warn, "disable_root is true", |case| {
        case.tree.replace(CONFIG, "disable_root: false", "disable_root: true");
    }),
    ("CI-06", Warn, "distro is ubuntu", |case| case.tree.replace(CONFIG, "distro: rhel", "distro: ubuntu")),
    ("CI-07", Fail, "is left", |case| case.tree.write("var/lib/cloud/instances/i-1/user-data.txt", "x")),
    ("CI-07", Fail, "is left", |case| case.tree.link("var/lib/cloud/instance", "/var/lib/cloud/instances/i-1")),
    ("CI-07", Warn, "cloud-init.log is left", |case| case.tree.write("var/log/cloud-init.log", "x\n")),
    ("CI-08", Warn, "growpart", |case| case.tree.remove("usr/bin/growpart")),
    ("CI-08", Warn, "sgdisk", |case| {
        case.uefi();
        case.tree.remove("usr/sbin/sgdisk");
    }),
];

const NETWORK: &[Row] = &[
    ("BN-01", Fail, "is not there", |case| case.tree.remove("opt/huawei")),
    ("BN-01", Fail, "not executable", |case| case.tree.chmod(PLUG_IN, 0o600)),
    ("BN-01", Fail, "bms-network-config is not there", |case| case.tree.remove("usr/bin/bms-network_config")),
    ("BN-01", Fail, "is a link that leads nowhere", |case| {
        case.tree.link("usr/bin/bms-network_config", "/opt/otc/network_config/bms-network_config.py");
    }),
    ("BN-01", Fail, "does not lead to", |case| case.tree.link("usr/bin/bms-network_config", "env")),
    ("BN-01", Fail, "is not there", |case| {
        case.tree.remove("opt/huawei");
        case.tree.link("opt/huawei", "../../../../proc");
    }),
    ("BN-02", Warn, "no package", |case| {
        case.tree.write("var/lib/rpm/Packages.db", rpm::database(&["cloud-init"]));
    }),
    ("BN-02", Unknown, "malformed", |case| case.tree.write("var/lib/rpm/Packages.db", "no database")),
    ("BN-03", Fail, "is masked", |case| case.mask("bms-network-config")),
    ("BN-03", Fail, "is not started", |case| case.disable_unit("multi-user.target", "bms-network-config")),
    ("BN-03", Fail, "there is no service", |case| case.tree.remove(UNIT)),
    ("BN-04", Fail, "enable_bms_network is False", |case| case.tree.replace(PLUG_IN_CONF, "True", "False")),
    ("BN-05", Fail, "interpreter of", |case| case.tree.remove("usr/bin/python2.7")),
    ("BN-05", Fail, "only Python 2 has", |case| {
        case.tree.link("usr/bin/python", "python3.6");
        case.tree.write_program("usr/bin/python3.6", "x");
    }),
    ("BN-05", Fail, "no module requests", |case| case.tree.remove("usr/lib/python2.7/site-packages/requests")),
    ("BN-06", Fail, "NetworkManager is started", |case| {
        case.tree.write_unit("NetworkManager", "[Unit]\n", "multi-user.target");
    }),
    ("BN-06", Fail, "netplan", |case| case.tree.write("etc/netplan/50-cloud-init.yaml", "network: {version: 2}\n")),
    ("BN-06", Fail, "is not there", |case| case.tree.remove("etc/rc.d/init.d/network")),
    ("BN-06", Pass, "", Case::distributed),
    ("BN-06", Fail, "00-server.conf is left", |case| {
        case.distributed();
        case.tree.write("usr/lib/NetworkManager/conf.d/00-server.conf", "[main]\n");
    }),
    ("BN-07", Warn, "others than its owner", |case| case.tree.chmod(PLUG_IN_DIRECTORY, 0o777)),
    ("BN-08", Warn, "After=cloud-final.service", |case| case.tree.replace(UNIT, "dbus.service", "cloud-final.service")),
    ("BN-08", Warn, "Requires=cloud-final.service", |case| {
        let drop_in = format!("{UNITS}/bms-network-config.service.d/a.conf");
        case.tree.write(&drop_in, "[Unit]\nRequires=cloud-final.service\n");
    }),
];

const DRIVERS: &[Row] = &[
    ("SDI-01", Fail, "has no scsi_ep_front", |case| {
        case.tree.remove(&SYSTEM.sdi_module());
        case.tree.replace(&format!("usr/lib/modules/{RELEASE}/modules.dep"), "extra/scsi_ep_front.ko:\n", "");
    }),
    ("SDI-01", Fail, "depmod", |case| {
        case.tree.replace(&format!("usr/lib/modules/{RELEASE}/modules.dep"), "extra/scsi_ep_front.ko:\n", "");
    }),
    ("SDI-01", Fail, "is not there", |case| case.tree.remove(&SYSTEM.sdi_module())),
    ("SDI-01", Fail, "is not there", |case| {
        case.tree.link(&SYSTEM.sdi_module(), "/lib/modules/4.18.0-477.el8.x86_64/extra/scsi_ep_front.ko");
    }),
    ("SDI-01", Fail, "was built for 4.18.0-477", |case| case.sdi_module("1.0.18", "4.18.0-477.el8.x86_64")),
    ("SDI-01", Fail, "4.18.0-999.el8.x86_64 has no", |case| {
        let modules = "usr/lib/modules/4.18.0-999.el8.x86_64";
        case.tree.write(&format!("{modules}/modules.dep"), "");
        case.tree.write(&format!("{modules}/modules.builtin"), "");
        let entry = "title new\nversion 4.18.0-999.el8.x86_64\nlinux /boot/vmlinuz-4.18.0-999.el8.x86_64\n";
        case.tree.write("boot/loader/entries/new.conf", entry);
        case.tree.write("boot/vmlinuz-4.18.0-999.el8.x86_64", "kernel");
    }),
    ("SDI-01", Warn, "does not say that it drives", |case| {
        let vermagic = format!("vermagic={RELEASE} SMP");
        case.tree.write(&SYSTEM.sdi_module(), kernel::module(&["version=1.0.18", &vermagic]));
    }),
    ("SDI-01", Unknown, "", |case| case.tree.write(&SYSTEM.sdi_module(), "no module")),
    ("SDI-02", Fail, "older than 1.0.13", |case| case.sdi_module("1.0.9", RELEASE)),
    ("SDI-03", Fail, "is not in /boot/initramfs", |case| SYSTEM.write_initramfs(&case.tree, &BOOT_DRIVERS)),
    ("SDI-03", Warn, "is not in /boot/initramfs", |case| {
        case.profile.boot_source = Some(BootSource::Local);
        SYSTEM.write_initramfs(&case.tree, &BOOT_DRIVERS);
    }),
    ("SDI-03", Fail, "must be made anew", |case| {
        SYSTEM.write_initramfs(&case.tree, &BOOT_DRIVERS);
        case.tree.write("etc/dracut.conf.d/sdi.conf", "add_drivers+=\" scsi_ep_front \"\n");
    }),
    ("SDI-03", Unknown, "initramfs", |case| {
        case.tree.write(&format!("boot/initramfs-{RELEASE}.img"), b"\x89LZO\x00\x0d\x0a\x1a\x0a rest");
    }),
    ("SDI-04", Warn, "no package", |case| {
        case.tree.write("var/lib/rpm/Packages.db", rpm::database(&["cloud-init"]));
    }),
    ("SDI-05", Fail, "/etc/modprobe.d/sdi.conf:2 keeps", |case| {
        case.tree.write("etc/modprobe.d/sdi.conf", "# no\nblacklist scsi-ep-front\n");
    }),
    ("SDI-05", Fail, "command line", |case| case.options(" ro ", " ro modprobe.blacklist=scsi_ep_front ")),
    ("NIC-01", Pass, "", |case| case.profile.sdi = Some(Sdi::Sdi2_2)),
    ("NIC-01", Fail, "has no hinic3", |case| case.profile.sdi = Some(Sdi::Sdi5)),
    ("BOOT-01", Warn, "mpt3sas is not in", |case| {
        SYSTEM.write_initramfs(&case.tree, &["ahci", "megaraid_sas", "nvme", "virtio_blk", "virtio_scsi"]);
    }),
    ("BOOT-01", Fail, "ahci is not in", |case| {
        case.profile.boot_source = Some(BootSource::Local);
        SYSTEM.write_initramfs(&case.tree, &["virtio_blk", "virtio_scsi"]);
    }),
    ("BOOT-01", Fail, "is not in", |case| SYSTEM.write_initramfs(&case.tree, &["floppy"])),
    ("BOOT-01", Fail, "has no initramfs", |case| case.tree.remove(&format!("boot/initramfs-{RELEASE}.img"))),
];

const IMAGE: &[Row] = &[
    ("BOOT-02", Fail, "no boot code", |case| case.layout.boot_code = false),
    ("BOOT-02", Pass, "", Case::uefi),
    ("BOOT-02", Fail, "no EFI/BOOT/BOOTX64.EFI", |case| {
        case.uefi();
        case.tree.remove("boot/efi/EFI/BOOT");
    }),
    ("BOOT-02", Warn, "not the loader of the installed system", |case| {
        case.uefi();
        case.tree.write("boot/efi/EFI/BOOT/BOOTX64.EFI", "another boot loader");
    }),
    ("BOOT-02", Pass, "", |case| {
        case.uefi();
        let fstab = case.layout.fstab();
        let without = fstab.lines().filter(|line| !line.contains("/boot/efi")).map(|line| format!("{line}\n"));
        case.tree.write("etc/fstab", without.collect::<String>() + "UUID=1-2 /boot/other vfat defaults 0 0\n");
    }),
    ("BOOT-02", Fail, "no EFI/BOOT/BOOTX64.EFI", |case| {
        case.uefi();
        case.layout.volumes.remove(0);
        case.tree.write("etc/fstab", case.layout.fstab());
    }),
    ("BOOT-05", Fail, "which is not there", |case| case.tree.remove(&format!("boot/vmlinuz-{RELEASE}"))),
    ("ARCH-01", Fail, "the servers are aarch64", |case| case.profile.architecture = Some("aarch64".to_owned())),
    ("BOOT-03", Warn, "mounts /dev/sdb1", |case| {
        case.tree.write("etc/fstab", case.layout.fstab() + "/dev/sdb1 /data ext4 defaults 0 0\n");
    }),
    ("BOOT-03", Warn, "names the root", |case| case.options("root=UUID=", "root=/dev/vda2 was=")),
    ("BOOT-04", Warn, "is not the last", |case| case.layout.volumes.swap(0, 1)),
    ("BOOT-04", Warn, "leaves none for the config drive", |case| {
        let other = |at| Volume { at, kind: Kind::Ext4, mib: 8, logical: None };
        case.layout.volumes.splice(1..1, [other("/srv"), other("/home")]);
        case.tree.write("etc/fstab", case.layout.fstab());
        case.tree.make_directory("srv");
        case.tree.make_directory("home");
    }),
    ("BOOT-04", Warn, "GPT", |case| case.layout.table = Table::Gpt),
    ("CON-01", Warn, "lacks console=ttyS0", |case| case.options("console=ttyS0,115200n8", "quiet")),
    ("RES-01", Warn, "70-persistent-net.rules", |case| {
        case.tree.write("etc/udev/rules.d/70-persistent-net.rules", "SUBSYSTEM==\"net\"\n");
    }),
    ("RES-01", Warn, "ifcfg-eth0", |case| {
        case.tree.write("etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\n");
    }),
    ("RES-01", Warn, "machine-id", |case| case.tree.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("PWD-01", Warn, "is not there", |case| case.tree.remove("CloudrResetPwdAgent")),
];

/// Makes a disk for each row, and looks into it.
fn check(rows: &[Row]) {
    let mut wrong = Vec::new();
    for (at, (id, status, reason, change)) in rows.iter().enumerate() {
        let mut case = Case::new(SYSTEM, Layout::plain());
        change(&mut case);
        let report = case.examine().report;
        let finding = report.findings.iter().find(|finding| finding.id == *id).expect("a finding");
        if finding.status != *status || !finding.reason.contains(reason) {
            wrong.push(format!("row {at}, {status:?} {reason:?}: {finding:#?}"));
        }
        // What fails alone decides on the image.
        if report.verdicts.image < finding.verdict() {
            wrong.push(format!("row {at}: {:?} although {finding:#?}", report.verdicts));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn each_way_to_break_cloud_init_is_found() {
    check(CLOUD_INIT);
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn each_way_to_break_the_network_plug_in_is_found() {
    check(NETWORK);
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn each_way_to_break_drivers_is_found() {
    check(DRIVERS);
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn each_way_to_break_the_image_itself_is_found() {
    check(IMAGE);
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn every_check_has_a_case_that_passes_and_one_that_does_not() {
    let report = Case::new(SYSTEM, Layout::plain()).examine().report;
    let rows = || [CLOUD_INIT, NETWORK, DRIVERS, IMAGE].into_iter().flatten();
    let sound = report.findings.iter().filter(|finding| finding.status == Pass).map(|finding| finding.id.as_str());
    let passing: BTreeSet<&str> = sound.chain(rows().filter(|row| row.1 == Pass).map(|row| row.0)).collect();
    let failing: BTreeSet<&str> = rows().filter(|row| [Fail, Warn].contains(&row.1)).map(|row| row.0).collect();
    for check in Checks::built_in().expect("built in").iter() {
        let expected = !OF_WINDOWS.contains(&check.id.as_str());
        assert_eq!(passing.contains(check.id.as_str()), expected, "{} and what passes", check.id);
        assert_eq!(failing.contains(check.id.as_str()), expected, "{} and what fails", check.id);
    }
}

#[test]
#[ignore = "needs the tools of tests/install-packages.sh"]
fn a_plug_in_that_is_missing_fails_alone_and_the_image_with_it() {
    type Missing = (fn(&Case), [Verdict; 4]);
    let (pass, fail) = (Verdict::Pass, Verdict::Fail);
    let missing: [Missing; 3] = [
        (
            |case| {
                for path in [
                    "etc/cloud",
                    "usr/bin/cloud-init",
                    "usr/lib/python3.6",
                    "etc/systemd/system/cloud-init.target.wants",
                ] {
                    case.tree.remove(path);
                }
                case.tree
                    .write("var/lib/rpm/Packages.db", rpm::database(&["kmod-scsi_ep_front", "bms-network-config"]));
            },
            [fail, pass, pass, fail],
        ),
        (
            |case| {
                for path in ["opt/huawei", UNIT, "usr/bin/bms-network_config"] {
                    case.tree.remove(path);
                }
            },
            [pass, fail, pass, fail],
        ),
        (
            |case| {
                case.tree.remove(&SYSTEM.sdi_module());
                case.tree.replace(&format!("usr/lib/modules/{RELEASE}/modules.dep"), "extra/scsi_ep_front.ko:\n", "");
                SYSTEM.write_initramfs(&case.tree, &BOOT_DRIVERS);
            },
            [pass, pass, fail, fail],
        ),
    ];
    for (remove, expected) in missing {
        let case = Case::new(SYSTEM, Layout::plain());
        remove(&case);
        let found = case.examine().report.verdicts;
        assert_eq!([found.cloud_init, found.network, found.sdi_driver, found.image], expected);
    }
}
