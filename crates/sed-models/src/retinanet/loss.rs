//! RetinaNet's losses on labeled images.

use burn::tensor::{Device, Int, Tensor, TensorData};
use sed_core::{
    DetectionLoss, InvalidOption, Predictions, Targets,
    losses::{SigmoidFocalLoss, giou_loss, smooth_l1},
};
use serde::{Deserialize, Serialize};

use crate::{
    box_coder::BoxCoder,
    host::for_each_image,
    matcher::{Assignment, Matcher},
};

/// How far a predicted box is from its object.
///
/// In TOML: `box_loss = "giou"`, `box_loss = { smooth_l1 = { beta = 0.1 } }`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Predictions, Targets};
/// use sed_models::{
///     box_coder::BoxCoder,
///     matcher::Matcher,
///     retinanet::{BoxLoss, RetinaNetLoss},
/// };
///
/// let device = Device::default();
/// // An object where its anchor is, predicted half its width to the right.
/// let anchor = [0.0, 0.0, 10.0, 10.0];
/// let targets = [Targets { boxes: vec![anchor], labels: vec![0], crowds: Vec::new() }];
/// let deltas = Tensor::from_floats([[[0.5, 0.0, 0.0, 0.0]]], &device);
/// let predictions = Predictions::new(Tensor::zeros([1, 1, 1], &device), deltas);
/// let loss = |box_loss: BoxLoss| {
///     let loss = RetinaNetLoss { box_loss, ..RetinaNetLoss::default() };
///     let (matcher, coder) = (Matcher::default(), BoxCoder::default());
///     let loss = loss.forward(predictions.clone(), &[anchor], &targets, &matcher, &coder);
///     loss.box_regression.into_scalar::<f32>()
/// };
/// assert_eq!(loss(BoxLoss::SmoothL1 { beta: 0.0 }), 0.5);
/// // The boxes share 50 px² of 150.
/// assert!((loss(BoxLoss::Giou) - 2.0 / 3.0).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum BoxLoss {
    /// Smooth L1 on encoded deltas, summed over the four; L1 at `beta` 0.
    SmoothL1 {
        /// Where the square turns into a line.
        beta: f64,
    },
    /// One minus GIoU of decoded boxes.
    Giou,
}

/// Focal loss on all anchors and a box loss on the matched ones:
///
/// ```text
/// L_class = 1/N Σ_i  Σ_{a not ignored, c} FL(z_iac, t_iac) / max(1, P_i)
/// L_box   = box_weight · 1/N Σ_i  Σ_{a matched} ℓ_ia / max(1, P_i)
/// ```
///
/// with `N` images and `P_i` matched anchors in image `i`. Anchors that the matcher leaves between
/// its thresholds take no part, nor do background anchors that lie mostly in a crowd region. (Lin et
/// al., ICCV 2017, §4.1; the mean over images as in torchvision; the rule for crowds is our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Predictions, Targets};
/// use sed_models::{box_coder::BoxCoder, matcher::Matcher, retinanet::RetinaNetLoss};
///
/// let device = Device::default();
/// let anchors = [[0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 50.0, 10.0]];
/// let targets = [Targets { boxes: vec![anchors[0]], labels: vec![1], crowds: Vec::new() }];
/// // Right of both anchors: the first has class 1, the second none.
/// let logits = Tensor::from_floats([[[-20.0, 20.0], [-20.0, -20.0]]], &device);
/// let predictions = Predictions::new(logits, Tensor::zeros([1, 2, 4], &device));
/// let loss = RetinaNetLoss::default().forward(
///     predictions,
///     &anchors,
///     &targets,
///     &Matcher::default(),
///     &BoxCoder::default(),
/// );
/// assert!(loss.total().into_scalar::<f32>() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetinaNetLoss {
    /// The focal loss.
    pub focal: SigmoidFocalLoss,
    /// The box loss.
    pub box_loss: BoxLoss,
    /// Factor of the box loss.
    pub box_weight: f64,
}

