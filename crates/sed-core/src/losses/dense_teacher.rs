//! Dense pseudo-labels: a rival of the self-distillation.

use burn::tensor::{Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{giou_loss, quality_focal_loss};
use crate::error::InvalidOption;
use crate::structures::{ClassActivation, Predictions, ViewPair};

/// Deltas of sizes are cut off here before the exponential, as box coders do it: a box is at most `1000/16` times its
/// anchor.
const LARGEST_LOG_SIZE: f64 = 4.135_166_556_742_356;

/// The teacher's scores as dense targets, on the anchors where it is surest.
///
/// With `s_i` the teacher's highest class probability at anchor `i`, over all images of the batch, and `K` the
/// anchors with the largest `s_i`:
///
/// ```text
/// L_class = Σ_i Σ_c QFL(p_ic, t_ic) / max(1, Σ_{i ∈ K} s_i),   t_i the teacher's probabilities for i ∈ K, else 0
/// L_box   = box_weight · Σ_{i ∈ K} (1 − GIoU_i) / |K|
/// ```
///
/// QFL is the [quality focal loss](quality_focal_loss). The GIoU is that of the boxes which both sides decode; it does not
/// depend on the anchor, so that a unit anchor serves for all. A softmax head is read as one sigmoid a
/// class, background left out, with the log-odds of its probability as logit. (Zhou et al., *Dense Teacher*, ECCV 2022; the
/// reading of softmax heads, and the least divisor of 1, are our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, ViewPair, losses::DenseTeacherLoss};
///
/// let device = Device::default();
/// let outputs = |logits: [[f32; 2]; 4]| {
///     Predictions::new(
///         Tensor::<2>::from_floats(logits, &device).unsqueeze(),
///         Tensor::zeros([1, 4, 4], &device),
///     )
/// };
/// let teacher = outputs([[4.0, -9.0], [-9.0, -9.0], [-9.0, 0.0], [-9.0, -9.0]]);
/// let student = outputs([[0.0, -9.0], [-9.0, -9.0], [-9.0, 0.0], [-9.0, -9.0]]);
/// // Half of the four anchors: the first and the third.
/// let loss = DenseTeacherLoss { selected: 0.5, ..DenseTeacherLoss::default() };
/// let terms = loss.forward(ClassActivation::Sigmoid, &ViewPair::new(student, teacher), [1.0; 4]);
/// let score = terms.selected_score.into_scalar::<f32>();
/// assert!((score - (1.0 / (1.0 + (-4.0_f32).exp()) + 0.5)).abs() < 1e-6);
/// assert!(terms.class.into_scalar::<f32>() > 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DenseTeacherLoss {
    /// The weight of both terms in the total.
    pub weight: f64,
    /// `|K|` as a part of all anchors.
    pub selected: f64,
    /// The weight of the box term against the class term.
    pub box_weight: f64,
}

impl Default for DenseTeacherLoss {
    /// As published: weight 1, the first 1 % of the anchors.
    fn default() -> Self {
        Self { weight: 1.0, selected: 0.01, box_weight: 1.0 }
    }
}

/// The terms of a [`DenseTeacherLoss`], `[1]` each, weighted as they enter the total.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::{DenseTeacherLoss, DenseTeacherTerms};
/// use sed_core::{ClassActivation, Predictions, ViewPair};
///
/// let device = Device::default();
/// let side = Predictions::new(Tensor::zeros([1, 200, 3], &device), Tensor::zeros([1, 200, 4], &device));
/// let pair = ViewPair::new(side.clone(), side);
/// let DenseTeacherTerms { boxes, selected_score, .. } =
///     DenseTeacherLoss::default().forward(ClassActivation::Sigmoid, &pair, [1.0; 4]);
/// // Two of the 200 anchors, with a score of 1/2 each; their boxes agree.
/// assert_eq!(selected_score.into_scalar::<f32>(), 1.0);
/// assert!(boxes.into_scalar::<f32>().abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct DenseTeacherTerms {
    /// On all anchors.
    pub class: Tensor<1>,
    /// On the selected anchors.
    pub boxes: Tensor<1>,
    /// `Σ_{i ∈ K} s_i`, a number to watch.
    pub selected_score: Tensor<1>,
}

