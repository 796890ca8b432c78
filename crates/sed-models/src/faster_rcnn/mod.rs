//! Faster R-CNN (Ren et al., NIPS 2015) on a feature pyramid (Lin et al., CVPR 2017), a two-stage detector.

mod config;
mod postprocess;
mod proposals;
mod roi_heads;
mod roi_loss;
mod roi_pool;
mod rois;
mod rpn;
mod rpn_loss;
mod sampler;

use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
};
use sed_core::{
    ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, ImageSize, Predictions, StageViews,
    Targets, ViewPair, Views, pyramid::PyramidLayout,
};

pub use config::{FasterRcnnConfig, FasterRcnnConfigError};
pub use postprocess::RoiPostProcess;
pub use proposals::ProposalFilter;
pub use roi_heads::{BoxHead, BoxPredictor, RoiConfig, RoiHeads};
pub use roi_loss::{RoiLoss, RoiTargets};
pub use roi_pool::{HalfViewLevel, RoiPool};
pub use rois::Rois;
pub use rpn::{Rpn, RpnConfig, RpnHead};
pub use rpn_loss::RpnLoss;
pub use sampler::{Sample, Sampler};

use crate::{
    backbone::ResNetFpn,
    grids::{DenseGrids, MirrorPairs, check_grids, check_mirror, without_autodiff},
    host::{self, for_each_image},
};

const STAGES: [&str; 2] = ["rpn", "roi"];

/// Background first, then the classes.
const ROI_ACTIVATION: ClassActivation = ClassActivation::Softmax { background: 0 };

/// A residual network and a feature pyramid; a first stage that proposes regions on all levels; a second
/// that classifies each region and refines its box.
///
/// Views of unlabeled images are compared in both stages. In the first, anchor by anchor as in a one-stage
/// detector. In the second on the student's proposals on `X` and on `X̂`, the latter scaled by 2, in
/// one list (Guo et al., *Scale-Equivalent Distillation*, CVPR 2022): a region `b` is pooled at `b` on `X` and
/// on the teacher's view, at `b/2` on `X̂`. Boxes are compared by the deltas of the class that the
/// teacher finds likeliest in the region (our design: those of the other classes were hardly ever trained).
///
/// A batch whose sides are no multiples of [`size_divisor`](Detector::size_divisor) is padded at the
/// bottom and the right.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Detector, ImageBatch, Targets, Views};
/// use sed_models::faster_rcnn::FasterRcnnConfig;
///
/// let device = Device::default().autodiff();
/// let model = FasterRcnnConfig::tiny(3).init(&device)?;
/// let images = ImageBatch::unpadded(Tensor::full([1, 3, 32, 32], 0.5, &device));
///
/// let targets = Targets { boxes: vec![[8.0, 8.0, 24.0, 24.0]], labels: vec![1], crowds: Vec::new() };
/// let losses = model.supervised_losses(&images, &[targets]);
/// assert_eq!((losses[0].stage, losses[1].stage), ("rpn", "roi"));
/// let gradients = (losses[0].total() + losses[1].total()).backward();
/// assert!(model.roi_heads.box_predictor.cls_score.weight.val().grad(&gradients).is_some());
///
/// let views = model.compare_views(&model, &Views::new(images.clone(), images));
/// // One score an anchor in the first stage; background and three classes a region in the second.
/// let scores = views.iter().map(|stage| stage.scale_pair().student.class_logits.dims()[2]);
/// assert_eq!(scores.collect::<Vec<_>>(), [1, 4]);
/// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct FasterRcnn {
    /// Residual network and pyramid.
    pub backbone: ResNetFpn,
    /// The first stage.
    pub rpn: Rpn,
    /// The second stage.
    pub roi_heads: RoiHeads,
    #[module(skip)]
    settings: Settings,
}

/// What is neither a parameter nor a layer.
#[derive(Debug, Clone)]
struct Settings {
    config: FasterRcnnConfig,
    grids: DenseGrids,
}

/// The first stage on a batch.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::ImageBatch;
/// use sed_models::faster_rcnn::FasterRcnnConfig;
///
/// let device = Device::default();
/// let model = FasterRcnnConfig::tiny(3).init(&device)?;
/// let first = model.first_stage(&ImageBatch::unpadded(Tensor::zeros([1, 3, 32, 32], &device)));
/// // P2 to P5, of 32 channels; two anchors a cell.
/// assert_eq!((first.features.len(), first.features[0].dims()), (4, [1, 32, 8, 8]));
/// assert_eq!(first.predictions[0].num_anchors(), 2 * 64);
/// assert_eq!(first.joined.num_anchors(), 2 * (64 + 16 + 4 + 1));
/// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
/// ```
#[derive(Debug, Clone)]
pub struct FirstStage {
    /// Levels of the pyramid, finest first, `[N, C, H, W]` each.
    pub features: Vec<Tensor<4>>,
    /// The predictions on each level.
    pub predictions: Vec<Predictions>,
    /// Those of all levels, in the order of the anchors.
    pub joined: Predictions,
    layout: PyramidLayout,
    anchors: Vec<[f32; 4]>,
}

