//! A made-up image: files in a temporary directory, and facts of its kernels and its disk as others would read them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;

use tempfile::TempDir;

use crate::disk::table::TableKind;
use crate::inspect::check::{Checks, evaluate};
use crate::inspect::facts::Known;
use crate::inspect::facts::boot::efi::EfiLoader;
use crate::inspect::facts::cmdline::CommandLine;
use crate::inspect::facts::fstab;
use crate::inspect::facts::gather::{BootFacts, Facts};
use crate::inspect::facts::kernel::{Initramfs, Kernel, ModuleInfo};
use crate::inspect::facts::layout::{Layout, Part};
use crate::inspect::fs::directory::DirectoryFs;
use crate::inspect::profile::{BootSource, NetworkMode, Profile, Sdi};
use crate::inspect::report::{Finding, Report};
use crate::inspect::root::Root;

/// The kernel of the image.
pub(super) const RELEASE: &str = "3.10.0-957.el7.x86_64";
pub(super) const SDI_MODULE: &str = "lib/modules/3.10.0-957.el7.x86_64/extra/scsi_ep_front.ko";
pub(super) const PLUG_IN: &str = "opt/huawei/network_config/bms-network_config.py";
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
  distro: rhel
  default_user: {name: root, lock_passwd: False}
  paths: {cloud_dir: /var/lib/cloud/, templates_dir: /etc/cloud/templates/}
";

/// A made-up image, and the servers it is looked at for.
pub(super) struct Image {
    directory: TempDir,
    pub(super) boot: BootFacts,
    pub(super) profile: Profile,
}

impl Image {
    /// An image with nothing in it.
    pub(super) fn empty() -> Self {
        let directory = tempfile::tempdir().expect("temporary directory");
        Self { directory, boot: boot(), profile: Profile::default() }
    }

    /// A Linux image in which nothing is wrong.
    pub(super) fn linux() -> Self {
        let mut image = Self::empty();
        image.profile = Profile {
            network_mode: Some(NetworkMode::Centralized),
            boot_source: Some(BootSource::Evs),
            sdi: Some(Sdi::Sd100),
            architecture: Some("x86_64".to_owned()),
            firmware: Some("bios".to_owned()),
            ..Profile::default()
        };
        image.write_system();
        image.write_cloud_init();
        image.write_plug_in();
        image
    }

    fn write_system(&self) {
        self.link("lib", "usr/lib");
        self.write(
            "etc/os-release",
            "ID=\"centos\"\nID_LIKE=\"rhel fedora\"\nVERSION_ID=\"7\"\nPRETTY_NAME=\"CentOS Linux 7\"\n",
        );
        self.write_program("usr/lib/systemd/systemd", 62);
        self.write("etc/init.d/network", "#!/bin/sh\n");
        self.write("etc/machine-id", "");
        self.write("CloudrResetPwdAgent/bin/agent", "x");
        self.write(
            SDI_MODULE,
            &format!("version=1.0.18\nvermagic={RELEASE} SMP mod_unload\nalias=pci:v000019E5d00001610sv*\n"),
        );
        self.write("lib/modules/hinic.ko", &format!("vermagic={RELEASE} SMP\n"));
        let packages = ["cloud-init", "kmod-scsi_ep_front-centos", "bms-network-config"];
        let status = packages.map(|name| format!("Package: {name}\nStatus: install ok installed\nVersion: 1-1\n"));
        self.write("var/lib/dpkg/status", &status.join("\n"));
    }

    fn write_cloud_init(&self) {
        self.write("etc/cloud/cloud.cfg", CLOUD_CFG);
        self.write("usr/bin/cloud-init", "#!/usr/bin/python3\n");
        self.write("usr/lib/python3.6/site-packages/cloudinit/version.py", "__VERSION__ = \"23.4.1\"\n");
        for name in ["cloud-init-local", "cloud-init", "cloud-config", "cloud-final"] {
            self.write_unit(name, "[Unit]\nDescription=x\n", "cloud-init.target");
        }
        self.write("usr/lib/systemd/system/cloud-init.target", "[Unit]\nAfter=multi-user.target\n");
        self.write("usr/lib/systemd/system-generators/cloud-init-generator", "#!/bin/sh\n");
        self.write("usr/bin/growpart", "#!/bin/sh\n");
        self.chmod("usr/bin/growpart", 0o755);
    }

