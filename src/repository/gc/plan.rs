//! What becomes of each thing that no image refers to. Pure: all facts are given.

use std::time::{Duration, SystemTime};

use super::super::Amount;
use super::super::condemned::{Condemned, Standing, Thing};
use super::super::format::Format;

/// A store tells the time of an object in whole seconds, and its servers' clocks differ a little.
const CLOCK_GRAIN: Duration = Duration::from_secs(2);

/// What became of things that nothing refers to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fates {
    /// Left alone: an image that is being written may be about to refer to them.
    pub young: Amount,
    /// Condemned by this run.
    pub condemned: Amount,
    /// Condemned by a run before, and not for long enough.
    pub waiting: Amount,
    /// Condemned for long enough, but an image that is being written may need them.
    pub held: Amount,
    /// Deleted.
    pub deleted: Amount,
}

/// What a run of the collector did, or would have done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Images that there are.
    pub images: u64,
    /// Chunks that they refer to.
    pub live: Amount,
    /// Chunks that no image refers to.
    pub chunks: Fates,
    /// Other objects of images that are not there.
    pub leftovers: Fates,
}

/// When things are condemned, and when they are deleted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    now: SystemTime,
    grace: Duration,
    longest_upload: Duration,
}

/// What becomes of a thing that nothing refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    Young,
    Condemned,
    Waits,
    Doomed,
}

impl Rules {
    pub(super) fn new(now: SystemTime, format: &Format) -> Self {
        Self { now, grace: format.grace(), longest_upload: format.longest_upload() }
    }

    fn fate(&self, standing: Standing, modified: SystemTime) -> Fate {
        match standing {
            // Not written again since.
            Standing::Since(since) if at_least(CLOCK_GRAIN, modified, since) => {
                if at_least(self.grace, since, self.now) { Fate::Doomed } else { Fate::Waits }
            }
            Standing::Free | Standing::Pending | Standing::Since(_) => {
                if at_least(self.longest_upload, modified, self.now) { Fate::Condemned } else { Fate::Young }
            }
        }
    }
}

/// Whether so much time has passed between two moments.
fn at_least(time: Duration, from: SystemTime, to: SystemTime) -> bool {
    to.duration_since(from).is_ok_and(|passed| passed >= time)
}

/// What a run is to do.
#[derive(Debug)]
pub(super) struct Plan {
    rules: Rules,
    old: Condemned,
    /// The list that is to stand before anything is deleted. What is deleted stays in it until a later run finds that it
    /// is gone.
    pub(super) list: Condemned,
    pub(super) doomed: Vec<(Thing, u64)>,
    pub(super) report: GcReport,
}

impl Plan {
    /// Nothing yet; `old` is the list as it stands.
    pub(super) fn new(rules: Rules, old: Condemned, images: u64) -> Self {
        let report = GcReport { images, ..GcReport::default() };
        Self { rules, old, list: Condemned::default(), doomed: Vec::new(), report }
    }

    /// A chunk that images refer to.
    pub(super) fn live(&mut self, len_bytes: u64) {
        self.report.live += len_bytes;
    }

    /// A thing that nothing refers to.
    pub(super) fn judge(&mut self, thing: Thing, modified: SystemTime, len_bytes: u64) {
        let mut fate = self.rules.fate(self.old.standing(&thing), modified);
        match fate {
            Fate::Young => {}
            Fate::Waits | Fate::Doomed => self.list.keep(&thing, &self.old),
            Fate::Condemned if self.list.condemn(&thing) => {}
            // There will be room in the list another time.
            Fate::Condemned => fate = Fate::Young,
        }
        let fates = self.report.fates(&thing);
        match fate {
            Fate::Young => fates.young += len_bytes,
            Fate::Condemned => fates.condemned += len_bytes,
            Fate::Waits => fates.waiting += len_bytes,
            Fate::Doomed => self.doomed.push((thing, len_bytes)),
        }
    }

    /// A thing that nobody but its maker ever knew of: it is deleted without being condemned.
    pub(super) fn abandoned(&mut self, thing: Thing, len_bytes: u64) {
        self.doomed.push((thing, len_bytes));
    }

    /// Whether the list is another than the one that stands.
    pub(super) fn changes(&self) -> bool {
        self.list != self.old
    }
}

impl GcReport {
    fn fates(&mut self, thing: &Thing) -> &mut Fates {
        match thing {
            Thing::Chunk(_) => &mut self.chunks,
            Thing::Leftover(_) => &mut self.leftovers,
        }
    }

    pub(super) fn delete(&mut self, things: &[(Thing, u64)]) {
        things.iter().for_each(|(thing, len)| self.fates(thing).deleted += *len);
    }

    pub(super) fn hold(&mut self, things: &[(Thing, u64)]) {
        things.iter().for_each(|(thing, len)| self.fates(thing).held += *len);
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use super::{Fate, Rules, Standing};

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn what_becomes_of_a_thing_follows_from_its_times() {
        let (grace, longest_upload) = (Duration::from_secs(100), Duration::from_secs(50));
        let rules = Rules { now: at(1000), grace, longest_upload };
        let table = [
            // Never seen before: young while an upload may last.
            (Standing::Free, 951, Fate::Young),
            (Standing::Free, 950, Fate::Condemned),
            (Standing::Free, 2000, Fate::Young),
            // In a list of a run that did not end.
            (Standing::Pending, 951, Fate::Young),
            (Standing::Pending, 0, Fate::Condemned),
            // Condemned: the grace must be over, to the second.
            (Standing::Since(at(901)), 0, Fate::Waits),
            (Standing::Since(at(900)), 0, Fate::Doomed),
            // By a clock that is ahead.
            (Standing::Since(at(2000)), 0, Fate::Waits),
            // Written again since, or perhaps so: it begins anew.
            (Standing::Since(at(800)), 990, Fate::Young),
            (Standing::Since(at(800)), 900, Fate::Condemned),
            (Standing::Since(at(800)), 799, Fate::Condemned),
            (Standing::Since(at(800)), 798, Fate::Doomed),
        ];
        for (standing, modified, fate) in table {
            assert_eq!(rules.fate(standing, at(modified)), fate, "{standing:?}, modified at {modified}");
        }
    }
}
