//! The second stage's choice of regions and its losses on labeled images.

use burn::tensor::{Int, Tensor, TensorData, activation::log_softmax};
use sed_core::{DetectionLoss, InvalidOption, Predictions, Targets, losses::smooth_l1, ops::boxes};
use serde::{Deserialize, Serialize};

use super::{
    Rois,
    sampler::{Sampler, seed_of},
};
use crate::{
    box_coder::BoxCoder,
    host::for_each_image,
    matcher::{Assignment, Matcher},
};

/// Cross-entropy on a sample of the regions and smooth L1 on those on objects:
///
/// ```text
/// L_class = 1/S Σ_{r sampled} −ln softmax(z_r)[c_r]
/// L_box   = box_weight · 1/S Σ_{r sampled, matched} smooth_l1(d_r,c − target_r)
/// ```
///
/// with `S` sampled regions in the batch, `c_r` the class of the region's object or background, and the
/// deltas of that class. The regions are the proposals and the labeled boxes themselves. (Girshick, *Fast
/// R-CNN*, ICCV 2015, §2.3; as in torchvision. Regions that lie mostly in a crowd are not background: our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Predictions, Targets};
/// use sed_models::{box_coder::BoxCoder, faster_rcnn::RoiLoss};
///
/// let device = Device::default();
/// let object = [0.0, 0.0, 10.0, 10.0];
/// let targets = [Targets { boxes: vec![object], labels: vec![1], crowds: Vec::new() }];
/// let loss = RoiLoss::default();
/// // One proposal beside the object, and the object itself.
/// let sampled = loss.sample(vec![vec![[40.0, 0.0, 50.0, 10.0]]], &targets);
/// assert_eq!(sampled.labels, [Some(1), None]);
/// // Undecided between background and two classes; the box is right.
/// let predictions = Predictions::new(Tensor::zeros([1, 2, 3], &device), Tensor::zeros([1, 2, 12], &device));
/// let loss = loss.forward(predictions, &sampled, &BoxCoder::default());
/// assert!((loss.classification.into_scalar::<f32>() - 3.0_f32.ln()).abs() < 1e-6);
/// assert_eq!(loss.box_regression.into_scalar::<f32>(), 0.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiLoss {
    /// Which regions stand for which objects.
    pub matcher: Matcher,
    /// Which regions take part.
    pub sampler: Sampler,
    /// Where smooth L1 turns from a square into a line; 0 is L1.
    pub beta: f64,
    /// Factor of the box loss.
    pub box_weight: f64,
}

impl Default for RoiLoss {
    /// Matched from IoU .5, else background; 512 regions an image, at most a quarter of them matched;
    /// β 1/9 as in torchvision.
    fn default() -> Self {
        Self {
            matcher: Matcher { high: 0.5, low: 0.5, allow_low_quality: false },
            sampler: Sampler { per_image: 512, positive_fraction: 0.25 },
            beta: 1.0 / 9.0,
            box_weight: 1.0,
        }
    }
}

/// The regions of a batch that take part in the loss, and what each shall predict.
///
/// ```
/// use sed_core::Targets;
/// use sed_models::faster_rcnn::{RoiLoss, RoiTargets};
///
/// let (object, proposal) = ([0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 50.0, 10.0]);
/// let targets = [Targets { boxes: vec![object], labels: vec![2], crowds: Vec::new() }];
/// let RoiTargets { rois, labels, objects } = RoiLoss::default().sample(vec![vec![proposal]], &targets);
/// assert_eq!((rois.boxes, rois.images), (vec![object, proposal], vec![0, 0]));
/// // The proposal is background.
/// assert_eq!((labels, objects), (vec![Some(2), None], vec![object, [0.0; 4]]));
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct RoiTargets {
    /// The regions.
    pub rois: Rois,
    /// The dense class of each region's object; `None` for background.
    pub labels: Vec<Option<usize>>,
    /// The object's box; all 0 for background.
    pub objects: Vec<[f32; 4]>,
}

