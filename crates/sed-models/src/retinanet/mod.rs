//! RetinaNet (Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017), a one-stage detector.

mod config;
mod head;
mod loss;
mod postprocess;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sed_core::{
    ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, ImageSize, Predictions, StageViews,
    Targets, ViewPair, Views, pyramid::PyramidLayout,
};

pub use config::{RetinaNetConfig, RetinaNetConfigError};
pub use head::{ClassificationHead, HeadConfig, RegressionHead, RetinaNetHead};
pub use loss::{BoxLoss, RetinaNetLoss};
pub use postprocess::{AnchorGrid, PostProcess};

use crate::{
    backbone::{FpnConfig, ResNetFpn, ResNetFpnConfig},
    box_coder::BoxCoder,
    grids::{DenseGrids, MirrorPairs, ScalePairs, check_grids, check_mirror, without_autodiff},
    matcher::Matcher,
    preprocess::Preprocess,
};

const STAGES: [&str; 1] = ["head"];

/// A residual network, a feature pyramid, and two towers that predict, for each anchor, a score per
/// class and the offsets of a box.
///
/// A batch whose sides are no multiples of [`size_divisor`](Detector::size_divisor) is padded at the
/// bottom and the right.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Detector, ImageBatch, Targets, Views};
/// use sed_models::retinanet::RetinaNetConfig;
///
/// let device = Device::default().autodiff();
/// let model = RetinaNetConfig::tiny(3).init(&device)?;
/// let images = ImageBatch::unpadded(Tensor::full([1, 3, 32, 32], 0.5, &device));
///
/// let targets = Targets { boxes: vec![[8.0, 8.0, 24.0, 24.0]], labels: vec![1], crowds: Vec::new() };
/// let losses = model.supervised_losses(&images, &[targets]);
/// assert_eq!((losses.len(), losses[0].stage), (1, "head"));
/// let gradients = losses[0].total().backward();
/// assert!(model.head.classification_head.cls_logits.weight.val().grad(&gradients).is_some());
///
/// let views = model.compare_views(&model, &Views::new(images.clone(), images));
/// // All but the finest level have a partner on the half-size view.
/// let [paired, all] = [views[0].scale_pair(), views[0].distill_pair()].map(|p| p.student.num_anchors());
/// assert_eq!((paired, all), (2 * (16 + 4 + 1), 2 * (64 + 16 + 4 + 1)));
/// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct RetinaNet {
    /// Residual network and pyramid.
    pub backbone: ResNetFpn,
    /// The towers.
    pub head: RetinaNetHead,
    #[module(skip)]
    settings: Settings,
}

/// What is neither a parameter nor a layer.
#[derive(Debug, Clone)]
struct Settings {
    num_classes: usize,
    grids: DenseGrids,
    box_coder: BoxCoder,
    matcher: Matcher,
    loss: RetinaNetLoss,
    postprocess: PostProcess,
    preprocess: Preprocess,
}

impl RetinaNet {
    /// From a configuration that has been validated.
    fn new(config: &RetinaNetConfig, device: &Device) -> Result<Self, RetinaNetConfigError> {
        let mut backbone = config.backbone.clone();
        if config.p2_on_half {
            let fpn = FpnConfig { lowest_level: backbone.fpn.lowest_level - 1, ..backbone.fpn };
            backbone = ResNetFpnConfig { fpn, ..backbone };
        }
        let head = config.head.init(
            backbone.fpn.out_channels,
            config.anchors.anchors_per_cell(),
            config.num_classes,
            device,
        );
        Ok(Self {
            backbone: backbone.init(device)?,
            head,
            settings: Settings {
                num_classes: config.num_classes,
                grids: config.grids(),
                box_coder: config.box_coder,
                matcher: config.matcher,
                loss: config.loss,
                postprocess: config.postprocess,
                preprocess: config.preprocess,
            },
        })
    }

    /// The grids of the detector's levels over a batch of this size, padding to the divisor included.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::ImageSize;
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let model = RetinaNetConfig::tiny(3).init(&Device::default())?;
    /// // Padded to 64×96, the next multiples of 32.
    /// let layout = model.layout(ImageSize::new(50, 70));
    /// let grids: Vec<_> = layout.levels.iter().map(|level| (level.height, level.width)).collect();
    /// assert_eq!(grids, [(16, 24), (8, 12), (4, 6), (2, 3)]);
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn layout(&self, batch: ImageSize) -> PyramidLayout {
        self.settings.grids.layout(batch)
    }

    /// The grids of a half-size view, and which anchors of `full`, the layout of the full view, pair with
    /// its anchors.
    ///
    /// The half view, of half the full view's size, is padded to half the divisor, so the two agree.
    ///
    /// # Panics
    ///
    /// If the grids or the anchors of the two do not correspond: the half view is not of half the size, or
    /// the anchors do not double ([`RetinaNetConfig::validate_for_views`] tells the latter beforehand).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::ImageSize;
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let model = RetinaNetConfig::tiny(3).init(&Device::default())?;
    /// let full = model.layout(ImageSize::new(64, 64));
    /// let (half, pairs) = model.half_layout(&full, ImageSize::new(32, 32));
    /// // Of each anchor the one on the image is twice the one on the half-size view.
    /// let first = pairs.full_anchors(&full)[0];
    /// assert_eq!(model.anchors(&full)[first], model.anchors(&half)[0].map(|side| 2.0 * side));
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn half_layout(&self, full: &PyramidLayout, half: ImageSize) -> (PyramidLayout, ScalePairs) {
        self.settings.grids.half_layout(full, half)
    }

