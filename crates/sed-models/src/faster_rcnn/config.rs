//! Configuration of a Faster R-CNN.

use burn::tensor::Device;
use sed_core::InvalidOption;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{FasterRcnn, ProposalFilter, RoiConfig, RoiLoss, RoiPool, RpnConfig, RpnLoss, Sampler};
use crate::{
    anchors::{AnchorConfig, AnchorConfigError},
    backbone::{BackboneConfigError, FpnConfig, P6Source, ResNetConfig, ResNetFpnConfig},
    grids::{DenseGrids, ScaleViewsError},
    layers::{
        drawn,
        norm::{GroupsError, NormKind},
        tower::TowerInit,
    },
    matcher::{Matcher, MatcherError},
    ops::roi_align::RoiAlign,
    preprocess::{Preprocess, PreprocessError},
};

/// Configuration of a [`FasterRcnn`]. The default is [`FasterRcnnConfig::resnet50`] for 80 classes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Detector, ImageBatch};
/// use sed_models::faster_rcnn::FasterRcnnConfig;
///
/// let device = Device::default();
/// let model = FasterRcnnConfig::tiny(3).init(&device)?;
/// let images = ImageBatch::unpadded(Tensor::zeros([1, 3, 64, 64], &device));
/// assert_eq!(model.detect(&images).len(), 1);
/// assert_eq!(model.stages(), ["rpn", "roi"]);
/// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FasterRcnnConfig {
    /// The number of classes, background not counted.
    pub num_classes: usize,
    /// Residual network and pyramid. The region proposal network sees all levels, regions are pooled from
    /// those up to P5. With a single level it is a detector on one feature map.
    pub backbone: ResNetFpnConfig,
    /// The first stage.
    pub rpn: RpnConfig,
    /// The second stage.
    pub roi: RoiConfig,
    /// Normalisation of pixels.
    pub preprocess: Preprocess,
    /// Sides of a batch are padded to multiples of this; when absent to [`size_divisor`](sed_core::Detector::size_divisor),
    /// which comparing image sizes needs. Cells of the coarse levels may then reach beyond the padded image; their anchors
    /// are spread over it as torchvision does.
    pub pad_multiple: Option<usize>,
}

