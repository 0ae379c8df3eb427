//! The books of a push: what was offered, which content waits for the agent's answer, and what of it is wanted.
//!
//! No I/O and no clock: the driver feeds it pieces of the source and answers of the agent, in whatever order they come.

use std::collections::BTreeMap;

use bms_agent::image::group::{ChainingValue, Layout};
use bms_agent::image::scan::Piece;
use bms_agent::image::tree::OffersDigest;
use bms_agent::rpc::proto::v1::{GroupOffer, GroupWant};
use bytes::Bytes;

/// Most content of one data message, unless a single group is larger. Larger messages are slower.
const BATCH_BYTES: u64 = 1 << 20;

/// Books that do not balance: the agent or the scan does not keep to the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LedgerError {
    /// The books would not fit into memory.
    #[error("the image has {groups} groups, too many for the memory of this machine")]
    TooManyGroups { groups: u64 },
    /// Groups that the image does not have.
    #[error("groups {first} and {count} further on are not all in the image")]
    OutOfRange { first: u64, count: u64 },
    /// A piece with a group that another piece had.
    #[error("group {group} was read twice")]
    OfferedTwice { group: u64 },
    /// A piece whose parts do not belong together.
    #[error("the content of the groups from {first} on has not their length")]
    PieceMalformed { first: u64 },
    /// An answer to what was never said.
    #[error("group {group} was answered before it was offered")]
    NotOffered { group: u64 },
    /// A second answer.
    #[error("group {group} was answered twice")]
    AnsweredTwice { group: u64 },
    /// A wish for zeroes.
    #[error("group {group} was asked for, but it is a hole")]
    HoleWanted { group: u64 },
    /// Bits for another number of groups.
    #[error("the answer on {groups} groups has a bitmap of {bytes} bytes")]
    BitmapLength { groups: u64, bytes: usize },
}

/// What the agent knows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Entry {
    Unknown,
    Hole,
    Offered(ChainingValue),
    Answered(ChainingValue),
}

/// Content that was offered and is not answered in full.
#[derive(Debug)]
struct Pending {
    unanswered: u64,
    content: Bytes,
}

/// Contiguous groups to send as one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// First group.
    pub(crate) first: u64,
    /// Number of groups.
    pub(crate) count: u32,
    /// First group of the piece that they came in.
    piece: u64,
    piece_content: Bytes,
}

/// The books of one push.
#[derive(Debug)]
pub(crate) struct Ledger {
    layout: Layout,
    entries: Vec<Entry>,
    /// By first group; pieces do not overlap.
    pending: BTreeMap<u64, Pending>,
    unoffered: u64,
}

impl Ledger {
    /// Empty books, 33 bytes a group.
    pub(crate) fn new(layout: Layout) -> Result<Self, LedgerError> {
        let groups = layout.groups();
        let mut entries = Vec::new();
        let len = usize::try_from(groups).map_err(|_too_many| LedgerError::TooManyGroups { groups })?;
        entries.try_reserve_exact(len).map_err(|_no_memory| LedgerError::TooManyGroups { groups })?;
        entries.resize(len, Entry::Unknown);
        Ok(Self { layout, entries, pending: BTreeMap::new(), unoffered: groups })
    }

    /// Enters a piece of the source, and gives what to say of it.
    pub(crate) fn offer(&mut self, piece: Piece) -> Result<GroupOffer, LedgerError> {
        match piece {
            Piece::Hole { first, count } => {
                self.enter(first, std::iter::repeat_n(Entry::Hole, self.len_of(first, count)?))?;
                Ok(GroupOffer { first_group: first, group_count: count, chaining_values: Vec::new() })
            }
            Piece::Data { first, chaining_values, content } => {
                let count = u64::try_from(chaining_values.len()).unwrap_or(u64::MAX);
                self.len_of(first, count)?;
                let range = self.layout.byte_range(first, count);
                if u64::try_from(content.len()) != Ok(range.end - range.start) || count == 0 {
                    return Err(LedgerError::PieceMalformed { first });
                }
                self.enter(first, chaining_values.iter().copied().map(Entry::Offered))?;
                self.pending.insert(first, Pending { unanswered: count, content });
                let chaining_values = chaining_values.iter().flat_map(|value| value.0).collect();
                Ok(GroupOffer { first_group: first, group_count: count, chaining_values })
            }
        }
    }

