//! The server and the system that runs on it.

use serde::{Deserialize, Serialize};
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use super::dmi::Dmi;
use super::fact::Fact;
use super::model::HardwareModel;
use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::text::printable;

/// How the firmware started the running system.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BootMode {
    /// Through UEFI.
    Uefi,
    /// Through a legacy BIOS, or a firmware that shows no EFI.
    Bios,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostFacts {
    /// Version of the agent.
    pub agent_version: &'static str,
    /// Host name of the running system.
    pub hostname: Option<String>,
    /// CPU architecture: `x86_64`, `aarch64`.
    pub architecture: &'static str,
    /// Release of the running kernel.
    pub kernel_release: Option<String>,
    /// Random id of this boot of the kernel.
    pub boot_id: Option<String>,
    /// How the system was started.
    pub boot_mode: BootMode,
    /// What the firmware calls the server and its parts.
    pub dmi: Dmi,
    /// Logical CPUs; 0 if unknown.
    pub cpu_count: u32,
    /// Main memory, in bytes; 0 if unknown.
    pub memory_bytes: u64,
}

impl HostFacts {
    /// The hardware model.
    pub fn model(&self) -> HardwareModel {
        let [vendor, product] = [&self.dmi.system.vendor, &self.dmi.system.product_name].map(Fact::value);
        HardwareModel::new(vendor.map(String::as_str), product.map(String::as_str), Some(self.architecture))
    }
}

/// What can be said of the server at once; to take stock of all of it is what a [survey](super::survey::Survey) is for.
///
/// What the firmware and the kernel show as files is read below `roots`; host name, kernel, CPUs and memory are those of
/// the running system.
///
/// # Blocking
/// Reads sysfs and procfs.
pub fn host_facts(roots: &Roots) -> HostFacts {
    let memory = MemoryRefreshKind::nothing().with_ram();
    let wanted = RefreshKind::nothing().with_memory(memory).with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(wanted).ok();
    HostFacts {
        agent_version: env!("CARGO_PKG_VERSION"),
        hostname: System::host_name().ok().map(|name| printable(&name)),
        architecture: std::env::consts::ARCH,
        kernel_release: System::kernel_version().ok().map(|release| printable(&release)),
        boot_id: boot_id(roots),
        boot_mode: boot_mode(roots),
        dmi: Dmi::read(roots),
        cpu_count: system.as_ref().map_or(0, |system| u32::try_from(system.cpus().len()).unwrap_or(u32::MAX)),
        memory_bytes: system.as_ref().map_or(0, System::total_memory),
    }
}

/// The random id of this boot of the kernel.
pub fn boot_id(roots: &Roots) -> Option<String> {
    sysfs::text(&roots.proc.join("sys/kernel/random/boot_id"))
}

/// How the system was started: the kernel shows `firmware/efi` if UEFI did.
pub(super) fn boot_mode(roots: &Roots) -> BootMode {
    if roots.sys.join("firmware/efi").is_dir() { BootMode::Uefi } else { BootMode::Bios }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{BootMode, host_facts};
    use crate::disk::roots::Roots;

    #[test]
    fn facts_shown_as_files_come_from_the_roots() {
        let dir = tempfile::tempdir().expect("tempdir");
        let roots = Roots::below(dir.path());
        let empty = host_facts(&roots);
        assert_eq!((empty.boot_id, empty.boot_mode), (None, BootMode::Bios));
        assert_eq!(empty.dmi.system.product_name.value(), None);

        fs::create_dir_all(dir.path().join("sys/firmware/efi")).expect("directory");
        fs::create_dir_all(dir.path().join("proc/sys/kernel/random")).expect("directory");
        fs::write(dir.path().join("proc/sys/kernel/random/boot_id"), "4c59c98b-1d2e-4f7a\n").expect("write");
        let facts = host_facts(&roots);
        assert_eq!(facts.boot_mode, BootMode::Uefi);
        assert_eq!(facts.boot_id.as_deref(), Some("4c59c98b-1d2e-4f7a"));
    }

    #[test]
    fn the_running_system_has_a_kernel_cpus_and_memory() {
        let facts = host_facts(&Roots::default());
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("osrelease");
        let cpus = fs::read_to_string("/proc/cpuinfo").expect("cpuinfo");
        let memory = fs::read_to_string("/proc/meminfo").expect("meminfo");
        let total: u64 = memory.split_whitespace().nth(1).expect("MemTotal").parse().expect("number");
        assert_eq!(facts.kernel_release.as_deref(), Some(release.trim()));
        assert_eq!(facts.cpu_count as usize, cpus.lines().filter(|line| line.starts_with("processor")).count());
        assert_eq!(facts.memory_bytes, total * 1024);
        assert_eq!(facts.agent_version, "0.1.0");
        assert!(facts.boot_id.is_some() && facts.hostname.is_some());
    }
}
