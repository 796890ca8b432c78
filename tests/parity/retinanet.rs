//! Whole RetinaNets: head outputs, losses, gradients of all parameters, detections.

use burn::tensor::Device;
use sed::{
    core::{Detector, Predictions},
    models::{
        anchors::AnchorConfig,
        backbone::{FpnConfig, P6Source, ResNetConfig, ResNetFpnConfig},
        layers::norm::NormKind,
        retinanet::{BoxLoss, HeadConfig, PostProcess, RetinaNet, RetinaNetConfig, RetinaNetLoss},
    },
};

use crate::{
    NETWORK_GRADIENTS,
    fixture::Fixture,
    images::{batch, close_detections, targets},
    weights::{close_gradients, fill},
};

/// Outputs and losses: up to 60 layers in a row, each a sum of up to 4608 terms in another order than
/// PyTorch's, rounded at 6e-8 relative to its largest.
const NETWORK: f64 = 2e-5;

fn model(name: &str, config: &RetinaNetConfig, fixture: &Fixture, device: &Device) -> RetinaNet {
    let mut model = config.init(device).expect("the options fit together");
    fill(&mut model, name, &fixture.at("parameters"));
    model
}

/// Head outputs and detections, without gradients.
fn inference(name: &str, config: &RetinaNetConfig) {
    let fixture = Fixture::load("retinanet").at(name);
    let device = Device::default();
    let model = model(name, config, &fixture, &device);
    let images = batch(name, &fixture, &device);

    let layout = model.layout(images.padded_size());
    let levels: Vec<[usize; 2]> = layout.levels.iter().map(|level| [level.height, level.width]).collect();
    assert_eq!(levels, fixture.at("levels").get::<Vec<[usize; 2]>>());
    let predictions = Predictions::cat(model.forward(&images));
    let (logits, deltas) = (&predictions.class_logits, &predictions.box_deltas);
    fixture.at("cls_logits").close_probe_tensor(&format!("{name}/cls_logits"), logits, NETWORK);
    fixture.at("bbox_regression").close_probe_tensor(&format!("{name}/bbox_regression"), deltas, NETWORK);

    close_detections(name, &model.detect(&images), &fixture.at("detections"));
}

fn losses(name: &str, config: &RetinaNetConfig) {
    let fixture = Fixture::load("retinanet").at(name);
    let device = Device::default().autodiff();
    let model = model(name, config, &fixture, &device);
    let losses = model.supervised_losses(&batch(name, &fixture, &device), &targets(&fixture)).remove(0);
    let expected = fixture.at("losses");
    expected.at("classification").close_tensor(&losses.classification, NETWORK);
    expected.at("bbox_regression").close_tensor(&losses.box_regression, NETWORK);
    if fixture.has("gradients") {
        let gradients = losses.total().backward();
        close_gradients(model, &gradients, name, &fixture.at("gradients"), NETWORK_GRADIENTS);
    }
}

/// torchvision's own, with fewer candidates and detections, so that both limits act; the fixture's images are padded to
/// whole cells.
fn standard() -> RetinaNetConfig {
    let standard = RetinaNetConfig::torchvision(4);
    let postprocess = PostProcess { candidates_per_level: 200, max_detections: 60, ..standard.postprocess };
    RetinaNetConfig { postprocess, pad_multiple: None, ..standard }
}

/// ResNet-18 of base width 16, P3 to P7 of 16 channels, 3 classes.
fn narrow(norm: NormKind, p6_source: P6Source, box_loss: BoxLoss) -> RetinaNetConfig {
    let sizes = [16.0, 32.0, 64.0, 128.0, 256.0].map(|s: f32| vec![s, 1.5 * s]);
    RetinaNetConfig {
        backbone: ResNetFpnConfig {
            body: ResNetConfig { base_width: 16, ..ResNetConfig::new(18) },
            fpn: FpnConfig { out_channels: 16, p6_source, ..FpnConfig::default() },
        },
        head: HeadConfig { channels: 16, norm, ..HeadConfig::default() },
        anchors: AnchorConfig { sizes: sizes.to_vec(), ratios: vec![0.5, 1.0, 2.0], rounding: true },
        loss: RetinaNetLoss { box_loss, ..RetinaNetLoss::default() },
        postprocess: PostProcess { max_detections: 80, ..PostProcess::default() },
        pad_multiple: None,
        ..RetinaNetConfig::torchvision(3)
    }
}

fn with_group_norm() -> RetinaNetConfig {
    narrow(NormKind::Group { groups: 4 }, P6Source::C5, BoxLoss::Giou)
}

fn with_l1() -> RetinaNetConfig {
    narrow(NormKind::None, P6Source::P5, BoxLoss::SmoothL1 { beta: 0.0 })
}

#[test]
fn detections_of_retinanet_resnet50_fpn() {
    inference("standard", &standard());
}

#[test]
fn losses_of_retinanet_resnet50_fpn() {
    losses("standard", &standard());
}

#[test]
fn detections_with_group_norm_and_p6_from_c5() {
    inference("narrow_group", &with_group_norm());
}

#[test]
fn detections_of_the_narrow_network() {
    inference("narrow_plain", &with_l1());
}

#[test]
fn losses_and_gradients_with_group_norm_and_giou() {
    losses("narrow_group", &with_group_norm());
}

#[test]
fn losses_and_gradients_with_l1() {
    losses("narrow_plain", &with_l1());
}

#[test]
fn losses_and_gradients_with_smooth_l1() {
    // torchvision's smooth L1 has β = 1.
    losses("narrow_smooth", &narrow(NormKind::None, P6Source::P5, BoxLoss::SmoothL1 { beta: 1.0 }));
}

#[test]
fn losses_and_gradients_without_any_object() {
    losses("narrow_empty", &with_l1());
}