    /// Enters an answer, and gives the content that is wanted. The rest of what was answered is forgotten.
    pub(crate) fn answer(&mut self, want: &GroupWant) -> Result<Vec<Batch>, LedgerError> {
        let (first, count) = (want.first_group, want.group_count);
        let len = self.len_of(first, count)?;
        if !want.bitmap.is_empty() && want.bitmap.len() != len.div_ceil(8) {
            return Err(LedgerError::BitmapLength { groups: count, bytes: want.bitmap.len() });
        }
        let mut batches: Vec<Batch> = Vec::new();
        for (nth, group) in (0..len).zip(first..) {
            let wanted = want.bitmap.get(nth / 8).map(|byte| byte >> (nth % 8) & 1 == 1);
            let Some(new) = self.settle(group, wanted)? else {
                continue;
            };
            match batches.last_mut() {
                Some(last) if last.takes(&new, self.layout) => last.count += 1,
                _ => batches.push(new),
            }
        }
        Ok(batches)
    }

    /// Whether everything was offered, and every offer answered.
    pub(crate) fn is_settled(&self) -> bool {
        self.unoffered == 0 && self.pending.is_empty()
    }

    /// BLAKE3 over all offers in order of groups, as `PushFinish` has it.
    pub(crate) fn digest(&self) -> [u8; 32] {
        let mut digest = OffersDigest::default();
        for entry in &self.entries {
            match entry {
                Entry::Offered(value) | Entry::Answered(value) => digest.data(value),
                Entry::Hole | Entry::Unknown => digest.hole(),
            }
        }
        digest.finish()
    }

    /// `count` as a number of entries, if the image has these groups.
    fn len_of(&self, first: u64, count: u64) -> Result<usize, LedgerError> {
        let inside = first.checked_add(count).is_some_and(|end| end <= self.layout.groups());
        let len = usize::try_from(count).ok().filter(|_| inside);
        len.ok_or(LedgerError::OutOfRange { first, count })
    }

    fn entry(&mut self, group: u64) -> Result<&mut Entry, LedgerError> {
        let index = usize::try_from(group).unwrap_or(usize::MAX);
        self.entries.get_mut(index).ok_or(LedgerError::OutOfRange { first: group, count: 1 })
    }

    fn enter(&mut self, first: u64, entries: impl Iterator<Item = Entry>) -> Result<(), LedgerError> {
        for (group, new) in (first..).zip(entries) {
            let entry = self.entry(group)?;
            if *entry != Entry::Unknown {
                return Err(LedgerError::OfferedTwice { group });
            }
            *entry = new;
            self.unoffered -= 1;
        }
        Ok(())
    }

    /// Enters the answer on one group (`None`: wanted if it has content), and gives it if it is to be sent.
    fn settle(&mut self, group: u64, wanted: Option<bool>) -> Result<Option<Batch>, LedgerError> {
        let entry = self.entry(group)?;
        match *entry {
            Entry::Unknown => Err(LedgerError::NotOffered { group }),
            Entry::Answered(_) => Err(LedgerError::AnsweredTwice { group }),
            Entry::Hole if wanted == Some(true) => Err(LedgerError::HoleWanted { group }),
            Entry::Hole => Ok(None),
            Entry::Offered(value) => {
                *entry = Entry::Answered(value);
                Ok(self.take(group).filter(|_| wanted.unwrap_or(true)))
            }
        }
    }

    /// Takes one group out of its piece; the last one takes the piece.
    fn take(&mut self, group: u64) -> Option<Batch> {
        let (&piece, pending) = self.pending.range_mut(..=group).next_back()?;
        let batch = Batch { first: group, count: 1, piece, piece_content: pending.content.clone() };
        pending.unanswered -= 1;
        if pending.unanswered == 0 {
            self.pending.remove(&piece);
        }
        Some(batch)
    }
}

impl Batch {
    /// The bytes of its groups, without a copy.
    pub(crate) fn content(&self, layout: Layout) -> Bytes {
        let start = layout.byte_range(self.piece, self.first - self.piece);
        let own = layout.byte_range(self.first, u64::from(self.count));
        // A piece is in memory, and `Ledger::offer` has compared its length with its groups.
        let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
        self.piece_content.slice(index(start.end - start.start)..index(own.end - start.start))
    }