    fn write_plug_in(&self) {
        self.write(PLUG_IN, "#! /usr/bin/env python\nimport ConfigParser\nimport six\n");
        self.write("opt/huawei/network_config/bms-network-config.conf", "[NETWORK_CONFIG]\nenable_bms_network=True\n");
        for path in
            ["opt/huawei", "opt/huawei/network_config", PLUG_IN, "opt/huawei/network_config/bms-network-config.conf"]
        {
            self.chmod(path, 0o700);
        }
        self.link("usr/bin/bms-network_config", "/opt/huawei/network_config/bms-network_config.py");
        self.write("usr/bin/env", "x");
        self.write("usr/bin/python2.7", "x");
        self.link("usr/bin/python2", "python2.7");
        self.link("usr/bin/python", "python2");
        self.write("usr/lib/python2.7/site-packages/six.py", "x");
        self.write("usr/lib/python2.7/site-packages/requests/__init__.py", "x");
        let unit = "[Unit]\nDefaultDependencies=no\nAfter=dbus.service\n[Service]\nExecStart=/usr/bin/bms-network_config rhel\n";
        self.write_unit("bms-network-config", unit, "multi-user.target");
    }

    /// Writes a unit that a target pulls in.
    pub(super) fn write_unit(&self, name: &str, text: &str, target: &str) {
        self.write(&format!("usr/lib/systemd/system/{name}.service"), text);
        let link = format!("etc/systemd/system/{target}.wants/{name}.service");
        self.link(&link, &format!("/usr/lib/systemd/system/{name}.service"));
    }

    /// Writes the begin of an ELF program for a processor.
    pub(super) fn write_program(&self, path: &str, machine: u8) {
        let mut header = [0; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[18] = machine;
        self.write_bytes(path, &header);
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.directory.path().join(path)
    }

    pub(super) fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    /// Writes a file in the place of whatever is there.
    pub(super) fn write_bytes(&self, path: &str, bytes: &[u8]) {
        self.make_way(path);
        fs::write(self.path(path), bytes).expect("write");
    }

    pub(super) fn replace(&self, path: &str, from: &str, to: &str) {
        let text = fs::read_to_string(self.path(path)).expect("text");
        assert!(text.contains(from), "{path} has no {from}");
        self.write(path, &text.replace(from, to));
    }

    pub(super) fn link(&self, path: &str, target: &str) {
        self.make_way(path);
        symlink(target, self.path(path)).expect("link");
    }

    pub(super) fn make_directory(&self, path: &str) {
        self.make_way(path);
        fs::create_dir(self.path(path)).expect("directory");
    }

    pub(super) fn make_fifo(&self, path: &str) {
        self.make_way(path);
        rustix::fs::mknodat(rustix::fs::CWD, self.path(path), rustix::fs::FileType::Fifo, 0o600.into(), 0)
            .expect("fifo");
    }

    pub(super) fn chmod(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).expect("mode");
    }

    pub(super) fn remove(&self, path: &str) {
        let path = self.path(path);
        if path.symlink_metadata().expect("there").is_dir() {
            fs::remove_dir_all(path).expect("remove");
        } else {
            fs::remove_file(path).expect("remove");
        }
    }

