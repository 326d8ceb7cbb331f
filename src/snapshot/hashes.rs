//! A set of hashes that most others are told from by a bit.

/// Hashes that are sought among half a million.
pub(super) struct Hashes {
    sorted: Vec<u32>,
    /// Bits by the lowest part of a hash: most others are told by them.
    filter: [u64; 256],
}

impl Hashes {
    /// All of `hashes`.
    pub(super) fn new(mut hashes: Vec<u32>) -> Self {
        hashes.sort_unstable();
        let mut filter = [0; 256];
        for hash in &hashes {
            filter[*hash as usize >> 6 & 255] |= 1 << (hash & 63);
        }
        Self { sorted: hashes, filter }
    }

    /// Whether `hash` is among them.
    pub(super) fn has(&self, hash: u32) -> bool {
        self.filter[hash as usize >> 6 & 255] & 1 << (hash & 63) != 0
            && self.sorted.binary_search(&hash).is_ok()
    }
}
