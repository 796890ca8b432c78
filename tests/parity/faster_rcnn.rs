//! Whole Faster R-CNNs: outputs of both stages, proposals, losses, gradients of all parameters, detections.

use burn::tensor::Device;
use sed::{
    core::{Detector, Predictions},
    models::{
        anchors::AnchorConfig,
        backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig},
        faster_rcnn::{
            FasterRcnn, FasterRcnnConfig, ProposalFilter, RoiConfig, RoiPool, RoiPostProcess, Rois,
            RpnConfig, Sampler,
        },
        ops::roi_align::RoiAlign,
    },
};

use crate::{
    NETWORK_GRADIENTS,
    fixture::Fixture,
    images::{batch, close_detections, targets},
    weights::{close_gradients, fill},
};

/// Outputs and losses: up to 60 layers in a row, each a sum of up to 12544 terms in another order than
/// PyTorch's, rounded at 6e-8 relative to its largest.
const NETWORK: f64 = 2e-5;

/// The options of the fixture, which take all anchors and proposals into the losses.
fn options(config: FasterRcnnConfig, fixture: &Fixture) -> FasterRcnnConfig {
    let option = |key: &str| fixture.at("options").at(key).get::<usize>();
    let proposals = |mode: &str| ProposalFilter {
        candidates_per_level: option(&format!("rpn_pre_nms_top_n_{mode}")),
        max_proposals: option(&format!("rpn_post_nms_top_n_{mode}")),
        ..ProposalFilter::default()
    };
    let mut config = config;
    (config.rpn.train_proposals, config.rpn.test_proposals) = (proposals("train"), proposals("test"));
    let sampler = |per_image, positive_fraction| Sampler { per_image, positive_fraction };
    config.rpn.loss.sampler = sampler(option("rpn_batch_size_per_image"), 0.5);
    config.roi.loss.sampler = sampler(option("box_batch_size_per_image"), 0.25);
    let score_threshold = match fixture.at("options").has("box_score_thresh") {
        true => fixture.at("options").at("box_score_thresh").get(),
        false => RoiPostProcess::default().score_threshold,
    };
    let max_detections = option("box_detections_per_img");
    config.roi.postprocess = RoiPostProcess { score_threshold, max_detections, ..config.roi.postprocess };
    config
}

/// torchvision's own; the fixture's images are padded to whole cells.
fn standard() -> FasterRcnnConfig {
    FasterRcnnConfig { pad_multiple: None, ..FasterRcnnConfig::torchvision(4) }
}

/// ResNet-18 of base width 16, P2 to P6 of 16 channels, 5×5 bins, 3 classes.
fn narrow() -> FasterRcnnConfig {
    let base = FasterRcnnConfig { pad_multiple: None, ..FasterRcnnConfig::torchvision(3) };
    FasterRcnnConfig {
        backbone: ResNetFpnConfig {
            body: ResNetConfig { base_width: 16, ..ResNetConfig::new(18) },
            fpn: FpnConfig { out_channels: 16, ..base.backbone.fpn },
        },
        rpn: RpnConfig {
            channels: 16,
            anchors: AnchorConfig { rounding: true, ..AnchorConfig::octaves(16.0, 5, 1, &[0.5, 1.0, 2.0]) },
            ..base.rpn
        },
        roi: RoiConfig {
            pool: RoiPool { align: RoiAlign { output_size: 5, ..RoiAlign::default() }, ..base.roi.pool },
            hidden: 32,
            ..base.roi
        },
        ..base
    }
}

struct Case {
    fixture: Fixture,
    /// Of parameters and images in the formula.
    name: String,
    model: FasterRcnn,
}

fn case(key: &str, config: FasterRcnnConfig, device: &Device) -> Case {
    let fixture = Fixture::load("faster_rcnn").at(key);
    let name: String = fixture.at("name").get();
    let mut model = options(config, &fixture).init(device).expect("the options fit together");
    fill(&mut model, &name, &fixture.at("parameters"));
    Case { fixture, name, model }
}

/// Outputs of both stages, proposals and detections, without gradients.
fn inference(key: &str, config: FasterRcnnConfig) {
    let device = Device::default();
    let Case { fixture, name, model } = case(key, config, &device);
    let images = batch(&name, &fixture, &device);

    let layout = model.layout(images.padded_size());
    let levels: Vec<[usize; 2]> = layout.levels.iter().map(|level| [level.height, level.width]).collect();
    assert_eq!(levels, fixture.at("levels").get::<Vec<[usize; 2]>>());
    let first = model.first_stage(&images);
    let Predictions { class_logits, box_deltas } = Predictions::cat(first.predictions.clone());
    fixture.at("objectness").close_probe_tensor(&format!("{name}/objectness"), &class_logits, NETWORK);
    fixture.at("rpn_bbox").close_probe_tensor(&format!("{name}/rpn_bbox"), &box_deltas, NETWORK);

    let proposals = model.propose(&first, &images.sizes);
    let mut error = 0.0f32;
    for (found, expected) in proposals.iter().zip(fixture.at("proposals").list()) {
        let expected: Vec<[f32; 4]> = expected.get();
        assert_eq!(found.len(), expected.len(), "the number of proposals");
        for (a, b) in found.as_flattened().iter().zip(expected.as_flattened()) {
            error = error.max((a - b).abs());
        }
    }
    println!("{key}: proposals off by {error:.1e} px");
    // What the deltas are off by, at anchors of up to 512 px.
    assert!(error < 0.01, "proposals off by {error} px");

    let second = model.second_stage(&first, &Rois::new(&proposals));
    let (logits, deltas) = (second.class_logits.squeeze_dim::<2>(0), second.box_deltas.squeeze_dim::<2>(0));
    fixture.at("class_logits").close_probe_tensor(&format!("{name}/class_logits"), &logits, NETWORK);
    fixture.at("box_regression").close_probe_tensor(&format!("{name}/box_regression"), &deltas, NETWORK);
    close_detections(key, &model.detect(&images), &fixture.at("detections"));
}

fn losses(key: &str, config: FasterRcnnConfig) {
    let device = Device::default().autodiff();
    let Case { fixture, name, model } = case(key, config, &device);
    let losses = model.supervised_losses(&batch(&name, &fixture, &device), &targets(&fixture));
    let expected = fixture.at("losses");
    for (loss, [class, boxes]) in
        losses.iter().zip([["loss_objectness", "loss_rpn_box_reg"], ["loss_classifier", "loss_box_reg"]])
    {
        expected.at(class).close_tensor(&loss.classification, NETWORK);
        expected.at(boxes).close_tensor(&loss.box_regression, NETWORK);
    }
    if fixture.has("gradients") {
        let total = losses.iter().map(|loss| loss.total()).reduce(|a, b| a + b).expect("two stages");
        let gradients = total.backward();
        close_gradients(model, &gradients, &name, &fixture.at("gradients"), NETWORK_GRADIENTS);
    }
}

#[test]
fn detections_of_fasterrcnn_resnet50_fpn() {
    inference("standard", standard());
}

#[test]
fn losses_of_fasterrcnn_resnet50_fpn() {
    losses("standard", standard());
}

#[test]
fn detections_of_the_narrow_network() {
    inference("narrow", narrow());
}

#[test]
fn losses_and_gradients_of_the_narrow_network() {
    losses("narrow", narrow());
}

#[test]
fn losses_and_gradients_without_any_object() {
    losses("narrow_empty", narrow());
}
