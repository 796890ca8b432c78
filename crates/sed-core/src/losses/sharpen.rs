//! Surer classes of soft targets.

use burn::tensor::{Tensor, activation};

use crate::structures::ClassActivation;

/// Logits whose class is surer, while how likely the anchor is an object stays as it is.
///
/// With `T ≤ 1` and the foreground score `s`:
/// - sigmoid: `p'_c = s · (p_c / s)^(1/T)`, `s = max_c p_c`. The highest class keeps its probability, the
///   others fall.
/// - softmax: `p'_c = f · p_c^(1/T) / Σ p_k^(1/T)` over the classes, `f = Σ p_c`. The background keeps its
///   probability.
///
/// Dividing the logits themselves by `T` would also move the score, below one half towards background.
/// `T = 1` changes nothing but rounding. No gradient flows into
/// the result. (Our design; the paper's self-distillation has soft targets, no more is known.)
///
/// Shapes: `logits` and the result `[N, A, C]`.
///
/// ```
/// use burn::tensor::{Device, Tensor, activation::sigmoid};
/// use sed_core::{ClassActivation, losses::sharpen};
///
/// // Probabilities 0.4 and 0.2: at T = 1/2 the second becomes 0.4 · (1/2)² = 0.1.
/// let logit = |p: f32| (p / (1.0 - p)).ln();
/// let logits = Tensor::<3>::from_floats([[[logit(0.4), logit(0.2)]]], &Device::default());
/// let sharp = sigmoid(sharpen(ClassActivation::Sigmoid, logits, 0.5));
/// let found = sharp.into_data().try_to_vec::<f32>().unwrap();
/// assert!((found[0] - 0.4).abs() < 1e-6 && (found[1] - 0.1).abs() < 1e-6);
/// ```
///
/// # Panics
///
/// If `temperature` is not in `(0, 1]`, or the background's index is none of the logits.
pub fn sharpen(activation: ClassActivation, logits: Tensor<3>, temperature: f64) -> Tensor<3> {
    assert!(temperature > 0.0 && temperature <= 1.0, "sharpen: temperature {temperature}");
    let logits = logits.inner();
    match activation {
        ClassActivation::Sigmoid => sharpen_sigmoid(logits, temperature),
        ClassActivation::Softmax { background } => sharpen_softmax(logits, background, temperature),
    }
}

fn sharpen_sigmoid(logits: Tensor<3>, temperature: f64) -> Tensor<3> {
    let highest = logits.clone().max_dim(2);
    let (log_p, log_s) = (activation::log_sigmoid(logits.clone()), activation::log_sigmoid(highest.clone()));
    let log_sharp = (log_p - log_s.clone()) / temperature + log_s;
    let sharp = log_sharp.clone() - (-log_sharp.exp() + 1.0).log();
    // The logit of a probability that rounds to 1 is infinite; none rises above where it was.
    sharp.min_pair(logits.clone()).mask_where(logits.clone().equal(highest), logits)
}

fn sharpen_softmax(logits: Tensor<3>, background: usize, temperature: f64) -> Tensor<3> {
    let [n, a, c] = logits.dims();
    assert!(background < c, "sharpen: background index {background} of {c} logits");
    let log_p = activation::log_softmax(logits, 2);
    let is_background = Tensor::<1, burn::tensor::Int>::arange(0..c as i64, &log_p.device())
        .equal_scalar(background as i64)
        .reshape([1, 1, c])
        .expand([n, a, c]);
    // Low enough that its exponential is 0, and finite.
    let classes = log_p.clone().mask_fill(is_background.clone(), -1e9);
    let log_sum = |x: Tensor<3>| {
        let max = x.clone().max_dim(2);
        (x - max.clone()).exp().sum_dim(2).log() + max
    };
    let sharp = classes.clone() / temperature;
    let sharp = sharp.clone() - log_sum(sharp) + log_sum(classes);
    sharp.mask_where(is_background, log_p)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, pseudo_logits, values};

    const SIGMOID: ClassActivation = ClassActivation::Sigmoid;
    const HEADS: [ClassActivation; 4] = [
        SIGMOID,
        ClassActivation::Softmax { background: 0 },
        ClassActivation::Softmax { background: 1 },
        ClassActivation::Softmax { background: 3 },
    ];

    fn logits() -> Tensor<3> {
        pseudo_logits([2, 5, 4], 3, &device())
    }

    #[test]
    fn temperature_one_keeps_every_probability() {
        for head in HEADS {
            let sharp = sharpen(head, logits(), 1.0);
            // Logarithm and exponential there and back.
            assert_close(
                &values(&head.probabilities(sharp)),
                &values(&head.probabilities(logits().inner())),
                1e-6,
            );
        }
    }

    #[test]
    fn the_sharp_probabilities_by_their_formula() {
        for head in HEADS {
            let p = values(&head.probabilities(logits()));
            let sharp = values(&head.probabilities(sharpen(head, logits(), 0.5)));
            for (p, sharp) in p.chunks(4).zip(sharp.chunks(4)) {
                let expected: Vec<f32> = match head {
                    ClassActivation::Sigmoid => {
                        let s = p.iter().copied().fold(0.0, f32::max);
                        p.iter().map(|p| p * p / s).collect()
                    }
                    ClassActivation::Softmax { background } => {
                        let foreground = 1.0 - p[background];
                        let squares: f32 = p.iter().map(|p| p * p).sum::<f32>() - p[background].powi(2);
                        let class = |(c, p): (usize, &f32)| {
                            if c == background { *p } else { foreground * p * p / squares }
                        };
                        p.iter().enumerate().map(class).collect()
                    }
                };
                assert_close(sharp, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let rows = [[100.0, 100.0, -100.0, 0.0], [20.0, 19.9, 18.0, -20.0], [-100.0, -100.0, -90.0, -100.0]];
        for head in HEADS {
            for temperature in [0.01, 0.5, 1.0] {
                let sharp = sharpen(head, Tensor::<2>::from_floats(rows, &device()).unsqueeze(), temperature);
                assert!(values(&sharp).iter().all(|v| v.is_finite()), "{head:?} {temperature}: {sharp}");
            }
        }
        let sharp = sharpen(SIGMOID, Tensor::<2>::from_floats(rows, &device()).unsqueeze(), 0.5);
        let higher = values(&sharp).iter().zip(rows.as_flattened()).any(|(sharp, was)| sharp > was);
        assert!(!higher, "no class rises");
    }

    #[test]
    #[should_panic(expected = "temperature 1.5")]
    fn a_temperature_above_one_is_refused() {
        sharpen(SIGMOID, logits(), 1.5);
    }
}
