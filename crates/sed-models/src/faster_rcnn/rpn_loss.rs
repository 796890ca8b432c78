//! The losses of the region proposal network on labeled images.

use burn::tensor::{Int, Tensor, TensorData, activation::log_sigmoid};
use sed_core::{DetectionLoss, InvalidOption, Predictions, Targets, losses::smooth_l1};
use serde::{Deserialize, Serialize};

use super::sampler::Sampler;
use crate::{
    box_coder::BoxCoder,
    host::for_each_image,
    matcher::{Assignment, Matcher},
};

/// Binary cross-entropy on a sample of the anchors and smooth L1 on its matched ones:
///
/// ```text
/// L_class = 1/S Σ_{a sampled} BCE(z_a, t_a)
/// L_box   = box_weight · 1/S Σ_{a sampled, matched} smooth_l1(d_a − target_a)
/// ```
///
/// with `S` sampled anchors in the batch. Background anchors that lie mostly in a crowd region are never
/// sampled. (Ren et al., *Faster R-CNN*, NIPS 2015, eq. 1; normalised by `S` as in torchvision; the rule for
/// crowds is our design.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Predictions, Targets};
/// use sed_models::{box_coder::BoxCoder, faster_rcnn::RpnLoss};
///
/// let device = Device::default();
/// let anchors = [[0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 50.0, 10.0]];
/// let targets = [Targets { boxes: vec![anchors[0]], labels: vec![1], crowds: Vec::new() }];
/// let loss = |logits: [f32; 2]| {
///     let logits = Tensor::<1>::from_floats(logits, &device).reshape([1, 2, 1]);
///     let predictions = Predictions::new(logits, Tensor::zeros([1, 2, 4], &device));
///     let loss = RpnLoss::default().forward(predictions, &anchors, &targets, &BoxCoder::default(), &[0]);
///     loss.total().into_scalar::<f32>()
/// };
/// // Undecided, and right of both.
/// assert!((loss([0.0, 0.0]) - 2.0_f32.ln()).abs() < 1e-6);
/// assert!(loss([20.0, -20.0]) < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnLoss {
    /// Which anchors stand for which objects.
    pub matcher: Matcher,
    /// Which anchors take part.
    pub sampler: Sampler,
    /// Where smooth L1 turns from a square into a line; 0 is L1.
    pub beta: f64,
    /// Factor of the box loss.
    pub box_weight: f64,
}

impl Default for RpnLoss {
    /// Matched from IoU .7, background below .3, each object its best anchors; 256 anchors an image, at most half of
    /// them matched; β 1/9 as in torchvision.
    fn default() -> Self {
        Self {
            matcher: Matcher { high: 0.7, low: 0.3, allow_low_quality: true },
            sampler: Sampler { per_image: 256, positive_fraction: 0.5 },
            beta: 1.0 / 9.0,
            box_weight: 1.0,
        }
    }
}

