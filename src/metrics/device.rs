//! How long disks take. A request costs one record: the labels were made when the disk was opened.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ::metrics::{Histogram, SharedString};

use super::{names, record};

/// Most disks with a name of their own; the kernel may give a new one to each disk that is plugged in.
const MAX_DISKS: usize = 64;
/// The name of all further ones.
const OTHERS: &str = "other";

/// Disks that were named.
static NAMED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

/// A request to a disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceRequest {
    /// Reads.
    Read,
    /// Writes.
    Write,
    /// Zeroes without sending zeroes.
    Zero,
    /// Makes durable what was written.
    Flush,
}

/// Measures the requests to one open disk.
#[derive(Debug, Clone)]
pub struct DeviceMeter {
    read: Histogram,
    write: Histogram,
    zero: Histogram,
    flush: Histogram,
}

impl DeviceMeter {
    /// For the disk with this kernel name.
    pub fn new(disk: &str) -> Self {
        let mut named = NAMED.lock().unwrap_or_else(PoisonError::into_inner);
        let disk = SharedString::from_owned(label(&mut named, disk));
        let of =
            |request: &'static str| record::histogram(&names::DEVICE, [SharedString::const_str(request), disk.clone()]);
        Self { read: of("read"), write: of("write"), zero: of("zero"), flush: of("flush") }
    }

    /// Makes a request, and notes how long it took, whatever came of it.
    pub fn time<T>(&self, request: DeviceRequest, make: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = make();
        let histogram = match request {
            DeviceRequest::Read => &self.read,
            DeviceRequest::Write => &self.write,
            DeviceRequest::Zero => &self.zero,
            DeviceRequest::Flush => &self.flush,
        };
        histogram.record(begin.elapsed());
        result
    }
}

/// The label of a disk.
fn label(named: &mut BTreeSet<String>, disk: &str) -> String {
    if named.contains(disk) {
        return disk.to_owned();
    }
    if named.len() >= MAX_DISKS {
        return OTHERS.to_owned();
    }
    named.insert(disk.to_owned());
    disk.to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::{MAX_DISKS, OTHERS, label};

    #[test]
    fn disks_beyond_the_limit_share_one_name() {
        let mut named = BTreeSet::new();
        for number in 0..MAX_DISKS {
            let disk = format!("sd{number}");
            assert_eq!(label(&mut named, &disk), disk);
        }
        assert_eq!(label(&mut named, "one-more"), OTHERS);
        assert_eq!(label(&mut named, "sd0"), "sd0");
        assert_eq!(named.len(), MAX_DISKS);
    }
}
