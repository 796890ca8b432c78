//! The agreement of the student with its averaged teacher.

use super::surrogate::stop_gradient;
use super::{AnchorLosses, BoxNorm, divergence};
use crate::structures::{ClassActivation, ViewPair};

/// The self-distillation loss of each anchor,
/// `KL(sg(P_T(X_w)) ‖ P_S(X)) + ‖sg(R_T(X_w)) − R_S(X)‖`, its terms apart.
///
/// `P` are class probabilities and `R` box regression outputs of the student on the strong view `X`
/// (`pair.student`) and of the teacher on the weak view `X_w` (`pair.other`). The teacher's outputs
/// are soft targets: no threshold, temperature 1, all anchors; no gradient flows into them. (That the
/// teacher's soft outputs are the targets is the paper's idea, Guo et al., CVPR 2022; the formula is
/// our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, ViewPair};
/// use sed_core::losses::{BoxNorm, self_distillation};
///
/// let device = Device::default();
/// let boxes = Tensor::<3>::zeros([1, 1, 4], &device);
/// let student = Predictions::new(Tensor::zeros([1, 1, 1], &device), boxes.clone());
/// let teacher = Predictions::new(Tensor::full([1, 1, 1], 50.0, &device), boxes);
/// let losses =
///     self_distillation(ClassActivation::Sigmoid, &ViewPair::new(student, teacher), BoxNorm::default());
/// // The teacher is sure, the student says one half: log 2.
/// assert!((losses.class.into_scalar::<f32>() - 2.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn self_distillation(activation: ClassActivation, pair: &ViewPair, box_norm: BoxNorm) -> AnchorLosses {
    let (student, teacher) = (&pair.student, &pair.other);
    let class =
        divergence::one_sided_kl(activation, student.class_logits.clone(), teacher.class_logits.clone());
    let teacher_deltas = stop_gradient(teacher.box_deltas.clone());
    AnchorLosses {
        class: class.value,
        boxes: box_norm.distance(student.box_deltas.clone(), teacher_deltas),
        probability_difference: class.probability_difference,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::structures::Predictions;
    use crate::testing::{device, gradient, pseudo_logits, values};

    const HEADS: [ClassActivation; 2] =
        [ClassActivation::Sigmoid, ClassActivation::Softmax { background: 0 }];

    fn view(seed: u32) -> Predictions {
        let device = device();
        Predictions::new(
            pseudo_logits([1, 5, 3], seed, &device).require_grad(),
            pseudo_logits([1, 5, 4], seed + 1, &device).require_grad(),
        )
    }

    #[test]
    fn only_the_student_learns() {
        for activation in HEADS {
            let (student, teacher) = (view(1), view(7));
            let losses = self_distillation(
                activation,
                &ViewPair::new(student.clone(), teacher.clone()),
                BoxNorm::default(),
            );
            let gradients = (losses.class.sum() + losses.boxes.sum()).backward();
            for tensor in [student.class_logits, student.box_deltas] {
                assert!(gradient(&tensor, &gradients).iter().all(|&g| g != 0.0));
            }
            assert!(teacher.class_logits.grad(&gradients).is_none());
            assert!(teacher.box_deltas.grad(&gradients).is_none());
        }
    }

    #[test]
    fn a_student_equal_to_the_teacher_has_nothing_to_learn() {
        for activation in HEADS {
            let (student, teacher) = (view(1), view(1));
            let losses =
                self_distillation(activation, &ViewPair::new(student.clone(), teacher), BoxNorm::default());
            let total = losses.class.sum() + losses.boxes.sum();
            assert_eq!(values(&total), [0.0]);
            let gradients = total.backward();
            for tensor in [student.class_logits, student.box_deltas] {
                assert!(gradient(&tensor, &gradients).iter().all(|&g| g == 0.0));
            }
        }
    }
}
