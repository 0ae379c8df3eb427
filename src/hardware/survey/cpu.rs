//! The processors, from `cpuinfo` and the topology that the kernel shows of them.

use std::collections::BTreeSet;
use std::io::{self, Read as _};
use std::path::Path;

use crate::disk::roots::Roots;
use crate::disk::sysfs;
use crate::hardware::fact::{Fact, UnknownReason};
use crate::hardware::inventory::Cpu;
use crate::hardware::read;

/// What of `cpuinfo` is read: the first processor stands in it, and all are alike.
const CPUINFO_BYTES: u64 = 16 << 10;
/// Flags that say which systems run: the levels x86-64-v2 and -v3, what hashing and ciphers use, virtualisation.
const X86_FLAGS: &str = "abm aes avx avx2 avx512f avx512vl bmi1 bmi2 cx16 f16c fma hypervisor lahf_lm lm movbe nx \
                         pclmulqdq popcnt rdrand sha_ni sse4_1 sse4_2 ssse3 svm vmx xsave";
/// The same for Arm.
const ARM_FLAGS: &str = "aes asimd asimddp asimdhp atomics bf16 crc32 fphp i8mm pmull sha1 sha2 sha3 sve sve2";
/// Makers of Arm processors, by the number that they have in `cpuinfo`, as `lscpu` of util-linux names them.
const ARM_VENDORS: [(&str, &str); 8] = [
    ("0x41", "ARM"),
    ("0x43", "Cavium"),
    ("0x46", "Fujitsu"),
    ("0x48", "HiSilicon"),
    ("0x4e", "NVIDIA"),
    ("0x50", "APM"),
    ("0x70", "Phytium"),
    ("0xc0", "Ampere"),
];

/// Reads what the processors are. `firmware_model` is what the firmware calls the first: the kernel has no names for Arm
/// processors.
pub(super) fn read(roots: &Roots, architecture: &str, firmware_model: Fact<String>) -> Cpu {
    let info = match first_processor(&roots.proc.join("cpuinfo")) {
        Ok(info) => Fact::Known(info),
        Err(error) => Fact::Unknown(read::because(&error)),
    };
    let field = |key: &str| info.as_ref().and_then(|info| field(info, key));
    let name = |key: &str| field(key).and_then(|name| read::value(name.as_bytes()));
    let vendor = name("vendor_id").or_else(|| name("CPU implementer").map(arm_vendor));
    let part = || vendor.clone().and_then(|vendor| name("CPU part").map(|part| format!("{vendor} {part}")));
    let model = name("model name").or_else(|| firmware_model).or_else(part);
    let cpus = roots.sys.join("devices/system/cpu");
    let siblings = topology(&cpus, "thread_siblings_list");
    Cpu {
        architecture: read::value(architecture.as_bytes()),
        sockets: topology(&cpus, "physical_package_id").and_then(|packages| distinct(&packages)),
        cores: siblings.as_ref().and_then(|siblings| distinct(siblings)),
        threads: siblings.and_then(|siblings| count(siblings.len())),
        flags: field("flags").or_else(|| field("Features")).map(|flags| flags_that_matter(&flags)),
        vendor,
        model,
    }
}

/// What `cpuinfo` says of the first processor.
fn first_processor(path: &Path) -> io::Result<String> {
    let mut head = Vec::new();
    sysfs::open_regular(path)?.take(CPUINFO_BYTES).read_to_end(&mut head)?;
    let text = String::from_utf8_lossy(&head);
    Ok(text.split("\n\n").next().unwrap_or_default().to_owned())
}

/// A field of `cpuinfo`. The flags are longer than any name.
fn field(info: &str, key: &str) -> Fact<String> {
    let value = |line: &str| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| sysfs::clean(value.as_bytes())).flatten()
    };
    info.lines().find_map(value).map_or(Fact::unknown(UnknownReason::Missing), Fact::Known)
}

fn arm_vendor(implementer: String) -> String {
    let known = ARM_VENDORS.iter().find(|(number, _)| *number == implementer);
    known.map_or(implementer, |(_, name)| (*name).to_owned())
}

fn flags_that_matter(flags: &str) -> Vec<String> {
    let there: BTreeSet<_> = flags.split_whitespace().collect();
    let matter = X86_FLAGS.split_whitespace().chain(ARM_FLAGS.split_whitespace()).collect();
    there.intersection(&matter).map(|&flag| flag.to_owned()).collect()
}

/// What each processor that is online says of its place (`Documentation/admin-guide/cputopology.rst`).
fn topology(cpus: &Path, attribute: &str) -> Fact<Vec<String>> {
    let is_cpu = |name: &String| name.strip_prefix("cpu").is_some_and(|number| number.parse::<u32>().is_ok());
    read::entries(cpus).and_then(|names| {
        let cpus =
            names.iter().filter(|name| is_cpu(name)).map(|name| cpus.join(name).join("topology").join(attribute));
        Fact::gather(cpus.map(|path| read::text(&path)))
    })
}

/// How many places there are. A place of -1 is none: the firmware did not tell the kernel.
fn distinct(places: &[String]) -> Fact<u32> {
    let distinct: BTreeSet<_> = places.iter().filter(|place| *place != "-1").collect();
    count(distinct.len())
}

fn count(number: usize) -> Fact<u32> {
    match u32::try_from(number) {
        Ok(0) | Err(_) => Fact::unknown(UnknownReason::Missing),
        Ok(number) => Fact::Known(number),
    }
}
