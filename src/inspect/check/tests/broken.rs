//! A Linux image that passes everything, and each way to break it, with what is found then.

use std::collections::BTreeSet;

use super::fixture::{CLOUD_CFG, Image, PLUG_IN, RELEASE, SDI_MODULE, loader};
use crate::disk::table::TableKind;
use crate::inspect::check::Checks;
use crate::inspect::facts::Known;
use crate::inspect::facts::layout::Part;
use crate::inspect::profile::{BootSource, NetworkMode, Profile, Sdi};
use crate::inspect::report::{MAX_REPORT_BYTES, Severity, Status, Verdict};
use Status::{Fail, NotApplicable, Pass, Unknown, Warn};

/// One way to change the image: the check that it is about, what that comes to, a part of the reason, the change.
type Row = (&'static str, Status, &'static str, fn(&mut Image));

const UNIT: &str = "usr/lib/systemd/system/bms-network-config.service";
const CONF: &str = "opt/huawei/network_config/bms-network-config.conf";
const VERSION: &str = "usr/lib/python3.6/site-packages/cloudinit/version.py";
const SOURCE: &str = "usr/lib/python3.6/site-packages/cloudinit/sources/DataSourceOpenStack.py";

fn datasources(image: &Image, list: &str) {
    image.write("etc/cloud/cloud.cfg", &CLOUD_CFG.replace("[ OpenStack ]", list));
}

fn distributed(image: &mut Image) {
    image.profile.network_mode = Some(NetworkMode::Distributed);
    image.write_unit("NetworkManager", "[Unit]\n", "multi-user.target");
}

fn setup_instead(image: &Image) {
    image.remove("opt/huawei");
    image.write("opt/otc/bms-setup/bms-setup.sh", "#!/bin/sh\n");
    for path in ["opt/otc", "opt/otc/bms-setup", "opt/otc/bms-setup/bms-setup.sh"] {
        image.chmod(path, 0o700);
    }
    image.remove("etc/systemd/system/multi-user.target.wants/bms-network-config.service");
    image.remove(UNIT);
    image.write_unit("bms-network-setup", "[Unit]\n", "cloud-init.target");
}

/// As cloud-init is since 24.3.
fn single_process(image: &mut Image) {
    image.remove("usr/lib/systemd/system/cloud-init.service");
    for name in ["cloud-init-main", "cloud-init-network"] {
        image.write_unit(name, "[Unit]\n", "cloud-init.target");
    }
}

fn python3_only(image: &Image) {
    image.remove("usr/bin/python2.7");
    image.write("usr/bin/python3.6", "x");
    image.link("usr/bin/python", "python3.6");
    image.write("usr/lib/python3.6/site-packages/six.py", "x");
    image.write("usr/lib/python3.6/site-packages/requests/__init__.py", "x");
}

fn sysv(image: &Image) {
    image.remove("usr/lib/systemd");
    image.remove("etc/systemd");
    image.write_program("bin/sh", 62);
    for name in ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final", "bms-network-config"] {
        image.write(&format!("etc/rc.d/init.d/{name}"), "#!/bin/sh\n");
        image.link(&format!("etc/rc.d/rc3.d/S50{name}"), &format!("../init.d/{name}"));
    }
}

fn upstart(image: &Image) {
    image.remove("usr/lib/systemd");
    image.remove("etc/systemd");
    image.write_program("bin/sh", 62);
    image.write("etc/init/rc-sysinit.conf", "start on filesystem\n");
    for name in ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final", "bms-network_config"] {
        image.write(&format!("etc/init/{name}.conf"), "start on stopped rc\n");
    }
}

