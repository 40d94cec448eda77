//! Randomness that depends on what is drawn, never on when or on which thread.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// What a stream of random numbers is for. Streams of different purposes never overlap.
#[derive(Debug, Clone, Copy)]
pub(super) enum Purpose {
    Items,
    Visitors,
    /// What people do within one file.
    People,
    /// Bots, copies and broken lines within one file.
    Dirt,
}

/// Returns the stream for one purpose and place, e.g. a day and a part.
pub(super) fn stream(seed: u64, purpose: Purpose, place: u64, part: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, place, part]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// Returns a well-mixed hash of two words, for traits that are looked up instead of stored.
///
/// The finaliser is that of SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
pub(super) fn hash(a: u64, b: u64) -> u64 {
    let mut x = a.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ b.wrapping_add(0xD1B5_4A32_D192_ED03);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// Maps a hash to a number in [0, 1).
pub(super) fn unit(hash: u64) -> f32 {
    (hash >> 40) as f32 / (1u64 << 24) as f32
}
