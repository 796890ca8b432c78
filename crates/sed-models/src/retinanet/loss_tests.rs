use burn::tensor::Gradients;

use super::*;

/// 10 high, from `x1` to `x2`.
fn strip(x1: f32, x2: f32) -> [f32; 4] {
    [x1, 0.0, x2, 10.0]
}

/// IoU with `strip(0, 100)`: .5 matched, .45 between the thresholds, 0 background.
const ANCHORS: [[f32; 4]; 3] = [[0., 0., 50., 10.], [0., 0., 45., 10.], [200., 0., 260., 10.]];
const CLASSES: usize = 2;

fn object() -> Targets {
    Targets { boxes: vec![strip(0.0, 100.0)], labels: vec![1], crowds: vec![] }
}

struct Inputs {
    logits: Tensor<3>,
    deltas: Tensor<3>,
}

impl Inputs {
    /// All logits `z`, all deltas 0.
    fn flat(images: usize, z: f32) -> Self {
        let device = Device::default().autodiff();
        Self {
            logits: Tensor::full([images, 3, CLASSES], z, &device).require_grad(),
            deltas: Tensor::zeros([images, 3, 4], &device).require_grad(),
        }
    }

    fn loss(&self, loss: &RetinaNetLoss, targets: &[Targets]) -> DetectionLoss {
        let predictions = Predictions::new(self.logits.clone(), self.deltas.clone());
        loss.forward(predictions, &ANCHORS, targets, &Matcher::default(), &BoxCoder::default())
    }

    fn values(&self, loss: &RetinaNetLoss, targets: &[Targets]) -> [f32; 2] {
        let loss = self.loss(loss, targets);
        [loss.classification, loss.box_regression].map(|v| v.into_scalar::<f32>())
    }
}

fn gradient(tensor: &Tensor<3>, gradients: &Gradients) -> Vec<f32> {
    tensor.grad(gradients).expect("takes part").try_into_vec_as().unwrap()
}

#[track_caller]
fn assert_close(values: &[f32], expected: &[f32]) {
    for (value, expected) in values.iter().zip(expected) {
        // Sums of a few terms of order 1.
        assert!((value - expected).abs() < 1e-5, "{values:?} {expected:?}");
    }
}

#[test]
fn losses_by_hand() {
    let ln2 = 2.0f32.ln();
    let values = Inputs::flat(1, 0.0).values(&RetinaNetLoss::default(), &[object()]);
    // At logit 0 an element costs α_t·(½)²·ln 2: the matched anchor one of ¼ and one of ¾, the
    // background anchor two of ¾, the ignored one nothing. One matched anchor: divided by 1.
    let class = (0.25 + 3.0 * 0.75) * 0.25 * ln2;
    // Half an anchor to the right, twice as wide: dx = (50 − 25)/50, dw = ln 2.
    assert_close(&values, &[class, 0.5 + ln2]);
}

#[test]
fn every_option_acts() {
    let ln2 = 2.0f32.ln();
    let inputs = Inputs::flat(1, 0.0);
    let base = RetinaNetLoss::default();
    let class = |focal| inputs.values(&RetinaNetLoss { focal, ..base }, &[object()])[0];
    // α 1: the one positive element alone.
    assert_close(&[class(SigmoidFocalLoss { alpha: 1.0, gamma: 2.0 })], &[0.25 * ln2]);
    assert_close(&[class(SigmoidFocalLoss { alpha: 0.5, gamma: 0.0 })], &[4.0 * 0.5 * ln2]);
    let boxes = |loss| inputs.values(&loss, &[object()])[1];
    assert_close(&[boxes(RetinaNetLoss { box_weight: 3.0, ..base })], &[3.0 * (0.5 + ln2)]);
    // Both deltas are below β = 1: d²/2.
    let smooth = RetinaNetLoss { box_loss: BoxLoss::SmoothL1 { beta: 1.0 }, ..base };
    assert_close(&[boxes(smooth)], &[0.125 + ln2 * ln2 / 2.0]);
    // Deltas of 0 decode to the anchor: IoU ½, and the object encloses both.
    assert_close(&[boxes(RetinaNetLoss { box_loss: BoxLoss::Giou, ..base })], &[0.5]);
}

#[test]
fn gradients_reach_matched_boxes_and_no_ignored_anchor() {
    for box_loss in [BoxLoss::SmoothL1 { beta: 0.0 }, BoxLoss::Giou] {
        let inputs = Inputs::flat(1, 0.0);
        let loss = inputs.loss(&RetinaNetLoss { box_loss, ..RetinaNetLoss::default() }, &[object()]);
        let gradients = loss.total().backward();
        let boxes = gradient(&inputs.deltas, &gradients);
        assert!(boxes[0] < 0.0 && boxes[2] < 0.0, "{boxes:?}");
        assert_eq!(boxes[4..], [0.0; 8]);
        let class = gradient(&inputs.logits, &gradients);
        // Label 1 goes up, the rest down, the ignored anchor stays.
        assert!(class[1] < 0.0 && class[0] > 0.0 && class[4] > 0.0 && class[5] > 0.0, "{class:?}");
        assert_eq!(class[2..4], [0.0; 2]);
    }
}

