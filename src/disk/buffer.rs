//! Memory that O_DIRECT accepts.

use std::ops::{Deref, DerefMut};

use aligned_vec::{AVec, ConstAlign};

/// Alignment of every buffer: the largest logical block size there is. Fits any queue's DMA alignment, which is at most
/// the logical block size.
pub const ALIGNMENT: usize = 4096;

static PAGE: [u8; ALIGNMENT] = [0; ALIGNMENT];

/// Bytes at an address that is a multiple of 4096. Dereferences to a slice.
#[derive(Debug, Clone)]
pub struct AlignedBuffer(AVec<u8, ConstAlign<ALIGNMENT>>);

impl AlignedBuffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let mut bytes = AVec::with_capacity(ALIGNMENT, len);
        // By the page: `resize` counts up with every byte, which the compiler cannot turn into a memset.
        while bytes.len() < len {
            bytes.extend_from_slice(&PAGE[..PAGE.len().min(len - bytes.len())]);
        }
        Self(bytes)
    }
}

impl Deref for AlignedBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl DerefMut for AlignedBuffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, AlignedBuffer};

    #[test]
    fn is_zero_aligned_and_just_as_long_as_asked() {
        for len in [0, 1, ALIGNMENT - 1, ALIGNMENT, ALIGNMENT + 1, 3 * ALIGNMENT] {
            let buffer = AlignedBuffer::zeroed(len);
            assert_eq!(&*buffer, vec![0; len]);
            assert!(buffer.as_ptr().addr().is_multiple_of(ALIGNMENT));
        }
    }
}
