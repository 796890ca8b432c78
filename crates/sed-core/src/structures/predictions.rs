use burn::tensor::{Int, Tensor, TensorData, activation};

/// How class logits become probabilities.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::ClassActivation;
///
/// let logits = Tensor::<3>::zeros([1, 1, 4], &Device::default());
/// let values = |tensor: Tensor<3>| tensor.into_data().try_to_vec::<f32>().unwrap();
/// assert_eq!(values(ClassActivation::Sigmoid.probabilities(logits.clone())), [0.5; 4]);
/// // One distribution over the background and three classes.
/// let softmax = ClassActivation::Softmax { background: 0 };
/// assert_eq!(values(softmax.probabilities(logits.clone())), [0.25; 4]);
/// assert_eq!(softmax.class_probabilities(logits).dims(), [1, 1, 3]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClassActivation {
    /// Independent probabilities, one a class; all may be small: RetinaNet, an RPN.
    Sigmoid,
    /// One distribution over the classes and the background: the RoI head of Faster R-CNN.
    Softmax {
        /// The index of the background among the logits.
        background: usize,
    },
}

impl ClassActivation {
    /// Probabilities `[N, A, C]` of logits `[N, A, C]`.
    pub fn probabilities(self, logits: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Sigmoid => activation::sigmoid(logits),
            Self::Softmax { .. } => activation::softmax(logits, 2),
        }
    }

    /// Probabilities of the classes alone, the background left out: `[N, A, C]` for a sigmoid head, `[N, A, C − 1]` for a
    /// softmax head.
    pub fn class_probabilities(self, logits: Tensor<3>) -> Tensor<3> {
        let probabilities = self.probabilities(logits);
        match self {
            Self::Sigmoid => probabilities,
            Self::Softmax { background } => without(background, probabilities),
        }
    }

    /// `log p/(1 − p)` of the [class probabilities](Self::class_probabilities): the logits themselves for a sigmoid head.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::ClassActivation;
    ///
    /// // A background of 1/2 and two classes of 1/4: odds of 1 to 3.
    /// let logits = Tensor::<3>::from_floats([[[2.0_f32.ln(), 0.0, 0.0]]], &Device::default());
    /// let log_odds = ClassActivation::Softmax { background: 0 }.class_log_odds(logits);
    /// for value in log_odds.into_data().try_to_vec::<f32>().unwrap() {
    ///     assert!((value + 3.0_f32.ln()).abs() < 1e-5);
    /// }
    /// ```
    pub fn class_log_odds(self, logits: Tensor<3>) -> Tensor<3> {
        match self {
            Self::Sigmoid => logits,
            Self::Softmax { background } => {
                let log = without(background, activation::log_softmax(logits, 2));
                // The probability of all other classes; above 0, so that a sure class has finite odds.
                let rest = (-log.clone().exp() + 1.0).clamp_min(1e-6);
                log - rest.log()
            }
        }
    }

    /// The foreground score of each anchor, `[N, A]`: the highest class probability, background
    /// left out.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::ClassActivation;
    ///
    /// // Two anchors of three logits each, the last that of the background.
    /// let logits = Tensor::<3>::from_floats([[[9.0, 0.0, 0.0], [0.0, 0.0, 9.0]]], &Device::default());
    /// let score = ClassActivation::Softmax { background: 2 }.foreground_score(logits);
    /// let score = score.into_data().try_to_vec::<f32>().unwrap();
    /// assert!(score[0] > 0.99 && score[1] < 0.01);
    /// ```
    pub fn foreground_score(self, logits: Tensor<3>) -> Tensor<2> {
        let Self::Softmax { background } = self else {
            // The sigmoid rises with its logit: the maximum can be taken first.
            return activation::sigmoid(logits.max_dim(2)).squeeze_dim(2);
        };
        without(background, self.probabilities(logits)).max_dim(2).squeeze_dim::<2>(2)
    }
}

