//! RetinaNet (Lin et al., *Focal Loss for Dense Object Detection*, ICCV 2017), a one-stage detector.

mod config;
mod head;
mod loss;
mod postprocess;
mod threads;

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sed_core::{
    ClassActivation, DetectionLoss, Detections, Detector, ImageBatch, ImageSize, Predictions, StageViews,
    Targets, ViewPair, Views,
    pyramid::{LevelPair, PyramidLayout},
};

pub use config::{RetinaNetConfig, RetinaNetConfigError};
pub use head::{ClassificationHead, HeadConfig, RegressionHead, RetinaNetHead, TowerInit};
pub use loss::{BoxLoss, RetinaNetLoss};
pub use postprocess::{AnchorGrid, PostProcess};

use crate::{
    anchors::AnchorGenerator,
    backbone::{FpnConfig, ResNetFpn, ResNetFpnConfig},
    box_coder::BoxCoder,
    matcher::Matcher,
    preprocess::Preprocess,
};

const STAGES: [&str; 1] = ["head"];

/// A residual network, a feature pyramid, and two towers that predict, for each anchor, a score per
/// class and the offsets of a box.
///
/// A batch whose sides are no multiples of [`size_divisor`](Detector::size_divisor) is padded at the
/// bottom and the right.
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
    /// Number of the finest level of the detector.
    lowest_level: usize,
    /// Strides of the detector's levels, finest first.
    strides: Vec<usize>,
    /// Has one level more than the detector with `p2_on_half`.
    anchors: AnchorGenerator,
    box_coder: BoxCoder,
    matcher: Matcher,
    loss: RetinaNetLoss,
    postprocess: PostProcess,
    preprocess: Preprocess,
    p2_on_half: bool,
    scale_levels: Option<Vec<usize>>,
}

