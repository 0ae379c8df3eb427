//! Chaining values of zeroes.
//!
//! A hole counts for the root like any other content, and the value of zeroes depends on nothing but where they lie. So
//! the values for the first 32 GiB are constants of the program (`build.rs`), and a sparse image is not hashed where it
//! is empty.

use blake3::hazmat::{HasherExt as _, Mode, merge_subtrees_non_root};

/// One entry of the table is for so many bytes.
const BLOCK_BYTES: u64 = 4 << 20;
static TABLE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/zero_blocks.bin"));

/// The chaining value of a subtree of zeroes: `len` is a power of two of at least 1024, and `offset` a multiple of it.
pub(super) fn subtree(offset: u64, len: u64) -> [u8; 32] {
    if len > BLOCK_BYTES {
        let half = len / 2;
        return merge_subtrees_non_root(&subtree(offset, half), &subtree(offset + half, half), Mode::Hash);
    }
    let known = usize::try_from(offset / BLOCK_BYTES).ok().and_then(|block| TABLE.as_chunks::<32>().0.get(block));
    match known {
        Some(value) if len == BLOCK_BYTES => *value,
        _ => hash(offset, len),
    }
}

/// The chaining value of `len` zero bytes at `offset` that are no whole subtree, at the end of an image.
pub(super) fn hash(offset: u64, len: u64) -> [u8; 32] {
    // Small, so that it stays in the first-level cache.
    const ZEROES: [u8; 16 << 10] = [0; 16 << 10];
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(offset);
    let mut left = len;
    while left > 0 {
        let step = usize::try_from(left).map_or(ZEROES.len(), |left| left.min(ZEROES.len()));
        hasher.update(&ZEROES[..step]);
        left -= step as u64;
    }
    hasher.finalize_non_root()
}

#[cfg(test)]
mod tests {
    use super::{BLOCK_BYTES, TABLE, hash, subtree};

    #[test]
    fn the_table_holds_what_hashing_gives() {
        let blocks = TABLE.len() as u64 / 32;
        assert_eq!(blocks * BLOCK_BYTES, 32 << 30);
        for block in [0, 1, 2, 77, blocks / 2, blocks - 1] {
            let offset = block * BLOCK_BYTES;
            assert_eq!(subtree(offset, BLOCK_BYTES), hash(offset, BLOCK_BYTES), "block {block}");
        }
    }

    #[test]
    fn subtrees_of_all_sizes_are_right_inside_the_table_and_beyond() {
        for len in [64 << 10, 256 << 10, BLOCK_BYTES, 4 * BLOCK_BYTES] {
            for offset in [0, 3 * len, (32 << 30) - len, 32 << 30, (32 << 30) + 5 * len] {
                assert_eq!(subtree(offset, len), hash(offset, len), "{len} bytes at {offset}");
            }
        }
    }
}