/// The columns `[N, A, C − 1]` of `[N, A, C]` but for that of the background.
fn without(background: usize, columns: Tensor<3>) -> Tensor<3> {
    let [n, a, c] = columns.dims();
    assert!(background < c, "background index {background} of {c} logits");
    let classes = |range: core::ops::Range<usize>| columns.clone().slice([0..n, 0..a, range]);
    match (background, c - background - 1) {
        (0, _) => classes(1..c),
        (_, 0) => classes(0..background),
        _ => Tensor::cat(vec![classes(0..background), classes(background + 1..c)], 2),
    }
}

/// What a head says of each anchor (or proposal).
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::Predictions;
///
/// let device = Device::default();
/// // A level of the pyramid with `a` anchors; 5 classes.
/// let level = |a| Predictions::new(Tensor::zeros([2, a, 5], &device), Tensor::zeros([2, a, 4], &device));
/// let all = Predictions::cat(vec![level(60), level(15)]);
/// assert_eq!((all.num_anchors(), all.class_logits.dims()), (75, [2, 75, 5]));
/// ```
#[derive(Debug, Clone)]
pub struct Predictions {
    /// `[N, A, C]`, before the activation.
    pub class_logits: Tensor<3>,
    /// `[N, A, R]` encoded box deltas; `R` is 4, or 4 a class for a class-specific regressor.
    pub box_deltas: Tensor<3>,
}

impl Predictions {
    /// Class logits `[N, A, C]` and box deltas `[N, A, R]` of the same anchors.
    ///
    /// # Panics
    ///
    /// If `N` or `A` differ.
    pub fn new(class_logits: Tensor<3>, box_deltas: Tensor<3>) -> Self {
        let (c, r) = (class_logits.dims(), box_deltas.dims());
        assert_eq!(c[..2], r[..2], "Predictions: class logits {c:?} and box deltas {r:?}");
        Self { class_logits, box_deltas }
    }

    /// The anchors of several groups (pyramid levels, say) one after another.
    ///
    /// # Panics
    ///
    /// If there is no group, or `N`, `C` or `R` differ.
    pub fn cat(groups: Vec<Self>) -> Self {
        let (logits, deltas) = groups.into_iter().map(|p| (p.class_logits, p.box_deltas)).unzip();
        Self::new(Tensor::cat(logits, 1), Tensor::cat(deltas, 1))
    }

    /// The anchors of the given numbers, the same in each image.
    ///
    /// # Panics
    ///
    /// If there is no such anchor.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::Predictions;
    ///
    /// let device = Device::default();
    /// let logits = Tensor::<3>::from_floats([[[0.0], [1.0], [2.0]]], &device);
    /// let chosen = Predictions::new(logits, Tensor::zeros([1, 3, 4], &device)).select(&[2, 0]);
    /// assert_eq!(chosen.class_logits.into_data().try_to_vec::<f32>().unwrap(), [2.0, 0.0]);
    /// ```
    #[must_use]
    pub fn select(self, anchors: &[usize]) -> Self {
        let available = self.num_anchors();
        if let Some(anchor) = anchors.iter().find(|anchor| **anchor >= available) {
            panic!("Predictions: anchor {anchor} of {available}");
        }
        let indices: Vec<i64> = anchors.iter().map(|&anchor| anchor as i64).collect();
        let indices = TensorData::new(indices, [anchors.len()]);
        let indices = Tensor::<1, Int>::from_data(indices, &self.class_logits.device());
        Self::new(self.class_logits.select(1, indices.clone()), self.box_deltas.select(1, indices))
    }

    /// The same boxes seen in a mirror, left and right exchanged: `dx` changes its sign. (The deltas `[N, A, R]` have the
    /// offset along the width first, then three others.)
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::Predictions;
    ///
    /// let device = Device::default();
    /// let deltas = Tensor::<3>::from_floats([[[0.5, 0.25, 1.0, 2.0]]], &device);
    /// let mirrored = Predictions::new(Tensor::zeros([1, 1, 3], &device), deltas).mirrored();
    /// assert_eq!(mirrored.box_deltas.into_data().try_to_vec::<f32>().unwrap(), [-0.5, 0.25, 1.0, 2.0]);
    /// ```
    #[must_use]
    pub fn mirrored(self) -> Self {
        let [n, a, r] = self.box_deltas.dims();
        let signs = Tensor::<1>::from_floats([-1.0, 1.0, 1.0, 1.0], &self.box_deltas.device());
        let deltas = self.box_deltas.reshape([n, a, r / 4, 4]) * signs.reshape([1, 1, 1, 4]);
        Self::new(self.class_logits, deltas.reshape([n, a, r]))
    }