const CLOUD_INIT: &[Row] = &[
    ("CI-01", Fail, "/etc/cloud/cloud.cfg is not there", |image| image.remove("etc/cloud/cloud.cfg")),
    ("CI-01", Fail, "no package cloud-init", |image| {
        image.remove("usr/bin/cloud-init");
        image.remove(VERSION);
        image.write("var/lib/dpkg/status", "Package: cloud-init\nStatus: deinstall ok config-files\nVersion: 1\n");
    }),
    ("CI-01", Pass, "", |image| image.remove("var/lib/dpkg")),
    ("CI-01", Fail, "is a device, FIFO or socket instead of a file", |image| {
        image.make_fifo("etc/cloud/cloud.cfg");
    }),
    ("CI-02", Fail, "cloud-final is masked", |image| image.link("etc/systemd/system/cloud-final.service", "/dev/null")),
    ("CI-02", Fail, "cloud-config is masked", |image| image.write("etc/systemd/system/cloud-config.service", "")),
    ("CI-02", Fail, "cloud-init-local is not started", |image| {
        image.remove("etc/systemd/system/cloud-init.target.wants/cloud-init-local.service");
    }),
    ("CI-02", Fail, "no service cloud-init;", |image| image.remove("usr/lib/systemd/system/cloud-init.service")),
    ("CI-02", Fail, "cloud-init is not started", |image| {
        image.remove("etc/systemd/system/cloud-init.target.wants/cloud-init.service");
    }),
    ("CI-02", Fail, "cloud-init is not started", |image| {
        image.link("etc/systemd/system/cloud-init.target", "/dev/null");
    }),
    ("CI-02", Fail, "cloud-init is not started", |image| image.remove("usr/lib/systemd/system-generators")),
    ("CI-02", Fail, "cloud-init is not started", |image| {
        image.link("etc/systemd/system-generators/cloud-init-generator", "/dev/null");
    }),
    ("CI-02", Pass, "", |image| {
        image.remove("usr/lib/systemd/system-generators");
        image.link(
            "etc/systemd/system/multi-user.target.wants/cloud-init.target",
            "/usr/lib/systemd/system/cloud-init.target",
        );
    }),
    ("CI-02", Pass, "", single_process),
    ("CI-02", Fail, "no service cloud-init-main", |image| {
        single_process(image);
        image.remove("usr/lib/systemd/system/cloud-init-main.service");
    }),
    ("CI-02", Fail, "cloud-init-main is masked", |image| {
        single_process(image);
        image.link("etc/systemd/system/cloud-init-main.service", "/dev/null");
    }),
    ("CI-02", Fail, "cloud-init-main is not started", |image| {
        single_process(image);
        image.remove("etc/systemd/system/cloud-init.target.wants/cloud-init-main.service");
    }),
    ("CI-02", Pass, "", |image| sysv(image)),
    ("CI-02", Fail, "cloud-final is not started", |image| {
        sysv(image);
        image.remove("etc/rc.d/rc3.d/S50cloud-final");
        image.link("etc/rc.d/rc3.d/K50cloud-final", "../init.d/cloud-final");
    }),
    ("CI-02", Pass, "", |image| upstart(image)),
    ("CI-02", Fail, "cloud-init is not started", |image| {
        upstart(image);
        image.write("etc/init/cloud-init.override", "manual\n");
    }),
    ("CI-02", Fail, "cloud-init.disabled", |image| image.write("etc/cloud/cloud-init.disabled", "")),
    ("CI-02", Fail, "command line", |image| image.command_line("ro cloud-init=disabled")),
    ("CI-03", Fail, "not OpenStack alone", |image| datasources(image, "[ ConfigDrive, OpenStack ]")),
    ("CI-03", Warn, "None after OpenStack", |image| datasources(image, "[OpenStack, None]")),
    ("CI-03", Fail, "is no list", |image| datasources(image, "OpenStack")),
    ("CI-03", Fail, "not set", |image| image.replace("etc/cloud/cloud.cfg", "datasource_list", "other_list")),
    ("CI-03", Fail, "not OpenStack alone", |image| {
        image.write("etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list: [ NoCloud, OpenStack, None ]\n");
    }),
    ("CI-03", Pass, "", |image| {
        datasources(image, "[ Ec2 ]");
        image.write("etc/cloud/cloud.cfg.d/90_dpkg.cfg", "datasource_list: [ OpenStack ]\n");
        image.write("etc/cloud/cloud.cfg.d/99_readme.txt", "datasource_list: [ Ec2 ]\n");
    }),
    ("CI-03", Fail, "switches cloud-init off", |image| image.write("etc/cloud/ds-identify.cfg", "policy: disabled\n")),
    ("CI-03", Fail, "forces Ec2", |image| image.write("etc/cloud/ds-identify.cfg", "datasource: Ec2\n")),
    ("CI-03", Unknown, "/etc/cloud/cloud.cfg is malformed", |image| image.write("etc/cloud/cloud.cfg", "a: [b\n")),
    ("CI-03", Unknown, "more than the 1048576 that are read", |image| {
        let file = std::fs::File::create(image.path("etc/cloud/cloud.cfg")).expect("file");
        file.set_len(1 << 40).expect("sparse");
    }),
    ("CI-03", Unknown, "instead of a file", |image| image.make_fifo("etc/cloud/cloud.cfg")),
    ("CI-04", Fail, "does not recognise", |image| image.write(VERSION, "__VERSION__ = \"18.5\"\n")),
    ("CI-04", Fail, "does not recognise", |image| image.write(VERSION, "_PACKAGED_VERSION = '22.4.2-1+deb12u1'\n")),
    ("CI-04", Pass, "does not look", |image| image.write(VERSION, "__VERSION__ = \"18.2\"\n")),
    ("CI-04", Pass, "takes every server", |image| {
        image.write(VERSION, "__VERSION__ = \"18.5\"\n");
        image.write(
            SOURCE,
            "def detect_openstack(accept_oracle=False):\n    \"\"\"Text.\"\"\"\n    return True\n    if x:\n",
        );
    }),
    ("CI-04", Fail, "does not recognise", |image| {
        image.write(VERSION, "__VERSION__ = \"18.5\"\n");
        image.write(SOURCE, "def detect_openstack():\n    if not is_x86():\n        return True\n");
    }),
    ("CI-04", Fail, "only if it is the only datasource", |image| datasources(image, "[OpenStack, None]")),
    ("CI-04", Unknown, "Python package", |image| image.remove("usr/lib/python3.6/site-packages/cloudinit")),
    ("CI-04", NotApplicable, "", |image| image.write_program("usr/lib/systemd/systemd", 183)),
    ("CI-05", Fail, "network.config is not set", |image| {
        image.replace("etc/cloud/cloud.cfg", "network: {config: disabled}", "other: 1");
    }),
    ("CI-05", Fail, "apply_network_config is true", |image| {
        image.write("etc/cloud/cloud.cfg.d/50.cfg", "datasource: {OpenStack: {apply_network_config: yes}}\n");
    }),
    ("CI-05", Pass, "", |image| {
        image.write(VERSION, "__VERSION__ = \"0.7.9\"\n");
        image.replace("etc/cloud/cloud.cfg", "    apply_network_config: False\n", "");
    }),
    ("CI-06", Warn, "disable_root is true", |image| {
        image.replace("etc/cloud/cloud.cfg", "disable_root: false", "disable_root: true");
    }),
    ("CI-06", Pass, "", |image| {
        image.replace("etc/cloud/cloud.cfg", "disable_root: false", "disable_root: 0");
        image.replace("etc/cloud/cloud.cfg", "ssh_pwauth: true", "ssh_pwauth: 1");
    }),
    ("CI-06", Pass, "", |image| {
        image.replace("etc/os-release", "ID=\"centos\"\nID_LIKE=\"rhel fedora\"", "ID=\"openEuler\"");
        image.replace("etc/cloud/cloud.cfg", "distro: rhel", "distro: openEuler");
    }),
    ("CI-06", Warn, "default_user.name is", |image| image.replace("etc/cloud/cloud.cfg", "name: root", "name: centos")),
    ("CI-06", Warn, "distro is debian", |image| image.replace("etc/cloud/cloud.cfg", "distro: rhel", "distro: debian")),
    ("CI-06", Warn, "ssh_pwauth is not set", |image| image.replace("etc/cloud/cloud.cfg", "ssh_pwauth", "x")),
    ("CI-06", Pass, "", |image| image.replace("etc/cloud/cloud.cfg", "preserve_hostname", "x")),
    ("CI-07", Fail, "instance is left", |image| image.link("var/lib/cloud/instance", "instances/i-1")),
    ("CI-07", Fail, "is left", |image| image.write("var/lib/cloud/instances/i-1/user-data.txt", "x")),
    ("CI-07", Warn, "cloud-init.log is left", |image| image.write("var/log/cloud-init.log", "x\ny\nz")),
    ("CI-07", Pass, "", |image| image.write("var/log/cloud-init.log", "")),
    ("CI-08", Warn, "growpart", |image| image.remove("usr/bin/growpart")),
    ("CI-08", Warn, "not executable", |image| image.chmod("usr/bin/growpart", 0o644)),
    ("CI-08", Warn, "sgdisk", |image| image.profile.firmware = Some("uefi".to_owned())),
];

