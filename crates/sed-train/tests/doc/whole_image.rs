// A detector for the examples of the documentation, which include this file: its one anchor is the whole image, whose
// class it guesses from the mean colour.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, TensorData},
};
use sed_core::{
    ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, Predictions, StageViews, Targets,
    ViewPair, Views, losses::SigmoidFocalLoss,
};

#[derive(Module, Debug)]
pub struct WholeImage {
    layer: Linear,
    #[module(skip)]
    classes: usize,
}

impl WholeImage {
    pub fn new(classes: usize, device: &Device) -> Self {
        Self { layer: LinearConfig::new(3, classes + 4).init(device), classes }
    }

    fn forward(&self, pixels: Tensor<4>) -> Predictions {
        let (n, c) = (pixels.dims()[0], self.classes);
        let colors = pixels.mean_dim(2).mean_dim(3).reshape([n, 1, 3]);
        let outputs = self.layer.forward(colors);
        Predictions::new(outputs.clone().slice([0..n, 0..1, 0..c]), outputs.slice([0..n, 0..1, c..c + 4]))
    }
}

impl Detector for WholeImage {
    fn num_classes(&self) -> usize {
        self.classes
    }

    fn stages(&self) -> &'static [&'static str] {
        &["head"]
    }

    fn size_divisor(&self) -> usize {
        2
    }

    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
        let found = self.forward(images.pixels.clone());
        let (device, c) = (found.class_logits.device(), self.classes);
        let mut is_there = Vec::new();
        for target in targets {
            is_there.extend((0..c).map(|label| f32::from(u8::from(target.labels.contains(&label)))));
        }
        let is_there = Tensor::from_data(TensorData::new(is_there, [targets.len(), 1, c]), &device);
        let classification = SigmoidFocalLoss::default().forward(found.class_logits, is_there).mean();
        vec![DetectionLoss {
            stage: "head",
            classification,
            box_regression: found.box_deltas.powi_scalar(2).mean(),
        }]
    }

    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
        let strong = self.forward(views.strong.pixels.clone());
        let pair = |other| ViewPair::new(strong.clone(), other);
        let scale = views.half.as_ref().map(|half| pair(self.forward(half.pixels.clone())));
        let taught = |weak: &ImageBatch| teacher.forward(weak.pixels.clone().inner()).detach();
        let distill = views.weak.as_ref().map(|weak| pair(taught(weak)));
        let (stage, activation) = ("head", ClassActivation::Sigmoid);
        vec![StageViews { stage, activation, delta_weights: [1.0; 4], scale, distill, mirror: None }]
    }

    fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        let found = self.forward(images.pixels.clone());
        let scores = ClassActivation::Sigmoid.probabilities(found.class_logits);
        let scores: Vec<f32> = scores.into_data().iter::<f32>().collect();
        let best = |scores: &[f32]| (0..scores.len()).max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        let image = |(size, scores): (&sed_core::ImageSize, &[f32])| {
            let label = best(scores).unwrap_or(0);
            let whole = [0.0, 0.0, size.width as f32, size.height as f32];
            Detections { boxes: vec![whole], scores: vec![scores[label]], labels: vec![label] }
        };
        images.sizes.iter().zip(scores.chunks(self.classes)).map(image).collect()
    }
}