impl RpnLoss {
    /// Checks the numbers, the matcher apart.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RpnLoss;
    ///
    /// assert!(RpnLoss::default().validate().is_ok());
    /// let error = RpnLoss { beta: -1.0, ..RpnLoss::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "loss.beta");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.sampler.validate()?;
        InvalidOption::unless_non_negative("loss.beta", self.beta)?;
        InvalidOption::unless_non_negative("loss.box_weight", self.box_weight)
    }

    /// The losses of `predictions` (`[N, A, 1]` logits, `[N, A, 4]` deltas) on `anchors` (`A`) against the
    /// objects of the `N` images, as stage `"rpn"`; `seeds` has one entry an image, for the draw.
    ///
    /// Both are 0 where nothing is sampled.
    ///
    /// # Panics
    ///
    /// If the numbers of images or anchors differ.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{Predictions, Targets};
    /// use sed_models::{box_coder::BoxCoder, faster_rcnn::RpnLoss};
    ///
    /// let device = Device::default();
    /// let anchor = [0.0, 0.0, 10.0, 10.0];
    /// let targets = [Targets { boxes: vec![anchor], labels: vec![0], crowds: Vec::new() }];
    /// // Found half its width to the right.
    /// let deltas = Tensor::from_floats([[[0.5, 0.0, 0.0, 0.0]]], &device);
    /// let predictions = Predictions::new(Tensor::zeros([1, 1, 1], &device), deltas);
    /// let l1 = RpnLoss { beta: 0.0, ..RpnLoss::default() };
    /// let loss = l1.forward(predictions, &[anchor], &targets, &BoxCoder::default(), &[0]);
    /// assert_eq!((loss.stage, loss.box_regression.into_scalar::<f32>()), ("rpn", 0.5));
    /// ```
    pub fn forward(
        &self,
        predictions: Predictions,
        anchors: &[[f32; 4]],
        targets: &[Targets],
        coder: &BoxCoder,
        seeds: &[u64],
    ) -> DetectionLoss {
        let [n, a, _] = predictions.class_logits.dims();
        assert_eq!(targets.len(), n, "RpnLoss: predictions of {n} images, {} targets", targets.len());
        assert_eq!(seeds.len(), n, "RpnLoss: predictions of {n} images, {} seeds", seeds.len());
        assert_eq!(anchors.len(), a, "RpnLoss: {a} predictions, {} anchors", anchors.len());
        let device = predictions.class_logits.device();
        let drawn = for_each_image(n, |i| {
            let assignments = self.matcher.assign_outside_crowds(&targets[i], anchors);
            let sample = self.sampler.draw(&assignments, seeds[i]);
            (assignments, sample)
        });
        // Matched anchors of all images first: their deltas are the first rows.
        let (mut matched, mut encoded, mut background) = (Vec::new(), Vec::new(), Vec::new());
        for (i, (assignments, sample)) in drawn.iter().enumerate() {
            for &k in &sample.positives {
                let Assignment::Matched(object) = assignments[k] else { continue };
                matched.push((i * a + k) as i64);
                encoded.extend(coder.encode(targets[i].boxes[object], anchors[k]));
            }
            background.extend(sample.negatives.iter().map(|&k| (i * a + k) as i64));
        }
        let zero = || Tensor::zeros([1], &device);
        let rows = |indices: &[i64]| {
            Tensor::<1, Int>::from_data(TensorData::new(indices.to_vec(), [indices.len()]), &device)
        };
        let sampled = matched.len() + background.len();
        let logits = predictions.class_logits.reshape([n * a]);
        // BCE is −log σ(z) on an object and −log σ(−z) = −log(1 − σ(z)) on background.
        let term = |logits: Tensor<1>| -log_sigmoid(logits).sum();
        let mut classification = zero();
        if !background.is_empty() {
            classification = classification + term(-logits.clone().select(0, rows(&background)));
        }
        let mut box_regression = zero();
        if !matched.is_empty() {
            let indices = rows(&matched);
            classification = classification + term(logits.select(0, indices.clone()));
            let found = predictions.box_deltas.reshape([n * a, 4]).select(0, indices);
            let target = Tensor::from_data(TensorData::new(encoded, [matched.len(), 4]), &device);
            box_regression = smooth_l1(found, target, self.beta).sum() * self.box_weight;
        }
        let per_anchor = 1.0 / sampled.max(1) as f64;
        DetectionLoss {
            stage: "rpn",
            classification: classification * per_anchor,
            box_regression: box_regression * per_anchor,
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Gradients};

    use super::*;

    /// IoU with the object: 1, ½, 0, 0.
    const ANCHORS: [[f32; 4]; 4] =
        [[0., 0., 10., 10.], [0., 0., 10., 5.], [50., 0., 60., 10.], [80., 0., 90., 10.]];

    fn object() -> Targets {
        Targets { boxes: vec![[0., 0., 10., 10.]], labels: vec![0], crowds: vec![] }
    }

    struct Inputs {
        logits: Tensor<3>,
        deltas: Tensor<3>,
    }

    impl Inputs {
        fn new(images: usize, logit: f32, delta: f32) -> Self {
            let device = Device::default().autodiff();
            Self {
                logits: Tensor::full([images, 4, 1], logit, &device).require_grad(),
                deltas: Tensor::full([images, 4, 4], delta, &device).require_grad(),
            }
        }

        fn loss(&self, loss: &RpnLoss, targets: &[Targets]) -> DetectionLoss {
            let predictions = Predictions::new(self.logits.clone(), self.deltas.clone());
            loss.forward(predictions, &ANCHORS, targets, &BoxCoder::default(), &vec![7; targets.len()])
        }
    }

    fn scalar(tensor: &Tensor<1>) -> f32 {
        tensor.clone().into_scalar::<f32>()
    }

    fn gradient(tensor: &Tensor<3>, gradients: &Gradients) -> Vec<f32> {
        tensor.grad(gradients).expect("takes part").try_into_vec_as().unwrap()
    }

    #[track_caller]
    fn assert_close(values: &[f32], expected: &[f32]) {
        for (value, expected) in values.iter().zip(expected) {
            // A few terms of order 1.
            assert!((value - expected).abs() < 1e-5, "{values:?} {expected:?}");
        }
    }

    #[test]
    fn losses_and_gradients_by_hand() {
        let inputs = Inputs::new(1, 0.0, 1.0);
        let losses = inputs.loss(&RpnLoss::default(), &[object()]);
        // The anchor between the thresholds is left out: one object and two background anchors.
        assert_close(&[scalar(&losses.classification)], &[2.0f32.ln()]);
        // Four deltas off by 1: 1 − β/2 each, over three sampled anchors.
        assert_close(&[scalar(&losses.box_regression)], &[4.0 * (1.0 - 1.0 / 18.0) / 3.0]);
        let gradients = losses.total().backward();
        let sixth = 1.0 / 6.0;
        assert_close(&gradient(&inputs.logits, &gradients), &[-sixth, 0.0, sixth, sixth]);
        let mut expected = [0.0; 16];
        expected[..4].fill(1.0 / 3.0);
        assert_close(&gradient(&inputs.deltas, &gradients), &expected);
    }

    #[test]
    fn extreme_logits_stay_finite() {
        for logit in [-100.0, 100.0] {
            let inputs = Inputs::new(1, logit, 0.0);
            let losses = inputs.loss(&RpnLoss::default(), &[object()]);
            assert!(scalar(&losses.classification).is_finite());
            let gradients = losses.total().backward();
            assert!(gradient(&inputs.logits, &gradients).iter().all(|g| g.is_finite()));
        }
    }

    #[test]
    fn without_objects_all_is_background_and_the_box_loss_is_0() {
        let inputs = Inputs::new(2, 0.0, 1.0);
        let losses = inputs.loss(&RpnLoss::default(), &[Targets::default(), Targets::default()]);
        assert_close(&[scalar(&losses.classification)], &[2.0f32.ln()]);
        assert_eq!(scalar(&losses.box_regression), 0.0);
        losses.total().backward();
    }

    #[test]
    fn nothing_sampled_gives_0() {
        // All anchors lie in a crowd.
        let crowd = Targets { crowds: vec![[-10., -10., 100., 100.]], ..Targets::default() };
        let losses = Inputs::new(1, 1.0, 1.0).loss(&RpnLoss::default(), &[crowd]);
        assert_eq!((scalar(&losses.classification), scalar(&losses.box_regression)), (0.0, 0.0));
    }

    #[test]
    fn every_option_acts() {
        let value = |loss: RpnLoss| {
            let losses = Inputs::new(1, 1.0, 1.0).loss(&loss, &[object()]);
            [scalar(&losses.classification), scalar(&losses.box_regression)]
        };
        let base = RpnLoss::default();
        let [class, boxes] = value(base);
        assert_close(&value(RpnLoss { box_weight: 2.0, ..base }), &[class, 2.0 * boxes]);
        assert_close(&value(RpnLoss { beta: 0.0, ..base }), &[class, 4.0 / 3.0]);
        let one = RpnLoss { sampler: Sampler { per_image: 1, positive_fraction: 1.0 }, ..base };
        // The object alone, −log σ(1).
        assert_close(&value(one)[..1], &[(1.0 + (-1.0f32).exp()).ln()]);
        let wide = RpnLoss { matcher: Matcher { high: 0.4, low: 0.3, allow_low_quality: true }, ..base };
        assert_ne!(value(wide), [class, boxes]);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let base = RpnLoss::default();
        assert_eq!(base.validate(), Ok(()));
        assert_eq!(RpnLoss { beta: -1.0, ..base }.validate().unwrap_err().option, "loss.beta");
        assert_eq!(
            RpnLoss { box_weight: f64::NAN, ..base }.validate().unwrap_err().option,
            "loss.box_weight"
        );
    }
}
