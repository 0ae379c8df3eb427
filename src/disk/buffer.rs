//! Memory that O_DIRECT accepts.

use std::ops::{Deref, DerefMut};

use aligned_vec::{AVec, ConstAlign};

/// Alignment of every buffer: the largest logical block size there is. Fits any queue's DMA alignment, which is at most
/// the logical block size.
pub const ALIGNMENT: usize = 4096;

/// Bytes at an address that is a multiple of 4096. Dereferences to a slice.
#[derive(Debug, Clone)]
pub struct AlignedBuffer(AVec<u8, ConstAlign<ALIGNMENT>>);

impl AlignedBuffer {
    /// `len` zero bytes.
    pub fn zeroed(len: usize) -> Self {
        let mut bytes = AVec::with_capacity(ALIGNMENT, len);
        bytes.resize(len, 0);
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
