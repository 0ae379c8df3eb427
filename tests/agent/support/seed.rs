//! Chance that can be repeated: every random test prints its seed.

/// A generator (xorshift64*): no secrets are made of it.
#[derive(Debug)]
pub(crate) struct Seed(u64);

impl Seed {
    /// The seed of a test: `BMS_TEST_SEED`, or the one given.
    pub(crate) fn new(fixed: u64) -> Self {
        let seed = std::env::var("BMS_TEST_SEED").ok().map_or(fixed, |text| text.parse().expect("BMS_TEST_SEED"));
        eprintln!("BMS_TEST_SEED={seed}");
        Self::quiet(seed)
    }

    /// The same without a word: for content that does not matter.
    pub(crate) fn quiet(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `limit`, which is small.
    pub(crate) fn below(&mut self, limit: u64) -> u64 {
        (self.next() >> 11) % limit
    }

    pub(crate) fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
    }

    pub(crate) fn bytes(&mut self, len: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(len).expect("fits memory")];
        self.fill(&mut bytes);
        bytes
    }
}
