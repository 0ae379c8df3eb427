//! Ranges of bytes: collected in bounded memory, sorted, merged, and cut.

use std::ops::Range;

/// Most ranges that are kept: 16 MiB of them.
pub(crate) const MAX_RANGES: usize = 1 << 20;
/// Shortest range that is kept once there were too many, in bytes. It doubles until they fit.
const FIRST_FLOOR_BYTES: u64 = 64 << 10;

/// Free ranges. When there are too many the shortest are forgotten, and so count as used.
#[derive(Debug)]
pub(crate) struct RangeSet {
    ranges: Vec<Range<u64>>,
    limit: usize,
    floor_bytes: u64,
}

impl RangeSet {
    /// None yet.
    pub(crate) const fn new() -> Self {
        Self::with_limit(MAX_RANGES)
    }

    const fn with_limit(limit: usize) -> Self {
        Self { ranges: Vec::new(), limit, floor_bytes: 1 }
    }

    /// Adds a range, in any order.
    pub(crate) fn add(&mut self, range: Range<u64>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start && range.start < range.end => last.end = range.end,
            _ if range.end.saturating_sub(range.start) < self.floor_bytes => {}
            _ => self.ranges.push(range),
        }
        if self.ranges.len() > self.limit {
            self.shrink();
        }
    }

    /// Sorts and merges; if that does not make room, forgets the shortest ranges until it is half empty.
    fn shrink(&mut self) {
        self.merge();
        while self.ranges.len() > self.limit / 2 {
            self.floor_bytes = self.floor_bytes.saturating_mul(2).max(FIRST_FLOOR_BYTES);
            let floor_bytes = self.floor_bytes;
            self.ranges.retain(|range| range.end - range.start >= floor_bytes);
        }
    }

    fn merge(&mut self) {
        self.ranges.sort_unstable_by_key(|range| range.start);
        self.ranges.dedup_by(|next, last| {
            let touching = next.start <= last.end;
            if touching {
                last.end = last.end.max(next.end);
            }
            touching
        });
    }

    /// The ranges, sorted and merged.
    pub(crate) fn finish(mut self) -> Vec<Range<u64>> {
        self.merge();
        self.ranges
    }
}

/// What is left of sorted `ranges` without `cut`, which are sorted as well.
pub(crate) fn without(ranges: &[Range<u64>], cut: &[Range<u64>]) -> RangeSet {
    let mut left = RangeSet::new();
    let mut cuts = cut.iter().peekable();
    for range in ranges {
        let mut start = range.start;
        while cuts.next_if(|cut| cut.end <= start).is_some() {}
        // A cut may reach into the next range, so that it is only looked at here.
        for cut in cuts.clone().take_while(|cut| cut.start < range.end) {
            left.add(start..cut.start.max(start));
            start = start.max(cut.end).min(range.end);
        }
        left.add(start..range.end);
    }
    left
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::{ProptestConfig, prop_assert, prop_assert_eq, proptest};

    use super::{FIRST_FLOOR_BYTES, RangeSet, without};

    #[test]
    fn ranges_are_sorted_and_merged() {
        let mut set = RangeSet::new();
        for range in [50..60, 10..20, 20..30, 5..5, 40..50, 15..22] {
            set.add(range);
        }
        assert_eq!(set.finish(), [10..30, 40..60]);
    }

    #[test]
    fn when_there_are_too_many_the_shortest_are_forgotten() {
        let mut set = RangeSet::with_limit(100);
        for at in 0..10_000_u64 {
            let start = at * 4 * FIRST_FLOOR_BYTES;
            set.add(start..start + if at % 100 == 0 { FIRST_FLOOR_BYTES } else { 4096 });
        }
        let left = set.finish();
        assert!(left.len() <= 100, "{}", left.len());
        assert!(left.iter().filter(|range| range.end - range.start == FIRST_FLOOR_BYTES).count() >= 50);
    }

    #[test]
    fn a_cut_may_span_several_ranges_and_a_range_several_cuts() {
        let ranges = [10..20, 30..40, 50..90];
        assert_eq!(
            without(&ranges, &[15..35, 55..60, 70..75, 95..99]).finish(),
            [10..15, 35..40, 50..55, 60..70, 75..90]
        );
        assert_eq!(without(&ranges, &[]).finish(), ranges);
        assert!(without(&ranges, &[0..100]).finish().is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_left_is_in_the_ranges_and_not_in_the_cuts(
            a in vec((0..200_u64, 0..30_u64), 0..12),
            b in vec((0..200_u64, 0..30_u64), 0..12),
        ) {
            let collect = |pairs: Vec<(u64, u64)>| {
                let mut set = RangeSet::new();
                for (start, len) in pairs { set.add(start..start + len) }
                set.finish()
            };
            let (ranges, cut) = (collect(a), collect(b));
            prop_assert!(ranges.windows(2).all(|pair| pair[0].end < pair[1].start));
            let left = without(&ranges, &cut).finish();
            let within = |set: &[std::ops::Range<u64>], at| set.iter().any(|range| range.contains(&at));
            for at in 0..240 {
                prop_assert_eq!(within(&left, at), within(&ranges, at) && !within(&cut, at), "byte {}", at);
            }
        }
    }
}