const NETWORK: &[Row] = &[
    ("BN-01", Fail, "is not there", |image| image.remove(PLUG_IN)),
    ("BN-01", Fail, "not executable", |image| image.chmod(PLUG_IN, 0o600)),
    ("BN-01", Fail, "is empty", |image| {
        image.write(PLUG_IN, "");
        image.chmod(PLUG_IN, 0o700);
    }),
    ("BN-01", Warn, "rights of its owner", |image| image.chmod(PLUG_IN, 0o4755)),
    ("BN-01", Fail, "is a directory instead of a file", |image| {
        image.remove(PLUG_IN);
        image.make_directory(PLUG_IN);
    }),
    ("BN-01", Fail, "is a device, FIFO or socket instead of a file", |image| image.make_fifo(PLUG_IN)),
    ("BN-01", Fail, "bms-network_config is a link that leads nowhere", |image| {
        image.link("usr/bin/bms-network_config", "/opt/otc/network_config/bms-network_config.py");
    }),
    ("BN-01", Fail, "does not lead to", |image| image.link("usr/bin/bms-network_config", "env")),
    ("BN-01", Fail, "bms-network-config is not there", |image| image.remove("usr/bin/bms-network_config")),
    ("BN-01", Fail, "is not there", |image| {
        image.remove("opt/huawei");
        image.link("opt/huawei", "../../../../proc");
    }),
    ("BN-01", Pass, "", |image| {
        image.remove("usr/bin/bms-network_config");
        image.link("usr/bin/bms-network-config", "/opt/huawei/network_config/bms-network_config.py");
    }),
    ("BN-01", Pass, "", |image| setup_instead(image)),
    ("BN-01", NotApplicable, "", |image| image.profile.network_mode = Some(NetworkMode::Distributed)),
    ("BN-02", Warn, "no package", |image| image.write("var/lib/dpkg/status", "Package: a\nVersion: 1\n")),
    ("BN-02", Unknown, "rpmdb.sqlite is malformed", |image| {
        image.remove("var/lib/dpkg");
        image.write("var/lib/rpm/rpmdb.sqlite", "no database");
    }),
    ("BN-03", Fail, "is masked", |image| image.link("etc/systemd/system/bms-network-config.service", "/dev/null")),
    ("BN-03", Fail, "is not started", |image| {
        image.remove("etc/systemd/system/multi-user.target.wants/bms-network-config.service");
    }),
    ("BN-03", Fail, "there is no service", |image| image.remove(UNIT)),
    ("BN-03", Fail, "is not started", |image| {
        image.remove("etc/systemd/system/multi-user.target.wants/bms-network-config.service");
        image.write_unit("bms-network-config", "[Unit]\n", "rescue.target");
        image.write("usr/lib/systemd/system/rescue.target", "[Unit]\n");
    }),
    ("BN-03", Pass, "", |image| setup_instead(image)),
    ("BN-03", Pass, "", |image| sysv(image)),
    ("BN-03", Pass, "", |image| upstart(image)),
    ("BN-03", Fail, "is not started", |image| {
        upstart(image);
        image.write("etc/init/bms-network_config.override", "manual\n");
    }),
    ("BN-03", Pass, "", |image| {
        image.remove("etc/systemd/system/multi-user.target.wants/bms-network-config.service");
        image.link("etc/systemd/system/bms.service", "/usr/lib/systemd/system/bms-network-config.service");
        image.link(
            "etc/systemd/system/multi-user.target.wants/bms.service",
            "/usr/lib/systemd/system/bms-network-config.service",
        );
    }),
    ("BN-04", Fail, "enable_bms_network is False", |image| image.replace(CONF, "True", "False")),
    ("BN-04", Fail, "is not there", |image| image.remove(CONF)),
    ("BN-04", Pass, "", |image| setup_instead(image)),
    ("BN-05", Fail, "only Python 2 has", |image| python3_only(image)),
    ("BN-05", Pass, "", |image| {
        python3_only(image);
        image.write(PLUG_IN, "#!/usr/bin/python\nimport configparser\n");
    }),
    ("BN-05", Pass, "", |image| {
        python3_only(image);
        let imports = "try:\n    import configparser\nexcept ImportError:\n    import ConfigParser\n";
        image.write(PLUG_IN, &format!("#!/usr/bin/python\n{imports}"));
    }),
    ("BN-05", Fail, "interpreter of", |image| image.remove("usr/bin/python2.7")),
    ("BN-05", Fail, "interpreter of", |image| image.write(PLUG_IN, "#!/usr/bin/python3\n")),
    ("BN-05", Fail, "no module requests", |image| image.remove("usr/lib/python2.7/site-packages/requests")),
    ("BN-05", Fail, "does not name its interpreter", |image| image.write(PLUG_IN, "import six\n")),
    ("BN-05", Pass, "", |image| setup_instead(image)),
    ("BN-06", Fail, "NetworkManager is started", |image| {
        image.write_unit("NetworkManager", "[Unit]\n", "multi-user.target");
    }),
    ("BN-06", Fail, "wicked is started", |image| image.write_unit("wicked", "[Unit]\n", "multi-user.target")),
    ("BN-06", Fail, "netplan", |image| image.write("etc/netplan/50-cloud-init.yaml", "network: {version: 2}\n")),
    ("BN-06", Fail, "is not there", |image| image.remove("etc/init.d/network")),
    ("BN-06", Pass, "", |image| {
        image.write_unit("NetworkManager", "[Unit]\n", "multi-user.target");
        image.link("etc/systemd/system/NetworkManager.service", "/dev/null");
    }),
    ("BN-06", Pass, "", |image| image.write_unit("NetworkManager-wait-online", "[Unit]\n", "network-online.target")),
    ("BN-06", Pass, "", distributed),
    ("BN-06", Fail, "there is no service NetworkManager", |image| {
        image.profile.network_mode = Some(NetworkMode::Distributed);
    }),
    ("BN-06", Fail, "00-server.conf is left", |image| {
        distributed(image);
        image.write("usr/lib/NetworkManager/conf.d/00-server.conf", "[main]\nno-auto-default=*\n");
    }),
    ("BN-06", Unknown, "does not say network_mode", |image| image.profile.network_mode = None),
    ("BN-07", Warn, "others than its owner", |image| image.chmod("opt/huawei", 0o777)),
    ("BN-07", Warn, "others than its owner", |image| image.chmod(PLUG_IN, 0o770)),
    ("BN-07", Pass, "", |image| image.chmod("opt/huawei", 0o755)),
    ("BN-08", Warn, "After=cloud-final.service", |image| {
        image.replace(UNIT, "After=dbus.service", "After=cloud-final.service");
    }),
    ("BN-08", Warn, "Requires=x.service cloud-final.service", |image| {
        image.write(
            "etc/systemd/system/bms-network-config.service.d/a.conf",
            "[Unit]\nRequires=x.service cloud-final.service\n",
        );
    }),
    ("BN-08", Pass, "", |image| {
        image.write(
            "usr/lib/systemd/system/bms-network-config.service.d/a.conf",
            "[Unit]\nRequires=cloud-final.service\n",
        );
        image.link("etc/systemd/system/bms-network-config.service.d/a.conf", "/dev/null");
    }),
    ("BN-08", NotApplicable, "", |image| sysv(image)),
];

