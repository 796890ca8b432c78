//! A detector that can learn learns a few images by heart.

use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Tensor, TensorData},
};
use sed::{
    core::{Detector, ImageBatch, Targets},
    models::retinanet::{RetinaNet, RetinaNetConfig},
    train::{
        data::Category,
        eval::{CocoEvaluator, DetectionEvaluator, GroundTruth, GroundTruthBox, ImageDetections},
    },
};

const SIDE: usize = 128;

/// A filled shape of one colour; its box is `[x1, y1, x2, y2]`.
struct Shape {
    label: usize,
    bounds: [f32; 4],
    colour: [f32; 3],
}

const SQUARE: usize = 0;
const DISC: usize = 1;

/// Sizes from 16 to 80 px, two classes, colours that do not tell the class.
fn scenes() -> [Vec<Shape>; 4] {
    let shape = |label, bounds, colour| Shape { label, bounds, colour };
    [
        vec![
            shape(SQUARE, [10.0, 12.0, 42.0, 44.0], [0.9, 0.2, 0.2]),
            shape(DISC, [70.0, 60.0, 110.0, 100.0], [0.2, 0.8, 0.3]),
        ],
        vec![
            shape(DISC, [20.0, 70.0, 44.0, 94.0], [0.9, 0.3, 0.1]),
            shape(SQUARE, [60.0, 20.0, 116.0, 76.0], [0.1, 0.7, 0.3]),
        ],
        vec![shape(DISC, [24.0, 30.0, 104.0, 110.0], [0.8, 0.8, 0.2])],
        vec![
            shape(SQUARE, [8.0, 90.0, 24.0, 106.0], [0.9, 0.9, 0.9]),
            shape(SQUARE, [80.0, 16.0, 112.0, 48.0], [0.7, 0.2, 0.8]),
            shape(DISC, [50.0, 64.0, 86.0, 100.0], [0.2, 0.3, 0.9]),
        ],
    ]
}

/// Pixels `[4, 3, SIDE, SIDE]` on a grey ground.
fn draw(scenes: &[Vec<Shape>], device: &Device) -> ImageBatch {
    let mut pixels = vec![0.4f32; scenes.len() * 3 * SIDE * SIDE];
    for (image, scene) in pixels.chunks_mut(3 * SIDE * SIDE).zip(scenes) {
        for Shape { label, bounds: [x1, y1, x2, y2], colour } in scene {
            for (channel, value) in image.chunks_mut(SIDE * SIDE).zip(colour) {
                for (i, pixel) in channel.iter_mut().enumerate() {
                    let (x, y) = ((i % SIDE) as f32 + 0.5, (i / SIDE) as f32 + 0.5);
                    // From −1 to 1 across the shape.
                    let (u, v) = ((2.0 * x - x1 - x2) / (x2 - x1), (2.0 * y - y1 - y2) / (y2 - y1));
                    let reach = if *label == DISC { u * u + v * v } else { u.abs().max(v.abs()) };
                    if reach <= 1.0 {
                        *pixel = *value;
                    }
                }
            }
        }
    }
    ImageBatch::unpadded(Tensor::from_data(TensorData::new(pixels, [scenes.len(), 3, SIDE, SIDE]), device))
}

fn targets(scenes: &[Vec<Shape>]) -> Vec<Targets> {
    let of = |scene: &Vec<Shape>| Targets {
        boxes: scene.iter().map(|shape| shape.bounds).collect(),
        labels: scene.iter().map(|shape| shape.label).collect(),
        crowds: Vec::new(),
    };
    scenes.iter().map(of).collect()
}

fn ap50(model: &RetinaNet, scenes: &[Vec<Shape>]) -> f64 {
    let truth = GroundTruth {
        image_ids: (0..scenes.len() as u64).collect(),
        categories: ["square", "disc"]
            .iter()
            .zip(1..)
            .map(|(name, id)| Category { id, name: name.to_string() })
            .collect(),
        boxes: scenes
            .iter()
            .zip(0..)
            .flat_map(|(scene, image_id)| {
                scene.iter().map(move |&Shape { label, bounds: [x1, y1, x2, y2], .. }| {
                    let bbox = [x1, y1, x2 - x1, y2 - y1].map(f64::from);
                    GroundTruthBox { image_id, label, bbox, area: bbox[2] * bbox[3], iscrowd: false }
                })
            })
            .collect(),
    };
    let detections = model.detect(&draw(scenes, &Device::default()));
    let detections: Vec<ImageDetections> = detections
        .into_iter()
        .zip(0..)
        .map(|(detections, image_id)| ImageDetections { image_id, detections })
        .collect();
    let summary =
        CocoEvaluator.evaluate(&truth, &detections).expect("detections of known images and classes");
    summary.ap50.expect("both classes have objects")
}

#[test]
fn the_tiny_detector_learns_four_images_by_heart() {
    // ndarray needs some seconds for a step: there the loss has to fall, no more.
    let slow = format!("{:?}", Device::default()).contains("NdArray");
    let steps = if slow { 3 } else { 120 };
    let device = Device::default().autodiff();
    device.seed(1);
    let scenes = scenes();
    let (images, targets) = (draw(&scenes, &device), targets(&scenes));
    let mut model = RetinaNetConfig::tiny(2).init(&device).expect("the preset fits together");
    let mut optimizer = AdamWConfig::new().with_weight_decay(1e-4).init();
    let mut history = Vec::new();
    for step in 0..=steps {
        let loss = model.supervised_losses(&images, &targets).remove(0).total();
        history.push(loss.clone().into_scalar::<f32>());
        let gradients = GradientsParams::from_grads(loss.backward(), &model);
        // Up over 20 steps, then down linearly.
        let rate = 3e-3 * ((step + 1) as f64 / 20.0).min(1.0) * (1.0 - step as f64 / (steps + 1) as f64);
        model = optimizer.step(rate, model, gradients);
    }
    let (first, last) = (history[0], history[steps]);
    assert!(last < first, "the loss did not fall: {history:?}");
    if !slow {
        let ap50 = ap50(&model.valid(), &scenes);
        println!("loss {first} to {last}, AP50 {ap50}");
        assert!(ap50 > 0.9, "AP50 {ap50} at a loss of {last}, after {history:?}");
    }
}
