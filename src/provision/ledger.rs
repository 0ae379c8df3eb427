//! What is known and proven of each group.
//!
//! A group goes one way: unknown -> offered -> in hand -> on the disk -> proven. Claiming is atomic, so that a group that
//! comes twice is written once; everything else about threads is the queue's business.

use std::ops::Range;

use super::error::ProvisionError;
use super::feed::Offered;
use crate::image::group::{ChainingValue, Layout, extend};
use crate::image::tree::{Group, OffersDigest, Tree};

/// Memory for one group, in bytes.
pub(super) const GROUP_COST_BYTES: u64 = size_of::<Entry>() as u64;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    /// Nobody said what it is.
    Unknown,
    /// Known; its bytes are wanted, or being looked for on the disk.
    Offered,
    /// A worker writes it.
    InHand,
    /// Written or zeroed, not read back.
    OnDisk,
    /// Read from the disk and right.
    Proven,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    group: Group,
    state: State,
}

/// The groups of one image on its way to a disk.
#[derive(Debug)]
pub(super) struct Ledger {
    layout: Layout,
    groups: Vec<Entry>,
}

impl Ledger {
    pub(super) fn new(layout: Layout) -> Self {
        let unknown = Entry { group: Group::Hole, state: State::Unknown };
        let count = usize::try_from(layout.groups()).unwrap_or(usize::MAX);
        Self { layout, groups: vec![unknown; count] }
    }

    /// Notes what some groups are. Gives those that this says something new about: an offer repeated word for word says
    /// nothing.
    pub(super) fn offer(&mut self, first: u64, offered: &Offered) -> Result<Vec<Range<u64>>, ProvisionError> {
        let mut news: Vec<Range<u64>> = Vec::new();
        let entries = self.entries(first, offered.count())?.iter_mut();
        for (index, (entry, group)) in entries.zip(first..).enumerate() {
            let offer = match offered {
                Offered::Holes(_) => Group::Hole,
                Offered::Data(values) => Group::Data(values[index]),
            };
            if entry.state == State::Unknown {
                *entry = Entry { group: offer, state: State::Offered };
                extend(&mut news, group);
            } else if entry.group != offer {
                return Err(ProvisionError::OfferConflict { group });
            }
        }
        Ok(news)
    }

    /// Takes a group's bytes in hand: gives its chaining value, or nothing if another copy of it was taken before.
    pub(super) fn claim(&mut self, group: u64) -> Result<Option<ChainingValue>, ProvisionError> {
        let [entry] = self.entries(group, 1)? else { return Err(ProvisionError::NotOffered { group }) };
        match (entry.group, entry.state) {
            (Group::Hole, _) | (_, State::Unknown) => Err(ProvisionError::NotOffered { group }),
            (Group::Data(value), State::Offered) => {
                entry.state = State::InHand;
                Ok(Some(value))
            }
            (Group::Data(_), State::InHand | State::OnDisk | State::Proven) => Ok(None),
        }
    }

    /// What a group should be, if it was offered.
    pub(super) fn expected(&self, group: u64) -> Option<Group> {
        let entry = self.groups.get(usize::try_from(group).ok()?)?;
        (entry.state != State::Unknown).then_some(entry.group)
    }

    /// Notes that groups in hand were written.
    pub(super) fn on_disk(&mut self, first: u64, count: u64) -> Result<(), ProvisionError> {
        self.entries(first, count)?.iter_mut().for_each(|entry| entry.state = State::OnDisk);
        Ok(())
    }

    /// Notes that a group was read from the disk and is right. A copy of its bytes that still comes is then not wanted.
    pub(super) fn proven(&mut self, first: u64, count: u64) -> Result<(), ProvisionError> {
        self.entries(first, count)?.iter_mut().for_each(|entry| entry.state = State::Proven);
        Ok(())
    }

    /// Whether nobody has the group in hand yet.
    pub(super) fn is_waiting(&self, group: u64) -> bool {
        usize::try_from(group)
            .ok()
            .and_then(|at| self.groups.get(at))
            .is_some_and(|entry| entry.state == State::Offered)
    }

    /// Digest over all offers.
    ///
    /// # Errors
    /// [`ProvisionError::Incomplete`] if a group was not offered.
    pub(super) fn offers_digest(&self) -> Result<[u8; 32], ProvisionError> {
        self.check_all(State::Offered)?;
        let mut digest = OffersDigest::default();
        for entry in &self.groups {
            match &entry.group {
                Group::Hole => digest.hole(),
                Group::Data(value) => digest.data(value),
            }
        }
        Ok(digest.finish())
    }