    /// The number of anchors an image.
    pub fn num_anchors(&self) -> usize {
        self.class_logits.dims()[1]
    }

    /// The same values without a path for gradients.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::Predictions;
    ///
    /// let device = Device::default().autodiff();
    /// let logits = Tensor::<3>::zeros([1, 1, 2], &device).require_grad();
    /// let fixed = Predictions::new(logits, Tensor::zeros([1, 1, 4], &device)).detach();
    /// assert!(!fixed.class_logits.is_require_grad());
    /// ```
    pub fn detach(self) -> Self {
        // Of a leaf, `detach` alone would keep `require_grad`.
        Self {
            class_logits: self.class_logits.detach().set_require_grad(false),
            box_deltas: self.box_deltas.detach().set_require_grad(false),
        }
    }
}

/// Two predictions of the same anchors: entry `i` of one belongs to entry `i` of the other.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Predictions, ViewPair};
///
/// let device = Device::default();
/// let outputs = |logit: f32| {
///     Predictions::new(Tensor::full([1, 20, 3], logit, &device), Tensor::zeros([1, 20, 4], &device))
/// };
/// let pair = ViewPair::new(outputs(0.0), outputs(1.0));
/// assert_eq!(pair.student.num_anchors(), pair.other.num_anchors());
/// ```
#[derive(Debug, Clone)]
pub struct ViewPair {
    /// The student on the full-size strong view `X`.
    pub student: Predictions,
    /// The other side: the student on `X̂`, or the teacher on `X_w`.
    pub other: Predictions,
}

impl ViewPair {
    /// Pairs two predictions.
    ///
    /// # Panics
    ///
    /// If their shapes differ.
    pub fn new(student: Predictions, other: Predictions) -> Self {
        let (a, b) = (student.class_logits.dims(), other.class_logits.dims());
        assert_eq!(a, b, "ViewPair: class logits {a:?} and {b:?}");
        let (a, b) = (student.box_deltas.dims(), other.box_deltas.dims());
        assert_eq!(a, b, "ViewPair: box deltas {a:?} and {b:?}");
        Self { student, other }
    }
}

/// The outputs that one stage of a detector gives for the views of unlabeled images; a pair is there where
/// its [view](crate::Views) is.
///
/// A one-stage detector has one stage; a two-stage detector has two, the RPN and the RoI head.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, Predictions, StageViews, ViewPair};
///
/// let device = Device::default();
/// let pair = |anchors: usize| {
///     let outputs = Predictions::new(
///         Tensor::zeros([1, anchors, 3], &device),
///         Tensor::zeros([1, anchors, 4], &device),
///     );
///     ViewPair::new(outputs.clone(), outputs)
/// };
/// // The half-size view has partners for 20 of the 84 anchors.
/// let head = StageViews::new("head", ClassActivation::Sigmoid, pair(20), pair(84));
/// assert_eq!(head.scale_pair().student.num_anchors(), 20);
/// assert_eq!(head.distill_pair().student.num_anchors(), 84);
/// assert!(head.mirror.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct StageViews {
    /// The stage's name in logs, as `"head"`, `"rpn"`, `"roi"`.
    pub stage: &'static str,
    /// How the stage's logits become probabilities.
    pub activation: ClassActivation,
    /// The factors `[x, y, w, h]` of the stage's box deltas, as they are defined by its box coder.
    pub delta_weights: [f32; 4],
    /// The student on `X` against the student on `X̂`, on the anchors that both have.
    pub scale: Option<ViewPair>,
    /// The student on `X` against the teacher on `X_w`, on all anchors of `X`.
    pub distill: Option<ViewPair>,
    /// The student on `X` against the student on its mirror image, on the anchors whose mirror image is an anchor; the
    /// other side's deltas are mirrored back, so that the two compare directly.
    pub mirror: Option<ViewPair>,
}