#[test]
fn without_objects_all_anchors_are_background() {
    let inputs = Inputs::flat(2, 0.0);
    let loss = inputs.loss(&RetinaNetLoss::default(), &[Targets::default(), Targets::default()]);
    let gradients = loss.total().backward();
    // Six elements of ¾ an image, divided by max(1, 0), mean over the images.
    assert_close(&[loss.classification.into_scalar()], &[6.0 * 0.75 * 0.25 * 2.0f32.ln()]);
    assert_eq!(loss.box_regression.into_scalar::<f32>(), 0.0);
    assert!(gradient(&inputs.logits, &gradients).iter().all(|g| g.is_finite() && *g > 0.0));
}

#[test]
fn a_batch_costs_the_mean_of_its_images() {
    // The second image has two matched anchors, so a mean over all matched anchors would differ.
    let two =
        Targets { boxes: vec![strip(0.0, 50.0), strip(200.0, 260.0)], labels: vec![0, 1], crowds: vec![] };
    let loss = RetinaNetLoss::default();
    let alone = [object(), two.clone()].map(|t| Inputs::flat(1, -1.0).values(&loss, &[t]));
    let both = Inputs::flat(2, -1.0).values(&loss, &[object(), two]);
    for k in 0..2 {
        assert_close(&[both[k]], &[(alone[0][k] + alone[1][k]) / 2.0]);
    }
}

#[test]
fn background_in_a_crowd_is_ignored_and_matches_are_not() {
    let ln2 = 2.0f32.ln();
    let class = |crowd| {
        let targets = Targets { crowds: vec![crowd], ..object() };
        Inputs::flat(1, 0.0).values(&RetinaNetLoss::default(), &[targets])[0]
    };
    let without_background = (0.25 + 0.75) * 0.25 * ln2;
    // The whole scene a crowd: the matched anchor stays, the background anchor goes.
    assert_close(&[class(strip(0.0, 300.0))], &[without_background]);
    // 31 of 60 columns of the background anchor, then exactly half.
    assert_close(&[class(strip(200.0, 231.0))], &[without_background]);
    assert_close(&[class(strip(200.0, 230.0))], &[without_background + 1.5 * 0.25 * ln2]);
}

#[test]
fn extreme_predictions_stay_finite() {
    for z in [100.0, -100.0] {
        for box_loss in [BoxLoss::SmoothL1 { beta: 0.1 }, BoxLoss::Giou] {
            let mut inputs = Inputs::flat(1, z);
            let device = inputs.deltas.device();
            inputs.deltas = Tensor::full([1, 3, 4], z, &device).require_grad();
            let loss = inputs.loss(&RetinaNetLoss { box_loss, ..RetinaNetLoss::default() }, &[object()]);
            let gradients = loss.total().backward();
            assert!(loss.total().into_scalar::<f32>().is_finite());
            for tensor in [&inputs.logits, &inputs.deltas] {
                assert!(gradient(tensor, &gradients).iter().all(|g| g.is_finite()), "{z} {box_loss:?}");
            }
        }
    }
}

#[test]
fn options_out_of_range_are_named() {
    let good = RetinaNetLoss::default();
    assert!(good.validate().is_ok());
    assert_eq!(RetinaNetLoss { box_weight: -1.0, ..good }.validate().unwrap_err().option, "loss.box_weight");
    let beta = RetinaNetLoss { box_loss: BoxLoss::SmoothL1 { beta: f64::NAN }, ..good };
    assert_eq!(beta.validate().unwrap_err().option, "loss.box_loss.beta");
    let focal = SigmoidFocalLoss { alpha: 2.0, gamma: 2.0 };
    assert!(RetinaNetLoss { focal, ..good }.validate().is_err());
}

#[test]
#[should_panic(expected = "label 2 of 2 classes")]
fn a_label_without_a_class_panics() {
    let targets = Targets { labels: vec![2], ..object() };
    Inputs::flat(1, 0.0).loss(&RetinaNetLoss::default(), &[targets]);
}

#[test]
#[should_panic(expected = "predictions of 1 images, 2 targets")]
fn targets_of_other_images_panic() {
    Inputs::flat(1, 0.0).loss(&RetinaNetLoss::default(), &[object(), object()]);
}
