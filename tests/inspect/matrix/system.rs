//! Two made-up systems in which nothing is wrong: one as Debian makes them, one as CentOS does.

use super::disk::Layout;
use super::kernel::{self, BOOT_DRIVERS};
use super::rpm;
use super::tree::Tree;

pub(super) const CLOUD_CFG: &str = "\
datasource_list: [ OpenStack ]
datasource:
  OpenStack:
    metadata_urls: ['http://169.254.169.254']
    apply_network_config: False
network: {config: disabled}
disable_root: false
ssh_pwauth: true
preserve_hostname: false
system_info:
  distro: DISTRO
  default_user: {name: root, lock_passwd: False}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
";
pub(super) const PLUG_IN_DIRECTORY: &str = "opt/huawei/network_config";
pub(super) const PLUG_IN: &str = "opt/huawei/network_config/bms-network_config.py";
pub(super) const PLUG_IN_CONF: &str = "opt/huawei/network_config/bms-network-config.conf";
/// Modules of each kernel besides those of disks.
const OTHER_MODULES: [&str; 1] = ["hinic"];
const SDI_MODULE: &str = "scsi_ep_front";

/// Whose ways a system has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Menu of GRUB, zstd, dpkg, Python 3 alone.
    Debian,
    /// Boot Loader Specification, gzip behind microcode, xz, rpm, a plug-in for Python 2.
    CentOs,
}

use Distribution::{CentOs, Debian};

impl Distribution {
    /// What `uname -r` says of its kernel.
    pub(super) const fn release(self) -> &'static str {
        match self {
            Debian => "6.1.0-28-amd64",
            CentOs => "4.18.0-553.el8_10.x86_64",
        }
    }

    /// The initramfs, below /boot.
    fn initramfs_name(self) -> String {
        match self {
            Debian => format!("initrd.img-{}", self.release()),
            CentOs => format!("initramfs-{}.img", self.release()),
        }
    }

    /// Where the driver of the SDI iNIC is.
    pub(super) fn sdi_module(self) -> String {
        match self {
            Debian => format!("usr/lib/modules/{}/updates/dkms/{SDI_MODULE}.ko", self.release()),
            CentOs => format!("usr/lib/modules/{}/extra/{SDI_MODULE}.ko", self.release()),
        }
    }

    /// Where the menu of the boot loader is.
    pub(super) fn menu(self) -> String {
        match self {
            Debian => "boot/grub/grub.cfg".to_owned(),
            CentOs => format!("boot/loader/entries/0123-{}.conf", self.release()),
        }
    }

    /// Where the modules of Python are.
    pub(super) const fn site(self) -> &'static str {
        match self {
            Debian => "usr/lib/python3/dist-packages",
            CentOs => "usr/lib/python3.6/site-packages",
        }
    }

    /// Its directory on an EFI system partition.
    pub(super) const fn id(self) -> &'static str {
        match self {
            Debian => "debian",
            CentOs => "centos",
        }
    }

    /// Writes the archive that has these modules of its kernel.
    pub(super) fn write_initramfs(self, tree: &Tree, modules: &[&str]) {
        let archive = kernel::archive(self.release(), modules);
        let packed = match self {
            Debian => kernel::zstd(&archive),
            CentOs => [kernel::microcode(), kernel::gzip(&archive)].concat(),
        };
        tree.write(&format!("boot/{}", self.initramfs_name()), packed);
    }
}

/// A system for a disk of this layout.
pub(super) fn write(distribution: Distribution, layout: &Layout) -> Tree {
    let tree = Tree::new();
    for name in ["lib", "bin", "sbin"] {
        tree.link(name, &format!("usr/{name}"));
    }
    tree.write("etc/fstab", layout.fstab());
    tree.write("etc/machine-id", "");
    tree.write_program("usr/lib/systemd/systemd", kernel::program());
    tree.make_directory("CloudrResetPwdAgent");
    write_distribution(distribution, &tree);
    write_kernel(distribution, &tree, layout);
    write_loaders(distribution, &tree);
    write_cloud_init(distribution, &tree);
    write_plug_in(distribution, &tree);
    tree
}

fn write_distribution(distribution: Distribution, tree: &Tree) {
    let packages = ["cloud-init", "kmod-scsi_ep_front", "bms-network-config"];
    match distribution {
        Debian => {
            tree.write("usr/lib/os-release", "ID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n");
            tree.link("etc/os-release", "../usr/lib/os-release");
            let status = packages.map(|name| format!("Package: {name}\nStatus: install ok installed\nVersion: 1-1\n"));
            tree.write("var/lib/dpkg/status", status.join("\n"));
            tree.write_unit("networking", "[Unit]\n", "multi-user.target");
        }
        CentOs => {
            let release = "ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"8\"\nPRETTY_NAME=\"CentOS Linux 8\"\n";
            tree.write("etc/os-release", release);
            tree.write("var/lib/rpm/Packages.db", rpm::database(&packages));
            tree.write_program("etc/rc.d/init.d/network", "#!/bin/sh\n");
            tree.link("etc/init.d", "rc.d/init.d");
        }
    }
}

