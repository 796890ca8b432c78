//! Which anchors or proposals take part in a loss.

use rand_chacha::{
    ChaCha8Rng,
    rand_core::{Rng, SeedableRng},
};
use sed_core::InvalidOption;
use serde::{Deserialize, Serialize};

use crate::matcher::Assignment;

/// Draws a fixed number of anchors or proposals of each image, so that the many of the background do not
/// swamp those on objects: at most `⌊per_image · positive_fraction⌋` matched ones, and background up to
/// `per_image`. Fewer where there are not as many. (Ren et al., *Faster R-CNN*, NIPS 2015, §3.1.3;
/// Girshick, *Fast R-CNN*, ICCV 2015, §2.3.)
///
/// The draw depends on the seed alone; the detector takes it from its own outputs for the image, so that
/// a training step is a function of weights and batch (our design).
///
/// ```
/// use sed_models::{
///     faster_rcnn::Sampler,
///     matcher::Assignment::{Background, Matched},
/// };
///
/// let assignments = [Matched(0), Background, Matched(0), Matched(1), Background, Background];
/// let sample = Sampler { per_image: 4, positive_fraction: 0.5 }.draw(&assignments, 7);
/// assert_eq!((sample.positives.len(), sample.negatives.len()), (2, 2));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sampler {
    /// How many of an image take part.
    pub per_image: usize,
    /// The largest share of matched ones, in `[0, 1]`.
    pub positive_fraction: f64,
}

/// What a [`Sampler`] drew of one image: indices, ascending.
///
/// ```
/// use sed_models::{
///     faster_rcnn::{Sample, Sampler},
///     matcher::Assignment::{Background, Ignored, Matched},
/// };
///
/// // Fewer than asked for: all are taken but those that are ignored.
/// let sampler = Sampler { per_image: 256, positive_fraction: 0.5 };
/// let sample = sampler.draw(&[Background, Matched(0), Ignored], 7);
/// assert_eq!(sample, Sample { positives: vec![1], negatives: vec![0] });
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sample {
    /// Matched to an object.
    pub positives: Vec<usize>,
    /// Background.
    pub negatives: Vec<usize>,
}

impl Sampler {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::Sampler;
    ///
    /// assert!(Sampler { per_image: 256, positive_fraction: 0.5 }.validate().is_ok());
    /// let error = Sampler { per_image: 256, positive_fraction: 50.0 }.validate().unwrap_err();
    /// assert_eq!(error.option, "sampler.positive_fraction");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_positive("sampler.per_image", self.per_image as f64)?;
        InvalidOption::unless_fraction("sampler.positive_fraction", self.positive_fraction)
    }

    /// Draws without replacement, each matched one as likely as another, and the background alike.
    ///
    /// ```
    /// use sed_models::{faster_rcnn::Sampler, matcher::Assignment};
    ///
    /// let sampler = Sampler { per_image: 8, positive_fraction: 0.5 };
    /// let background = [Assignment::Background; 100];
    /// assert_eq!(sampler.draw(&background, 7), sampler.draw(&background, 7));
    /// assert_ne!(sampler.draw(&background, 7), sampler.draw(&background, 8));
    /// ```
    pub fn draw(&self, assignments: &[Assignment], seed: u64) -> Sample {
        let of = |wanted: fn(&Assignment) -> bool| -> Vec<usize> {
            (0..assignments.len()).filter(|&i| wanted(&assignments[i])).collect()
        };
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let most = (self.per_image as f64 * self.positive_fraction) as usize;
        let positives = choose(of(|a| matches!(a, Assignment::Matched(_))), most, &mut rng);
        let rest = self.per_image - positives.len();
        let negatives = choose(of(|a| *a == Assignment::Background), rest, &mut rng);
        Sample { positives, negatives }
    }
}

/// `count` of `from`, ascending.
fn choose(mut from: Vec<usize>, count: usize, rng: &mut ChaCha8Rng) -> Vec<usize> {
    if from.len() <= count {
        return from;
    }
    // The first `count` steps of a Fisher–Yates shuffle.
    for i in 0..count {
        let left = (from.len() - i) as u64;
        let offset = (u64::from(rng.next_u32()) * left) >> 32;
        from.swap(i, i + offset as usize);
    }
    from.truncate(count);
    from.sort_unstable();
    from
}

/// A seed that any change of a value changes: the FNV-1a hash of their bits.
pub(super) fn seed_of<'a>(values: impl IntoIterator<Item = &'a f32>) -> u64 {
    let mix =
        |hash: u64, value: &f32| (hash ^ u64::from(value.to_bits())).wrapping_mul(0x0000_0100_0000_01b3);
    values.into_iter().fold(0xcbf2_9ce4_8422_2325, mix)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn assignment(kind: u8) -> Assignment {
        match kind {
            0 => Assignment::Matched(3),
            1 => Assignment::Background,
            _ => Assignment::Ignored,
        }
    }

    proptest! {
        #[test]
        fn counts_and_kinds_are_as_asked(
            kinds in prop::collection::vec(0..3_u8, 0..200),
            per_image in 1..60_usize,
            positive_fraction in 0.0..=1.0_f64,
            seed: u64,
        ) {
            let assignments: Vec<_> = kinds.into_iter().map(assignment).collect();
            let sampler = Sampler { per_image, positive_fraction };
            let sample = sampler.draw(&assignments, seed);
            let count = |kind: u8| assignments.iter().filter(|a| **a == assignment(kind)).count();
            let positives = count(0).min((per_image as f64 * positive_fraction) as usize);
            prop_assert_eq!(sample.positives.len(), positives);
            prop_assert_eq!(sample.negatives.len(), count(1).min(per_image - positives));
            prop_assert!(sample.positives.iter().all(|&i| assignments[i] == assignment(0)));
            prop_assert!(sample.negatives.iter().all(|&i| assignments[i] == assignment(1)));
            // Ascending, so without repetition.
            prop_assert!(sample.positives.is_sorted_by(|a, b| a < b) && sample.negatives.is_sorted_by(|a, b| a < b));
            prop_assert_eq!(sample, sampler.draw(&assignments, seed));
        }
    }

    #[test]
    fn every_one_is_drawn_equally_often() {
        let sampler = Sampler { per_image: 5, positive_fraction: 0.0 };
        let mut counts = [0_i32; 20];
        for seed in 0..4000 {
            for i in sampler.draw(&[Assignment::Background; 20], seed).negatives {
                counts[i] += 1;
            }
        }
        // Binomial: mean 1000, deviation 27; five of these.
        assert!(counts.iter().all(|count| (count - 1000).abs() < 137), "{counts:?}");
    }

    #[test]
    fn seeds_depend_on_each_value_and_on_the_order() {
        let seed = |values: &[f32]| seed_of(values);
        assert_eq!(seed(&[1.0, 2.0]), seed(&[1.0, 2.0]));
        assert_ne!(seed(&[1.0, 2.0]), seed(&[2.0, 1.0]));
        assert_ne!(seed(&[1.0, 2.0]), seed(&[1.0, 2.0000002]));
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = Sampler { per_image: 1, positive_fraction: 0.5 };
        assert_eq!(good.validate(), Ok(()));
        assert_eq!(Sampler { per_image: 0, ..good }.validate().unwrap_err().option, "sampler.per_image");
        let fraction = Sampler { positive_fraction: 1.5, ..good };
        assert_eq!(fraction.validate().unwrap_err().option, "sampler.positive_fraction");
    }
}