impl DenseTeacherLoss {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If a weight is negative, or `selected` outside `(0, 1]`.
    ///
    /// ```
    /// use sed_core::losses::DenseTeacherLoss;
    ///
    /// assert!(DenseTeacherLoss::default().validate().is_ok());
    /// let error = DenseTeacherLoss { selected: 0.0, ..Default::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "dense_teacher.selected");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_non_negative("dense_teacher.weight", self.weight)?;
        InvalidOption::unless_non_negative("dense_teacher.box_weight", self.box_weight)?;
        InvalidOption::unless_fraction("dense_teacher.selected", self.selected)?;
        InvalidOption::unless_positive("dense_teacher.selected", self.selected)
    }

    /// The loss of the student (`pair.student`) against the teacher (`pair.other`), into which no gradient flows.
    ///
    /// `delta_weights` are the factors of the deltas, see [`StageViews`](crate::StageViews).
    ///
    /// # Panics
    ///
    /// If the box deltas are not four an anchor.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ClassActivation, Predictions, ViewPair, losses::DenseTeacherLoss};
    ///
    /// let device = Device::default().autodiff();
    /// let logits = Tensor::<3>::zeros([1, 2, 3], &device).require_grad();
    /// let deltas = Tensor::<3>::zeros([1, 2, 4], &device).require_grad();
    /// let student = Predictions::new(logits.clone(), deltas.clone());
    /// let teacher = Predictions::new(Tensor::ones([1, 2, 3], &device), Tensor::ones([1, 2, 4], &device));
    /// let terms = DenseTeacherLoss { selected: 0.5, ..Default::default() }.forward(
    ///     ClassActivation::Sigmoid,
    ///     &ViewPair::new(student, teacher),
    ///     [1.0; 4],
    /// );
    /// let gradients = (terms.class + terms.boxes).backward();
    /// assert!(logits.grad(&gradients).is_some());
    /// // Of the two boxes the first is learned.
    /// let slope =
    ///     deltas.grad(&gradients).unwrap().abs().sum_dim(2).into_data().try_to_vec::<f32>().unwrap();
    /// assert!(slope[0] > 0.0 && slope[1] == 0.0);
    /// ```
    pub fn forward(
        &self,
        activation: ClassActivation,
        pair: &ViewPair,
        delta_weights: [f32; 4],
    ) -> DenseTeacherTerms {
        let [n, a, r] = pair.student.box_deltas.dims();
        assert_eq!(r, 4, "DenseTeacherLoss: {r} box deltas an anchor");
        let device = pair.student.class_logits.device();
        let teacher = pair.other.clone().detach();
        let probabilities = activation.class_probabilities(teacher.class_logits.clone());
        let chosen = Chosen::new(scores(probabilities.clone()), self.selected);

        let mask = Tensor::<1>::from_data(TensorData::new(chosen.mask, [n * a]), &device).reshape([n, a, 1]);
        let logits = activation.class_log_odds(pair.student.class_logits.clone());
        let score_sum = Tensor::<1>::from_floats([chosen.score_sum], &device);
        let class =
            quality_focal_loss(logits, probabilities * mask).sum() / f64::from(chosen.score_sum.max(1.0));

        let indices =
            TensorData::new(chosen.anchors.iter().map(|&i| i as i64).collect(), [chosen.anchors.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &device);
        let boxes = |side: Predictions| {
            decode_unit(side.box_deltas.reshape([n * a, 4]).select(0, indices.clone()), delta_weights)
        };
        let boxes = giou_loss(boxes(pair.student.clone()), boxes(teacher)).mean();
        DenseTeacherTerms {
            class: class * self.weight,
            boxes: boxes * (self.weight * self.box_weight),
            selected_score: score_sum,
        }
    }
}

