//! Where ext keeps the superblock's copies and the group descriptors: arithmetic alone.

use super::superblock::Superblock;

/// Which groups have a copy of the superblock, besides the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Backups {
    /// All.
    All,
    /// Group 1 and those whose number is a power of 3, 5 or 7 (`sparse_super`).
    Sparse,
    /// These (`sparse_super2`); 0 stands for none.
    Two([u64; 2]),
}

impl Backups {
    /// Whether a group begins with a superblock.
    pub(super) fn include(self, group: u64) -> bool {
        match self {
            _ if group == 0 => true,
            Self::All => true,
            Self::Sparse => group == 1 || [3, 5, 7].into_iter().any(|base| is_power(group, base)),
            Self::Two(groups) => groups.contains(&group),
        }
    }
}

fn is_power(mut number: u64, base: u64) -> bool {
    while number > 1 && number.is_multiple_of(base) {
        number /= base;
    }
    number == 1
}

impl Superblock {
    /// Descriptors in a block of them.
    pub(super) const fn descriptors_per_block(&self) -> u64 {
        self.block_size / self.descriptor_bytes
    }

    /// Number of blocks of descriptors.
    pub(super) const fn descriptor_blocks(&self) -> u64 {
        self.groups.div_ceil(self.descriptors_per_block())
    }

    /// The block that holds the descriptors number `index`.
    pub(super) fn descriptor_block(&self, index: u64) -> u64 {
        let superblock = 1024 / self.block_size;
        if self.first_meta_block.is_none_or(|first| index < first) {
            return superblock + 1 + index;
        }
        let group = index * self.descriptors_per_block();
        // The first group of 1024-byte blocks with large clusters begins with an unused block.
        let unused = u64::from(group == 0 && self.block_size == 1024 && self.first_block == 0);
        self.group_start(group) + u64::from(self.backups.include(group)) + unused
    }

    /// Number of blocks at the begin of a group that hold copies of superblock and descriptors, or are kept for them.
    pub(super) fn base_blocks(&self, group: u64) -> u64 {
        let per_block = self.descriptors_per_block();
        let superblock = u64::from(self.backups.include(group));
        match self.first_meta_block {
            Some(first) if group / per_block >= first => {
                let place = group % per_block;
                superblock + u64::from(place <= 1 || place == per_block - 1)
            }
            first if superblock == 1 => {
                superblock + first.unwrap_or(self.descriptor_blocks()) + self.reserved_descriptor_blocks
            }
            Some(_) | None => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Backups;

    #[test]
    fn copies_are_where_each_kind_puts_them() {
        let of = |backups: Backups| (0..130).filter(|group| backups.include(*group)).collect::<Vec<u64>>();
        assert_eq!(of(Backups::Sparse), [0, 1, 3, 5, 7, 9, 25, 27, 49, 81, 125]);
        assert_eq!(of(Backups::Two([1, 99])), [0, 1, 99]);
        assert_eq!(of(Backups::Two([0, 0])), [0]);
        assert_eq!(of(Backups::All).len(), 130);
    }
}
