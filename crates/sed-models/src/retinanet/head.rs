//! The two towers that look at each level of the pyramid.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sed_core::{InvalidOption, Predictions};
use serde::{Deserialize, Serialize};

use crate::{
    layers::{
        norm::{Norm, NormKind},
        tower::{TowerConfig, TowerInit, by_anchor, predictor, tower},
    },
    ops::conv2d::Conv2d,
};

/// Configuration of a [`RetinaNetHead`].
///
/// ```
/// use burn::tensor::{Device, Tensor, activation::sigmoid};
/// use sed_models::retinanet::HeadConfig;
///
/// let device = Device::default();
/// // Levels of 8 channels, two anchors a cell, three classes.
/// let head = HeadConfig { num_convs: 1, channels: 8, ..HeadConfig::default() }.init(8, 2, 3, &device);
/// let predictions = head.forward(Tensor::zeros([1, 8, 4, 5], &device));
/// assert_eq!(predictions.class_logits.dims(), [1, 4 * 5 * 2, 3]);
/// // On a blank level each class has the prior.
/// let score = sigmoid(predictions.class_logits).max().into_scalar::<f32>();
/// assert!((score - 0.01).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HeadConfig {
    /// 3×3 convolutions in each tower, before the last one that predicts.
    pub num_convs: usize,
    /// Channels of the towers.
    pub channels: usize,
    /// What follows each convolution of a tower; with it they have no bias.
    pub norm: NormKind,
    /// The score of every class at the start of training. Small, so that the many background anchors
    /// do not swamp the first steps (Lin et al., ICCV 2017, §3.3).
    pub prior: f64,
    /// How the weights of the towers start.
    pub tower_init: TowerInit,
}

impl Default for HeadConfig {
    /// The paper's: four convolutions of 256 channels, no normalisation, prior 0.01.
    fn default() -> Self {
        Self { num_convs: 4, channels: 256, norm: NormKind::None, prior: 0.01, tower_init: TowerInit::Small }
    }
}

impl HeadConfig {
    /// Checks the numbers, the norm apart.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::retinanet::HeadConfig;
    ///
    /// assert!(HeadConfig::default().validate().is_ok());
    /// let error = HeadConfig { prior: 1.0, ..HeadConfig::default() }.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "head.prior = 1: it must be above 0 and below 1");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_positive("head.channels", self.channels as f64)?;
        if self.prior > 0.0 && self.prior < 1.0 {
            Ok(())
        } else {
            Err(InvalidOption { option: "head.prior", value: self.prior, rule: "above 0 and below 1" })
        }
    }

    /// The head for levels of `in_channels`, `anchors` anchors a cell and `classes` classes.
    ///
    /// The predictors' weights start from `N(0, 0.01²)`, the towers' as [`HeadConfig::tower_init`] says,
    /// biases at 0, that of the class logits at `−ln((1 − prior)/prior)`.
    ///
    /// # Panics
    ///
    /// If the norm does not fit the channels.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::{layers::norm::NormKind, retinanet::HeadConfig};
    ///
    /// let norm = NormKind::Group { groups: 4 };
    /// let config = HeadConfig { num_convs: 2, channels: 8, norm, ..HeadConfig::default() };
    /// let head = config.init(16, 9, 20, &Device::default());
    /// let tower = &head.classification_head.conv;
    /// assert_eq!((tower.len(), tower[0].0.weight.dims()), (2, [8, 16, 3, 3]));
    /// ```
    pub fn init(&self, in_channels: usize, anchors: usize, classes: usize, device: &Device) -> RetinaNetHead {
        let input = if self.num_convs == 0 { in_channels } else { self.channels };
        let predictor = |outputs| predictor(input, outputs, 3, device);
        let mut cls_logits = predictor(anchors * classes);
        let start = -((1.0 - self.prior) / self.prior).ln();
        cls_logits.bias = cls_logits.bias.map(|bias| bias.map(|b| b.full_like(start)));
        RetinaNetHead {
            classification_head: ClassificationHead { conv: self.tower(in_channels, device), cls_logits },
            regression_head: RegressionHead {
                conv: self.tower(in_channels, device),
                bbox_reg: predictor(anchors * 4),
            },
            classes,
        }
    }

    fn tower(&self, in_channels: usize, device: &Device) -> Vec<(Conv2d, Norm)> {
        let tower = TowerConfig { num_convs: self.num_convs, channels: self.channels, norm: self.norm };
        tower.init(in_channels, self.tower_init, device)
    }
}

/// The class tower.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::retinanet::HeadConfig;
///
/// // Nine anchors, twenty classes.
/// let head = HeadConfig { num_convs: 0, ..HeadConfig::default() }.init(8, 9, 20, &Device::default());
/// assert_eq!(head.classification_head.cls_logits.weight.dims(), [9 * 20, 8, 3, 3]);
/// ```
#[derive(Module, Debug)]
pub struct ClassificationHead {
    /// 3×3 convolutions and their normalisation.
    pub conv: Vec<(Conv2d, Norm)>,
    /// To `anchors · classes` channels, classes inside.
    pub cls_logits: Conv2d,
}

/// The box tower.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::retinanet::HeadConfig;
///
/// // Nine anchors.
/// let head = HeadConfig { num_convs: 0, ..HeadConfig::default() }.init(8, 9, 20, &Device::default());
/// assert_eq!(head.regression_head.bbox_reg.weight.dims(), [9 * 4, 8, 3, 3]);
/// ```
#[derive(Module, Debug)]
pub struct RegressionHead {
    /// 3×3 convolutions and their normalisation.
    pub conv: Vec<(Conv2d, Norm)>,
    /// To `anchors · 4` channels, deltas inside.
    pub bbox_reg: Conv2d,
}