    /// Whether `next` continues this batch in the same piece, and both fit into one message.
    fn takes(&self, next: &Self, layout: Layout) -> bool {
        let range = layout.byte_range(self.first, u64::from(self.count) + 1);
        self.piece == next.piece
            && self.first + u64::from(self.count) == next.first
            && range.end - range.start <= BATCH_BYTES
    }
}

#[cfg(test)]
mod tests {
    use bms_agent::image::group::{GroupSize, Layout};
    use bms_agent::image::scan::Piece;
    use bms_agent::rpc::proto::v1::GroupWant;
    use bytes::Bytes;

    use super::{Ledger, LedgerError};

    const GROUP: u64 = 256 << 10;

    /// Ten groups, the last one 5 bytes long.
    fn layout() -> Layout {
        Layout::new(9 * GROUP + 5, GroupSize::default())
    }

    fn data(first: u64, count: u64) -> Piece {
        let range = layout().byte_range(first, count);
        let content: Vec<u8> = range.map(|offset| u8::try_from(offset / GROUP + 1).expect("few groups")).collect();
        let chaining_values = (first..first + count)
            .map(|group| {
                let bytes = layout().byte_range(group, 1);
                let start = usize::try_from(bytes.start - first * GROUP).expect("small");
                layout().chaining_value(group, &content[start..start + layout().group_len(group)])
            })
            .collect();
        Piece::Data { first, chaining_values, content: Bytes::from(content) }
    }

    fn want(first_group: u64, group_count: u64, bitmap: &[u8]) -> GroupWant {
        GroupWant { first_group, group_count, bitmap: bitmap.to_vec() }
    }

    /// Answers, checks that each batch holds its own groups' bytes, and gives (first, count) of each.
    fn answered(ledger: &mut Ledger, want: &GroupWant) -> Vec<(u64, u32)> {
        let batches = ledger.answer(want).expect("fits the offers");
        for batch in &batches {
            let range = layout().byte_range(batch.first, u64::from(batch.count));
            let expected: Vec<u8> = range.map(|offset| u8::try_from(offset / GROUP + 1).expect("few groups")).collect();
            assert_eq!(batch.content(layout()), expected, "content of {} groups from {}", batch.count, batch.first);
        }
        batches.iter().map(|batch| (batch.first, batch.count)).collect()
    }

    fn ledger(pieces: impl IntoIterator<Item = Piece>) -> Ledger {
        let mut ledger = Ledger::new(layout()).expect("small");
        for piece in pieces {
            ledger.offer(piece).expect("a new piece of the image");
        }
        ledger
    }

    #[test]
    fn an_offer_names_each_group_or_none_for_a_hole() {
        let mut ledger = ledger([]);
        let offer = ledger.offer(data(2, 3)).expect("new");
        assert_eq!((offer.first_group, offer.group_count, offer.chaining_values.len()), (2, 3, 96));
        let hole = ledger.offer(Piece::Hole { first: 5, count: 5 }).expect("new");
        assert_eq!((hole.first_group, hole.group_count, hole.chaining_values.len()), (5, 5, 0));
    }

    #[test]
    fn wants_may_come_in_any_order_and_cover_parts_of_offers() {
        let mut ledger = ledger([data(4, 6), data(0, 4)]);
        assert_eq!(answered(&mut ledger, &want(6, 2, &[])), [(6, 2)]);
        assert_eq!(answered(&mut ledger, &want(1, 1, &[])), [(1, 1)]);
        assert_eq!(answered(&mut ledger, &want(8, 2, &[])), [(8, 2)]);
        assert!(!ledger.is_settled());
        assert_eq!(answered(&mut ledger, &want(2, 4, &[])), [(2, 2), (4, 2)], "a batch ends with its piece");
        assert_eq!(answered(&mut ledger, &want(0, 1, &[])), [(0, 1)]);
        assert!(ledger.is_settled());
    }

    #[test]
    fn one_want_may_cover_several_offers_and_the_holes_between() {
        let mut ledger = ledger([data(0, 2), Piece::Hole { first: 2, count: 3 }, data(5, 5)]);
        assert_eq!(answered(&mut ledger, &want(0, 10, &[])), [(0, 2), (5, 4), (9, 1)]);
        assert!(ledger.is_settled());
    }