impl RoiLoss {
    /// Checks the numbers, the matcher apart.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RoiLoss;
    ///
    /// assert!(RoiLoss::default().validate().is_ok());
    /// let error = RoiLoss { box_weight: -1.0, ..RoiLoss::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "loss.box_weight");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.sampler.validate()?;
        InvalidOption::unless_non_negative("loss.beta", self.beta)?;
        InvalidOption::unless_non_negative("loss.box_weight", self.box_weight)
    }

    /// Draws the regions of each image from its `proposals` and labeled boxes.
    ///
    /// # Panics
    ///
    /// If the numbers of images differ, or a target has not one label a box.
    ///
    /// ```
    /// use sed_core::Targets;
    /// use sed_models::faster_rcnn::RoiLoss;
    ///
    /// let object = [0.0, 0.0, 10.0, 10.0];
    /// let targets = [Targets { boxes: vec![object], labels: vec![2], crowds: Vec::new() }];
    /// // An IoU of 0.9 with the object, and of 0.
    /// let proposals = vec![vec![[0.0, 0.0, 10.0, 9.0], [40.0, 0.0, 50.0, 10.0]]];
    /// let sampled = RoiLoss::default().sample(proposals, &targets);
    /// assert_eq!(sampled.rois.boxes, [[0.0, 0.0, 10.0, 9.0], object, [40.0, 0.0, 50.0, 10.0]]);
    /// assert_eq!(sampled.labels, [Some(2), Some(2), None]);
    /// ```
    pub fn sample(&self, proposals: Vec<Vec<[f32; 4]>>, targets: &[Targets]) -> RoiTargets {
        let (n, t) = (proposals.len(), targets.len());
        assert_eq!(n, t, "RoiLoss: proposals of {n} images, {t} targets");
        for target in targets {
            let (boxes, labels) = (target.boxes.len(), target.labels.len());
            assert_eq!(boxes, labels, "RoiLoss: {boxes} boxes, {labels} labels");
        }
        let images = for_each_image(n, |i| {
            let labeled = targets[i].boxes.iter().copied().filter(boxes::is_valid);
            let regions: Vec<[f32; 4]> = proposals[i].iter().copied().chain(labeled).collect();
            let assignments = self.matcher.assign_outside_crowds(&targets[i], &regions);
            let sample = self.sampler.draw(&assignments, seed_of(regions.as_flattened()));
            (regions, assignments, sample)
        });
        let mut all = RoiTargets::default();
        for (i, (regions, assignments, sample)) in images.into_iter().enumerate() {
            for k in sample.positives.into_iter().chain(sample.negatives) {
                let (label, object) = match assignments[k] {
                    Assignment::Matched(object) => {
                        (Some(targets[i].labels[object]), targets[i].boxes[object])
                    }
                    _ => (None, [0.0; 4]),
                };
                all.rois.boxes.push(regions[k]);
                all.rois.images.push(i);
                all.labels.push(label);
                all.objects.push(object);
            }
        }
        all
    }

    /// The losses of `predictions` (`[1, K, C + 1]` logits, `[1, K, 4·(C + 1)]` deltas) on the `K` regions
    /// of `targets`, as stage `"roi"`.
    ///
    /// # Panics
    ///
    /// If the numbers of regions differ, or a label is not below `C`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::Predictions;
    /// use sed_models::{
    ///     box_coder::BoxCoder,
    ///     faster_rcnn::{RoiLoss, RoiTargets, Rois},
    /// };
    ///
    /// let device = Device::default();
    /// let object = [0.0, 0.0, 10.0, 10.0];
    /// let targets =
    ///     RoiTargets { rois: Rois::new(&[vec![object]]), labels: vec![Some(0)], objects: vec![object] };
    /// // Sure of class 0, its box half its width to the right; the background's deltas do not count.
    /// let logits = Tensor::from_floats([[[0.0, 50.0]]], &device);
    /// let deltas = Tensor::from_floats([[[9.0, 9.0, 9.0, 9.0, 0.5, 0.0, 0.0, 0.0]]], &device);
    /// let l1 = RoiLoss { beta: 0.0, ..RoiLoss::default() };
    /// let loss = l1.forward(Predictions::new(logits, deltas), &targets, &BoxCoder::default());
    /// assert!(loss.classification.into_scalar::<f32>() < 1e-6);
    /// assert_eq!(loss.box_regression.into_scalar::<f32>(), 0.5);
    /// ```
    pub fn forward(&self, predictions: Predictions, targets: &RoiTargets, coder: &BoxCoder) -> DetectionLoss {
        let [_, k, outputs] = predictions.class_logits.dims();
        let regions = targets.labels.len();
        assert_eq!(k, regions, "RoiLoss: predictions of {k} regions, {regions} targets");
        if let Some(label) = targets.labels.iter().flatten().find(|label| **label + 1 >= outputs) {
            panic!("RoiLoss: label {label} of {} classes", outputs - 1);
        }
        let device = predictions.class_logits.device();
        // The background is output 0.
        let outputs_of = |label: &Option<usize>| label.map_or(0, |label| label as i64 + 1);
        let classes: Vec<i64> = targets.labels.iter().map(outputs_of).collect();
        let log_p = log_softmax(predictions.class_logits.reshape([k, outputs]), 1);
        let wanted = Tensor::<2, Int>::from_data(TensorData::new(classes.clone(), [k, 1]), &device);
        let classification = -log_p.gather(1, wanted).mean();

        let matched: Vec<usize> = (0..k).filter(|&r| targets.labels[r].is_some()).collect();
        let mut box_regression = Tensor::zeros([1], &device);
        if !matched.is_empty() {
            let rows: Vec<i64> = matched.iter().map(|&r| (r * outputs) as i64 + classes[r]).collect();
            let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [matched.len()]), &device);
            let found = predictions.box_deltas.reshape([k * outputs, 4]).select(0, rows);
            let encode = |&r: &usize| coder.encode(targets.objects[r], targets.rois.boxes[r]);
            let target: Vec<f32> = matched.iter().flat_map(encode).collect();
            let target = Tensor::from_data(TensorData::new(target, [matched.len(), 4]), &device);
            box_regression = smooth_l1(found, target, self.beta).sum() * (self.box_weight / k as f64);
        }
        DetectionLoss { stage: "roi", classification, box_regression }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Gradients};

    use super::*;

    const OBJECT: [f32; 4] = [0., 0., 10., 10.];

    fn target() -> Targets {
        Targets { boxes: vec![OBJECT], labels: vec![1], crowds: vec![] }
    }

    /// Twice as wide as the object (IoU ½), and far away.
    fn proposals() -> Vec<[f32; 4]> {
        vec![[0., 0., 20., 10.], [50., 0., 60., 10.]]
    }

    #[test]
    fn proposals_and_labeled_boxes_are_matched() {
        let found = RoiLoss::default().sample(vec![proposals(), vec![]], &[target(), Targets::default()]);
        assert_eq!(found.rois.boxes, [proposals()[0], OBJECT, proposals()[1]]);
        assert_eq!(found.rois.images, [0; 3]);
        assert_eq!(found.labels, [Some(1), Some(1), None]);
        // An image without proposals and objects gives nothing, one without objects background.
        let found = RoiLoss::default().sample(vec![proposals()], &[Targets::default()]);
        assert_eq!(found.labels, [None, None]);
        assert_eq!(RoiLoss::default().sample(vec![vec![]], &[Targets::default()]), RoiTargets::default());
        // A box without area is no region.
        let line = Targets { boxes: vec![[3., 0., 3., 9.]], labels: vec![0], crowds: vec![] };
        assert_eq!(RoiLoss::default().sample(vec![vec![]], &[line]), RoiTargets::default());
    }

    #[test]
    fn background_in_a_crowd_is_left_out_and_the_options_of_the_choice_act() {
        let crowd = Targets { crowds: vec![[45., 0., 70., 10.]], ..target() };
        let count =
            |loss: &RoiLoss, targets: Targets| loss.sample(vec![proposals()], &[targets]).labels.len();
        let base = RoiLoss::default();
        assert_eq!(count(&base, crowd), 2);
        let one = RoiLoss { sampler: Sampler { per_image: 1, positive_fraction: 1.0 }, ..base };
        assert_eq!(count(&one, target()), 1);
        let strict = RoiLoss { matcher: Matcher { high: 0.6, low: 0.6, allow_low_quality: false }, ..base };
        let labels = strict.sample(vec![proposals()], &[target()]).labels;
        assert_eq!(labels, [Some(1), None, None]);
    }

    struct Inputs {
        logits: Tensor<3>,
        deltas: Tensor<3>,
    }

    /// Two classes; all logits 0 and all deltas 1.
    fn inputs() -> Inputs {
        let device = Device::default().autodiff();
        Inputs {
            logits: Tensor::zeros([1, 3, 3], &device).require_grad(),
            deltas: Tensor::ones([1, 3, 12], &device).require_grad(),
        }
    }

    fn loss(inputs: &Inputs, loss: &RoiLoss) -> DetectionLoss {
        let sampled = RoiLoss::default().sample(vec![proposals()], &[target()]);
        let predictions = Predictions::new(inputs.logits.clone(), inputs.deltas.clone());
        loss.forward(predictions, &sampled, &BoxCoder::default())
    }

    fn gradient(tensor: &Tensor<3>, gradients: &Gradients) -> Vec<f32> {
        tensor.grad(gradients).expect("takes part").try_into_vec_as().unwrap()
    }

    #[track_caller]
    fn assert_close(values: &[f32], expected: &[f32]) {
        assert_eq!(values.len(), expected.len());
        for (value, expected) in values.iter().zip(expected) {
            // A few terms of order 1.
            assert!((value - expected).abs() < 1e-5, "{values:?} {expected:?}");
        }
    }

    #[test]
    fn losses_and_gradients_by_hand() {
        let inputs = inputs();
        let losses = loss(&inputs, &RoiLoss::default());
        let scalar = |t: &Tensor<1>| t.clone().into_scalar::<f32>();
        assert_close(&[scalar(&losses.classification)], &[3.0f32.ln()]);
        // Region 0: dx = −¼, dw = −ln 2; region 1 is the object: deltas 0. All others 0; d = 1 − target.
        let l1 = |d: f32| d.abs() - 1.0 / 18.0;
        let boxes = l1(1.25) + l1(1.0 + 2.0f32.ln()) + 6.0 * l1(1.0);
        assert_close(&[scalar(&losses.box_regression)], &[boxes / 3.0]);

        let gradients = losses.total().backward();
        // (softmax − one-hot) / 3: class 1 is output 2.
        let (third, ninth) = (1.0 / 3.0, 1.0 / 9.0);
        let (object, background) = ([ninth, ninth, ninth - third], [ninth - third, ninth, ninth]);
        assert_close(&gradient(&inputs.logits, &gradients), &[object, object, background].concat());
        // Only the deltas of the object's class, of the two matched regions.
        let mut expected = [0.0; 36];
        expected[8..12].fill(third);
        expected[20..24].fill(third);
        assert_close(&gradient(&inputs.deltas, &gradients), &expected);
    }

    #[test]
    fn weight_and_beta_act() {
        let inputs = inputs();
        let value = |config: RoiLoss| loss(&inputs, &config).box_regression.into_scalar::<f32>();
        let base = RoiLoss::default();
        assert_close(&[value(RoiLoss { box_weight: 3.0, ..base })], &[3.0 * value(base)]);
        assert_close(&[value(RoiLoss { beta: 0.0, ..base }) - value(base)], &[8.0 / 18.0 / 3.0]);
    }

    #[test]
    #[should_panic(expected = "1 boxes, 0 labels")]
    fn each_box_needs_a_label() {
        RoiLoss::default().sample(vec![vec![]], &[Targets { labels: vec![], ..target() }]);
    }

    #[test]
    #[should_panic(expected = "label 2 of 2 classes")]
    fn a_label_must_be_a_class() {
        let sampled = RoiLoss::default().sample(vec![vec![]], &[Targets { labels: vec![2], ..target() }]);
        let device = Device::default();
        let predictions =
            Predictions::new(Tensor::zeros([1, 1, 3], &device), Tensor::ones([1, 1, 12], &device));
        RoiLoss::default().forward(predictions, &sampled, &BoxCoder::default());
    }

    #[test]
    fn background_alone_has_no_box_loss() {
        let device = Device::default();
        let sampled = RoiLoss::default().sample(vec![proposals()], &[Targets::default()]);
        let predictions =
            Predictions::new(Tensor::zeros([1, 2, 3], &device), Tensor::ones([1, 2, 12], &device));
        let losses = RoiLoss::default().forward(predictions, &sampled, &BoxCoder::default());
        assert_eq!(losses.box_regression.into_scalar::<f32>(), 0.0);
    }
}
