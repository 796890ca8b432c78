//! Configuration of a RetinaNet.

use burn::tensor::Device;
use sed_core::{InvalidOption, losses::SigmoidFocalLoss};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::{HeadConfig, PostProcess, RetinaNet, RetinaNetLoss};
use crate::{
    anchors::{AnchorConfig, AnchorConfigError},
    backbone::{BackboneConfigError, FpnConfig, ResNetConfig, ResNetFpnConfig},
    box_coder::BoxCoder,
    grids::{DenseGrids, ScaleViewsError},
    layers::{
        drawn,
        norm::{GroupsError, NormKind},
        tower::TowerInit,
    },
    matcher::{Matcher, MatcherError},
    preprocess::{Preprocess, PreprocessError},
};

/// Configuration of a [`RetinaNet`]. The default is [`RetinaNetConfig::resnet50`] for 80 classes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{Detector, ImageBatch};
/// use sed_models::retinanet::RetinaNetConfig;
///
/// let device = Device::default();
/// let model = RetinaNetConfig::tiny(3).init(&device)?;
/// let images = ImageBatch::unpadded(Tensor::zeros([1, 3, 64, 64], &device));
/// // An untrained model gives every class the prior of .01, below the score threshold of .05.
/// assert!(model.detect(&images)[0].is_empty());
/// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetinaNetConfig {
    /// The number of classes, background not counted.
    pub num_classes: usize,
    /// Residual network and pyramid; the levels of the pyramid are those of the detector.
    pub backbone: ResNetFpnConfig,
    /// The two towers.
    pub head: HeadConfig,
    /// The anchors of each level.
    pub anchors: AnchorConfig,
    /// How boxes are encoded.
    pub box_coder: BoxCoder,
    /// Which anchors stand for which objects.
    pub matcher: Matcher,
    /// The losses on labeled images.
    pub loss: RetinaNetLoss,
    /// Which predictions become detections.
    pub postprocess: PostProcess,
    /// Normalisation of pixels.
    pub preprocess: Preprocess,
    /// Whether the half-size view also gets the level below the finest, so that the finest level of
    /// the full view has a partner too: P2, where the pyramid starts at P3. (An option of our design.)
    pub p2_on_half: bool,
    /// Which levels of the full view are compared with the half-size view, by their number (4 is
    /// P4); all that have a partner when absent.
    pub scale_levels: Option<Vec<usize>>,
    /// Sides of a batch are padded to multiples of this; when absent to [`size_divisor`](sed_core::Detector::size_divisor),
    /// which comparing image sizes needs. Cells of the coarse levels may then reach beyond the padded image; their anchors
    /// are spread over it as torchvision does.
    pub pad_multiple: Option<usize>,
}