/// What is wrong with a [`FasterRcnnConfig`].
///
/// ```
/// use sed_models::{
///     faster_rcnn::{FasterRcnnConfig, FasterRcnnConfigError},
///     matcher::Matcher,
/// };
///
/// let mut config = FasterRcnnConfig::tiny(3);
/// config.roi.loss.matcher = Matcher { low: 0.9, ..Matcher::default() };
/// match config.validate() {
///     Err(FasterRcnnConfigError::Matcher { stage, .. }) => assert_eq!(stage, "roi"),
///     other => unreachable!("{other:?}"),
/// }
/// assert_eq!(FasterRcnnConfig::tiny(0).validate(), Err(FasterRcnnConfigError::NoClasses));
/// ```
#[derive(Debug, Error, PartialEq)]
pub enum FasterRcnnConfigError {
    /// No class.
    #[error("num_classes: at least one is needed")]
    NoClasses,
    /// Of the backbone.
    #[error("backbone: {0}")]
    Backbone(#[from] BackboneConfigError),
    /// Of the first stage's norm.
    #[error("rpn.norm: {0}")]
    RpnNorm(#[from] GroupsError),
    /// Of the anchors.
    #[error("rpn.{0}")]
    Anchors(#[from] AnchorConfigError),
    /// Of a matcher.
    #[error("{stage}.loss.{error}")]
    Matcher {
        /// `rpn` or `roi`.
        stage: &'static str,
        /// What is wrong with it.
        error: MatcherError,
    },
    /// Image and half-size view do not compare.
    #[error("rpn.{0}")]
    ScaleViews(ScaleViewsError),
    /// Of the padding.
    #[error(transparent)]
    Padding(ScaleViewsError),
    /// Of the normalisation of pixels.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A number out of its range.
    #[error(transparent)]
    Option(#[from] InvalidOption),
}

impl From<ScaleViewsError> for FasterRcnnConfigError {
    fn from(error: ScaleViewsError) -> Self {
        match error {
            ScaleViewsError::Padding { .. } | ScaleViewsError::NoMultiple => Self::Padding(error),
            _ => Self::ScaleViews(error),
        }
    }
}

impl Default for FasterRcnnConfig {
    fn default() -> Self {
        Self::resnet50(80)
    }
}

impl FasterRcnnConfig {
    /// Faster R-CNN with ResNet-50 and P2 to P6, as `fasterrcnn_resnet50_fpn` of torchvision, but with
    /// anchors that double exactly from level to level (torchvision rounds corners) and 1000 proposals in
    /// training for its 2000.
    ///
    /// ```
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let config = FasterRcnnConfig::resnet50(20);
    /// assert_eq!((config.num_classes, config.backbone.body.depth), (20, 50));
    /// assert_eq!(config.backbone.strides(), [4, 8, 16, 32, 64]);
    /// ```
    pub fn resnet50(num_classes: usize) -> Self {
        Self {
            num_classes,
            backbone: ResNetFpnConfig {
                body: ResNetConfig::default(),
                fpn: FpnConfig {
                    lowest_level: 2,
                    highest_level: 6,
                    p6_source: P6Source::Subsampled,
                    ..FpnConfig::default()
                },
            },
            rpn: RpnConfig::default(),
            roi: RoiConfig::default(),
            preprocess: Preprocess::default(),
            pad_multiple: None,
        }
    }

    /// `fasterrcnn_resnet50_fpn` of torchvision to the letter, whose `num_classes` counts the background
    /// and is one more: its rounded anchors, 2000 proposals in training, and padding to multiples of 32.
    ///
    /// It cannot compare image sizes; to go on training its weights so, take
    /// [`FasterRcnnConfig::resnet50`].
    ///
    /// ```
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// // The 91 of torchvision, with its background.
    /// let config = FasterRcnnConfig::torchvision(90);
    /// assert_eq!((config.rpn.train_proposals.max_proposals, config.pad_multiple), (2000, Some(32)));
    /// assert!(config.validate().is_ok());
    /// assert!(config.validate_for_views().is_err());
    /// ```
    pub fn torchvision(num_classes: usize) -> Self {
        let base = Self::resnet50(num_classes);
        let anchors = AnchorConfig { rounding: true, ..base.rpn.anchors };
        let train_proposals = ProposalFilter { max_proposals: 2000, ..base.rpn.train_proposals };
        Self { rpn: RpnConfig { anchors, train_proposals, ..base.rpn }, pad_multiple: Some(32), ..base }
    }

    /// A detector of less than a million parameters for images of about 64 to 128 px on a few processor cores, to be trained
    /// from nothing: ResNet-18 at a quarter of its width, group norm, P2 to P5, two square anchors a cell from
    /// 8 to 90 px, at most 60 proposals an image.
    ///
    /// ```
    /// use burn::{module::Module, tensor::Device};
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let model = FasterRcnnConfig::tiny(6).init(&Device::default())?;
    /// assert!(model.num_params() < 1_000_000);
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn tiny(num_classes: usize) -> Self {
        let norm = NormKind::Group { groups: 8 };
        let channels = 32;
        let base = Self::resnet50(num_classes);
        let proposals =
            ProposalFilter { candidates_per_level: 200, max_proposals: 60, ..ProposalFilter::default() };
        Self {
            backbone: ResNetFpnConfig {
                body: ResNetConfig { base_width: 16, stem_kernel_size: 3, norm, ..ResNetConfig::new(18) },
                fpn: FpnConfig {
                    out_channels: channels,
                    lowest_level: 2,
                    highest_level: 5,
                    ..FpnConfig::default()
                },
            },
            rpn: RpnConfig {
                channels,
                norm,
                tower_init: TowerInit::Kaiming,
                anchors: AnchorConfig::octaves(8.0, 4, 2, &[1.0]),
                loss: RpnLoss {
                    matcher: Matcher { high: 0.6, low: 0.3, allow_low_quality: true },
                    sampler: Sampler { per_image: 64, positive_fraction: 0.5 },
                    ..RpnLoss::default()
                },
                train_proposals: proposals,
                test_proposals: proposals,
                ..base.rpn
            },
            roi: RoiConfig {
                pool: RoiPool {
                    align: RoiAlign { output_size: 5, ..RoiAlign::default() },
                    canonical_size: 56.0,
                    ..RoiPool::default()
                },
                hidden: 128,
                loss: RoiLoss {
                    sampler: Sampler { per_image: 64, positive_fraction: 0.25 },
                    ..RoiLoss::default()
                },
                ..base.roi
            },
            ..base
        }
    }

    /// Checks all options.
    ///
    /// # Errors
    ///
    /// The first option that is out of range or does not fit the others.
    ///
    /// ```
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// let mut config = FasterRcnnConfig::default();
    /// assert!(config.validate().is_ok());
    /// config.rpn.anchors.ratios.clear();
    /// assert_eq!(config.validate().unwrap_err().to_string(), "rpn.anchors.ratios: at least one is needed");
    /// ```
    pub fn validate(&self) -> Result<(), FasterRcnnConfigError> {
        if self.num_classes == 0 {
            return Err(FasterRcnnConfigError::NoClasses);
        }
        self.backbone.validate()?;
        self.rpn.validate()?;
        self.rpn.norm.validate(self.rpn.channels)?;
        self.rpn.anchors.validate(self.backbone.strides().len())?;
        self.roi.validate()?;
        for (stage, matcher) in [("rpn", self.rpn.loss.matcher), ("roi", self.roi.loss.matcher)] {
            matcher.validate().map_err(|error| FasterRcnnConfigError::Matcher { stage, error })?;
        }
        self.preprocess.validate()?;
        Ok(self.grids().validate()?)
    }

    /// Checks all options, and that the detector can compare an image with its half-size view, as
    /// [`compare_views`](sed_core::Detector::compare_views) does.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate), and what stands in the way of the comparison.
    ///
    /// ```
    /// use sed_models::faster_rcnn::FasterRcnnConfig;
    ///
    /// assert!(FasterRcnnConfig::resnet50(80).validate_for_views().is_ok());
    /// // P6 and its half need images of multiples of 64.
    /// let padded = FasterRcnnConfig { pad_multiple: Some(32), ..FasterRcnnConfig::resnet50(80) };
    /// assert_eq!(
    ///     padded.validate_for_views().unwrap_err().to_string(),
    ///     "pad_multiple: 32 is no multiple of 64, so an image and its half-size view do not compare"
    /// );
    /// ```
    pub fn validate_for_views(&self) -> Result<(), FasterRcnnConfigError> {
        self.validate()?;
        Ok(self.grids().validate_for_views()?)
    }

    /// The detector, with random weights, on `device`; `device.seed` before it decides which.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::faster_rcnn::{FasterRcnn, FasterRcnnConfig};
    ///
    /// let (config, device) = (FasterRcnnConfig::tiny(3), Device::default());
    /// device.seed(7);
    /// let first = config.init(&device)?;
    /// device.seed(7);
    /// let second = config.init(&device)?;
    /// let stem = |model: FasterRcnn| model.backbone.body.conv1.weight.val().into_data();
    /// assert_eq!(stem(first), stem(second));
    /// # Ok::<(), sed_models::faster_rcnn::FasterRcnnConfigError>(())
    /// ```
    pub fn init(&self, device: &Device) -> Result<FasterRcnn, FasterRcnnConfigError> {
        self.validate()?;
        FasterRcnn::new(self, device).map(drawn)
    }

    /// The grids of a configuration whose parts are valid.
    pub(super) fn grids(&self) -> DenseGrids {
        let levels = self.rpn.scale_levels.clone();
        DenseGrids::new(&self.rpn.anchors, self.backbone.strides(), false, levels)
            .padded_to(self.pad_multiple)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for config in [FasterRcnnConfig::resnet50(80), FasterRcnnConfig::tiny(1), FasterRcnnConfig::tiny(6)] {
            assert_eq!(config.validate_for_views(), Ok(()));
        }
        let torchvision = FasterRcnnConfig::torchvision(90);
        assert_eq!(torchvision.validate(), Ok(()));
        let error = torchvision.validate_for_views().unwrap_err().to_string();
        assert!(error.starts_with("pad_multiple: 32 is no multiple of 64"), "{error}");
        let padded = FasterRcnnConfig { pad_multiple: Some(64), ..torchvision };
        assert!(matches!(padded.validate_for_views(), Err(FasterRcnnConfigError::ScaleViews(_))));
    }

    #[test]
    fn a_configuration_survives_json_and_misspelt_options_are_refused() {
        let config = FasterRcnnConfig::tiny(6);
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<FasterRcnnConfig>(&json).unwrap(), config);
        let partial: FasterRcnnConfig =
            serde_json::from_str(r#"{"roi": {"pool": {"half_view_level": "same"}}}"#).unwrap();
        assert_eq!(partial.roi.pool.half_view_level, super::super::HalfViewLevel::Same);
        assert!(serde_json::from_str::<FasterRcnnConfig>(r#"{"rpn": {"channel": 3}}"#).is_err());
        assert!(serde_json::from_str::<FasterRcnnConfig>(r#"{"roi": {"hiden": 3}}"#).is_err());
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        let error = |change: &dyn Fn(&mut FasterRcnnConfig)| {
            let mut config = FasterRcnnConfig::tiny(2);
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(error(&|c| c.num_classes = 0).starts_with("num_classes"));
        assert!(error(&|c| c.backbone.body.depth = 19).starts_with("backbone: depth"));
        assert!(error(&|c| c.rpn.channels = 20).starts_with("rpn.norm"));
        assert!(error(&|c| c.rpn.anchors.ratios.clear()).starts_with("rpn.anchors.ratios"));
        assert!(error(&|c| c.rpn.loss.matcher.low = 0.9).starts_with("rpn.loss.matcher"));
        assert!(error(&|c| c.roi.loss.matcher.low = 0.9).starts_with("roi.loss.matcher"));
        assert!(error(&|c| c.rpn.scale_levels = Some(vec![2])).starts_with("rpn.scale_levels: [2]"));
        assert!(error(&|c| c.roi.hidden = 0).starts_with("roi.hidden"));
        assert!(error(&|c| c.preprocess.scale = 0.0).starts_with("preprocess.scale"));
    }
}
