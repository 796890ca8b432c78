//! The RetinaNet of ResNet-50 with 91 classes, images and objects for it, and its supervised step.

use burn::{
    module::Module,
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use sed_core::{DetectionLoss, Detector, ImageBatch, Targets};
use sed_models::retinanet::{RetinaNet, RetinaNetConfig};
use sed_train::train::{OptimizerConfig, clip_global_norm};

use super::formula;

/// A learning rate so low that weights, and with them the work, stay as they are.
pub const RATE: f64 = 1e-7;

/// All parameters trained, batch norm frozen, on `device`.
///
/// Burn draws weights when they are first asked for, which is longer than a pass: one pass over a small image comes before any that
/// is timed.
pub fn resnet50(device: &Device) -> RetinaNet {
    let model = RetinaNetConfig::resnet50(91).init(device).expect("the preset is valid");
    model.detect(&images(1, 128, device));
    model
}

/// Images of `side`² pixels.
pub fn images(count: usize, side: usize, device: &Device) -> ImageBatch {
    ImageBatch::unpadded(formula([count, 3, side, side], 0, [0.0, 1.0], device))
}

/// Five objects in each image, along the diagonal, from a tenth to three tenths of the side.
pub fn targets(count: usize, side: usize) -> Vec<Targets> {
    let corner = |k: usize| 0.12 * k as f32;
    let one = |k: usize| {
        let end = corner(k) + 0.1 + 0.05 * k as f32;
        [corner(k), corner(k), end, end].map(|part| part * side as f32)
    };
    let image = Targets { boxes: (0..5).map(one).collect(), labels: (0..5).collect(), crowds: Vec::new() };
    vec![image; count]
}

/// Training on one batch of labeled images: forward, losses, backward, clipping, SGD with momentum.
pub struct Supervised {
    /// Taken out while the optimizer changes it.
    model: Option<RetinaNet>,
    optimizer: ModuleOptimizer,
    images: ImageBatch,
    targets: Vec<Targets>,
}

impl Supervised {
    /// `count` images of `side`² pixels; a `model` off the graph is put on it.
    pub fn new(model: RetinaNet, count: usize, side: usize) -> Self {
        let model = if model.devices().iter().any(Device::is_autodiff) { model } else { model.train() };
        let device = model.devices().remove(0);
        Self {
            images: images(count, side, &device),
            targets: targets(count, side),
            optimizer: OptimizerConfig::default().init(),
            model: Some(model),
        }
    }

    /// One step.
    pub fn step(&mut self) {
        let model = self.model.take().expect("the step before has put it back");
        let losses = model.supervised_losses(&self.images, &self.targets);
        let total = losses.iter().map(DetectionLoss::total).reduce(|a, b| a + b).expect("one stage");
        let grads = GradientsParams::from_grads(total.backward(), &model);
        let (grads, norm) = clip_global_norm(&model, grads, Some(10.0)).expect("the device answers");
        assert!(norm.is_finite(), "a gradient is not finite");
        self.model = Some(self.optimizer.step(RATE, model, grads));
    }
}

/// The sum of all predictions of a detector.
pub fn sum_of_outputs(model: &RetinaNet, images: &ImageBatch) -> Tensor<1> {
    let levels = model.forward(images).into_iter();
    levels
        .map(|level| level.class_logits.sum() + level.box_deltas.sum())
        .reduce(|a, b| a + b)
        .expect("levels")
}
