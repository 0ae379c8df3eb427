//! Looks at disks, each of which may hang: a disk that keeps one waiting is not looked at again before it has answered. Else
//! everybody who asks again would cost a thread, until there is none left for anybody.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::disk::identity::DeviceNumber;

/// After how long a disk hangs, as far as other looks at it are concerned.
const HANGS: Duration = Duration::from_secs(5);

/// Looks that have not come back.
#[derive(Debug, Default)]
pub struct Looks(Mutex<HashMap<DeviceNumber, Waiting>>);

/// How many wait for one disk, and since when it has not answered.
#[derive(Debug)]
struct Waiting {
    since: Instant,
    looks: usize,
}

impl Looks {
    /// Looks at a disk; does not if it hangs.
    pub(super) fn at<T>(&self, disk: DeviceNumber, look: impl FnOnce() -> T) -> Option<T> {
        {
            let mut waiting = self.waiting();
            let waiting = waiting.entry(disk).or_insert_with(|| Waiting { since: Instant::now(), looks: 0 });
            if waiting.looks > 0 && waiting.since.elapsed() > HANGS {
                return None;
            }
            waiting.looks += 1;
        }
        let _back = Back { looks: self, disk };
        Some(look())
    }

    /// Of a disk that has not answered for long.
    #[cfg(test)]
    pub(super) fn hanging(disk: DeviceNumber) -> Self {
        let since = Instant::now().checked_sub(HANGS * 2).expect("the machine was on");
        Self(Mutex::new(HashMap::from([(disk, Waiting { since, looks: 1 })])))
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<DeviceNumber, Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A look that comes back when this is dropped, whatever it saw.
struct Back<'a> {
    looks: &'a Looks,
    disk: DeviceNumber,
}

impl Drop for Back<'_> {
    fn drop(&mut self) {
        let mut all = self.looks.waiting();
        if let Some(waiting) = all.get_mut(&self.disk) {
            *waiting = Waiting { since: Instant::now(), looks: waiting.looks.saturating_sub(1) };
            if waiting.looks == 0 {
                all.remove(&self.disk);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Back, Looks};
    use crate::disk::identity::DeviceNumber;

    const DISK: DeviceNumber = DeviceNumber { major: 8, minor: 0 };

    #[test]
    fn a_disk_that_hangs_is_left_alone_until_it_answers() {
        let looks = Looks::default();
        assert_eq!(looks.at(DISK, || looks.at(DISK, || 1)), Some(Some(1)), "two at once are no harm");
        assert!(looks.waiting().is_empty(), "nothing is kept of those that came back");
        let hanging = Looks::hanging(DISK);
        assert_eq!(hanging.at(DISK, || 1), None, "it has not answered for long");
        assert_eq!(hanging.at(DeviceNumber { major: 8, minor: 16 }, || 1), Some(1), "another one");
        drop(Back { looks: &hanging, disk: DISK });
        assert_eq!(hanging.at(DISK, || 1), Some(1), "it has answered");
    }
}
