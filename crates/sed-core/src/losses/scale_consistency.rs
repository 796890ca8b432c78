//! The agreement of the student with itself across two image sizes.

use super::{AnchorLosses, BoxNorm, divergence};
use crate::structures::{ClassActivation, ViewPair};

/// The scale-consistency loss of each anchor,
/// `KL(sg(P(X)) ‖ P(X̂)) + KL(sg(P(X̂)) ‖ P(X)) + ‖R(X) − R(X̂)‖`, its terms apart.
///
/// `P` are class probabilities and `R` box regression outputs of the full view `X` (`pair.student`)
/// and of the half-size view `X̂` (`pair.other`), both by the student; `sg` is the stop-gradient.
/// Gradients flow into both views, in the box term too. All anchors take part; equal views give
/// exactly zero. (Guo et al., *Scale-Equivalent Distillation*, CVPR 2022. The shape of the norm at
/// 0 is our design, see [`BoxNorm`]; so are the class terms, see [`divergence`].)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, ViewPair};
/// use sed_core::losses::{BoxNorm, scale_consistency};
///
/// let device = Device::default();
/// let view = Predictions::new(Tensor::ones([2, 100, 5], &device), Tensor::ones([2, 100, 4], &device));
/// let pair = ViewPair::new(view.clone(), view);
/// let losses = scale_consistency(ClassActivation::Sigmoid, &pair, BoxNorm::default());
/// assert_eq!((losses.class.dims(), losses.boxes.dims()), ([2, 100, 5], [2, 100]));
/// assert_eq!(losses.class.sum().into_scalar::<f32>(), 0.0);
/// ```
pub fn scale_consistency(activation: ClassActivation, pair: &ViewPair, box_norm: BoxNorm) -> AnchorLosses {
    let (full, half) = (&pair.student, &pair.other);
    let class = divergence::symmetric_kl(activation, full.class_logits.clone(), half.class_logits.clone());
    AnchorLosses {
        class: class.value,
        boxes: box_norm.distance(full.box_deltas.clone(), half.box_deltas.clone()),
        probability_difference: class.probability_difference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Predictions;
    use crate::testing::{device, gradient, pseudo_logits, values};

    const HEADS: [ClassActivation; 2] =
        [ClassActivation::Sigmoid, ClassActivation::Softmax { background: 2 }];

    fn view(seed: u32) -> Predictions {
        let device = device();
        Predictions::new(
            pseudo_logits([2, 4, 3], seed, &device).require_grad(),
            pseudo_logits([2, 4, 4], seed + 1, &device).require_grad(),
        )
    }

    #[test]
    fn equal_views_give_exactly_zero() {
        for activation in HEADS {
            let (a, b) = (view(1), view(1));
            let losses =
                scale_consistency(activation, &ViewPair::new(a.clone(), b.clone()), BoxNorm::default());
            let total = losses.class.sum() + losses.boxes.sum();
            assert_eq!(values(&total), [0.0]);
            let gradients = total.backward();
            for tensor in [a.class_logits, b.class_logits, a.box_deltas, b.box_deltas] {
                assert!(gradient(&tensor, &gradients).iter().all(|&g| g == 0.0));
            }
        }
    }

    #[test]
    fn the_two_views_are_pulled_together_with_equal_force() {
        for activation in HEADS {
            let (a, b) = (view(1), view(7));
            let losses =
                scale_consistency(activation, &ViewPair::new(a.clone(), b.clone()), BoxNorm::default());
            let gradients = (losses.class.sum() + losses.boxes.sum()).backward();
            for (x, y) in [(&a.class_logits, &b.class_logits), (&a.box_deltas, &b.box_deltas)] {
                let (x, y) = (gradient(x, &gradients), gradient(y, &gradients));
                assert!(x.iter().any(|&g| g != 0.0));
                // The difference of the probabilities passes the softmax's backward step on each
                // side, so the two agree to f32 rounding.
                assert!(x.iter().zip(&y).all(|(x, y)| (x + y).abs() < 1e-6), "{x:?} {y:?}");
            }
        }
    }

    #[test]
    fn the_loss_is_symmetric() {
        for activation in HEADS {
            let at = |x, y| {
                let l = scale_consistency(activation, &ViewPair::new(view(x), view(y)), BoxNorm::SquaredL2);
                (values(&l.class), values(&l.boxes))
            };
            assert_eq!(at(1, 7), at(7, 1));
        }
    }
}
