//! The interface between a detector and a semi-supervised trainer.

use burn::module::{Module, ModuleDisplay};

use crate::structures::{DetectionLoss, Detections, ImageBatch, StageViews, Targets, Views};

/// An object detector that can be trained by Scale-Equivalent Distillation.
///
/// A trainer needs three things of a detector: its supervised losses, its outputs on the three
/// views of unlabeled images, paired anchor by anchor, and its detections. How many stages it has
/// and how anchors pair between two image sizes is the detector's own business.
///
/// ```
/// use burn::{
///     module::Module,
///     nn::{Linear, LinearConfig},
///     tensor::{Device, Int, Tensor},
/// };
/// use sed_core::{
///     ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, Predictions, StageViews, Targets,
///     ViewPair, Views, losses::SigmoidFocalLoss,
/// };
///
/// /// Sees one object an image, which fills it; its class by the mean colour.
/// #[derive(Module, Debug)]
/// struct ColourDetector {
///     classes: Linear,
/// }
///
/// impl ColourDetector {
///     fn forward(&self, images: &ImageBatch) -> Predictions {
///         let n = images.len();
///         let colours = images.pixels.clone().reshape([n as i32, 3, -1]).mean_dim(2).reshape([n, 1, 3]);
///         Predictions::new(self.classes.forward(colours), Tensor::zeros([n, 1, 4], &images.pixels.device()))
///     }
/// }
///
/// impl Detector for ColourDetector {
///     fn num_classes(&self) -> usize {
///         self.classes.weight.dims()[1]
///     }
///
///     fn stages(&self) -> &'static [&'static str] {
///         &["colour"]
///     }
///
///     fn size_divisor(&self) -> usize {
///         2
///     }
///
///     fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
///         let (n, device) = (images.len(), images.pixels.device());
///         let classes: Vec<i64> =
///             targets.iter().map(|t| t.labels.first().map_or(-1, |&c| c as i64)).collect();
///         let classes = Tensor::<1, Int>::from_ints(classes.as_slice(), &device).reshape([n, 1]);
///         let logits = self.forward(images).class_logits;
///         let focal =
///             SigmoidFocalLoss::default().sum_of_classes(logits, classes, Tensor::ones([n, 1], &device));
///         let box_regression = Tensor::zeros([1], &device);
///         vec![DetectionLoss { stage: "colour", classification: focal, box_regression }]
///     }
///
///     fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
///         let student = self.forward(&views.strong);
///         let with = |other: Predictions| ViewPair::new(student.clone(), other);
///         vec![StageViews {
///             stage: "colour",
///             activation: ClassActivation::Sigmoid,
///             delta_weights: [1.0; 4],
///             scale: views.half.as_ref().map(|half| with(self.forward(half))),
///             distill: views.weak.as_ref().map(|weak| with(teacher.forward(weak).detach())),
///             mirror: views.mirrored.as_ref().map(|mirrored| with(self.forward(mirrored).mirrored())),
///         }]
///     }
///
///     fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
///         let scores = ClassActivation::Sigmoid.probabilities(self.forward(images).class_logits);
///         let scores = scores.into_data().try_to_vec::<f32>().expect("scores are f32");
///         let each = scores.chunks(self.num_classes()).zip(&images.sizes);
///         each.map(|(scores, size)| {
///             let best = (0..scores.len()).max_by(|&i, &j| scores[i].total_cmp(&scores[j])).unwrap_or(0);
///             Detections {
///                 boxes: vec![[0.0, 0.0, size.width as f32, size.height as f32]],
///                 scores: vec![scores[best]],
///                 labels: vec![best],
///             }
///         })
///         .collect()
///     }
/// }
///
/// let device = Device::default();
/// let detector = ColourDetector { classes: LinearConfig::new(3, 5).init(&device) };
/// let images = ImageBatch::unpadded(Tensor::full([2, 3, 4, 6], 0.5, &device));
/// assert_eq!(detector.detect(&images)[1].boxes, [[0.0, 0.0, 6.0, 4.0]]);
/// let losses = detector.supervised_losses(&images, &[Targets::default(), Targets::default()]);
/// assert_eq!(losses[0].stage, detector.stages()[0]);
/// // All views have one mean colour, so that their outputs agree.
/// let views = detector.compare_views(&detector, &Views::new(images.clone(), images));
/// let pair = views[0].scale_pair();
/// let difference = pair.student.class_logits.clone() - pair.other.class_logits.clone();
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
/// ```
pub trait Detector: Module + ModuleDisplay + core::fmt::Display + 'static {
    /// The number of classes, background not counted.
    fn num_classes(&self) -> usize;

    /// The names of its stages, as they appear in the losses and in logs: `["head"]` for a one-stage
    /// detector, `["rpn", "roi"]` for a two-stage one.
    fn stages(&self) -> &'static [&'static str];

    /// Height and width of a batch must be multiples of this, so that the grids of an image and of
    /// its half-size view coincide level by level: twice the coarsest stride
    /// (128 for a pyramid up to P7, of which the half view uses up to P6).
    fn size_divisor(&self) -> usize;

    /// The losses on labeled images, one entry a stage; `targets` has one entry an image.
    ///
    /// Images without objects are allowed, and so is a batch of only such images.
    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss>;

    /// The outputs of the student (`self`) and of the `teacher` for the views of unlabeled images,
    /// one entry a stage: for each view that is there the pair that it belongs to, for the others nothing, computation
    /// included.
    ///
    /// The teacher's outputs carry no gradient.
    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews>;

    /// Whether a trainer may give it weights (tensors of two axes or more) of another type than `f32`, as `bf16`: its layers then compute in
    /// the type of their weights, take `f32` and give `f32`, so that losses and boxes stay in it. Unless a detector says so, it may not.
    fn takes_other_precisions(&self) -> bool {
        false
    }

    /// The objects in each image; boxes in pixels of the batch, clipped to each image's valid size.
    fn detect(&self, images: &ImageBatch) -> Vec<Detections>;
}