impl StageViews {
    /// What Scale-Equivalent Distillation compares, with box deltas of weight 1.
    pub fn new(stage: &'static str, activation: ClassActivation, scale: ViewPair, distill: ViewPair) -> Self {
        Self {
            stage,
            activation,
            delta_weights: [1.0; 4],
            scale: Some(scale),
            distill: Some(distill),
            mirror: None,
        }
    }

    /// The pair with the half-size view.
    ///
    /// # Panics
    ///
    /// If there was no such view.
    pub fn scale_pair(&self) -> &ViewPair {
        self.there(&self.scale, "a half-size view")
    }

    /// The pair with the teacher.
    ///
    /// # Panics
    ///
    /// If there was no weak view.
    pub fn distill_pair(&self) -> &ViewPair {
        self.there(&self.distill, "a weak view for the teacher")
    }

    /// The pair with the mirror image.
    ///
    /// # Panics
    ///
    /// If there was no such view.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ClassActivation, Predictions, StageViews, ViewPair};
    ///
    /// let device = Device::default();
    /// let outputs = Predictions::new(Tensor::zeros([1, 8, 3], &device), Tensor::zeros([1, 8, 4], &device));
    /// let pair = ViewPair::new(outputs.clone(), outputs);
    /// let head = StageViews {
    ///     mirror: Some(pair.clone()),
    ///     ..StageViews::new("head", ClassActivation::Sigmoid, pair.clone(), pair)
    /// };
    /// assert_eq!(head.mirror_pair().other.num_anchors(), 8);
    /// ```
    pub fn mirror_pair(&self) -> &ViewPair {
        self.there(&self.mirror, "a mirror image")
    }

    fn there<'a>(&self, pair: &'a Option<ViewPair>, view: &str) -> &'a ViewPair {
        pair.as_ref().unwrap_or_else(|| panic!("stage {}: the views lack {view}", self.stage))
    }
}

/// The supervised loss of one stage of a detector.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::DetectionLoss;
///
/// let device = Device::default();
/// let loss = DetectionLoss {
///     stage: "head",
///     classification: Tensor::from_floats([0.75], &device),
///     box_regression: Tensor::from_floats([0.5], &device),
/// };
/// assert_eq!(loss.total().into_scalar::<f32>(), 1.25);
/// ```
#[derive(Debug, Clone)]
pub struct DetectionLoss {
    /// The stage's name in logs, as in [`StageViews::stage`].
    pub stage: &'static str,
    /// `[1]`, the classification loss, weighted as it enters the total.
    pub classification: Tensor<1>,
    /// `[1]`, the box regression loss, weighted as it enters the total.
    pub box_regression: Tensor<1>,
}

impl DetectionLoss {
    /// `[1]`, the sum of both terms.
    pub fn total(&self) -> Tensor<1> {
        self.classification.clone() + self.box_regression.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, values};

    #[test]
    fn the_foreground_score_is_the_highest_class_without_the_background() {
        // Probabilities 0.1, 0.6, 0.3 as softmax of their logarithms.
        let logits = || Tensor::<3>::from_floats([[[0.1_f32.ln(), 0.6_f32.ln(), 0.3_f32.ln()]]], &device());
        for (background, expected) in [(0, 0.6), (1, 0.3), (2, 0.6)] {
            let score = ClassActivation::Softmax { background }.foreground_score(logits());
            assert_close(&values(&score), &[expected], 1e-6);
        }
        // σ(ln 0.6) = 0.6 / 1.6.
        let score = ClassActivation::Sigmoid.foreground_score(logits());
        assert_close(&values(&score), &[0.375], 1e-6);
    }