impl RetinaNet {
    /// From a configuration that has been validated.
    fn new(config: &RetinaNetConfig, device: &Device) -> Result<Self, RetinaNetConfigError> {
        let strides = config.backbone.strides();
        let mut anchors = config.anchors.init(&strides);
        let mut backbone = config.backbone.clone();
        let lowest_level = backbone.fpn.lowest_level;
        if config.p2_on_half {
            anchors = anchors.with_finer_level();
            let fpn = FpnConfig { lowest_level: lowest_level - 1, ..backbone.fpn };
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
                lowest_level,
                strides,
                anchors,
                box_coder: config.box_coder,
                matcher: config.matcher,
                loss: config.loss,
                postprocess: config.postprocess,
                preprocess: config.preprocess,
                p2_on_half: config.p2_on_half,
                scale_levels: config.scale_levels.clone(),
            },
        })
    }

    /// The grids of the detector's levels over a batch of this size, padding to the divisor included.
    pub fn layout(&self, batch: ImageSize) -> PyramidLayout {
        self.layout_of(&self.settings.strides, batch, self.size_divisor())
    }

    /// The grids on which a half-size view is compared, and which level of `full`, the layout of the
    /// full view, each belongs to.
    ///
    /// The half view, of half the full view's size, is padded to half the divisor, so the two agree.
    ///
    /// # Panics
    ///
    /// If the grids or the anchors of two paired levels do not correspond: the half view is not of
    /// half the size, or the anchors do not double from level to level
    /// ([`RetinaNetConfig::validate_for_views`] tells the latter beforehand).
    pub fn half_layout(&self, full: &PyramidLayout, half: ImageSize) -> (PyramidLayout, Vec<LevelPair>) {
        let settings = &self.settings;
        // Of each level of the full view the one of half its stride, where the detector has it.
        let known = settings.anchors.strides();
        let strides: Vec<usize> =
            settings.strides.iter().map(|s| s / 2).filter(|half| known.contains(half)).collect();
        let half_layout = self.layout_of(&strides, half, self.size_divisor() / 2);
        let mut pairs = match full.pair_with_half(&half_layout) {
            Ok(pairs) => pairs,
            Err(error) => panic!("RetinaNet: {error} (full view {full:?}, half view {half_layout:?})"),
        };
        if let Some(levels) = &settings.scale_levels {
            pairs.retain(|pair| levels.contains(&(settings.lowest_level + pair.full)));
        }
        for pair in &pairs {
            let (coarse, fine) = (full.levels[pair.full].stride, half_layout.levels[pair.half].stride);
            assert!(
                settings.anchors.doubles(coarse, fine),
                "RetinaNet: the anchors of stride {coarse} are not twice those of stride {fine}"
            );
        }
        (half_layout, pairs)
    }

    /// The anchors of a layout of this detector, `[x1, y1, x2, y2]`.
    pub fn anchors(&self, layout: &PyramidLayout) -> Vec<[f32; 4]> {
        self.settings.anchors.grid(layout)
    }

    /// The predictions on all levels, finest first, for images of `[N, 3, H, W]` as in
    /// [`ImageBatch`]; their anchors are those of [`layout`](Self::layout).
    pub fn forward(&self, images: &ImageBatch) -> Vec<Predictions> {
        let pixels = self.settings.preprocess.forward(images, self.size_divisor());
        let features = self.backbone.forward_from(pixels, self.settings.lowest_level);
        let layout = self.layout(images.padded_size());
        features.into_iter().zip(&layout.levels).map(|(level, grid)| self.predict(level, grid)).collect()
    }

    /// The predictions on the levels of a half-size view that have a partner in `pairs`, in the
    /// order of the pairs.
    fn forward_half(
        &self,
        images: &ImageBatch,
        layout: &PyramidLayout,
        pairs: &[LevelPair],
    ) -> Vec<Predictions> {
        let pixels = self.settings.preprocess.forward(images, self.size_divisor() / 2);
        let lowest = self.settings.lowest_level - usize::from(self.settings.p2_on_half);
        let features = self.backbone.forward_from(pixels, lowest);
        pairs
            .iter()
            .map(|pair| self.predict(features[pair.half].clone(), &layout.levels[pair.half]))
            .collect()
    }

    fn predict(&self, features: Tensor<4>, grid: &sed_core::pyramid::LevelLayout) -> Predictions {
        let [_, _, height, width] = features.dims();
        assert_eq!(
            [height, width],
            [grid.height, grid.width],
            "RetinaNet: features of another size than the grid of stride {}",
            grid.stride
        );
        self.head.forward(features)
    }

    fn layout_of(&self, strides: &[usize], batch: ImageSize, divisor: usize) -> PyramidLayout {
        let padded =
            ImageSize::new(batch.height.next_multiple_of(divisor), batch.width.next_multiple_of(divisor));
        PyramidLayout::over(padded, strides, self.settings.anchors.anchors_per_cell())
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
    /// view: 128 for a pyramid up to P7, 64 for one up to P6.
    fn size_divisor(&self) -> usize {
        self.settings.strides.iter().copied().max().unwrap_or(1)
    }

    fn supervised_losses(&self, images: &ImageBatch, targets: &[Targets]) -> Vec<DetectionLoss> {
        let settings = &self.settings;
        let predictions = Predictions::cat(self.forward(images));
        let anchors = self.anchors(&self.layout(images.padded_size()));
        vec![settings.loss.forward(predictions, &anchors, targets, &settings.matcher, &settings.box_coder)]
    }

    fn compare_views(&self, teacher: &Self, views: &Views) -> Vec<StageViews> {
        let full = self.layout(views.strong.padded_size());
        let (half, pairs) = self.half_layout(&full, views.half.padded_size());
        let student = self.forward(&views.strong);
        let halved = self.forward_half(&views.half, &half, &pairs);
        // Without autodiff on the input a teacher made by `valid` builds no graph at all.
        let weak = ImageBatch::new(views.weak.pixels.clone().inner(), views.weak.sizes.clone());
        let taught = Predictions::cat(teacher.forward(&weak));
        let taught = Predictions::new(taught.class_logits.inner(), taught.box_deltas.inner());
        let compared = pairs.iter().map(|pair| student[pair.full].clone()).collect();
        vec![StageViews {
            stage: STAGES[0],
            activation: ClassActivation::Sigmoid,
            scale: ViewPair::new(Predictions::cat(compared), Predictions::cat(halved)),
            distill: ViewPair::new(Predictions::cat(student), taught),
        }]
    }

    fn detect(&self, images: &ImageBatch) -> Vec<Detections> {
        let layout = self.layout(images.padded_size());
        let anchors = self.anchors(&layout);
        let grid = AnchorGrid { layout: &layout, anchors: &anchors, coder: &self.settings.box_coder };
        self.settings.postprocess.detections(Predictions::cat(self.forward(images)), grid, &images.sizes)
    }
}

#[cfg(test)]
mod tests;