/// The highest class probability of each anchor, on the host.
fn scores(probabilities: Tensor<3>) -> Vec<f32> {
    let scores = probabilities.max_dim(2);
    scores.try_into_vec_as::<f32>().unwrap_or_else(|error| panic!("reading the teacher's scores: {error}"))
}

/// The anchors of the batch at which the teacher is surest.
struct Chosen {
    /// Ascending.
    anchors: Vec<usize>,
    /// 1 for them, 0 for the others.
    mask: Vec<f32>,
    score_sum: f32,
}

impl Chosen {
    /// The first `part` of the anchors by score, at least one; the first of equal ones.
    fn new(scores: Vec<f32>, part: f64) -> Self {
        let count = ((scores.len() as f64 * part) as usize).clamp(1, scores.len());
        let mut anchors: Vec<usize> = (0..scores.len()).collect();
        anchors.select_nth_unstable_by(count - 1, |&i, &j| scores[j].total_cmp(&scores[i]).then(i.cmp(&j)));
        anchors.truncate(count);
        anchors.sort_unstable();
        let mut mask = vec![0.0; scores.len()];
        anchors.iter().for_each(|&i| mask[i] = 1.0);
        let score_sum = anchors.iter().map(|&i| scores[i]).sum();
        Self { anchors, mask, score_sum }
    }
}

