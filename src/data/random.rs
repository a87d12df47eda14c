//! Random numbers that depend on what they are for, never on which thread asks first.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

/// The generator of one use of randomness: the user's seed, what the numbers are for, and up to two counters
/// (such as epoch and image).
pub(crate) fn rng(seed: u64, purpose: Purpose, a: u64, b: u64) -> ChaCha8Rng {
    let mut key = [0u8; 32];
    for (slot, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, a, b]) {
        slot.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// What random numbers are drawn for: uses with the same seed and counters must not see the same numbers.
#[derive(Clone, Copy)]
pub(crate) enum Purpose {
    Shuffle = 1,
    Augment = 2,
    Scene = 3,
    Paint = 4,
    Subset = 5,
}