impl FasterRcnn {
    /// From a configuration that has been validated.
    fn new(config: &FasterRcnnConfig, device: &Device) -> Result<Self, FasterRcnnConfigError> {
        let channels = config.backbone.fpn.out_channels;
        Ok(Self {
            backbone: config.backbone.init(device)?,
            rpn: config.rpn.init(channels, device),
            roi_heads: config.roi.init(channels, config.num_classes, device),
            settings: Settings { config: config.clone(), grids: config.grids() },
        })
    }

    /// The grids of the first stage over a batch of this size, padding to the divisor included.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::ImageSize;
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let model = FasterRcnnConfig::tiny(3).init(&Device::default())?;
    /// // Padded to 64×96, the next multiples of 32.
    /// let layout = model.layout(ImageSize::new(50, 70));
    /// let grids: Vec<_> = layout.levels.iter().map(|level| (level.height, level.width)).collect();
    /// assert_eq!(grids, [(16, 24), (8, 12), (4, 6), (2, 3)]);
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn layout(&self, batch: ImageSize) -> PyramidLayout {
        self.settings.grids.layout(batch)
    }

    /// The boxes `[x1, y1, x2, y2]`, in pixels of the full view, of the first stage's anchors that pair with one of the
    /// half-size view, for a batch of this size: entry `i` is anchor `i` of that stage's [`StageViews::scale`].
    ///
    /// # Panics
    ///
    /// If the anchors do not double ([`FasterRcnnConfig::validate_for_views`] tells beforehand).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::ImageSize;
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let model = FasterRcnnConfig::tiny(3).init(&Device::default())?;
    /// // Two a cell on all levels but the finest, which has no partner.
    /// let boxes = model.paired_anchors(ImageSize::new(32, 32));
    /// assert_eq!(boxes.len(), 2 * (16 + 4 + 1));
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]> {
        self.settings.grids.paired_anchors(batch)
    }

    /// Features and first-stage predictions for images of `[N, 3, H, W]` as in [`ImageBatch`].
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::ImageBatch;
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let device = Device::default();
    /// let model = FasterRcnnConfig::tiny(3).init(&device)?;
    /// let images = ImageBatch::unpadded(Tensor::zeros([2, 3, 32, 32], &device));
    /// let first = model.first_stage(&images);
    /// let anchors = model.layout(images.padded_size()).num_anchors();
    /// assert_eq!(first.joined.class_logits.dims(), [2, anchors, 1]);
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn first_stage(&self, images: &ImageBatch) -> FirstStage {
        let grids = self.settings.grids.over_batch(images.padded_size());
        self.first_stage_on(images, grids, self.size_divisor())
    }

    /// The first stage on the grids of a layout and their anchors.
    fn first_stage_on(
        &self,
        images: &ImageBatch,
        (layout, anchors): (PyramidLayout, Vec<[f32; 4]>),
        divisor: usize,
    ) -> FirstStage {
        let features = self.backbone.forward(self.settings.config.preprocess.forward(images, divisor));
        check_grids(&features, &layout);
        let predictions: Vec<_> = features.iter().map(|level| self.rpn.forward(level.clone())).collect();
        let joined = Predictions::cat(predictions.clone());
        FirstStage { features, predictions, joined, layout, anchors }
    }

    /// The proposals of each image, best first, and a seed that depends on the image's logits;
    /// `sizes` has the valid size of each image.
    fn proposals(
        &self,
        first: &FirstStage,
        sizes: &[ImageSize],
        filter: &ProposalFilter,
    ) -> (Vec<Vec<[f32; 4]>>, Vec<u64>) {
        let a = first.anchors.len();
        let Predictions { class_logits, box_deltas } = first.joined.clone();
        let (logits, deltas) = (host::read(class_logits), host::read(box_deltas));
        let coder = &self.settings.config.rpn.box_coder;
        for_each_image(sizes.len(), |i| {
            let (logits, deltas) = (&logits[i * a..(i + 1) * a], &deltas[i * a * 4..(i + 1) * a * 4]);
            let found = filter.proposals(logits, deltas, &first.layout, &first.anchors, coder, sizes[i]);
            (found, sampler::seed_of(logits))
        })
        .into_iter()
        .unzip()
    }

    /// The proposals of each image in detection, best first, `[x1, y1, x2, y2]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageBatch, ops::boxes};
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let device = Device::default();
    /// let model = FasterRcnnConfig::tiny(3).init(&device)?;
    /// let images = ImageBatch::unpadded(Tensor::zeros([1, 3, 32, 32], &device));
    /// let proposals = model.propose(&model.first_stage(&images), &images.sizes);
    /// // At most 60 with this preset, each within the image.
    /// assert!((1..=60).contains(&proposals[0].len()));
    /// assert!(proposals[0].iter().all(|b| boxes::clip(b, 32.0, 32.0) == *b));
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn propose(&self, first: &FirstStage, sizes: &[ImageSize]) -> Vec<Vec<[f32; 4]>> {
        self.proposals(first, sizes, &self.settings.config.rpn.test_proposals).0
    }

    /// The second stage on `rois`: logits `[1, K, classes + 1]`, background first, and deltas `[1, K, 4·(classes
    /// + 1)]`.
    ///
    /// # Panics
    ///
    /// If there is no region.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::ImageBatch;
    /// use sed_models::faster_rcnn::{FasterRcnnConfig, Rois};
    ///
    /// let device = Device::default();
    /// let model = FasterRcnnConfig::tiny(3).init(&device)?;
    /// let first = model.first_stage(&ImageBatch::unpadded(Tensor::zeros([2, 3, 32, 32], &device)));
    /// // One region in the first image, two in the second.
    /// let whole = [0.0, 0.0, 32.0, 32.0];
    /// let rois = Rois::new(&[vec![whole], vec![whole, [8.0, 8.0, 16.0, 24.0]]]);
    /// let predictions = model.second_stage(&first, &rois);
    /// assert_eq!(predictions.class_logits.dims(), [1, 3, 4]);
    /// assert_eq!(predictions.box_deltas.dims(), [1, 3, 16]);
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn second_stage(&self, first: &FirstStage, rois: &Rois) -> Predictions {
        self.second_stage_on(first, rois, &self.roi_levels(rois))
    }

    fn second_stage_on(&self, first: &FirstStage, rois: &Rois, levels: &[usize]) -> Predictions {
        let pooled = &first.features[..self.pooled_levels()];
        let lowest = self.settings.grids.lowest_level();
        self.roi_heads.forward(self.settings.config.roi.pool.forward(pooled, lowest, rois, levels))
    }

    /// How many levels regions are pooled from: those made from a feature map of the residual network.
    fn pooled_levels(&self) -> usize {
        self.backbone.fpn.highest_body_level() + 1 - self.settings.grids.lowest_level()
    }

    fn roi_levels(&self, rois: &Rois) -> Vec<usize> {
        let lowest = self.settings.grids.lowest_level();
        self.settings.config.roi.pool.levels(rois, lowest, self.pooled_levels())
    }
}