const DRIVERS: &[Row] = &[
    ("SDI-01", Fail, "has no scsi_ep_front", |image| image.kernel().modules = Known::Is(Default::default())),
    ("SDI-01", Fail, "was built for 3.10.0-862", |image| {
        image.replace(SDI_MODULE, "3.10.0-957.el7.x86_64", "3.10.0-862.el7.x86_64");
    }),
    ("SDI-01", Pass, "", |image| {
        let path = format!("lib/modules/{RELEASE}/weak-updates/scsi_ep_front.ko");
        image.write(&path, "version=1.0.18\nvermagic=3.10.0-862 SMP\nalias=pci:v000019E5d00001610sv*\n");
        image.kernel().modules = Known::Is([("scsi_ep_front".to_owned(), format!("/{path}"))].into());
    }),
    ("SDI-01", Fail, "is not there", |image| image.remove(SDI_MODULE)),
    ("SDI-01", Warn, "does not say that it drives", |image| image.replace(SDI_MODULE, "1610", "1611")),
    ("SDI-01", Unknown, "does not say which kernel", |image| image.write(SDI_MODULE, "")),
    ("SDI-01", Unknown, "cannot be read", |image| {
        image.kernel().modules = Known::Unknown("modules.dep cannot be read".to_owned());
    }),
    ("SDI-01", Fail, "there is no kernel", |image| image.boot.kernels = Known::Is(Vec::new())),
    ("SDI-01", Fail, "4.0 has no", |image| {
        let mut other = image.kernel().clone();
        other.release = "4.0".to_owned();
        other.modules = Known::Is(Default::default());
        let Known::Is(kernels) = &mut image.boot.kernels else { panic!("known") };
        kernels.push(other);
    }),
    ("SDI-01", Pass, "", |image| {
        let mut other = image.kernel().clone();
        (other.release, other.is_bootable) = ("4.0".to_owned(), false);
        other.modules = Known::Is(Default::default());
        let Known::Is(kernels) = &mut image.boot.kernels else { panic!("known") };
        kernels.push(other);
    }),
    ("SDI-01", NotApplicable, "", |image| image.profile.sdi = Some(Sdi::Sdi3_0)),
    ("SDI-01", NotApplicable, "", |image| image.write_program("usr/lib/systemd/systemd", 183)),
    ("SDI-01", Pass, "", |image| image.profile.sdi = None),
    ("SDI-01", Unknown, "does not say sdi, and it would matter", |image| {
        image.profile.sdi = None;
        image.kernel().modules = Known::Is(Default::default());
    }),
    ("SDI-01", Fail, "depmod", |image| {
        image.kernel().unindexed.insert("scsi_ep_front".to_owned());
    }),
    ("SDI-02", Fail, "older than 1.0.13", |image| image.replace(SDI_MODULE, "1.0.18", "1.0.9")),
    ("SDI-02", Unknown, "no version", |image| image.replace(SDI_MODULE, "1.0.18", "B036")),
    ("SDI-03", Fail, "is not in /boot/initramfs", |image| drop(image.initramfs().remove("scsi_ep_front"))),
    ("SDI-03", Warn, "is not in /boot/initramfs", |image| {
        image.profile.boot_source = Some(BootSource::Local);
        image.initramfs().remove("scsi_ep_front");
    }),
    ("SDI-03", Unknown, "does not say boot_source", |image| {
        image.profile.boot_source = None;
        image.initramfs().remove("scsi_ep_front");
    }),
    ("SDI-03", Pass, "", |image| image.profile.boot_source = None),
    ("SDI-03", Fail, "must be made anew", |image| {
        image.initramfs().remove("scsi_ep_front");
        image.write("etc/dracut.conf.d/sdi.conf", "add_drivers+=\" ahci scsi_ep_front \"\n");
    }),
    ("SDI-03", Warn, "must be made anew", |image| {
        image.profile.boot_source = Some(BootSource::Local);
        image.initramfs().remove("scsi_ep_front");
        image.write("etc/dracut.conf.d/sdi.conf", "add_drivers+=\" ahci scsi_ep_front \"\n");
    }),
    ("SDI-03", Fail, "is not in", |image| {
        image.initramfs().remove("scsi_ep_front");
        image.make_fifo("etc/dracut.conf");
    }),
    ("SDI-03", Fail, "is not in", |image| {
        image.initramfs().remove("scsi_ep_front");
        image.write("etc/dracut.conf", "#add_drivers+=\" scsi_ep_front \"\n");
    }),
    ("SDI-03", Fail, "which is for 4.0", |image| {
        let Known::Is(Some(initramfs)) = &mut image.kernel().initramfs else { panic!("there is one") };
        initramfs.modules.remove("scsi_ep_front");
        initramfs.other_releases.insert("4.0".to_owned());
    }),
    ("SDI-03", Fail, "has no initramfs", |image| image.kernel().initramfs = Known::Is(None)),
    ("SDI-03", Unknown, "lzo", |image| image.kernel().initramfs = Known::Unknown("lzo is not supported".to_owned())),
    ("SDI-04", Warn, "no package", |image| image.write("var/lib/dpkg/status", "Package: a\nVersion: 1\n")),
    ("SDI-04", Pass, "", |image| {
        image.write("var/lib/dpkg/status", "Package: a\nVersion: 1\n");
        image.write(&format!("var/lib/dkms/scsi_ep_front/1.0.13/{RELEASE}/x86_64/module/scsi_ep_front.ko"), "x");
    }),
    ("SDI-05", Fail, "/etc/modprobe.d/sdi.conf:2 keeps", |image| {
        image.write("etc/modprobe.d/sdi.conf", "# no\nblacklist scsi-ep-front\n");
    }),
    ("SDI-05", Fail, "keeps", |image| image.write("usr/lib/modprobe.d/sdi.conf", "install scsi_ep_front /bin/true\n")),
    ("SDI-05", Pass, "", |image| {
        image.write("usr/lib/modprobe.d/sdi.conf", "blacklist scsi_ep_front\n");
        image.write("etc/modprobe.d/sdi.conf", "# as we want it\n");
    }),
    ("SDI-05", Fail, "command line", |image| image.command_line("ro modprobe.blacklist=a,scsi_ep_front")),
    ("NIC-01", Pass, "", |image| image.profile.sdi = Some(Sdi::Sdi2_2)),
    ("NIC-01", Fail, "has no hinic", |image| {
        image.profile.sdi = Some(Sdi::Sdi3_0);
        image.kernel().modules = Known::Is(Default::default());
    }),
    ("NIC-01", Fail, "has no hinic3", |image| image.profile.sdi = Some(Sdi::Sdi5)),
    ("NIC-01", NotApplicable, "", |_| ()),
    ("BOOT-01", Warn, "mpt3sas is not in", |image| drop(image.initramfs().remove("mpt3sas"))),
    ("BOOT-01", Warn, "mpt3sas is not in", |image| {
        image.profile.boot_source = Some(BootSource::Local);
        image.initramfs().remove("mpt3sas");
    }),
    ("BOOT-01", Fail, "ahci is not in", |image| {
        image.profile.boot_source = Some(BootSource::Local);
        image.initramfs().clear();
    }),
    ("BOOT-01", Unknown, "does not say boot_source", |image| {
        image.profile.boot_source = None;
        image.initramfs().clear();
    }),
    ("BOOT-01", Warn, "mpt3sas is not in", |image| {
        image.profile.boot_source = None;
        image.initramfs().remove("mpt3sas");
    }),
    ("BOOT-01", Warn, "ahci is not in", |image| image.initramfs().clear()),
    ("BOOT-01", Pass, "", |image| {
        image.profile.boot_source = Some(BootSource::Local);
        image.profile.boot_drivers = vec!["virtio_blk".to_owned()];
        image.initramfs().clear();
    }),
    ("BOOT-01", Fail, "megaraid_sas is not in", |image| {
        image.profile.boot_drivers = vec!["ahci".to_owned(), "megaraid_sas".to_owned()];
        image.initramfs().remove("megaraid_sas");
    }),
    ("BOOT-01", Fail, "is not in", |image| {
        image.initramfs().clear();
        image.kernel().builtin = Known::Is(Default::default());
    }),
    ("BOOT-01", Unknown, "lzo", |image| image.kernel().initramfs = Known::Unknown("lzo is not supported".to_owned())),
];

