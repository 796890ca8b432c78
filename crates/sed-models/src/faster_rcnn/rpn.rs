//! The region proposal network.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sed_core::{InvalidOption, Predictions};
use serde::{Deserialize, Serialize};

use super::{ProposalFilter, RpnLoss};
use crate::{
    anchors::AnchorConfig,
    box_coder::BoxCoder,
    layers::{
        norm::{Norm, NormKind},
        tower::{TowerConfig, TowerInit, by_anchor, predictor, tower},
    },
    ops::conv2d::Conv2d,
};

/// Configuration of a [`Rpn`], and of what becomes of its outputs.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::{anchors::AnchorConfig, faster_rcnn::RpnConfig};
///
/// let device = Device::default();
/// let anchors = AnchorConfig::octaves(8.0, 4, 2, &[1.0]);
/// let rpn = RpnConfig { channels: 8, anchors, ..RpnConfig::default() }.init(16, &device);
/// let predictions = rpn.forward(Tensor::zeros([1, 16, 4, 5], &device));
/// // Two anchors in each of the 4×5 cells.
/// assert_eq!(predictions.class_logits.dims(), [1, 40, 1]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RpnConfig {
    /// 3×3 convolutions before those that predict.
    pub num_convs: usize,
    /// Their channels.
    pub channels: usize,
    /// What follows each; with it they have no bias.
    pub norm: NormKind,
    /// How their weights start.
    pub tower_init: TowerInit,
    /// The anchors of each level.
    pub anchors: AnchorConfig,
    /// How boxes are encoded.
    pub box_coder: BoxCoder,
    /// The losses on labeled images.
    pub loss: RpnLoss,
    /// Which anchors become proposals in training, on labeled and unlabeled images.
    pub train_proposals: ProposalFilter,
    /// Which anchors become proposals in detection.
    pub test_proposals: ProposalFilter,
    /// Which levels of the full view are compared with the half-size view, by their number (4 is
    /// P4); all that have a partner when absent.
    pub scale_levels: Option<Vec<usize>>,
}

impl Default for RpnConfig {
    /// As published for P2 to P6 (Lin et al., *Feature Pyramid Networks*, CVPR 2017, §4.1): one convolution of
    /// 256 channels, one size a level from 32 to 512 px, ratios ½, 1, 2; in training 2000 candidates
    /// a level and 1000 proposals, in detection 1000 and 1000.
    fn default() -> Self {
        Self {
            num_convs: 1,
            channels: 256,
            norm: NormKind::None,
            tower_init: TowerInit::Small,
            anchors: AnchorConfig::octaves(32.0, 5, 1, &[0.5, 1.0, 2.0]),
            box_coder: BoxCoder::default(),
            loss: RpnLoss::default(),
            train_proposals: ProposalFilter { candidates_per_level: 2000, ..ProposalFilter::default() },
            test_proposals: ProposalFilter::default(),
            scale_levels: None,
        }
    }
}

impl RpnConfig {
    /// Checks the numbers, norm and anchors apart.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RpnConfig;
    ///
    /// assert!(RpnConfig::default().validate().is_ok());
    /// let error = RpnConfig { channels: 0, ..RpnConfig::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "rpn.channels");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_positive("rpn.channels", self.channels as f64)?;
        self.box_coder.validate()?;
        self.loss.validate()?;
        self.train_proposals.validate()?;
        self.test_proposals.validate()
    }

    /// The network for levels of `in_channels`, on `device`; predictors start from `N(0, 0.01²)`, biases at 0.
    ///
    /// # Panics
    ///
    /// If the norm does not fit the channels.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::faster_rcnn::RpnConfig;
    ///
    /// let rpn =
    ///     RpnConfig { num_convs: 2, channels: 8, ..RpnConfig::default() }.init(16, &Device::default());
    /// assert_eq!(rpn.head.conv.len(), 2);
    /// assert_eq!(rpn.head.conv[0].0.weight.dims(), [8, 16, 3, 3]);
    /// ```
    pub fn init(&self, in_channels: usize, device: &Device) -> Rpn {
        let towers = TowerConfig { num_convs: self.num_convs, channels: self.channels, norm: self.norm };
        let inputs = if self.num_convs == 0 { in_channels } else { self.channels };
        let anchors = self.anchors.anchors_per_cell();
        Rpn {
            head: RpnHead {
                conv: towers.init(in_channels, self.tower_init, device),
                cls_logits: predictor(inputs, anchors, 1, device),
                bbox_pred: predictor(inputs, anchors * 4, 1, device),
            },
        }
    }
}

