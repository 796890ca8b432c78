//! Whole networks: outputs, losses and the gradients of all parameters.

use burn::tensor::Device;
use sed::{
    core::{
        Detector, ImageBatch, Targets, Views,
        objective::{Objective, ObjectiveConfig},
    },
    models::{
        backbone::ResNetConfig,
        faster_rcnn::{FasterRcnnConfig, Sampler},
        layers::norm::NormKind,
        retinanet::{BoxLoss, RetinaNetConfig, RetinaNetLoss},
    },
};

use super::{
    compare::{Results, Tolerance, with_other},
    modules::{add_parameter_gradients, filled},
    place::Place,
};

const SIDE: usize = 64;
const CLASSES: usize = 3;

pub fn images(place: &Place, count: usize, seed: u32) -> ImageBatch {
    ImageBatch::unpadded(place.values([count, 3, SIDE, SIDE], seed) * 0.5 + 0.5)
}

/// One object of the size of an anchor and a larger one.
pub fn targets() -> Vec<Targets> {
    vec![Targets {
        boxes: vec![[6.0, 9.0, 23.0, 24.0], [20.0, 12.0, 58.0, 55.0]],
        labels: vec![2, 0],
        crowds: Vec::new(),
    }]
}

pub fn retinanet(device: &Device) -> impl Detector + use<> {
    RetinaNetConfig::tiny(CLASSES).init(device).unwrap()
}

/// Samples all anchors and regions: a sample is drawn by a hash of the outputs' bits, which differ between devices.
pub fn faster_rcnn(device: &Device) -> impl Detector + use<> {
    let mut config = FasterRcnnConfig::tiny(CLASSES);
    let all = Sampler { per_image: 1_000_000, positive_fraction: 0.5 };
    (config.rpn.loss.sampler, config.roi.loss.sampler) = (all, all);
    config.init(device).unwrap()
}

fn supervised<D: Detector>(name: &str, make: impl Fn(&Device) -> D) {
    with_other(name, Tolerance::Network, |place| {
        let model = filled(make(&place.device), place);
        let losses = model.supervised_losses(&images(place, 1, 1), &targets());
        let mut results = Results::default();
        for loss in &losses {
            results.add(format!("{}/class", loss.stage), loss.classification.clone());
            results.add(format!("{}/box", loss.stage), loss.box_regression.clone());
        }
        let total = losses.iter().map(|loss| loss.total()).reduce(|sum, loss| sum + loss).unwrap();
        add_parameter_gradients(&mut results, &model, &total.backward());
        results
    });
}

fn unsupervised<D: Detector>(name: &str, make: impl Fn(&Device) -> D) {
    with_other(name, Tolerance::Network, |place| {
        let student = filled(make(&place.device), place);
        let teacher = filled(make(&place.device), place).valid();
        let views = Views::new(images(place, 1, 2), images(place, 1, 3));
        let stages = student.compare_views(&teacher, &views);
        let objective = Objective::new(ObjectiveConfig::default()).unwrap();
        let losses = objective.unsupervised(&stages);
        let mut results = Results::default();
        for (stage, loss) in stages.iter().zip(&losses) {
            for (view, predictions) in [
                ("full", &stage.distill_pair().student),
                ("half", &stage.scale_pair().other),
                ("teacher", &stage.distill_pair().other),
            ] {
                let name = |what| format!("{}/{view}/{what}", stage.stage);
                results.add(name("logits"), predictions.class_logits.clone());
                results.add(name("deltas"), predictions.box_deltas.clone());
            }
            for (term, value) in loss.terms() {
                results.add(format!("{}/{term}", stage.stage), value.clone());
            }
        }
        let total = objective.total(&[], &losses, 1, 1);
        add_parameter_gradients(&mut results, &student, &total.backward());
        results
    });
}

#[test]
fn retinanet_on_labels() {
    supervised("retinanet_on_labels", retinanet);
}

#[test]
fn retinanet_on_labels_by_giou() {
    supervised("retinanet_on_labels_by_giou", |device| {
        let tiny = RetinaNetConfig::tiny(CLASSES);
        let loss = RetinaNetLoss { box_loss: BoxLoss::Giou, ..tiny.loss };
        RetinaNetConfig { loss, ..tiny }.init(device).unwrap()
    });
}

#[test]
fn retinanet_on_views() {
    unsupervised("retinanet_on_views", retinanet);
}

#[test]
fn faster_rcnn_on_labels() {
    supervised("faster_rcnn_on_labels", faster_rcnn);
}

#[test]
fn faster_rcnn_on_views() {
    unsupervised("faster_rcnn_on_views", faster_rcnn);
}

/// A narrow ResNet with the 7×7 stem and a norm of pre-trained networks.
fn resnet(name: &str, depth: usize, norm: NormKind) {
    with_other(name, Tolerance::Network, |place| {
        let config = ResNetConfig { base_width: 8, norm, ..ResNetConfig::new(depth) };
        let model = filled(config.init(&place.device).unwrap(), place);
        let maps = model.forward(images(place, 2, 1).pixels);
        // Each map of size 1, whatever a residual network without norms made of it.
        let loss = maps.iter().map(|map| {
            let scale = map.clone().inner().abs().max().into_scalar::<f32>();
            (map.clone() * place.values(map.dims(), 2)).sum() / scale
        });
        let gradients = loss.reduce(|sum, map| sum + map).unwrap().backward();
        let mut results = Results::default();
        for (map, i) in maps.into_iter().zip(2..) {
            results.add(format!("C{i}"), map);
        }
        add_parameter_gradients(&mut results, &model, &gradients);
        results
    });
}

#[test]
fn resnet50_with_frozen_batch_norm() {
    resnet("resnet50_with_frozen_batch_norm", 50, NormKind::FrozenBatch);
}

/// Of a few layers: each divides by a deviation over as few as eight values, which enlarges rounding.
#[test]
fn resnet18_with_batch_norm() {
    resnet("resnet18_with_batch_norm", 18, NormKind::Batch);
}