const LAYOUT: &[Row] = &[
    ("BOOT-02", Fail, "no boot code", |image| image.layout().boot_code = false),
    ("BOOT-02", Pass, "", |image| image.profile.firmware = Some("uefi".to_owned())),
    ("BOOT-02", Fail, "no EFI/BOOT/BOOTX64.EFI", |image| {
        image.profile.firmware = Some("uefi".to_owned());
        image.boot.loaders = Known::Is(Vec::new());
    }),
    ("BOOT-02", Fail, "no EFI/BOOT/BOOTX64.EFI", |image| {
        image.profile.firmware = Some("uefi".to_owned());
        image.boot.loaders = Known::Is(vec![loader("centos", "grubx64.efi", "a"), loader("BOOT", "BOOTAA64.EFI", "a")]);
    }),
    ("BOOT-02", Warn, "not the loader of the installed system", |image| {
        image.profile.firmware = Some("uefi".to_owned());
        image.boot.loaders = Known::Is(vec![loader("Boot", "bootx64.efi", "a"), loader("centos", "grubx64.efi", "b")]);
    }),
    ("BOOT-02", Pass, "", |image| image.profile.firmware = None),
    ("BOOT-02", Unknown, "does not say firmware", |image| {
        image.profile.firmware = None;
        image.boot.loaders = Known::Is(Vec::new());
    }),
    ("BOOT-02", Fail, "no boot code", |image| {
        image.profile.firmware = None;
        image.boot.loaders = Known::Is(Vec::new());
        image.layout().boot_code = false;
    }),
    ("BOOT-03", Warn, "mounts /dev/sdb1", |image| {
        let Known::Is(lines) = &mut image.boot.fstab else { panic!("known") };
        lines[0].source = "/dev/sdb1".to_owned();
    }),
    ("BOOT-03", Warn, "names the root", |image| image.command_line("ro root=/dev/vda1")),
    ("BOOT-03", NotApplicable, "", |image| {
        image.write("etc/os-release", "ID=ubuntu\nVERSION_ID=\"18.04\"\n");
        image.write_program("usr/lib/systemd/systemd", 183);
    }),
    ("BOOT-05", Fail, "/boot/grub2/grub.cfg offers 3.10.0-957.el7.x86_64", |image| image.kernel().image = None),
    ("BOOT-05", Pass, "", |image| {
        let mut other = image.kernel().clone();
        (other.release, other.is_bootable, other.image) = ("4.0".to_owned(), false, None);
        let Known::Is(kernels) = &mut image.boot.kernels else { panic!("known") };
        kernels.push(other);
    }),
    ("BOOT-05", Unknown, "no boot menu offers a kernel", |image| image.kernel().is_bootable = false),
    ("ARCH-01", Fail, "is for aarch64, and the servers are x86_64", |image| {
        image.write_program("usr/lib/systemd/systemd", 183);
    }),
    ("ARCH-01", Unknown, "nothing in the image", |image| image.remove("usr/lib/systemd/systemd")),
    ("ARCH-01", NotApplicable, "", |image| image.profile.architecture = None),
    ("BOOT-04", Warn, "is not the last", |image| image.layout().root = Some(1)),
    ("BOOT-04", Warn, "leaves none for the config drive", |image| {
        image.layout().partitions =
            (1..=4).map(|number| Part { number, offset_bytes: number.into(), is_primary: true }).collect();
        image.layout().root = Some(4);
    }),
    ("BOOT-04", Warn, "GPT", |image| image.layout().table = TableKind::Gpt),
    ("BOOT-04", NotApplicable, "", |image| image.profile.firmware = Some("uefi".to_owned())),
    ("CON-01", Warn, "lacks console=ttyS0", |image| image.command_line("ro console=tty0")),
    ("CON-01", Warn, "lacks console=ttyAMA0", |image| image.write_program("usr/lib/systemd/systemd", 183)),
    ("CON-01", Warn, "no command line", |image| image.kernel().command_lines.clear()),
    ("RES-01", Warn, "70-persistent-net.rules", |image| {
        image.write("etc/udev/rules.d/70-persistent-net.rules", "SUBSYSTEM==\"net\"\n");
    }),
    ("RES-01", Warn, "ifcfg-eth0", |image| {
        image.write("etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\nHWADDR=x\n");
    }),
    ("RES-01", Pass, "", |image| image.write("etc/sysconfig/network-scripts/ifcfg-lo", "DEVICE=lo and more\n")),
    ("RES-01", Warn, "machine-id", |image| image.write("etc/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("RES-01", Pass, "", |image| image.write("etc/machine-id", "uninitialized\n")),
    ("RES-01", Warn, "ssh_host_rsa_key", |image| image.write("etc/ssh/ssh_host_rsa_key", "-----BEGIN KEY-----\n")),
    ("PWD-01", Warn, "is not there", |image| image.remove("CloudrResetPwdAgent")),
];

fn rows() -> impl Iterator<Item = &'static Row> {
    [CLOUD_INIT, NETWORK, DRIVERS, LAYOUT].into_iter().flatten()
}

#[test]
fn the_image_that_is_as_it_should_be_passes() {
    let report = Image::linux().report();
    for finding in &report.findings {
        assert!([Pass, NotApplicable].contains(&finding.status), "{finding:#?}");
        assert!(finding.remedy.is_empty() && !finding.reason.is_empty(), "{finding:#?}");
    }
    assert_eq!(report.verdicts.image, Verdict::Pass);
    assert_eq!((report.os.as_deref(), report.architecture.as_deref()), (Some("CentOS Linux 7"), Some("x86_64")));
    assert_eq!(report.kernels[0].release, RELEASE);
}

#[test]
fn each_way_to_break_it_is_found() {
    let mut wrong = Vec::new();
    for (at, (id, status, reason, change)) in rows().enumerate() {
        let mut image = Image::linux();
        change(&mut image);
        let finding = image.finding(id);
        if finding.status != *status || !finding.reason.contains(reason) {
            wrong.push(format!("row {at}, {status:?} {reason:?}: {finding:#?}"));
        }
        assert_eq!(finding.remedy.is_empty(), [Pass, NotApplicable].contains(&finding.status), "{finding:#?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_check_has_a_case_that_passes_and_one_that_does_not() {
    let checks = Checks::built_in().expect("built in");
    // Those for Windows have tests of their own.
    let ids =
        checks.iter().map(|check| check.id.clone()).filter(|id| !["CB-01", "BN-W1", "SDI-W1"].contains(&id.as_str()));
    let base =
        Image::linux().report().findings.into_iter().filter(|finding| finding.status == Pass).map(|finding| finding.id);
    let passing: BTreeSet<String> =
        base.chain(rows().filter(|row| row.1 == Pass).map(|row| row.0.to_owned())).collect();
    let failing: BTreeSet<&str> = rows().filter(|row| [Fail, Warn].contains(&row.1)).map(|row| row.0).collect();
    for id in ids {
        assert!(passing.contains(&id), "{id} never passes");
        assert!(failing.contains(id.as_str()), "{id} never fails");
    }
}

#[test]
fn a_driver_in_the_root_but_not_in_the_initramfs_is_no_pass_of_the_plug_in() {
    let mut image = Image::linux();
    image.initramfs().remove("scsi_ep_front");
    let report = image.report();
    assert_eq!(report.verdicts.sdi_driver, Verdict::Fail);
    assert_eq!(
        (report.verdicts.cloud_init, report.verdicts.network, report.verdicts.image),
        (Verdict::Pass, Verdict::Pass, Verdict::Fail)
    );
}

#[test]
fn what_may_be_required_counts_as_required_if_it_is_not_known() {
    let mut image = Image::linux();
    image.profile.boot_source = None;
    image.kernel().initramfs = Known::Unknown("lzo is not supported".to_owned());
    let finding = image.finding("SDI-03");
    assert_eq!((finding.severity, finding.status), (Severity::Required, Unknown), "{finding:#?}");
    assert!(finding.reason.contains("boot_source") && finding.reason.contains("lzo"), "{finding:#?}");
    image.profile.boot_source = Some(BootSource::Local);
    assert_eq!(image.finding("SDI-03").severity, Severity::Recommended);
    image.profile.network_mode = None;
    image.replace("etc/cloud/cloud.cfg", "network: {config: disabled}", "");
    let finding = image.finding("CI-05");
    assert_eq!((finding.severity, finding.status), (Severity::Required, Unknown), "{finding:#?}");
    assert_eq!(finding.reason.matches("does not say network_mode").count(), 1, "{finding:#?}");
}

#[test]
fn what_keeps_a_driver_out_of_the_initramfs_does_not_name_it() {
    for line in ["omit_drivers+=\" scsi_ep_front \"\n", "  omit_dracutmodules+=\" scsi_ep_front \"\n"] {
        let mut image = Image::linux();
        image.initramfs().remove("scsi_ep_front");
        image.write("etc/dracut.conf", line);
        let finding = image.finding("SDI-03");
        assert_eq!(finding.status, Fail);
        assert!(!finding.reason.contains("made anew"), "{finding:#?}");
    }
}

#[test]
fn what_is_optional_changes_no_verdict() {
    let image = Image::linux();
    image.remove("CloudrResetPwdAgent");
    assert_eq!(image.finding("PWD-01").severity, Severity::Optional);
    assert_eq!(image.report().verdicts.image, Verdict::Pass);
}

#[test]
fn nothing_is_said_of_an_image_that_nothing_is_known_of() {
    let image = Image::empty();
    for finding in image.report().findings {
        assert_ne!(finding.status, Fail, "{finding:#?}");
    }
    assert_eq!(image.report().verdicts.cloud_init, Verdict::Unknown);
}

#[test]
fn a_profile_that_says_nothing_is_told_what_it_should_say() {
    let mut image = Image::linux();
    image.remove(PLUG_IN);
    image.profile = Profile::default();
    let finding = image.finding("BN-01");
    assert_eq!(finding.status, Unknown);
    assert!(finding.reason.starts_with("the profile does not say network_mode"), "{finding:#?}");
}

#[test]
fn an_answer_is_printable_and_bounded_whatever_the_image_says() {
    let mut image = Image::linux();
    let nasty = "\u{1b}[31m\n\"\\".repeat(500);
    image.write("etc/os-release", &format!("ID=centos\nPRETTY_NAME={}\n", "\u{202e}\\\"".repeat(3000)));
    for at in 0..200 {
        image.write(&format!("var/lib/cloud/sem/\u{1b}\n{at}{}", "x\\\"".repeat(60)), "content that is left");
    }
    let Known::Is(kernels) = &mut image.boot.kernels else { panic!("known") };
    kernels[0].release = nasty.clone();
    *kernels = vec![kernels[0].clone(); 300];
    let report = image.report();
    let json = serde_json::to_string(&report).expect("JSON");
    assert!(json.len() <= MAX_REPORT_BYTES, "{} bytes", json.len());
    assert!(!json.contains("\\u001b") && !json.contains("\\n"), "{json}");
    assert_eq!(report.findings.len(), Checks::built_in().expect("built in").iter().count());
}