    /// The anchors of a layout of this detector, `[x1, y1, x2, y2]`.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_core::ImageSize;
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let model = RetinaNetConfig::tiny(3).init(&Device::default())?;
    /// let layout = model.layout(ImageSize::new(32, 32));
    /// let anchors = model.anchors(&layout);
    /// assert_eq!(anchors.len(), layout.num_anchors());
    /// assert_eq!(anchors[0], [-4.0, -4.0, 4.0, 4.0]);
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn anchors(&self, layout: &PyramidLayout) -> Vec<[f32; 4]> {
        self.settings.grids.anchors(layout)
    }

    /// The boxes `[x1, y1, x2, y2]`, in pixels of the full view, of the anchors that pair with one of the half-size view,
    /// for a batch of this size: entry `i` is anchor `i` of [`StageViews::scale`].
    ///
    /// # Panics
    ///
    /// If the anchors do not double ([`RetinaNetConfig::validate_for_views`] tells beforehand).
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{Detector, ImageBatch, Views};
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let device = Device::default();
    /// let model = RetinaNetConfig::tiny(3).init(&device)?;
    /// let images = ImageBatch::unpadded(Tensor::zeros([1, 3, 32, 32], &device));
    /// let boxes = model.paired_anchors(images.padded_size());
    /// let views = model.compare_views(&model, &Views::new(images.clone(), images));
    /// assert_eq!(boxes.len(), views[0].scale_pair().student.num_anchors());
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]> {
        self.settings.grids.paired_anchors(batch)
    }

    /// The predictions on all levels, finest first, for images of `[N, 3, H, W]` as in
    /// [`ImageBatch`]; their anchors are those of [`layout`](Self::layout).
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::ImageBatch;
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let device = Device::default();
    /// let model = RetinaNetConfig::tiny(3).init(&device)?;
    /// let levels = model.forward(&ImageBatch::unpadded(Tensor::zeros([2, 3, 32, 32], &device)));
    /// // Two anchors a cell of stride 4, three classes.
    /// assert_eq!(levels[0].class_logits.dims(), [2, 8 * 8 * 2, 3]);
    /// assert_eq!(levels[0].box_deltas.dims(), [2, 8 * 8 * 2, 4]);
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn forward(&self, images: &ImageBatch) -> Vec<Predictions> {
        let pixels = self.settings.preprocess.forward(images, self.size_divisor());
        let features = self.backbone.forward_from(pixels, self.settings.grids.lowest_level());
        check_grids(&features, &self.layout(images.padded_size()));
        features.into_iter().map(|level| self.head.forward(level)).collect()
    }

    /// The levels of the pyramid over a half-size view.
    fn half_features(&self, images: &ImageBatch, layout: &PyramidLayout) -> Vec<Tensor<4>> {
        let pixels = self.settings.preprocess.forward(images, self.size_divisor() / 2);
        let features = self.backbone.forward_from(pixels, self.settings.grids.lowest_level_on_half());
        check_grids(&features, layout);
        features
    }
}

impl Detector for RetinaNet {
    fn num_classes(&self) -> usize {
        self.settings.num_classes
    }

    fn stages(&self) -> &'static [&'static str] {
        &STAGES
    }

    /// The coarsest stride of the full view, which is twice the coarsest that is compared on the half
    /// view: 128 for a pyramid up to P7, 64 for one up to P6. On a single map twice its stride.
    /// [`RetinaNetConfig::pad_multiple`] where it is set.
    fn size_divisor(&self) -> usize {
        self.settings.grids.size_divisor()
    }

    fn takes_other_precisions(&self) -> bool {
        true
    }

    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
        let settings = &self.settings;
        let predictions = Predictions::cat(self.forward(images));
        let (_, anchors) = settings.grids.over_batch(images.padded_size());
        vec![settings.loss.forward(predictions, &anchors, targets, &settings.matcher, &settings.box_coder)]
    }

    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
        let full = self.layout(views.strong.padded_size());
        let student = self.forward(&views.strong);
        let joined = Predictions::cat(student.clone());
        let scale = views.half.as_ref().map(|images| {
            let (layout, pairs) = self.half_layout(&full, images.padded_size());
            let halved = self.half_features(images, &layout);
            pairs.pair(&student, |level| self.head.forward(halved[level].clone()))
        });
        let mirror = views.mirrored.as_ref().and_then(|images| {
            check_mirror(images, self.size_divisor());
            MirrorPairs::new(&full).pair(joined.clone(), Predictions::cat(self.forward(images)))
        });
        let distill = views.weak.as_ref().map(|images| {
            let taught = Predictions::cat(teacher.forward(&without_autodiff(images)));
            ViewPair::new(
                joined.clone(),
                Predictions::new(taught.class_logits.inner(), taught.box_deltas.inner()),
            )
        });
        vec![StageViews {
            stage: STAGES[0],
            activation: ClassActivation::Sigmoid,
            delta_weights: self.settings.box_coder.weights,
            scale,
            distill,
            mirror,
        }]
    }

    fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        let (layout, anchors) = self.settings.grids.over_batch(images.padded_size());
        let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &self.settings.box_coder };
        self.settings.postprocess.detections(Predictions::cat(self.forward(images)), grid, &images.sizes)
    }
}

#[cfg(test)]
mod tests;