    #[test]
    fn log_odds_are_those_of_the_class_probabilities() {
        let logits = || Tensor::<3>::from_floats([[[0.1_f32.ln(), 0.6_f32.ln(), 0.3_f32.ln()]]], &device());
        let softmax = ClassActivation::Softmax { background: 1 };
        assert_close(&values(&softmax.class_probabilities(logits())), &[0.1, 0.3], 1e-6);
        let odds = values(&softmax.class_log_odds(logits()));
        assert_close(&odds, &[(0.1_f32 / 0.9).ln(), (0.3_f32 / 0.7).ln()], 1e-5);
        assert_eq!(values(&ClassActivation::Sigmoid.class_log_odds(logits())), values(&logits()));
        let sure = Tensor::<3>::from_floats([[[-90.0, 90.0]]], &device());
        let odds = values(&ClassActivation::Softmax { background: 0 }.class_log_odds(sure));
        assert!(odds[0].is_finite() && odds[0] > 10.0);
    }

    #[test]
    fn groups_join_along_the_anchors() {
        let device = device();
        let group = |anchors: usize| {
            Predictions::new(Tensor::zeros([2, anchors, 3], &device), Tensor::zeros([2, anchors, 4], &device))
        };
        let joined = Predictions::cat(vec![group(5), group(2)]);
        assert_eq!((joined.num_anchors(), joined.class_logits.dims()), (7, [2, 7, 3]));
    }

    #[test]
    fn anchors_are_selected_in_the_order_asked_for() {
        let device = device();
        let logits = Tensor::<3>::from_floats([[[1.0], [2.0], [3.0]], [[4.0], [5.0], [6.0]]], &device);
        let picked = Predictions::new(logits.clone(), logits.repeat_dim(2, 4)).select(&[2, 0]);
        assert_close(&values(&picked.class_logits), &[3.0, 1.0, 6.0, 4.0], 0.0);
        assert_eq!(picked.box_deltas.dims(), [2, 2, 4]);
    }

    #[test]
    #[should_panic(expected = "anchor 3 of 3")]
    fn an_anchor_that_is_not_there_is_refused() {
        let device = device();
        let three = Predictions::new(Tensor::zeros([1, 3, 1], &device), Tensor::zeros([1, 3, 4], &device));
        let _ = three.select(&[3]);
    }

    #[test]
    fn a_mirror_turns_the_sign_of_the_offset_along_the_width() {
        let deltas = [[[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]]];
        let deltas = Tensor::<3>::from_floats(deltas, &device());
        let seen = Predictions::new(Tensor::zeros([1, 1, 1], &device()), deltas).mirrored();
        assert_close(&values(&seen.box_deltas), &[-1.0, 2.0, 3.0, 4.0, -5.0, 6.0, 7.0, 8.0], 0.0);
    }

    #[test]
    fn detached_predictions_pass_no_gradient_back() {
        let x = Tensor::<3>::ones([1, 1, 4], &device()).require_grad();
        let predictions = Predictions::new(x.clone() * 2.0, x.clone() * 3.0);
        let loss = predictions.clone().detach().class_logits.sum() * 5.0 + predictions.box_deltas.sum();
        assert_eq!(gradient(&x, &loss.backward()), [3.0; 4]);
        let leaf = Predictions::new(x.clone(), x).detach();
        assert!(!leaf.class_logits.is_require_grad() && !leaf.box_deltas.is_require_grad());
    }

    #[test]
    #[should_panic(expected = "class logits [1, 2, 3] and box deltas [1, 3, 4]")]
    fn anchors_must_agree() {
        let device = device();
        Predictions::new(Tensor::zeros([1, 2, 3], &device), Tensor::zeros([1, 3, 4], &device));
    }

    #[test]
    #[should_panic(expected = "box deltas [1, 2, 4] and [1, 2, 8]")]
    fn pairs_must_agree() {
        let device = device();
        let view = |r| Predictions::new(Tensor::zeros([1, 2, 3], &device), Tensor::zeros([1, 2, r], &device));
        ViewPair::new(view(4), view(8));
    }
}