impl Default for RetinaNetLoss {
    /// torchvision's: α .25, γ 2, L1.
    fn default() -> Self {
        Self {
            focal: SigmoidFocalLoss::default(),
            box_loss: BoxLoss::SmoothL1 { beta: 0.0 },
            box_weight: 1.0,
        }
    }
}

impl RetinaNetLoss {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::retinanet::{BoxLoss, RetinaNetLoss};
    ///
    /// assert!(RetinaNetLoss::default().validate().is_ok());
    /// let box_loss = BoxLoss::SmoothL1 { beta: -1.0 };
    /// let error = RetinaNetLoss { box_loss, ..RetinaNetLoss::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "loss.box_loss.beta");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.focal.validate()?;
        InvalidOption::unless_non_negative("loss.box_weight", self.box_weight)?;
        match self.box_loss {
            BoxLoss::SmoothL1 { beta } => InvalidOption::unless_non_negative("loss.box_loss.beta", beta),
            BoxLoss::Giou => Ok(()),
        }
    }

    /// The losses of `predictions` (`[N, A, C]` logits, `[N, A, 4]` deltas) on `anchors` (`A`) against
    /// the objects of the `N` images, as stage `"head"`.
    ///
    /// Without a matched anchor the box loss is 0.
    ///
    /// # Panics
    ///
    /// If the numbers of images or anchors differ, a target has not one label a box, or a label is
    /// not below `C`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{Predictions, Targets, losses::SigmoidFocalLoss};
    /// use sed_models::{box_coder::BoxCoder, matcher::Matcher, retinanet::RetinaNetLoss};
    ///
    /// let device = Device::default();
    /// let predictions =
    ///     Predictions::new(Tensor::zeros([1, 2, 3], &device), Tensor::ones([1, 2, 4], &device));
    /// let anchors = [[0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 50.0, 10.0]];
    /// let loss =
    ///     RetinaNetLoss { focal: SigmoidFocalLoss { alpha: 0.5, gamma: 0.0 }, ..RetinaNetLoss::default() };
    /// // An image without objects: two anchors of three classes at α · ln 2, and no box.
    /// let (matcher, coder) = (Matcher::default(), BoxCoder::default());
    /// let loss = loss.forward(predictions, &anchors, &[Targets::default()], &matcher, &coder);
    /// assert!((loss.classification.into_scalar::<f32>() - 3.0 * 2.0_f32.ln()).abs() < 1e-5);
    /// assert_eq!(loss.box_regression.into_scalar::<f32>(), 0.0);
    /// ```
    pub fn forward(
        &self,
        predictions: Predictions,
        anchors: &[[f32; 4]],
        targets: &[Targets],
        matcher: &Matcher,
        coder: &BoxCoder,
    ) -> DetectionLoss {
        let [n, a, c] = predictions.class_logits.dims();
        assert_eq!(targets.len(), n, "RetinaNetLoss: predictions of {n} images, {} targets", targets.len());
        assert_eq!(anchors.len(), a, "RetinaNetLoss: {a} predictions, {} anchors", anchors.len());
        for target in targets {
            let (boxes, labels) = (target.boxes.len(), target.labels.len());
            assert_eq!(boxes, labels, "RetinaNetLoss: {boxes} boxes, {labels} labels");
            if let Some(label) = target.labels.iter().find(|label| **label >= c) {
                panic!("RetinaNetLoss: label {label} of {c} classes");
            }
        }
        let device = predictions.class_logits.device();
        let assigned = AnchorTargets::new(anchors, targets, c, matcher);
        let (ids, weights) = assigned.dense(&device, [n, a]);
        let classification = self.focal.sum_of_classes(predictions.class_logits, ids, weights);
        let box_regression = self.boxes(predictions.box_deltas, assigned, coder) * self.box_weight;
        DetectionLoss { stage: "head", classification, box_regression }
    }

    fn boxes(&self, deltas: Tensor<3>, assigned: AnchorTargets, coder: &BoxCoder) -> Tensor<1> {
        let [n, a, _] = deltas.dims();
        let device = deltas.device();
        let matched = assigned.matched.len();
        if matched == 0 {
            return Tensor::zeros([1], &device);
        }
        let rows = |boxes: Vec<[f32; 4]>| {
            Tensor::<2>::from_data(TensorData::new(boxes.into_flattened(), [matched, 4]), &device)
        };
        let indices: Vec<i64> = assigned.matched.iter().map(|m| m.index as i64).collect();
        let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [matched]), &device);
        let predicted = deltas.reshape([n * a, 4]).select(0, indices);
        let losses = match self.box_loss {
            BoxLoss::SmoothL1 { beta } => {
                let target = assigned.matched.iter().map(|m| coder.encode(m.object, m.anchor)).collect();
                smooth_l1(predicted, rows(target), beta).sum_dim(1).squeeze_dim::<1>(1)
            }
            BoxLoss::Giou => {
                let anchors = rows(assigned.matched.iter().map(|m| m.anchor).collect());
                let target = rows(assigned.matched.iter().map(|m| m.object).collect());
                giou_loss(coder.decode_tensor(predicted, anchors), target)
            }
        };
        let weights: Vec<f32> = assigned.matched.iter().map(|m| m.weight).collect();
        (losses * Tensor::from_data(TensorData::new(weights, [matched]), &device)).sum()
    }
}