    fn make_way(&self, path: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("parent")).expect("directories");
        if path.symlink_metadata().is_ok_and(|there| !there.is_dir()) {
            fs::remove_file(&path).expect("remove");
        }
    }

    /// The one kernel.
    pub(super) fn kernel(&mut self) -> &mut Kernel {
        let Known::Is(kernels) = &mut self.boot.kernels else { panic!("kernels are known") };
        &mut kernels[0]
    }

    /// What is in the initramfs of the one kernel.
    pub(super) fn initramfs(&mut self) -> &mut BTreeMap<String, String> {
        let Known::Is(Some(initramfs)) = &mut self.kernel().initramfs else { panic!("there is one") };
        &mut initramfs.modules
    }

    pub(super) fn layout(&mut self) -> &mut Layout {
        let Known::Is(layout) = &mut self.boot.layout else { panic!("it is known") };
        layout
    }

    pub(super) fn command_line(&mut self, text: &str) {
        self.kernel().command_lines = vec![command_line(text)];
    }

    pub(super) fn report(&self) -> Report {
        self.report_of(&Checks::built_in().expect("built-in checks"))
    }

    pub(super) fn report_of(&self, checks: &Checks) -> Report {
        let root = Root::new(Box::new(DirectoryFs::open(self.directory.path()).expect("directory")));
        let facts = Facts::gather(&root, self.boot.clone());
        evaluate(checks, &facts, &self.profile)
    }

    pub(super) fn finding(&self, id: &str) -> Finding {
        self.report().findings.into_iter().find(|finding| finding.id == id).expect("a finding")
    }
}

pub(super) fn loader(directory: &str, name: &str, content: &str) -> EfiLoader {
    EfiLoader {
        path: format!("/boot/efi/EFI/{directory}/{name}"),
        directory: directory.to_uppercase(),
        name: name.to_uppercase(),
        size_bytes: 2,
        digest: Known::Is(blake3::hash(content.as_bytes())),
    }
}

fn command_line(text: &str) -> CommandLine {
    CommandLine { source: "/boot/grub2/grub.cfg".to_owned(), text: text.to_owned() }
}

fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// One kernel with all its drivers, on an MBR disk that a BIOS and UEFI can start.
fn boot() -> BootFacts {
    let early = names(&["ahci", "megaraid_sas", "mpt3sas", "nvme", "scsi_ep_front"]);
    let kernel = Kernel {
        release: RELEASE.to_owned(),
        is_bootable: true,
        image: Some("/boot/vmlinuz".to_owned()),
        command_lines: vec![
            command_line("ro root=UUID=1234 console=tty0 console=ttyS0,115200n8"),
            command_line("ro root=UUID=1234 single"),
        ],
        directory: Some(format!("/lib/modules/{RELEASE}")),
        unindexed: BTreeSet::new(),
        builtin: Known::Is(names(&["virtio_blk", "virtio_scsi"])),
        modules: Known::Is(BTreeMap::from([
            ("scsi_ep_front".to_owned(), format!("/{SDI_MODULE}")),
            ("hinic".to_owned(), "/lib/modules/hinic.ko".to_owned()),
        ])),
        initramfs: Known::Is(Some(Initramfs {
            path: format!("/boot/initramfs-{RELEASE}.img"),
            modules: early.into_iter().map(|name| (name.clone(), format!("kernel/{name}.ko"))).collect(),
            other_releases: BTreeSet::new(),
        })),
    };
    let part = |number, is_primary| Part { number, offset_bytes: u64::from(number) << 20, is_primary };
    BootFacts {
        kernels: Known::Is(vec![kernel]),
        module_info,
        fstab: Known::Is(fstab::parse(b"UUID=1234 / xfs defaults 0 0\n").expect("fstab")),
        loaders: Known::Is(vec![loader("BOOT", "BOOTX64.EFI", "a"), loader("centos", "grubx64.efi", "a")]),
        layout: Known::Is(Layout {
            table: TableKind::Mbr,
            boot_code: true,
            partitions: vec![part(1, true), part(2, true)],
            root: Some(2),
        }),
    }
}

/// Reads what a text in the place of a module says of it.
fn module_info(root: &Root<'_>, path: &str) -> Known<ModuleInfo> {
    let Ok(Some(content)) = root.read(path, 4096) else { return Known::Unknown(format!("{path} is not there")) };
    let text = String::from_utf8(content).expect("text");
    let values =
        |key: &str| text.lines().filter_map(|line| line.strip_prefix(key)).map(str::to_owned).collect::<Vec<_>>();
    Known::Is(ModuleInfo {
        file: path.to_owned(),
        version: values("version=").pop(),
        vermagic: values("vermagic=").pop(),
        aliases: values("alias="),
    })
}