impl Detector for FasterRcnn {
    fn num_classes(&self) -> usize {
        self.settings.config.num_classes
    }

    fn stages(&self) -> &'static [&'static str] {
        &STAGES
    }

    /// The coarsest stride of the full view, which is twice the coarsest that is compared on the half
    /// view: 64 for a pyramid up to P6. On a single map twice its stride. [`FasterRcnnConfig::pad_multiple`] where it is set.
    fn size_divisor(&self) -> usize {
        self.settings.grids.size_divisor()
    }

    fn takes_other_precisions(&self) -> bool {
        true
    }

    /// The losses of the first and of the second stage. Without any region to sample those of the second are 0.
    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
        let FasterRcnnConfig { rpn, roi, .. } = &self.settings.config;
        let first = self.first_stage(images);
        let (proposals, seeds) = self.proposals(&first, &images.sizes, &rpn.train_proposals);
        let rpn_loss =
            rpn.loss.forward(first.joined.clone(), &first.anchors, targets, &rpn.box_coder, &seeds);

        let sampled = roi.loss.sample(proposals, targets);
        let roi_loss = if sampled.rois.is_empty() {
            let zero = Tensor::zeros([1], &images.pixels.device());
            DetectionLoss { stage: STAGES[1], classification: zero.clone(), box_regression: zero }
        } else {
            roi.loss.forward(self.second_stage(&first, &sampled.rois), &sampled, &roi.box_coder)
        };
        vec![rpn_loss, roi_loss]
    }

    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
        let settings = &self.settings;
        let divisor = self.size_divisor();
        let full = self.first_stage(&views.strong);
        let half = views.half.as_ref().map(|images| {
            let (layout, pairs) = settings.grids.half_layout(&full.layout, images.padded_size());
            let anchors = settings.grids.anchors(&layout);
            (images, self.first_stage_on(images, (layout, anchors), divisor / 2), pairs)
        });
        let mirrored = views.mirrored.as_ref().map(|images| {
            check_mirror(images, divisor);
            (images, self.first_stage(images))
        });
        let taught = views.weak.as_ref().map(|images| teacher.first_stage(&without_autodiff(images)));
        let rpn = StageViews {
            stage: STAGES[0],
            activation: ClassActivation::Sigmoid,
            delta_weights: settings.config.rpn.box_coder.weights,
            scale: half.as_ref().map(|(_, half, pairs)| {
                pairs.pair(&full.predictions, |level| half.predictions[level].clone())
            }),
            distill: taught
                .as_ref()
                .map(|taught| ViewPair::new(full.joined.clone(), without_graph(taught.joined.clone()))),
            mirror: mirrored.as_ref().and_then(|(_, mirrored)| {
                MirrorPairs::new(&full.layout).pair(full.joined.clone(), mirrored.joined.clone())
            }),
        };

        let filter = &settings.config.rpn.train_proposals;
        let on_full = self.proposals(&full, &views.strong.sizes, filter).0;
        let on_half = half.as_ref().map(|(images, half, _)| self.proposals(half, &images.sizes, filter).0);
        let rois = rois::joined(&on_full, on_half.as_deref(), &views.strong.sizes);
        let levels = self.roi_levels(&rois);
        let student = self.second_stage_on(&full, &rois, &levels);
        let taught = taught.map(|taught| without_graph(teacher.second_stage_on(&taught, &rois, &levels)));
        // Without a teacher the student says which class's boxes are compared.
        let boxes_of = match &taught {
            Some(taught) => LikeliestClass::new(taught),
            None => LikeliestClass::new(&without_graph(student.clone())),
        };
        let student = boxes_of.of(student);
        let pair = |other: Predictions| ViewPair::new(student.clone(), boxes_of.of(other));
        let roi = StageViews {
            stage: STAGES[1],
            activation: ROI_ACTIVATION,
            delta_weights: settings.config.roi.box_coder.weights,
            scale: half.map(|(_, half, _)| {
                let rois = rois.scaled(0.5);
                let levels = match settings.config.roi.pool.half_view_level {
                    HalfViewLevel::Shifted => self.roi_levels(&rois),
                    HalfViewLevel::Same => levels.clone(),
                };
                pair(self.second_stage_on(&half, &rois, &levels))
            }),
            distill: taught.map(&pair),
            mirror: mirrored.map(|(images, mirrored)| {
                let rois = rois.mirrored(images.padded_size().width as f32);
                pair(self.second_stage_on(&mirrored, &rois, &levels).mirrored())
            }),
        };
        vec![rpn, roi]
    }

    fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        let roi = &self.settings.config.roi;
        let first = self.first_stage(images);
        let rois = Rois::new(&self.propose(&first, &images.sizes));
        if rois.is_empty() {
            return vec![Detections::default(); images.len()];
        }
        let predictions = self.second_stage(&first, &rois);
        roi.postprocess.detections(predictions, &rois, &roi.box_coder, &images.sizes)
    }
}

