//! What of a disk is free: a sorted list of ranges, and what follows from it for any part of the disk.

use std::ops::Range;

/// Bytes of a disk that nothing uses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FreeMap {
    /// Sorted, not empty, and apart from each other.
    ranges: Vec<Range<u64>>,
}

impl FreeMap {
    /// These ranges, in any order, as far as they lie on a disk of `len_bytes`.
    pub fn new(mut ranges: Vec<Range<u64>>, len_bytes: u64) -> Self {
        for range in &mut ranges {
            range.end = range.end.min(len_bytes);
        }
        ranges.retain(|range| range.start < range.end);
        ranges.sort_unstable_by_key(|range| range.start);
        ranges.dedup_by(|next, last| {
            let touches = next.start <= last.end;
            if touches {
                last.end = last.end.max(next.end);
            }
            touches
        });
        Self { ranges }
    }

    /// All that is free, in bytes.
    pub fn bytes(&self) -> u64 {
        self.ranges.iter().map(|range| range.end - range.start).sum()
    }

    /// Whether all of a range is free.
    pub(super) fn covers(&self, range: &Range<u64>) -> bool {
        self.from(range.start).first().is_some_and(|free| free.start <= range.start && range.end <= free.end)
    }

    /// Zeroes what is free of `data`, which is at `offset` of the disk.
    pub(super) fn blank(&self, offset: u64, data: &mut [u8]) {
        let end = offset + data.len() as u64;
        for free in self.from(offset).iter().take_while(|free| free.start < end) {
            let place = |at: u64| usize::try_from(at.clamp(offset, end) - offset).unwrap_or(data.len());
            let (start, end) = (place(free.start), place(free.end));
            data[start..end].fill(0);
        }
    }

    /// The ranges that end behind `offset`.
    fn from(&self, offset: u64) -> &[Range<u64>] {
        &self.ranges[self.ranges.partition_point(|range| range.end <= offset)..]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::FreeMap;

    #[test]
    fn ranges_are_sorted_joined_and_cut_to_the_disk() {
        let map = FreeMap::new(vec![90..200, 10..20, 15..30, 30..40, 5..5, 300..400], 100);
        assert_eq!(map.ranges, [10..40, 90..100]);
        assert_eq!(map.bytes(), 40);
    }

    proptest! {
        #[test]
        fn any_map_says_of_any_part_what_each_byte_is(
            ranges in proptest::collection::vec((0u64..300, 0u64..60), 0..8),
            start in 0u64..250,
            len in 1usize..60,
            fill in any::<u8>(),
        ) {
            let ranges: Vec<_> = ranges.into_iter().map(|(start, len)| start..start + len).collect();
            let is_free = |at: u64| at < 256 && ranges.iter().any(|range| range.contains(&at));
            let map = FreeMap::new(ranges.clone(), 256);
            let end = start + len as u64;
            assert_eq!(map.covers(&(start..end)), (start..end).all(is_free));
            assert_eq!(map.bytes(), (0..400).filter(|&at| is_free(at)).count() as u64);
            let mut data = vec![fill; len];
            map.blank(start, &mut data);
            let expected: Vec<_> = (start..end).map(|at| if is_free(at) { 0 } else { fill }).collect();
            assert_eq!(data, expected);
        }
    }
}
