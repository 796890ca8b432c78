//! The detectors that the examples train, with what an example needs of each.

use anyhow::Result;
use burn::tensor::Device;
use sed::{
    core::Detector,
    models::{
        backbone::ResNet,
        faster_rcnn::{FasterRcnn, FasterRcnnConfig},
        retinanet::{RetinaNet, RetinaNetConfig},
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    args::{Args, Backbone},
    preset::{self, ScenesPreset},
    settings::Settings,
};

/// What an example needs of a detector's configuration.
pub trait Model: Serialize + DeserializeOwned {
    /// The detector.
    type Detector: Detector;

    /// Beginnings of the keys of weights whose shapes depend on the classes.
    const CLASS_LAYERS: &[&str];

    /// Sets the number of classes.
    fn set_classes(&mut self, classes: usize);

    /// Sets the score that a detection must exceed.
    fn set_score_threshold(&mut self, threshold: f32);

    /// Whether all options fit, and views of two sizes compare.
    fn validate(&self) -> Result<()>;

    /// The detector, with random weights.
    fn init(&self, device: &Device) -> Result<Self::Detector>;

    /// The residual network under a detector, whose ImageNet weights it may start from.
    fn body(detector: &mut Self::Detector) -> &mut ResNet;
}

/// A RetinaNet of as yet unknown classes.
pub fn retinanet(backbone: Backbone) -> RetinaNetConfig {
    match preset::body(backbone) {
        None => RetinaNetConfig::tiny(1),
        Some(body) => {
            let mut config = RetinaNetConfig::resnet50(1);
            config.backbone.body = body;
            config
        }
    }
}

/// The settings that the arguments ask for, for a RetinaNet.
pub fn retinanet_settings(args: &Args) -> Result<Settings<RetinaNetConfig>> {
    preset::settings(args, retinanet(args.backbone()), ScenesPreset { iterations: 5000, burn_in: 1000 })
}

/// A Faster R-CNN of as yet unknown classes.
pub fn faster_rcnn(backbone: Backbone) -> FasterRcnnConfig {
    match preset::body(backbone) {
        None => FasterRcnnConfig::tiny(1),
        Some(body) => {
            let mut config = FasterRcnnConfig::resnet50(1);
            config.backbone.body = body;
            config
        }
    }
}

/// The settings that the arguments ask for, for a Faster R-CNN.
pub fn faster_rcnn_settings(args: &Args) -> Result<Settings<FasterRcnnConfig>> {
    // Two stages learn the scenes sooner than one, see docs/results.md.
    preset::settings(args, faster_rcnn(args.backbone()), ScenesPreset { iterations: 3000, burn_in: 600 })
}

impl Model for RetinaNetConfig {
    type Detector = RetinaNet;

    const CLASS_LAYERS: &[&str] = &["head.classification_head.cls_logits."];

    fn set_classes(&mut self, classes: usize) {
        self.num_classes = classes;
    }

    fn set_score_threshold(&mut self, threshold: f32) {
        self.postprocess.score_threshold = threshold;
    }

    fn validate(&self) -> Result<()> {
        Ok(self.validate_for_views()?)
    }

    fn init(&self, device: &Device) -> Result<RetinaNet> {
        Ok(Self::init(self, device)?)
    }

    fn body(detector: &mut RetinaNet) -> &mut ResNet {
        &mut detector.backbone.body
    }
}

impl Model for FasterRcnnConfig {
    type Detector = FasterRcnn;

    const CLASS_LAYERS: &[&str] = &["roi_heads.box_predictor."];

    fn set_classes(&mut self, classes: usize) {
        self.num_classes = classes;
    }

    fn set_score_threshold(&mut self, threshold: f32) {
        self.roi.postprocess.score_threshold = threshold;
    }

    fn validate(&self) -> Result<()> {
        Ok(self.validate_for_views()?)
    }

    fn init(&self, device: &Device) -> Result<FasterRcnn> {
        Ok(Self::init(self, device)?)
    }

    fn body(detector: &mut FasterRcnn) -> &mut ResNet {
        &mut detector.backbone.body
    }
}
