//! What the kernel says of the agent's own process, read when somebody asks for metrics.
//!
//! What cannot be read has no value: a wrong one would be worse.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use super::names::{DESCRIPTORS, MEMORY_LIMIT, Metric, RESIDENT, THREADS};
use super::record;

/// Longest file that is read, in bytes.
const MAX_BYTES: u64 = 16 << 10;

/// Where the kernel says it.
#[derive(Debug, Clone)]
pub struct Process {
    /// procfs.
    pub proc: PathBuf,
    /// sysfs.
    pub sys: PathBuf,
}

impl Process {
    /// Sets the metrics to what is so now.
    pub(super) fn record(&self) {
        for (metric, value) in self.look() {
            if let Some(value) = value {
                record::set(&metric, value);
            }
        }
    }

    fn look(&self) -> [(Metric, Option<u64>); 4] {
        let own = self.proc.join("self");
        let status = read(&own.join("status")).unwrap_or_default();
        let kib = field(&status, "VmRSS:").and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
        let threads = field(&status, "Threads:").and_then(|text| text.parse().ok());
        let descriptors = fs::read_dir(own.join("fd")).ok().map(|entries| entries.count() as u64);
        [
            (RESIDENT, kib.map(|kib| kib << 10)),
            (THREADS, threads),
            (DESCRIPTORS, descriptors),
            (MEMORY_LIMIT, self.memory_limit()),
        ]
    }

    /// Of the own group alone: the unit sets it there.
    fn memory_limit(&self) -> Option<u64> {
        let groups = read(&self.proc.join("self/cgroup"))?;
        let group = groups.lines().find_map(|line| line.strip_prefix("0::/"))?;
        read(&self.sys.join("fs/cgroup").join(group).join("memory.max"))?.trim().parse().ok()
    }
}

fn field<'a>(status: &'a str, key: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(key)).map(str::trim)
}

fn read(path: &Path) -> Option<String> {
    let mut text = String::new();
    File::open(path).ok()?.take(MAX_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::Process;
    use crate::metrics::names::Metric;

    fn below(root: &Path) -> Process {
        Process { proc: root.join("proc"), sys: root.join("sys") }
    }

    fn write(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        fs::create_dir_all(path.parent().expect("a directory")).expect("directory");
        fs::write(path, text).expect("write");
    }

    fn values(seen: [(Metric, Option<u64>); 4]) -> [Option<u64>; 4] {
        seen.map(|(_, value)| value)
    }

    #[test]
    fn memory_threads_descriptors_and_the_limit_are_those_of_the_kernel() {
        let root = tempfile::tempdir().expect("tempdir");
        write(root.path(), "proc/self/status", "Name:\tbms-agent\nVmHWM:\t  9000 kB\nVmRSS:\t  5120 kB\nThreads:\t7\n");
        write(root.path(), "proc/self/cgroup", "0::/system.slice/bms-agent.service\n");
        write(root.path(), "sys/fs/cgroup/system.slice/bms-agent.service/memory.max", "536870912\n");
        for fd in 0..5 {
            write(root.path(), &format!("proc/self/fd/{fd}"), "");
        }
        assert_eq!(values(below(root.path()).look()), [Some(5 << 20), Some(7), Some(5), Some(512 << 20)]);
        write(root.path(), "sys/fs/cgroup/system.slice/bms-agent.service/memory.max", "max\n");
        assert_eq!(values(below(root.path()).look())[3], None, "no limit is no number");
    }

    #[test]
    fn what_cannot_be_read_has_no_value() {
        let root = tempfile::tempdir().expect("tempdir");
        assert_eq!(values(below(root.path()).look()), [None; 4]);
        write(root.path(), "proc/self/status", "VmRSS:\tmany kB\nThreads:\t-1\n");
        assert_eq!(values(below(root.path()).look()), [None; 4]);
    }

    #[test]
    fn the_own_process_is_seen() {
        let [resident, threads, descriptors, _] = values(below(Path::new("/")).look());
        assert!(resident.is_some_and(|bytes| bytes > 1 << 20), "{resident:?}");
        assert!(threads.is_some_and(|count| count > 0) && descriptors.is_some_and(|count| count > 2));
    }
}