/// A region proposal network: for each anchor how likely it lies on an object of any class, and the
/// offsets of that object's box. (Ren et al., *Faster R-CNN*, NIPS 2015, §3.1.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::faster_rcnn::RpnConfig;
///
/// let device = Device::default();
/// let rpn = RpnConfig { channels: 8, ..RpnConfig::default() }.init(8, &device);
/// let predictions = rpn.forward(Tensor::zeros([2, 8, 4, 4], &device));
/// // Three anchors a cell.
/// assert_eq!(predictions.box_deltas.dims(), [2, 48, 4]);
/// // On a blank level a network that has not been trained is undecided.
/// assert_eq!(predictions.class_logits.abs().max().into_scalar::<f32>(), 0.0);
/// ```
#[derive(Module, Debug)]
pub struct Rpn {
    /// Its convolutions.
    pub head: RpnHead,
}

/// The convolutions of a [`Rpn`].
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::faster_rcnn::RpnConfig;
///
/// // Three anchors a cell.
/// let head = RpnConfig { channels: 8, ..RpnConfig::default() }.init(16, &Device::default()).head;
/// assert_eq!(head.cls_logits.weight.dims(), [3, 8, 1, 1]);
/// assert_eq!(head.bbox_pred.weight.dims(), [3 * 4, 8, 1, 1]);
/// ```
#[derive(Module, Debug)]
pub struct RpnHead {
    /// 3×3 convolutions and their normalisation.
    pub conv: Vec<(Conv2d, Norm)>,
    /// 1×1, to one logit an anchor.
    pub cls_logits: Conv2d,
    /// 1×1, to four deltas an anchor.
    pub bbox_pred: Conv2d,
}

impl Rpn {
    /// The predictions on one level, `[N, channels, H, W]` to `A = H·W·anchors` anchors, ordered by
    /// row, column, anchor: logits `[N, A, 1]` and deltas `[N, A, 4]`.
    pub fn forward(&self, level: Tensor<4>) -> Predictions {
        let seen = tower(&self.head.conv, level);
        Predictions::new(
            by_anchor(self.head.cls_logits.forward(seen.clone()), 1),
            by_anchor(self.head.bbox_pred.forward(seen), 4),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_every_option() {
        let device = Device::default();
        let config = RpnConfig { channels: 6, ..RpnConfig::default() };
        let rpn = config.init(4, &device);
        let out = rpn.forward(Tensor::zeros([2, 4, 3, 5], &device));
        assert_eq!(out.class_logits.dims(), [2, 45, 1]);
        assert_eq!(out.box_deltas.dims(), [2, 45, 4]);
        // On a blank level the biases alone: 0.
        assert_eq!(out.class_logits.abs().sum().into_scalar::<f32>(), 0.0);

        let params = |config: &RpnConfig| config.init(4, &device).num_params();
        // 3×3 convolution 4·6·9 + 6; three logits and twelve deltas from six channels.
        assert_eq!(params(&config), 222 + 3 * 7 + 12 * 7);
        assert_eq!(params(&RpnConfig { num_convs: 2, ..config.clone() }), params(&config) + 330);
        assert_eq!(params(&RpnConfig { num_convs: 0, ..config.clone() }), 15 * 5);
        let group = RpnConfig { norm: NormKind::Group { groups: 2 }, ..config.clone() };
        assert_eq!(params(&group), params(&config) + 6);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = RpnConfig::default();
        assert_eq!(good.validate(), Ok(()));
        let error = |change: &dyn Fn(&mut RpnConfig)| {
            let mut config = good.clone();
            change(&mut config);
            config.validate().unwrap_err().option
        };
        assert_eq!(error(&|c| c.channels = 0), "rpn.channels");
        assert_eq!(error(&|c| c.box_coder.clamp = 0.0), "box_coder.clamp");
        assert_eq!(error(&|c| c.loss.box_weight = -1.0), "loss.box_weight");
        assert_eq!(error(&|c| c.train_proposals.max_proposals = 0), "proposals.max_proposals");
        assert_eq!(error(&|c| c.test_proposals.max_proposals = 0), "proposals.max_proposals");
    }
}