/// A teacher's predictions, even of one that could take gradients.
fn without_graph(predictions: Predictions) -> Predictions {
    Predictions::new(predictions.class_logits.inner(), predictions.box_deltas.inner())
}

/// For each region the class whose box is compared.
struct LikeliestClass {
    /// `[K, 1, 4]`, an output's index, without autodiff.
    outputs: Tensor<3, Int>,
}

impl LikeliestClass {
    /// The likeliest class of the teacher, background left out.
    fn new(taught: &Predictions) -> Self {
        let [_, k, outputs] = taught.class_logits.dims();
        let classes = taught.class_logits.clone().slice([0..1, 0..k, 1..outputs]);
        let outputs = classes.argmax(2).reshape([k, 1, 1]) + 1;
        Self { outputs: outputs.expand([k, 1, 4]) }
    }

    /// The predictions with the deltas of these classes alone, `[1, K, 4]`.
    fn of(&self, predictions: Predictions) -> Predictions {
        let Predictions { class_logits, box_deltas } = predictions;
        let [_, k, deltas] = box_deltas.dims();
        let chosen = box_deltas.reshape([k, deltas / 4, 4]).gather(1, self.outputs.clone());
        let chosen = chosen.reshape([1, k, 4]);
        Predictions::new(class_logits, chosen)
    }
}

#[cfg(test)]
mod tests;