    #[test]
    fn a_bitmap_picks_groups_and_forgets_the_others() {
        let mut ledger = ledger([data(0, 10)]);
        assert_eq!(answered(&mut ledger, &want(0, 10, &[0b1011_0110, 0b10])), [(1, 2), (4, 2), (7, 1), (9, 1)]);
        assert!(ledger.is_settled(), "what is not wanted is not waited for");
    }

    #[test]
    fn an_image_that_is_all_hole_or_empty_settles_without_an_answer() {
        assert!(ledger([Piece::Hole { first: 0, count: 10 }]).is_settled());
        assert!(Ledger::new(Layout::new(0, GroupSize::default())).expect("small").is_settled());
    }

    #[test]
    fn a_message_holds_one_mebibyte_or_one_larger_group() {
        let size = GroupSize::new(4 << 20).expect("valid");
        let layout = Layout::new(8 << 20, size);
        let mut ledger = Ledger::new(layout).expect("small");
        let chaining_values = vec![bms_agent::image::group::ChainingValue([7; 32]); 2];
        let content = Bytes::from(vec![1; 8 << 20]);
        ledger.offer(Piece::Data { first: 0, chaining_values, content }).expect("new");
        let batches = ledger.answer(&want(0, 2, &[])).expect("fits");
        assert_eq!(batches.iter().map(|batch| batch.count).collect::<Vec<_>>(), [1, 1]);
        assert_eq!(batches[1].content(layout).len(), 4 << 20);
    }

    #[test]
    fn answers_that_do_not_fit_the_offers_are_errors() {
        let books = || ledger([data(0, 2), Piece::Hole { first: 2, count: 1 }]);
        let cases = [
            (want(0, 11, &[]), LedgerError::OutOfRange { first: 0, count: 11 }),
            (want(u64::MAX, 2, &[]), LedgerError::OutOfRange { first: u64::MAX, count: 2 }),
            (want(0, 4, &[]), LedgerError::NotOffered { group: 3 }),
            (want(0, 3, &[0b100]), LedgerError::HoleWanted { group: 2 }),
            (want(0, 2, &[0, 0]), LedgerError::BitmapLength { groups: 2, bytes: 2 }),
        ];
        for (want, error) in cases {
            assert_eq!(books().answer(&want), Err(error));
        }
        let mut twice = books();
        answered(&mut twice, &want(1, 1, &[]));
        assert_eq!(twice.answer(&want(0, 2, &[])), Err(LedgerError::AnsweredTwice { group: 1 }));
    }

    #[test]
    fn pieces_that_do_not_fit_the_image_are_errors() {
        let mut ledger = ledger([data(0, 2)]);
        assert_eq!(ledger.offer(Piece::Hole { first: 1, count: 2 }), Err(LedgerError::OfferedTwice { group: 1 }));
        let beyond = Piece::Hole { first: 9, count: 2 };
        assert_eq!(ledger.offer(beyond), Err(LedgerError::OutOfRange { first: 9, count: 2 }));
        let Piece::Data { first, chaining_values, content } = data(3, 2) else { panic!("a data piece") };
        let short = Piece::Data { first, chaining_values, content: content.slice(1..) };
        assert_eq!(ledger.offer(short), Err(LedgerError::PieceMalformed { first: 3 }));
    }

    #[test]
    fn the_digest_covers_every_group_in_order_whatever_the_order_of_offers() {
        let mut forwards = ledger([data(0, 4), Piece::Hole { first: 4, count: 2 }, data(6, 4)]);
        let backwards = ledger([data(6, 4), Piece::Hole { first: 4, count: 2 }, data(0, 4)]);
        let mut input = Vec::new();
        for group in 0..10 {
            let Piece::Data { chaining_values, .. } = data(group, 1) else { panic!("a data piece") };
            let is_hole = (4..6).contains(&group);
            input.push(u8::from(!is_hole));
            input.extend_from_slice(if is_hole { &[0; 32] } else { &chaining_values[0].0 });
        }
        assert_eq!(forwards.digest(), *blake3::hash(&input).as_bytes());
        assert_eq!(backwards.digest(), forwards.digest());
        answered(&mut forwards, &want(0, 10, &[]));
        assert_eq!(forwards.digest(), backwards.digest(), "answers do not change it");
    }
}