/// Two towers with the same weights on each level. Fields are named as in torchvision.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::Predictions;
/// use sed_models::retinanet::HeadConfig;
///
/// let device = Device::default();
/// let head = HeadConfig { num_convs: 1, channels: 8, ..HeadConfig::default() }.init(8, 2, 3, &device);
/// // One head for all levels.
/// let levels = [4, 2, 1].map(|side| head.forward(Tensor::zeros([1, 8, side, side], &device)));
/// assert_eq!(Predictions::cat(levels.to_vec()).num_anchors(), 2 * (16 + 4 + 1));
/// ```
#[derive(Module, Debug)]
pub struct RetinaNetHead {
    /// Class logits.
    pub classification_head: ClassificationHead,
    /// Box deltas.
    pub regression_head: RegressionHead,
    #[module(skip)]
    classes: usize,
}

impl RetinaNetHead {
    /// The predictions on one level, `[N, channels, H, W]` to `A = H·W·anchors` anchors, ordered by
    /// row, column, anchor.
    pub fn forward(&self, level: Tensor<4>) -> Predictions {
        let classes = tower(&self.classification_head.conv, level.clone());
        let boxes = tower(&self.regression_head.conv, level);
        Predictions::new(
            by_anchor(self.classification_head.cls_logits.forward(classes), self.classes),
            by_anchor(self.regression_head.bbox_reg.forward(boxes), 4),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Distribution, Tolerance};

    fn config() -> HeadConfig {
        HeadConfig { num_convs: 1, channels: 6, ..HeadConfig::default() }
    }

    #[test]
    fn the_towers_start_as_asked() {
        let device = Device::default();
        for (tower_init, expected) in
            [(TowerInit::Small, 0.01), (TowerInit::Kaiming, (2.0f32 / (9.0 * 32.0)).sqrt())]
        {
            let head = HeadConfig { channels: 32, tower_init, ..config() }.init(32, 1, 2, &device);
            let spread = |conv: &Conv2d| conv.weight.val().square().mean().sqrt().into_scalar::<f32>();
            // 9,216 draws: the deviation of their spread is 0.7 % of it; five of these.
            let found = spread(&head.classification_head.conv[0].0);
            assert!((found / expected - 1.0).abs() < 0.04, "{tower_init:?}: {found}");
            let found = spread(&head.regression_head.bbox_reg);
            assert!((found / 0.01 - 1.0).abs() < 0.15, "{tower_init:?}: {found}");
        }
    }

    #[test]
    fn shapes_and_the_prior() {
        let device = Device::default();
        let head = config().init(4, 3, 5, &device);
        // A blank level gives the biases alone: the prior, and deltas of 0.
        let out = head.forward(Tensor::zeros([2, 4, 3, 2], &device));
        assert_eq!(out.class_logits.dims(), [2, 18, 5]);
        assert_eq!(out.box_deltas.dims(), [2, 18, 4]);
        let scores = burn::tensor::activation::sigmoid(out.class_logits);
        // ln, exp and a division in f32.
        scores
            .clone()
            .into_data()
            .assert_approx_eq(&scores.full_like(0.01).into_data(), Tolerance::<f32>::absolute(1e-7));
        assert_eq!(out.box_deltas.abs().sum().into_scalar::<f32>(), 0.0);
    }

    #[test]
    fn every_option_acts() {
        let device = Device::default();
        let params = |config: HeadConfig| config.init(4, 1, 1, &device).num_params();
        // Tower 4·6·9 + 6; class 6·9 + 1; boxes 6·4·9 + 4; two towers.
        assert_eq!(params(config()), 2 * (216 + 6) + 55 + 220);
        // A second convolution 6·6·9 + 6.
        assert_eq!(params(HeadConfig { num_convs: 2, ..config() }), params(config()) + 2 * 330);
        // Without towers the predictors read the level: 4·9 + 1 and 4·4·9 + 4.
        assert_eq!(params(HeadConfig { num_convs: 0, ..config() }), 37 + 148);
        // Group norm: the bias goes, scale and shift come.
        let group = HeadConfig { norm: NormKind::Group { groups: 2 }, ..config() };
        assert_eq!(params(group), params(config()) + 2 * 6);
        let level = Tensor::random([1, 4, 2, 2], Distribution::Default, &device);
        assert_eq!(group.init(4, 1, 1, &device).forward(level).num_anchors(), 4);
        let bias = |prior| {
            let head = HeadConfig { prior, ..config() }.init(4, 1, 1, &device);
            head.classification_head.cls_logits.bias.map(|b| b.val().into_scalar::<f32>())
        };
        assert_eq!(bias(0.5), Some(0.0));
        assert!((bias(0.01).unwrap() + 4.595_12).abs() < 1e-4); // −ln 99
    }

    #[test]
    fn options_out_of_range_are_named() {
        assert!(config().validate().is_ok());
        assert_eq!(HeadConfig { channels: 0, ..config() }.validate().unwrap_err().option, "head.channels");
        for prior in [0.0, 1.0, f64::NAN] {
            assert_eq!(HeadConfig { prior, ..config() }.validate().unwrap_err().option, "head.prior");
        }
    }
}
