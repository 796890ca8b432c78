//! One trainer for every detector: one stage, two stages, a single feature map, and one of a downstream crate.

mod accumulation;
#[path = "../../examples/own_detector/cells.rs"]
mod cells;
mod data_failures;
mod methods;
mod precision;
mod scales;

use burn::{tensor::Device, train::TrainStep};
use cells::CellDetector;
use sed::{
    core::{Detector, ImageSize, Targets},
    models::{
        backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig},
        faster_rcnn::{FasterRcnnConfig, RoiConfig, RpnConfig},
        layers::norm::NormKind,
        retinanet::{HeadConfig, RetinaNetConfig},
    },
    train::{
        data::{HostImages, HostViews, TrainBatch},
        train::{Method, OptimizerConfig, SemiSupervised, TrainConfig},
    },
};

const SIDE: usize = 64;

fn images(shade: f32) -> HostImages {
    let size = ImageSize::new(SIDE, SIDE);
    let mut images = HostImages::new(size);
    images.pixels = (0..3 * SIDE * SIDE).map(|i| ((i % 7) as f32 / 7.0 + shade).min(1.0)).collect();
    images.sizes.push(size);
    images
}

fn batch(iteration: usize, targets: Targets, unlabeled: bool) -> TrainBatch {
    TrainBatch {
        iteration,
        labeled: images(0.0),
        targets: vec![targets],
        labeled_ids: vec![7],
        unlabeled: unlabeled.then(|| HostViews {
            weak: images(0.1),
            strong: images(0.3),
            keys: vec!["u".into()],
        }),
    }
}

/// Trains a few steps by SED and checks what every detector must give: all terms of each stage, a falling loss,
/// finite losses without objects and without unlabeled images, detections of student and teacher.
fn trains<D: Detector>(detector: D) {
    let config = TrainConfig {
        method: Method::Sed,
        iterations: 6,
        evaluate_every: 6,
        batch_labeled: 1,
        batch_unlabeled: 1,
        burn_in: 1,
        ramp_up: 0,
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 },
        ..TrainConfig::default()
    };
    let stages = detector.stages();
    let mut optimizer = config.optimizer.init();
    let mut model = SemiSupervised::new(detector, &config).unwrap();
    let mut history = Vec::new();
    for iteration in 0..6 {
        let output = TrainStep::step(&model, batch(iteration, object(), true));
        let scalars = output.item.scalars.clone();
        let supervised =
            stages.iter().flat_map(|stage| ["class", "box"].map(|term| format!("{stage}/{term}")));
        history.push(supervised.map(|name| scalars[&name]).sum::<f64>());
        if iteration > 0 {
            for stage in stages {
                for term in ["scale_class", "scale_box", "distill_class", "distill_box"] {
                    let value = scalars[&format!("{stage}/{term}")];
                    assert!(value.is_finite() && value >= 0.0, "{stage}/{term} {value}");
                }
            }
        }
        model = model.optimize(&mut optimizer, 0.01.into(), output.grads);
    }
    assert_eq!(model.iteration(), 6, "no step failed");
    assert!(history[5] < history[0], "{history:?}");

    for (targets, unlabeled) in [(Targets::default(), true), (Targets::default(), false), (object(), false)] {
        let output = TrainStep::step(&model, batch(6, targets, unlabeled));
        assert!(output.item.scalars["loss"].is_finite());
        model = model.optimize(&mut optimizer, 0.01.into(), output.grads);
    }
    assert_eq!(model.iteration(), 9, "no step failed");

    let pixels = images(0.0).to_batch(&Device::default());
    for detector in [model.student.valid(), model.teacher] {
        let found = detector.detect(&pixels);
        assert_eq!(found.len(), 1);
        assert!(found[0].labels.iter().all(|label| *label < detector.num_classes()));
        assert!(found[0].scores.is_sorted_by(|a, b| a >= b));
    }
}

fn object() -> Targets {
    Targets { boxes: vec![[8.0, 8.0, 40.0, 40.0]], labels: vec![1], crowds: Vec::new() }
}

fn device() -> Device {
    let device = Device::default();
    device.seed(3);
    device
}

const NORM: NormKind = NormKind::Group { groups: 2 };

/// As small as it gets: ndarray has to train it.
fn backbone(tiny: ResNetFpnConfig) -> ResNetFpnConfig {
    ResNetFpnConfig {
        body: ResNetConfig { base_width: 4, norm: NORM, ..tiny.body },
        fpn: FpnConfig { out_channels: 4, ..tiny.fpn },
    }
}

fn retinanet() -> RetinaNetConfig {
    let tiny = RetinaNetConfig::tiny(2);
    RetinaNetConfig {
        backbone: backbone(tiny.backbone),
        head: HeadConfig { num_convs: 1, channels: 4, norm: NORM, ..tiny.head },
        ..tiny
    }
}

/// Random weights are sure of nothing: every box counts.
fn retinanet_that_sees() -> RetinaNetConfig {
    let mut config = retinanet();
    config.postprocess.score_threshold = 0.0;
    config
}

fn faster_rcnn() -> FasterRcnnConfig {
    let tiny = FasterRcnnConfig::tiny(2);
    FasterRcnnConfig {
        backbone: backbone(tiny.backbone),
        rpn: RpnConfig { channels: 4, norm: NORM, ..tiny.rpn },
        roi: RoiConfig { hidden: 8, ..tiny.roi },
        ..tiny
    }
}

#[test]
fn a_retinanet_trains() {
    trains(retinanet().init(&device()).unwrap());
}

#[test]
fn a_faster_rcnn_trains() {
    trains(faster_rcnn().init(&device()).unwrap());
}

#[test]
fn a_retinanet_on_a_single_map_trains() {
    let mut config = retinanet();
    config.backbone.fpn = FpnConfig { lowest_level: 4, highest_level: 4, ..config.backbone.fpn };
    config.anchors.sizes = vec![vec![8.0, 16.0, 32.0, 64.0]];
    config.validate_for_views().unwrap();
    trains(config.init(&device()).unwrap());
}

#[test]
fn a_faster_rcnn_on_a_single_map_trains() {
    let mut config = faster_rcnn();
    config.backbone.fpn = FpnConfig { lowest_level: 4, highest_level: 4, ..config.backbone.fpn };
    config.rpn.anchors.sizes = vec![vec![8.0, 16.0, 32.0, 64.0]];
    config.validate_for_views().unwrap();
    trains(config.init(&device()).unwrap());
}

#[test]
fn a_detector_of_another_crate_trains() {
    trains(CellDetector::new(2, &device()));
}
