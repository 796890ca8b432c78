//! The distance of two box regression outputs.

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use super::smooth_l1;
use crate::error::InvalidOption;

/// How far two box regression outputs of the same anchor are apart, with `d = R − R'`.
///
/// The paper draws the unsquared L2 norm; the epsilon, and the two other choices, are our design.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::BoxNorm;
///
/// let device = Device::default();
/// let a = Tensor::<3>::from_floats([[[3.0, 0.0, -4.0, 0.0]]], &device);
/// let distance = |norm: BoxNorm| norm.distance(a.clone(), a.zeros_like()).into_scalar::<f32>();
/// assert_eq!(distance(BoxNorm::SquaredL2), 25.0);
/// assert_eq!(distance(BoxNorm::SmoothL1 { beta: 0.0 }), 7.0);
/// // √25, but for the epsilon.
/// assert!((distance(BoxNorm::default()) - 5.0).abs() < 2e-3);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum BoxNorm {
    /// `√(Σd² + ε²) − ε`: about the norm for differences above `ε`, and `Σd² / (2ε)` below, so that it
    /// has a gradient at 0, which is 0.
    L2 {
        /// In units of encoded deltas; above 0.
        epsilon: f64,
    },
    /// `Σd²`.
    SquaredL2,
    /// The sum of [`smooth_l1`](fn@smooth_l1) over the deltas.
    SmoothL1 {
        /// Where it turns linear, in units of encoded deltas; 0 is the absolute difference.
        beta: f64,
    },
}

impl Default for BoxNorm {
    /// `L2` with an epsilon of 0.001.
    fn default() -> Self {
        Self::L2 { epsilon: 1e-3 }
    }
}

impl BoxNorm {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If `epsilon` is not above 0, `beta` is negative, or either is not finite.
    ///
    /// ```
    /// use sed_core::losses::BoxNorm;
    ///
    /// assert!(BoxNorm::default().validate().is_ok());
    /// assert_eq!(BoxNorm::L2 { epsilon: 0.0 }.validate().unwrap_err().option, "box_norm.epsilon");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        match *self {
            Self::L2 { epsilon } => InvalidOption::unless_positive("box_norm.epsilon", epsilon),
            Self::SquaredL2 => Ok(()),
            Self::SmoothL1 { beta } => InvalidOption::unless_non_negative("box_norm.beta", beta),
        }
    }

    /// The distance of each anchor, `[N, A]`, of `a` and `b`, both `[N, A, R]`, over all `R` deltas.
    ///
    /// Exactly 0, with a gradient of 0, where the two are equal. Gradients flow into both.
    ///
    /// # Panics
    ///
    /// If the shapes differ.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::losses::BoxNorm;
    ///
    /// let device = Device::default().autodiff();
    /// let a = Tensor::<3>::ones([1, 1, 4], &device).require_grad();
    /// let distance = BoxNorm::default().distance(a.clone(), Tensor::ones([1, 1, 4], &device));
    /// assert_eq!(distance.dims(), [1, 1]);
    /// // A plain norm has no gradient where it is 0; this one has, and it is 0.
    /// let gradients = distance.sum().backward();
    /// assert_eq!(a.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap(), [0.0; 4]);
    /// ```
    pub fn distance(&self, a: Tensor<3>, b: Tensor<3>) -> Tensor<2> {
        let (x, y) = (a.dims(), b.dims());
        assert_eq!(x, y, "BoxNorm: box deltas {x:?} and {y:?}");
        let distance = match *self {
            Self::L2 { epsilon } => {
                let square = (a - b).square().sum_dim(2);
                // √(s + ε²) − ε without the cancellation, which would not be exactly 0 at s = 0.
                let root = (square.clone() + epsilon * epsilon).sqrt();
                square / (root + epsilon)
            }
            Self::SquaredL2 => (a - b).square().sum_dim(2),
            Self::SmoothL1 { beta } => smooth_l1(a, b, beta).sum_dim(2),
        };
        distance.squeeze_dim(2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, values};

    const ALL: [BoxNorm; 4] = [
        BoxNorm::L2 { epsilon: 1e-3 },
        BoxNorm::SquaredL2,
        BoxNorm::SmoothL1 { beta: 0.5 },
        BoxNorm::SmoothL1 { beta: 0.0 },
    ];

    fn at(norm: BoxNorm, d: [f32; 4]) -> (f32, Vec<f32>, Vec<f32>) {
        let device = device();
        let b = Tensor::<3>::from_floats([[[1.0, 2.0, -1.0, 0.5]]], &device).require_grad();
        let a = (b.clone().inner() + Tensor::<3>::from_floats([[d]], &device)).require_grad();
        let distance = norm.distance(a.clone(), b.clone());
        let gradients = distance.clone().sum().backward();
        (values(&distance)[0], gradient(&a, &gradients), gradient(&b, &gradients))
    }

    #[test]
    fn each_choice_has_its_value_and_gradient() {
        let d = [3.0, 0.0, -4.0, 0.0];
        // √(9 + 16) = 5; the epsilon takes away at most itself.
        let expected = [
            (5.0, [0.6, 0.0, -0.8, 0.0]),
            (25.0, [6.0, 0.0, -8.0, 0.0]),
            (2.75 + 3.75, [1.0, 0.0, -1.0, 0.0]),
            (7.0, [1.0, 0.0, -1.0, 0.0]),
        ];
        for (norm, (value, slope)) in ALL.into_iter().zip(expected) {
            let (v, to_a, to_b) = at(norm, d);
            assert_close(&[v], &[value], 1.1e-3);
            assert_close(&to_a, &slope, 1e-6);
            assert_close(&to_b, &slope.map(|g| -g), 1e-6);
        }
    }

    #[test]
    fn equal_deltas_give_exactly_zero() {
        for norm in ALL {
            let (v, to_a, to_b) = at(norm, [0.0; 4]);
            assert_eq!(v, 0.0, "{norm:?}");
            assert!(to_a.iter().chain(&to_b).all(|&g| g == 0.0), "{norm:?}: {to_a:?} {to_b:?}");
        }
    }

    #[test]
    fn the_epsilon_rounds_off_the_kink() {
        let norm = BoxNorm::L2 { epsilon: 0.5 };
        // √(2 + 0.25) − 0.5 = 1; the slope is d / 1.5.
        let (v, slope, _) = at(norm, [1.0, 1.0, 0.0, 0.0]);
        assert_close(&[v], &[1.0], 1e-6);
        assert_close(&slope, &[1.0 / 1.5, 1.0 / 1.5, 0.0, 0.0], 1e-6);
    }

    #[test]
    fn options_are_checked_and_named() {
        assert!(ALL.iter().all(|norm| norm.validate().is_ok()));
        assert_eq!(BoxNorm::L2 { epsilon: 0.0 }.validate().unwrap_err().option, "box_norm.epsilon");
        assert_eq!(BoxNorm::SmoothL1 { beta: -1.0 }.validate().unwrap_err().option, "box_norm.beta");
        let parsed: BoxNorm = serde_json::from_str(r#"{"kind": "smooth_l1", "beta": 0.5}"#).unwrap();
        assert_eq!(parsed, BoxNorm::SmoothL1 { beta: 0.5 });
        assert!(serde_json::from_str::<BoxNorm>(r#"{"kind": "l2", "beta": 0.5}"#).is_err());
    }
}
