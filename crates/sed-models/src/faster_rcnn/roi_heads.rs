//! The second stage: what each region holds.

use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor, activation::relu},
};
use sed_core::{InvalidOption, Predictions};
use serde::{Deserialize, Serialize};

use super::{RoiLoss, RoiPool, RoiPostProcess};
use crate::{box_coder::BoxCoder, ops::linear};

/// Configuration of [`RoiHeads`], and of what becomes of their outputs.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::{
///     faster_rcnn::{RoiConfig, RoiPool},
///     ops::roi_align::RoiAlign,
/// };
///
/// let device = Device::default();
/// let pool = RoiPool { align: RoiAlign { output_size: 3, ..RoiAlign::default() }, ..RoiPool::default() };
/// let heads = RoiConfig { pool, hidden: 16, ..RoiConfig::default() }.init(8, 5, &device);
/// let predictions = heads.forward(Tensor::zeros([10, 8, 3, 3], &device));
/// // Ten regions; background and five classes.
/// assert_eq!(predictions.class_logits.dims(), [1, 10, 6]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiConfig {
    /// How regions are pooled.
    pub pool: RoiPool,
    /// Outputs of the two fully connected layers.
    pub hidden: usize,
    /// How boxes are encoded relative to their region.
    pub box_coder: BoxCoder,
    /// The losses on labeled images.
    pub loss: RoiLoss,
    /// Which predictions become detections.
    pub postprocess: RoiPostProcess,
}

impl Default for RoiConfig {
    /// As torchvision: 7×7, two layers of 1024, box weights 10, 10, 5, 5.
    fn default() -> Self {
        Self {
            pool: RoiPool::default(),
            hidden: 1024,
            box_coder: BoxCoder { weights: [10.0, 10.0, 5.0, 5.0], ..BoxCoder::default() },
            loss: RoiLoss::default(),
            postprocess: RoiPostProcess::default(),
        }
    }
}

impl RoiConfig {
    /// Checks the numbers, the matcher apart.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RoiConfig;
    ///
    /// assert!(RoiConfig::default().validate().is_ok());
    /// let error = RoiConfig { hidden: 0, ..RoiConfig::default() }.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "roi.hidden = 0: it must be finite and above 0");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.pool.validate()?;
        InvalidOption::unless_positive("roi.hidden", self.hidden as f64)?;
        self.box_coder.validate()?;
        self.loss.validate()?;
        self.postprocess.validate()
    }

    /// The layers for features of `channels` channels and `classes` classes, on `device`.
    ///
    /// Layers start uniform with variance `1 / (3·inputs)`, as in torchvision.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::faster_rcnn::RoiConfig;
    ///
    /// // 7×7 bins of 4 channels.
    /// let heads = RoiConfig { hidden: 16, ..RoiConfig::default() }.init(4, 20, &Device::default());
    /// assert_eq!(heads.box_head.fc6.weight.dims(), [4 * 49, 16]);
    /// ```
    pub fn init(&self, channels: usize, classes: usize, device: &Device) -> RoiHeads {
        let linear = |inputs, outputs| LinearConfig::new(inputs, outputs).init(device);
        RoiHeads {
            box_head: BoxHead {
                fc6: linear(channels * self.pool.align.output_size.pow(2), self.hidden),
                fc7: linear(self.hidden, self.hidden),
            },
            box_predictor: BoxPredictor {
                cls_score: linear(self.hidden, classes + 1),
                bbox_pred: linear(self.hidden, (classes + 1) * 4),
            },
        }
    }
}

/// Two fully connected layers on pooled features, then a class distribution and a box for each class.
/// (Lin et al., *Feature Pyramid Networks*, CVPR 2017, §5.2.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::faster_rcnn::RoiConfig;
///
/// let device = Device::default();
/// let heads = RoiConfig { hidden: 16, ..RoiConfig::default() }.init(4, 2, &device);
/// let pooled = Tensor::<4>::ones([3, 4, 7, 7], &device);
/// let predictions = heads.forward(pooled);
/// // Four deltas for background and each of the two classes.
/// assert_eq!(predictions.box_deltas.dims(), [1, 3, 12]);
/// ```
#[derive(Module, Debug)]
pub struct RoiHeads {
    /// The hidden layers.
    pub box_head: BoxHead,
    /// The outputs.
    pub box_predictor: BoxPredictor,
}

/// The hidden layers of [`RoiHeads`].
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::faster_rcnn::RoiConfig;
///
/// let heads = RoiConfig { hidden: 16, ..RoiConfig::default() }.init(4, 20, &Device::default());
/// assert_eq!(heads.box_head.fc7.weight.dims(), [16, 16]);
/// ```
#[derive(Module, Debug)]
pub struct BoxHead {
    /// From the pooled features.
    pub fc6: Linear,
    /// From `fc6`.
    pub fc7: Linear,
}

/// The outputs of [`RoiHeads`].
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::faster_rcnn::RoiConfig;
///
/// let heads = RoiConfig { hidden: 16, ..RoiConfig::default() }.init(4, 20, &Device::default());
/// assert_eq!(heads.box_predictor.cls_score.weight.dims(), [16, 21]);
/// assert_eq!(heads.box_predictor.bbox_pred.weight.dims(), [16, 21 * 4]);
/// ```
#[derive(Module, Debug)]
pub struct BoxPredictor {
    /// To the logits of background and classes.
    pub cls_score: Linear,
    /// To four deltas for background and each class.
    pub bbox_pred: Linear,
}

impl RoiHeads {
    /// The predictions on regions pooled to `[K, C, S, S]`: logits `[1, K, classes + 1]`, background first,
    /// and deltas `[1, K, 4·(classes + 1)]`, class by class.
    pub fn forward(&self, pooled: Tensor<4>) -> Predictions {
        let x = pooled.flatten::<2>(1, 3);
        let x = relu(linear(&self.box_head.fc6, x));
        let x = relu(linear(&self.box_head.fc7, x));
        let logits = linear(&self.box_predictor.cls_score, x.clone());
        Predictions::new(logits.unsqueeze(), linear(&self.box_predictor.bbox_pred, x).unsqueeze())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_options() {
        let device = Device::default();
        let mut config = RoiConfig { hidden: 6, ..RoiConfig::default() };
        let out = config.init(2, 3, &device).forward(Tensor::ones([5, 2, 7, 7], &device));
        assert_eq!(out.class_logits.dims(), [1, 5, 4]);
        assert_eq!(out.box_deltas.dims(), [1, 5, 16]);
        let params = |config: RoiConfig| config.init(2, 3, &device).num_params();
        assert_eq!(params(config), (98 + 1) * 6 + 7 * 6 + 7 * 4 + 7 * 16);
        config.pool.align.output_size = 3;
        assert_eq!(params(config), (18 + 1) * 6 + 7 * 6 + 7 * 4 + 7 * 16);
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = RoiConfig::default();
        assert_eq!(good.validate(), Ok(()));
        let error = |change: &dyn Fn(&mut RoiConfig)| {
            let mut config = good;
            change(&mut config);
            config.validate().unwrap_err().option
        };
        assert_eq!(error(&|c| c.hidden = 0), "roi.hidden");
        assert_eq!(error(&|c| c.pool.canonical_size = -1.0), "pool.canonical_size");
        assert_eq!(error(&|c| c.box_coder.weights[0] = 0.0), "box_coder.weights");
        assert_eq!(error(&|c| c.loss.beta = -1.0), "loss.beta");
        assert_eq!(error(&|c| c.postprocess.max_detections = 0), "postprocess.max_detections");
    }
}
