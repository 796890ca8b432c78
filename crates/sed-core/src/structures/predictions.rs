use burn::tensor::{Tensor, activation};

/// How class logits become probabilities.
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

    /// The foreground score of each anchor, `[N, A]`: the highest class probability, background
    /// left out.
    pub fn foreground_score(self, logits: Tensor<3>) -> Tensor<2> {
        let probabilities = self.probabilities(logits);
        let [n, a, c] = probabilities.dims();
        let foreground = match self {
            Self::Sigmoid => probabilities,
            Self::Softmax { background } => {
                assert!(background < c, "background index {background} of {c} logits");
                let before = probabilities.clone().slice([0..n, 0..a, 0..background]);
                let after = probabilities.slice([0..n, 0..a, background + 1..c]);
                match (background, c - background - 1) {
                    (0, _) => after,
                    (_, 0) => before,
                    _ => Tensor::cat(vec![before, after], 2),
                }
            }
        };
        foreground.max_dim(2).squeeze_dim::<2>(2)
    }
}

/// What a head says of each anchor (or proposal).
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

    /// The number of anchors an image.
    pub fn num_anchors(&self) -> usize {
        self.class_logits.dims()[1]
    }

    /// The same values without a path for gradients.
    pub fn detach(self) -> Self {
        Self { class_logits: self.class_logits.detach(), box_deltas: self.box_deltas.detach() }
    }
}

/// Two predictions of the same anchors: entry `i` of one belongs to entry `i` of the other.
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

/// The outputs that one stage of a detector gives for the three views of unlabeled images.
///
/// A one-stage detector has one stage; a two-stage detector has two, the RPN and the RoI head.
#[derive(Debug, Clone)]
pub struct StageViews {
    /// The stage's name in logs, as `"head"`, `"rpn"`, `"roi"`.
    pub stage: &'static str,
    /// How the stage's logits become probabilities.
    pub activation: ClassActivation,
    /// The student on `X` against the student on `X̂`, on the anchors that both have.
    pub scale: ViewPair,
    /// The student on `X` against the teacher on `X_w`, on all anchors of `X`.
    pub distill: ViewPair,
}

/// The supervised loss of one stage of a detector.
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