fn write_kernel(distribution: Distribution, tree: &Tree, layout: &Layout) {
    let release = distribution.release();
    let directory = format!("usr/lib/modules/{release}");
    let mut index = format!("{}:\n", &distribution.sdi_module()[directory.len() + 1..]);
    let module = kernel::module(&[&format!("vermagic={release} SMP mod_unload")]);
    let (suffix, module) = match distribution {
        Debian => ("ko", module),
        CentOs => ("ko.xz", kernel::xz(&module)),
    };
    for name in BOOT_DRIVERS.iter().chain(&OTHER_MODULES) {
        tree.write(&format!("{directory}/kernel/{name}.{suffix}"), &module);
        index += &format!("kernel/{name}.{suffix}:\n");
    }
    tree.write(&distribution.sdi_module(), kernel::sdi_module("1.0.18", release));
    tree.write(&format!("{directory}/modules.dep"), index);
    tree.write(&format!("{directory}/modules.builtin"), "kernel/fs/ext4/ext4.ko\n");
    tree.write(&format!("{directory}/modules.alias"), "alias pci:v000019E5d00001610sv*sd*bc*sc*i* scsi_ep_front\n");
    tree.write(&format!("boot/vmlinuz-{release}"), "kernel");
    distribution.write_initramfs(tree, &[BOOT_DRIVERS.as_slice(), &[SDI_MODULE]].concat());
    tree.write(&distribution.menu(), menu(distribution, layout));
}

fn menu(distribution: Distribution, layout: &Layout) -> String {
    let (release, top) = (distribution.release(), layout.boot_prefix());
    let (initramfs, root) = (distribution.initramfs_name(), layout.root_source());
    let options = format!("root={root} ro console=tty0 console=ttyS0,115200n8");
    match distribution {
        Debian => format!(
            "menuentry 'Debian GNU/Linux' --class debian {{\n\tlinux\t{top}/vmlinuz-{release} {options}\n\
             \tinitrd\t{top}/{initramfs}\n}}\n"
        ),
        CentOs => format!(
            "title CentOS Linux 8\nversion {release}\nlinux {top}/vmlinuz-{release}\ninitrd {top}/{initramfs}\n\
             options {options}\n"
        ),
    }
}

fn write_loaders(distribution: Distribution, tree: &Tree) {
    for path in ["BOOT/BOOTX64.EFI".to_owned(), format!("{}/grubx64.efi", distribution.id())] {
        tree.write(&format!("boot/efi/EFI/{path}"), "a boot loader");
    }
}

fn write_cloud_init(distribution: Distribution, tree: &Tree) {
    let distro = match distribution {
        Debian => "debian",
        CentOs => "rhel",
    };
    tree.write("etc/cloud/cloud.cfg", CLOUD_CFG.replace("DISTRO", distro));
    tree.write_program("usr/bin/cloud-init", "#!/usr/bin/python3\n");
    tree.write(&format!("{}/cloudinit/version.py", distribution.site()), "__VERSION__ = \"23.4.1\"\n");
    for name in ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"] {
        tree.write_unit(name, "[Unit]\nDescription=x\n", "cloud-init.target");
    }
    tree.write("usr/lib/systemd/system/cloud-init.target", "[Unit]\nAfter=multi-user.target\n");
    tree.write_program("usr/lib/systemd/system-generators/cloud-init-generator", "#!/bin/sh\n");
    tree.write_program("usr/bin/growpart", "#!/bin/sh\n");
    tree.write_program("usr/sbin/sgdisk", "x");
}

fn write_plug_in(distribution: Distribution, tree: &Tree) {
    let (python, real, script, site) = match distribution {
        Debian => ("python3", "python3.11", "#!/usr/bin/python3\nimport configparser\n", "python3/dist-packages"),
        CentOs => ("python", "python2.7", "#! /usr/bin/env python\nimport ConfigParser\n", "python2.7/site-packages"),
    };
    tree.write_program("usr/bin/env", "x");
    tree.write_program(&format!("usr/bin/{real}"), "x");
    tree.link(&format!("usr/bin/{python}"), real);
    tree.write(&format!("usr/lib/{site}/six.py"), "x");
    tree.write(&format!("usr/lib/{site}/requests/__init__.py"), "x");
    tree.write(PLUG_IN, script);
    tree.write(PLUG_IN_CONF, "[NETWORK_CONFIG]\nenable_bms_network=True\n");
    for path in ["opt/huawei", PLUG_IN_DIRECTORY, PLUG_IN, PLUG_IN_CONF] {
        tree.chmod(path, 0o700);
    }
    tree.link("usr/bin/bms-network_config", &format!("/{PLUG_IN}"));
    let unit = "[Unit]\nDefaultDependencies=no\nAfter=dbus.service\n[Service]\nExecStart=/usr/bin/bms-network_config\n";
    tree.write_unit("bms-network-config", unit, "multi-user.target");
}
