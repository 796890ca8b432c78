//! The losses of detection and of Scale-Equivalent Distillation.
//!
//! Most return one value an element or an anchor and leave reduction to the caller. None holds more
//! than a small, fixed number of tensors of the size of its input: where the gradient has a closed
//! form, it is built together with the value (see [`surrogate`]). On flex the sums that training needs,
//! [`SigmoidFocalLoss::sum_of_classes`] and those of the [objective](crate::objective) on sigmoid heads,
//! are made in one pass and hold their gradient alone until the backward pass.

pub mod box_norm;
pub mod dense_teacher;
pub mod divergence;
pub mod flip_consistency;
pub mod focal;
#[cfg(feature = "flex")]
pub(crate) mod fused;
pub mod giou;
pub mod quality_focal;
pub mod scale_consistency;
pub mod self_distillation;
pub mod sharpen;
pub mod smooth_l1;
pub mod surrogate;

pub use box_norm::BoxNorm;
pub use dense_teacher::{DenseTeacherLoss, DenseTeacherTerms};
pub use flip_consistency::{FlipConsistency, FlipTerms};
pub use focal::SigmoidFocalLoss;
pub use giou::giou_loss;
pub use quality_focal::quality_focal_loss;
pub use scale_consistency::scale_consistency;
pub use self_distillation::self_distillation;
pub use sharpen::sharpen;
pub use smooth_l1::smooth_l1;

use burn::tensor::Tensor;

/// How far two predictions of the same anchors are apart.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::{BoxNorm, scale_consistency};
/// use sed_core::{ClassActivation, Predictions, ViewPair};
///
/// let device = Device::default();
/// let view = |logit: f32, delta: f32| {
///     Predictions::new(Tensor::full([1, 2, 3], logit, &device), Tensor::full([1, 2, 4], delta, &device))
/// };
/// let pair = ViewPair::new(view(0.0, 1.0), view(50.0, 0.0));
/// let losses = scale_consistency(ClassActivation::Sigmoid, &pair, BoxNorm::SquaredL2);
/// // Four deltas that differ by 1; probabilities of 1/2 and 1.
/// assert_eq!(losses.boxes.into_data().try_to_vec::<f32>().unwrap(), [4.0; 2]);
/// assert_eq!(losses.probability_difference.into_data().try_to_vec::<f32>().unwrap(), [-0.5; 6]);
/// assert_eq!(losses.class.dims(), [1, 2, 3]);
/// ```
#[derive(Debug, Clone)]
pub struct AnchorLosses {
    /// `[N, A, C]`, the class term of each anchor and class; never negative.
    pub class: Tensor<3>,
    /// `[N, A]`, the box term of each anchor; never negative.
    pub boxes: Tensor<2>,
    /// `[N, A, C]`, the difference of the class probabilities, `X` minus the other side, without
    /// gradient: what re-weighting looks at.
    pub probability_difference: Tensor<3>,
}