/// A matched anchor.
struct Match {
    /// Among the `N·A` anchors of the batch.
    index: usize,
    anchor: [f32; 4],
    object: [f32; 4],
    /// `1 / (N·max(1, P_i))`.
    weight: f32,
}

/// What each anchor of a batch shall predict.
struct AnchorTargets {
    /// Class id a anchor, `C` for none.
    ids: Vec<i32>,
    /// `1 / (N·max(1, P_i))`, or 0 for ignored anchors.
    weights: Vec<f32>,
    matched: Vec<Match>,
}

impl AnchorTargets {
    fn new(anchors: &[[f32; 4]], targets: &[Targets], classes: usize, matcher: &Matcher) -> Self {
        let images = for_each_image(targets.len(), |i| matcher.assign_outside_crowds(&targets[i], anchors));
        let mut all = Self {
            ids: Vec::with_capacity(anchors.len() * targets.len()),
            weights: Vec::with_capacity(anchors.len() * targets.len()),
            matched: Vec::new(),
        };
        for (i, (assignments, target)) in images.iter().zip(targets).enumerate() {
            let positives = assignments.iter().filter(|a| matches!(a, Assignment::Matched(_))).count();
            let weight = 1.0 / (targets.len() * positives.max(1)) as f32;
            for (a, assignment) in assignments.iter().enumerate() {
                let (id, weight) = match *assignment {
                    Assignment::Matched(g) => {
                        let index = i * anchors.len() + a;
                        all.matched.push(Match {
                            index,
                            anchor: anchors[a],
                            object: target.boxes[g],
                            weight,
                        });
                        (target.labels[g], weight)
                    }
                    Assignment::Background => (classes, weight),
                    Assignment::Ignored => (classes, 0.0),
                };
                all.ids.push(id as i32);
                all.weights.push(weight);
            }
        }
        all
    }

    /// Class ids and weights, `[N, A]` each.
    fn dense(&self, device: &Device, shape: [usize; 2]) -> (Tensor<2, Int>, Tensor<2>) {
        (
            Tensor::from_data(TensorData::new(self.ids.clone(), shape), device),
            Tensor::from_data(TensorData::new(self.weights.clone(), shape), device),
        )
    }
}

#[cfg(test)]
#[path = "loss_tests.rs"]
mod tests;