/// What is wrong with a [`RetinaNetConfig`].
///
/// ```
/// use sed_models::{
///     backbone::BackboneConfigError,
///     retinanet::{RetinaNetConfig, RetinaNetConfigError},
/// };
///
/// let mut config = RetinaNetConfig::tiny(3);
/// config.backbone.body.depth = 20;
/// match config.validate() {
///     Err(RetinaNetConfigError::Backbone(BackboneConfigError::Depth(depth))) => assert_eq!(depth, 20),
///     other => unreachable!("{other:?}"),
/// }
/// assert_eq!(RetinaNetConfig::tiny(0).validate(), Err(RetinaNetConfigError::NoClasses));
/// ```
#[derive(Debug, Error, PartialEq)]
pub enum RetinaNetConfigError {
    /// No class.
    #[error("num_classes: at least one is needed")]
    NoClasses,
    /// Of the backbone.
    #[error("backbone: {0}")]
    Backbone(#[from] BackboneConfigError),
    /// Of the head's norm.
    #[error("head.norm: {0}")]
    HeadNorm(#[from] GroupsError),
    /// Of the anchors.
    #[error(transparent)]
    Anchors(#[from] AnchorConfigError),
    /// Of the matcher.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// Of the normalisation of pixels.
    #[error(transparent)]
    Preprocess(#[from] PreprocessError),
    /// A number out of its range.
    #[error(transparent)]
    Option(#[from] InvalidOption),
    /// The backbone has no features below the finest level.
    #[error("p2_on_half: the pyramid starts at P{0}, there is nothing to compute below it")]
    NoFinerLevel(usize),
    /// Image and half-size view do not compare.
    #[error(transparent)]
    ScaleViews(#[from] ScaleViewsError),
}

impl Default for RetinaNetConfig {
    fn default() -> Self {
        Self::resnet50(80)
    }
}

impl RetinaNetConfig {
    /// RetinaNet with ResNet-50 and P3 to P7, as `retinanet_resnet50_fpn` of torchvision, but with
    /// anchors that double exactly from level to level (torchvision cuts sizes to whole numbers and
    /// rounds corners; the difference is below one pixel up to P5 and 1 % beyond).
    ///
    /// ```
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let config = RetinaNetConfig::resnet50(20);
    /// assert_eq!((config.num_classes, config.backbone.body.depth), (20, 50));
    /// assert_eq!(config.backbone.strides(), [8, 16, 32, 64, 128]);
    /// ```
    pub fn resnet50(num_classes: usize) -> Self {
        Self {
            num_classes,
            backbone: ResNetFpnConfig::default(),
            head: HeadConfig::default(),
            anchors: AnchorConfig::default(),
            box_coder: BoxCoder::default(),
            matcher: Matcher::default(),
            loss: RetinaNetLoss::default(),
            postprocess: PostProcess::default(),
            preprocess: Preprocess::default(),
            p2_on_half: false,
            scale_levels: None,
            pad_multiple: None,
        }
    }

    /// `retinanet_resnet50_fpn` of torchvision to the letter: its rounded anchors, 300 detections
    /// an image, and padding to multiples of 32.
    ///
    /// It cannot compare image sizes; to go on training its weights so, take
    /// [`RetinaNetConfig::resnet50`].
    ///
    /// ```
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// // torchvision counts 91 ids of COCO, some of which no object has.
    /// let config = RetinaNetConfig::torchvision(91);
    /// assert!(config.validate().is_ok());
    /// assert!(config.validate_for_views().is_err());
    /// ```
    pub fn torchvision(num_classes: usize) -> Self {
        Self {
            anchors: AnchorConfig::torchvision(),
            postprocess: PostProcess { max_detections: 300, ..PostProcess::default() },
            pad_multiple: Some(32),
            ..Self::resnet50(num_classes)
        }
    }

    /// A detector of about 0.75 M parameters for images of about 128 px on a few processor cores, to
    /// be trained from nothing: ResNet-18 at a quarter of its width, group norm, P2 to P5, two
    /// convolutions a tower, two square anchors a cell from 8 to 90 px.
    ///
    /// Its anchors are twice the stride or larger, so that every object covers cells enough to match
    /// some anchor well; with so few anchors a milder focal loss learns the classes sooner.
    ///
    /// ```
    /// use burn::{module::Module, tensor::Device};
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// let model = RetinaNetConfig::tiny(6).init(&Device::default())?;
    /// assert!((700_000..800_000).contains(&model.num_params()));
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn tiny(num_classes: usize) -> Self {
        let norm = NormKind::Group { groups: 8 };
        let channels = 32;
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
            head: HeadConfig {
                num_convs: 2,
                channels,
                norm,
                tower_init: TowerInit::Kaiming,
                ..HeadConfig::default()
            },
            anchors: AnchorConfig::octaves(8.0, 4, 2, &[1.0]),
            loss: RetinaNetLoss {
                focal: SigmoidFocalLoss { alpha: 0.5, gamma: 1.0 },
                box_loss: super::BoxLoss::SmoothL1 { beta: 0.1 },
                ..RetinaNetLoss::default()
            },
            ..Self::resnet50(num_classes)
        }
    }

    /// Checks all options.
    ///
    /// # Errors
    ///
    /// The first option that is out of range or does not fit the others.
    ///
    /// ```
    /// use sed_models::{matcher::Matcher, retinanet::RetinaNetConfig};
    ///
    /// assert!(RetinaNetConfig::default().validate().is_ok());
    /// let matcher = Matcher { low: 0.9, ..Matcher::default() };
    /// let error = RetinaNetConfig { matcher, ..RetinaNetConfig::default() }.validate().unwrap_err();
    /// assert!(error.to_string().starts_with("matcher: thresholds"));
    /// ```
    pub fn validate(&self) -> Result<(), RetinaNetConfigError> {
        if self.num_classes == 0 {
            return Err(RetinaNetConfigError::NoClasses);
        }
        self.backbone.validate()?;
        self.head.validate()?;
        self.head.norm.validate(self.head.channels)?;
        let strides = self.backbone.strides();
        self.anchors.validate(strides.len())?;
        self.box_coder.validate()?;
        self.matcher.validate()?;
        self.loss.validate()?;
        self.postprocess.validate()?;
        self.preprocess.validate()?;
        let lowest = self.backbone.fpn.lowest_level;
        if self.p2_on_half && lowest < 3 {
            return Err(RetinaNetConfigError::NoFinerLevel(lowest));
        }
        Ok(self.grids().validate()?)
    }

    /// The grids of a configuration whose parts are valid.
    pub(super) fn grids(&self) -> DenseGrids {
        DenseGrids::new(&self.anchors, self.backbone.strides(), self.p2_on_half, self.scale_levels.clone())
            .padded_to(self.pad_multiple)
    }

    /// Checks all options, and that the detector can compare an image with its half-size view, as
    /// [`compare_views`](sed_core::Detector::compare_views) does: anchors
    /// double from level to level, or on a single map from size to size.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate), and what stands in the way of the comparison.
    ///
    /// ```
    /// use sed_models::retinanet::RetinaNetConfig;
    ///
    /// assert!(RetinaNetConfig::resnet50(80).validate_for_views().is_ok());
    /// // P7 and its half need images of multiples of 128.
    /// let padded = RetinaNetConfig { pad_multiple: Some(32), ..RetinaNetConfig::resnet50(80) };
    /// assert_eq!(
    ///     padded.validate_for_views().unwrap_err().to_string(),
    ///     "pad_multiple: 32 is no multiple of 128, so an image and its half-size view do not compare"
    /// );
    /// ```
    pub fn validate_for_views(&self) -> Result<(), RetinaNetConfigError> {
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
    /// use sed_models::retinanet::{RetinaNet, RetinaNetConfig};
    ///
    /// let (config, device) = (RetinaNetConfig::tiny(3), Device::default());
    /// device.seed(7);
    /// let first = config.init(&device)?;
    /// device.seed(7);
    /// let second = config.init(&device)?;
    /// let stem = |model: RetinaNet| model.backbone.body.conv1.weight.val().into_data();
    /// assert_eq!(stem(first), stem(second));
    /// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
    /// ```
    pub fn init(&self, device: &Device) -> Result<RetinaNet, RetinaNetConfigError> {
        self.validate()?;
        RetinaNet::new(self, device).map(drawn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_valid() {
        for config in [RetinaNetConfig::resnet50(80), RetinaNetConfig::tiny(1), RetinaNetConfig::tiny(6)] {
            assert_eq!(config.validate_for_views(), Ok(()));
        }
        let torchvision = RetinaNetConfig::torchvision(91);
        assert_eq!(torchvision.validate(), Ok(()));
        assert_eq!(
            torchvision.validate_for_views(),
            Err(ScaleViewsError::Padding { multiple: 32, needed: 128 }.into())
        );
        let padded = RetinaNetConfig { pad_multiple: Some(256), ..torchvision };
        assert_eq!(
            padded.validate_for_views(),
            Err(ScaleViewsError::NotOctaves { coarse: 16, fine: 8 }.into())
        );
        let nothing = RetinaNetConfig { pad_multiple: Some(0), ..padded };
        assert_eq!(nothing.validate().unwrap_err().to_string(), "pad_multiple: must be positive");
    }

    #[test]
    fn a_configuration_survives_json_and_misspelt_options_are_refused() {
        let config = RetinaNetConfig { scale_levels: Some(vec![4]), ..RetinaNetConfig::tiny(6) };
        let json = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<RetinaNetConfig>(&json).unwrap(), config);
        let partial: RetinaNetConfig =
            serde_json::from_str(r#"{"num_classes": 3, "loss": {"box_loss": "giou"}}"#).unwrap();
        assert_eq!(partial.loss.box_loss, super::super::BoxLoss::Giou);
        assert_eq!(partial.head, HeadConfig::default());
        assert!(serde_json::from_str::<RetinaNetConfig>(r#"{"num_clases": 3}"#).is_err());
        assert!(serde_json::from_str::<RetinaNetConfig>(r#"{"head": {"convs": 3}}"#).is_err());
    }

    #[test]
    fn options_that_do_not_fit_are_named() {
        let mut tiny = RetinaNetConfig::tiny(2);
        (tiny.backbone.fpn.lowest_level, tiny.backbone.fpn.highest_level) = (3, 6);
        let error = |change: &dyn Fn(&mut RetinaNetConfig)| {
            let mut config = tiny.clone();
            change(&mut config);
            config.validate().unwrap_err().to_string()
        };
        assert!(error(&|c| c.num_classes = 0).starts_with("num_classes"));
        assert!(error(&|c| c.backbone.body.depth = 19).starts_with("backbone: depth"));
        assert!(error(&|c| c.backbone.fpn.highest_level = 7).starts_with("anchors.sizes: 4 levels"));
        assert!(error(&|c| c.head.channels = 20).starts_with("head.norm"));
        assert!(error(&|c| c.head.prior = 2.0).starts_with("head.prior"));
        assert!(error(&|c| c.box_coder.weights[2] = 0.0).starts_with("box_coder.weights"));
        assert!(error(&|c| c.box_coder.clamp = -1.0).starts_with("box_coder.clamp"));
        assert!(error(&|c| c.matcher.low = 0.9).starts_with("matcher"));
        assert!(error(&|c| c.loss.box_weight = -1.0).starts_with("loss.box_weight"));
        assert!(error(&|c| c.postprocess.max_detections = 0).starts_with("postprocess"));
        assert!(error(&|c| c.preprocess.scale = 0.0).starts_with("preprocess.scale"));
        assert!(error(&|c| c.scale_levels = Some(vec![])).contains("[4, 5, 6]"));
        assert!(error(&|c| c.scale_levels = Some(vec![3])).starts_with("scale_levels: [3]"));
        let with_p2 = RetinaNetConfig { p2_on_half: true, scale_levels: Some(vec![3]), ..tiny.clone() };
        assert_eq!(with_p2.validate_for_views(), Ok(()));
        assert!(
            error(&|c| {
                c.p2_on_half = true;
                c.backbone.fpn.lowest_level = 2;
                c.anchors = AnchorConfig::octaves(8.0, 5, 1, &[1.0]);
            })
            .starts_with("p2_on_half")
        );
        let mut single = tiny;
        single.backbone.fpn = FpnConfig { lowest_level: 4, highest_level: 4, ..single.backbone.fpn };
        single.anchors = AnchorConfig { sizes: vec![vec![8.0, 16.0]], ..single.anchors };
        assert_eq!(single.validate_for_views(), Ok(()));
        single.anchors.sizes = vec![vec![8.0, 12.0]];
        assert_eq!(single.validate(), Ok(()));
        assert_eq!(single.validate_for_views(), Err(ScaleViewsError::NothingDoubles(16).into()));
    }
}
