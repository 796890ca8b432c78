//! Random numbers drawn on the host.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// What a stream of random numbers is used for, so that equal seeds and indices of two uses do not
/// give equal numbers.
///
/// ```
/// use sed_train::data::{HostRng, Purpose};
///
/// // The same image, seen as a labeled and as an unlabeled one, is augmented independently.
/// let draw = |purpose| HostRng::new(7, purpose, 0, 0).below(1_000_000);
/// assert_ne!(draw(Purpose::LabeledView), draw(Purpose::UnlabeledView));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// The order of the labeled images.
    LabeledOrder = 1,
    /// The order of the unlabeled images.
    UnlabeledOrder = 2,
    /// Geometry and colours of a labeled image.
    LabeledView = 3,
    /// Geometry and colours of an unlabeled image.
    UnlabeledView = 4,
    /// A generated training scene.
    TrainScene = 5,
    /// A generated validation scene.
    ValScene = 6,
    /// From which source an unlabeled image comes.
    UnlabeledSource = 7,
    /// The order within a shuffle buffer of images in shards.
    ShardWindow = 8,
}

/// A stream of random numbers that is a pure function of seed, purpose and two indices.
///
/// The four numbers are the key of a ChaCha8 cipher, so streams with different numbers are
/// unrelated and every machine draws the same bits (our design).
///
/// ```
/// use sed_train::data::{HostRng, Purpose};
///
/// let draw = |iteration| HostRng::new(7, Purpose::LabeledView, iteration, 0).below(1_000_000);
/// assert_eq!(draw(3), draw(3));
/// assert_ne!(draw(3), draw(4));
/// ```
#[derive(Debug, Clone)]
pub struct HostRng(ChaCha8Rng);

impl HostRng {
    /// The stream of `seed` for a purpose, numbered by `index` (an iteration, an epoch, an image)
    /// and `slot` (a place in a batch).
    pub fn new(seed: u64, purpose: Purpose, index: u64, slot: u64) -> Self {
        let mut key = [0; 32];
        for (bytes, word) in key.chunks_exact_mut(8).zip([seed, purpose as u64, index, slot]) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        Self(ChaCha8Rng::from_seed(key))
    }

    /// A number in `[0, 1)`, a multiple of 2⁻²⁴.
    ///
    /// ```
    /// use sed_train::data::{HostRng, Purpose};
    ///
    /// let mut rng = HostRng::new(7, Purpose::LabeledView, 0, 0);
    /// assert!((0.0..1.0).contains(&rng.unit()));
    /// assert!((2.0..4.0).contains(&rng.uniform([2.0, 4.0])));
    /// assert!((1.0..16.0).contains(&rng.log_uniform([1.0, 16.0])));
    /// assert!(rng.below(10) < 10 && (3..=5).contains(&rng.between([3, 5])));
    /// assert!(rng.chance(1.0) && !rng.chance(0.0));
    /// assert!(rng.normal().is_finite());
    /// ```
    pub fn unit(&mut self) -> f32 {
        (self.0.next_u32() >> 8) as f32 * (1.0 / (1 << 24) as f32)
    }

    /// A number in `[low, high)`; `low` if both are equal.
    pub fn uniform(&mut self, [low, high]: [f32; 2]) -> f32 {
        low + (high - low) * self.unit()
    }

    /// A number in `[low, high)` whose logarithm is uniform; both must be positive.
    pub fn log_uniform(&mut self, [low, high]: [f32; 2]) -> f32 {
        low * (high / low).powf(self.unit())
    }

    /// A whole number in `0..n`.
    ///
    /// # Panics
    ///
    /// If `n` is zero.
    pub fn below(&mut self, n: usize) -> usize {
        assert!(n > 0, "HostRng::below: the range 0..0 is empty");
        // The upper half of a 128-bit product; its bias is below n / 2^64.
        ((u128::from(self.0.next_u64()) * n as u128) >> 64) as usize
    }

    /// A whole number in `low..=high`.
    pub fn between(&mut self, [low, high]: [usize; 2]) -> usize {
        low + self.below(high - low + 1)
    }

    /// True with this probability: never at 0, always at 1.
    pub fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.unit()) < probability
    }

    /// A standard normal number (Box and Muller).
    pub fn normal(&mut self) -> f32 {
        // 1 − u is in (0, 1], so that the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        radius * (std::f32::consts::TAU * self.unit()).cos()
    }

    /// Puts `items` into a random order (Fisher and Yates).
    ///
    /// ```
    /// use sed_train::data::{HostRng, Purpose};
    ///
    /// let mut order: Vec<usize> = (0..50).collect();
    /// HostRng::new(7, Purpose::LabeledOrder, 0, 0).shuffle(&mut order);
    /// assert!(!order.is_sorted());
    /// order.sort_unstable();
    /// assert_eq!(order, (0..50).collect::<Vec<_>>());
    /// ```
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u64) -> HostRng {
        HostRng::new(seed, Purpose::LabeledView, 0, 0)
    }

    #[test]
    fn each_of_the_four_numbers_matters() {
        let bits = |seed, purpose, index, slot| HostRng::new(seed, purpose, index, slot).0.next_u64();
        let base = bits(1, Purpose::LabeledView, 2, 3);
        assert_eq!(base, bits(1, Purpose::LabeledView, 2, 3));
        assert_ne!(base, bits(9, Purpose::LabeledView, 2, 3));
        assert_ne!(base, bits(1, Purpose::UnlabeledView, 2, 3));
        assert_ne!(base, bits(1, Purpose::LabeledView, 9, 3));
        assert_ne!(base, bits(1, Purpose::LabeledView, 2, 9));
    }

    #[test]
    fn probabilities_zero_and_one_are_certain() {
        let mut rng = stream(0);
        assert!((0..1000).all(|_| !rng.chance(0.0)));
        assert!((0..1000).all(|_| rng.chance(1.0)));
    }

    #[test]
    fn numbers_stay_in_their_range_and_have_their_mean() {
        let mut rng = stream(1);
        let n = 20_000;
        let uniform: Vec<f32> = (0..n).map(|_| rng.uniform([2.0, 4.0])).collect();
        assert!(uniform.iter().all(|x| (2.0..4.0).contains(x)));
        // The mean of n draws has a standard deviation of 2/√(12 n) = 0.004; five of them.
        assert!((uniform.iter().sum::<f32>() / n as f32 - 3.0).abs() < 0.02);
        // log2 of a log-uniform number over 1..16 is uniform over 0..4: deviation 0.008.
        let logs: f32 = (0..n).map(|_| rng.log_uniform([1.0, 16.0]).log2()).sum();
        assert!((logs / n as f32 - 2.0).abs() < 0.04);
        let normals: Vec<f32> = (0..n).map(|_| rng.normal()).collect();
        let square = normals.iter().map(|x| x * x).sum::<f32>() / n as f32;
        // The mean square has a standard deviation of √(2/n) = 0.01.
        assert!((square - 1.0).abs() < 0.05);
        assert!((0..1000).all(|_| (3..=5).contains(&rng.between([3, 5]))));
    }

    #[test]
    fn a_shuffle_keeps_every_item() {
        let mut items: Vec<usize> = (0..50).collect();
        stream(2).shuffle(&mut items);
        assert_ne!(items, (0..50).collect::<Vec<_>>());
        items.sort_unstable();
        assert_eq!(items, (0..50).collect::<Vec<_>>());
    }
}