/// The boxes `[M, 4]` that deltas `[M, 4]` make of the anchor of side 1 around the origin.
fn decode_unit(deltas: Tensor<2>, weights: [f32; 4]) -> Tensor<2> {
    let weights = Tensor::<1>::from_floats(weights, &deltas.device());
    let deltas = deltas / weights.unsqueeze();
    let centre = deltas.clone().narrow(1, 0, 2);
    let half = deltas.narrow(1, 2, 2).clamp_max(LARGEST_LOG_SIZE).exp() * 0.5;
    Tensor::cat(vec![centre.clone() - half.clone(), centre + half], 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    const HEADS: [ClassActivation; 2] =
        [ClassActivation::Sigmoid, ClassActivation::Softmax { background: 0 }];

    fn view(seed: u32) -> Predictions {
        let device = device();
        Predictions::new(
            pseudo_logits([2, 10, 3], seed, &device).require_grad(),
            (pseudo_logits([2, 10, 4], seed + 1, &device) * 0.1).require_grad(),
        )
    }

    fn run(loss: DenseTeacherLoss, pair: &ViewPair) -> [f32; 3] {
        let terms = loss.forward(ClassActivation::Sigmoid, pair, [1.0; 4]);
        [terms.class, terms.boxes, terms.selected_score].map(|term| values(&term)[0])
    }

    #[test]
    fn the_surest_anchors_are_chosen_and_the_first_of_equal_ones() {
        let chosen = Chosen::new(vec![0.1, 0.9, 0.5, 0.5, 0.7], 0.6);
        assert_eq!(chosen.anchors, [1, 2, 4]);
        assert_eq!(chosen.mask, [0.0, 1.0, 1.0, 0.0, 1.0]);
        assert!((chosen.score_sum - 2.1).abs() < 1e-6);
        assert_eq!(Chosen::new(vec![0.1, 0.2], 1e-6).anchors, [1]);
    }

    #[test]
    fn a_student_equal_to_a_teacher_of_whom_all_is_selected_has_nothing_to_learn() {
        for activation in HEADS {
            let (student, teacher) = (view(1), view(1));
            let all = DenseTeacherLoss { selected: 1.0, ..DenseTeacherLoss::default() };
            let terms = all.forward(activation, &ViewPair::new(student.clone(), teacher), [1.0; 4]);
            // Boxes of equal corners have a GIoU of 1 but for the epsilon in its divisors.
            assert_close(&values(&terms.class), &[0.0], 1e-6);
            assert_close(&values(&terms.boxes), &[0.0], 1e-5);
            let slopes = gradient(&student.class_logits, &terms.class.backward());
            assert_close(&slopes, &[0.0; 60], 1e-5);
        }
    }

    #[test]
    fn only_the_student_learns_and_boxes_of_the_selected_alone() {
        for activation in HEADS {
            let (student, teacher) = (view(1), view(7));
            let loss = DenseTeacherLoss { selected: 0.2, ..DenseTeacherLoss::default() };
            let terms = loss.forward(activation, &ViewPair::new(student.clone(), teacher.clone()), [1.0; 4]);
            let gradients = (terms.class + terms.boxes).backward();
            assert!(gradient(&student.class_logits, &gradients).iter().any(|&g| g != 0.0));
            let moved = gradient(&student.box_deltas, &gradients);
            let moved = moved.chunks(4).filter(|row| row.iter().any(|&g| g != 0.0)).count();
            assert_eq!(moved, 4, "a fifth of 20 anchors");
            assert!(teacher.class_logits.grad(&gradients).is_none());
            assert!(teacher.box_deltas.grad(&gradients).is_none());
        }
    }

    #[test]
    fn each_option_acts() {
        let base = DenseTeacherLoss::default();
        let pair = ViewPair::new(view(1), view(7));
        let [class, boxes, score] = run(base, &pair);
        let [double_class, double_boxes, _] = run(DenseTeacherLoss { weight: 2.0, ..base }, &pair);
        assert_close(&[double_class, double_boxes], &[2.0 * class, 2.0 * boxes], 1e-6);
        assert_close(
            &run(DenseTeacherLoss { box_weight: 3.0, ..base }, &pair),
            &[class, 3.0 * boxes, score],
            1e-6,
        );
        assert!(run(DenseTeacherLoss { selected: 0.5, ..base }, &pair)[2] > score);
    }

    #[test]
    fn the_iou_does_not_depend_on_the_anchor() {
        // Deltas (0.5, 0, ln 2, 0) of an anchor of 10 × 20 at (3, 4): a box of 20 × 20 around (8, 4).
        let deltas = Tensor::<2>::from_floats([[0.5, 0.0, 2.0_f32.ln(), 0.0], [0.0; 4]], &device());
        let unit = decode_unit(deltas, [1.0; 4]);
        let pair = |boxes: Tensor<2>| giou_loss(boxes.clone().narrow(0, 0, 1), boxes.narrow(0, 1, 1));
        let real = Tensor::<2>::from_floats([[-2.0, -6.0, 18.0, 14.0], [-2.0, -6.0, 8.0, 14.0]], &device());
        assert_close(&values(&pair(unit)), &values(&pair(real)), 1e-6);
        let weighted = Tensor::<2>::from_floats([[5.0, 0.0, 5.0 * 2.0_f32.ln(), 0.0]], &device());
        let plain = Tensor::<2>::from_floats([[0.5, 0.0, 2.0_f32.ln(), 0.0]], &device());
        let weighted = decode_unit(weighted, [10.0, 10.0, 5.0, 5.0]);
        assert_close(&values(&weighted), &values(&decode_unit(plain, [1.0; 4])), 1e-6);
    }

    #[test]
    fn options_are_checked_and_named() {
        let base = DenseTeacherLoss::default();
        assert!(base.validate().is_ok());
        for (loss, option) in [
            (DenseTeacherLoss { weight: -1.0, ..base }, "dense_teacher.weight"),
            (DenseTeacherLoss { box_weight: f64::NAN, ..base }, "dense_teacher.box_weight"),
            (DenseTeacherLoss { selected: 0.0, ..base }, "dense_teacher.selected"),
            (DenseTeacherLoss { selected: 1.1, ..base }, "dense_teacher.selected"),
        ] {
            assert_eq!(loss.validate().unwrap_err().option, option);
        }
    }
}