    /// The tree, once every group is proven.
    ///
    /// # Errors
    /// [`ProvisionError::Incomplete`] if one is not.
    pub(super) fn into_tree(self) -> Result<Tree, ProvisionError> {
        self.check_all(State::Proven)?;
        let groups = self.groups.iter().map(|entry| entry.group).collect();
        Tree::new(self.layout, groups).map_err(|_wrong_count| ProvisionError::Incomplete { missing: 0, first: 0 })
    }

    fn check_all(&self, least: State) -> Result<(), ProvisionError> {
        let mut missing = (0..).zip(&self.groups).filter(|(_, entry)| entry.state < least);
        match missing.next() {
            None => Ok(()),
            Some((first, _)) => Err(ProvisionError::Incomplete { missing: missing.count() as u64 + 1, first }),
        }
    }

    fn entries(&mut self, first: u64, count: u64) -> Result<&mut [Entry], ProvisionError> {
        let groups = self.layout.groups();
        let last = first.saturating_add(count);
        let range = usize::try_from(first).unwrap_or(usize::MAX)..usize::try_from(last).unwrap_or(usize::MAX);
        self.groups.get_mut(range).ok_or(ProvisionError::BeyondImage { first, last: last.saturating_sub(1), groups })
    }
}

#[cfg(test)]
#[expect(clippy::single_range_in_vec_init, reason = "lists of ranges, some of which have one")]
mod tests {
    use super::{Ledger, Offered};
    use crate::image::group::{ChainingValue, GroupSize, Layout};
    use crate::reason::{DomainError as _, Reason};

    fn ledger(groups: u64) -> Ledger {
        let size = GroupSize::default();
        Ledger::new(Layout::new(groups * size.bytes(), size))
    }

    fn data(values: &[u8]) -> Offered {
        Offered::Data(values.iter().map(|&value| ChainingValue([value; 32])).collect())
    }

    #[test]
    fn a_group_is_claimed_once() {
        let mut ledger = ledger(2);
        ledger.offer(0, &data(&[1, 2])).expect("new");
        assert_eq!(ledger.claim(1).expect("offered"), Some(ChainingValue([2; 32])));
        assert_eq!(ledger.claim(1).expect("offered"), None);
    }

    #[test]
    fn data_that_was_not_offered_is_refused() {
        let mut ledger = ledger(3);
        ledger.offer(1, &Offered::Holes(1)).expect("new");
        for (group, reason) in [(0, Reason::GroupNotOffered), (1, Reason::GroupNotOffered), (3, Reason::PushProtocol)] {
            assert_eq!(ledger.claim(group).expect_err("refused").reason(), reason, "group {group}");
        }
    }

    #[test]
    fn an_offer_may_be_repeated_but_not_changed() {
        let mut ledger = ledger(4);
        assert_eq!(ledger.offer(0, &data(&[1, 2])).expect("new"), [0..2]);
        assert_eq!(ledger.offer(1, &data(&[2, 3])).expect("half new"), [2..3]);
        assert_eq!(ledger.offer(0, &data(&[1])).expect("old"), []);
        assert_eq!(ledger.offer(0, &Offered::Holes(1)).expect_err("changed").reason(), Reason::OfferConflict);
        assert_eq!(ledger.offer(2, &data(&[4])).expect_err("changed").reason(), Reason::OfferConflict);
    }

    #[test]
    fn offers_beyond_the_image_are_refused() {
        let mut ledger = ledger(2);
        for (first, count) in [(0, 3), (2, 1), (u64::MAX, 1), (1, u64::MAX)] {
            let error = ledger.offer(first, &Offered::Holes(count)).expect_err("beyond");
            assert_eq!(error.reason(), Reason::PushProtocol, "{count} from {first}");
        }
    }

    #[test]
    fn says_what_is_missing() {
        let mut ledger = ledger(3);
        ledger.offer(0, &Offered::Holes(1)).expect("new");
        ledger.offer(2, &data(&[1])).expect("new");
        let error = ledger.offers_digest().expect_err("one was not offered");
        assert_eq!(error.metadata(), [("missing", "1".to_owned()), ("firstGroup", "1".to_owned())]);
        let error = ledger.into_tree().expect_err("none is proven");
        assert_eq!(error.metadata(), [("missing", "3".to_owned()), ("firstGroup", "0".to_owned())]);
    }
}
