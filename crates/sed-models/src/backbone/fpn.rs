//! The feature pyramid network (Lin et al., 2017) with the extra levels P6 and P7 of RetinaNet (Lin et
//! al., *Focal Loss for Dense Object Detection*, 2017); of one level, it is a single feature map.

use burn::{
    module::Module,
    nn::Initializer,
    tensor::{Device, Tensor, activation::relu},
};
use serde::{Deserialize, Serialize};

use super::BackboneConfigError;
use crate::{
    layers::norm::{Norm, NormConfig, NormKind},
    ops::conv2d::{Conv2d, Conv2dConfig},
};

/// What P6 is computed from.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::backbone::{FpnConfig, P6Source};
///
/// let config = FpnConfig {
///     out_channels: 4,
///     lowest_level: 5,
///     highest_level: 6,
///     p6_source: P6Source::Subsampled,
///     ..FpnConfig::default()
/// };
/// let device = Device::default();
/// let maps = [32, 16, 8, 4].map(|side| Tensor::<4>::ones([1, 2, side, side], &device));
/// let levels = config.init([2; 4], &device)?.forward(&maps);
/// assert_eq!((levels[0].dims(), levels[1].dims()), ([1, 4, 4, 4], [1, 4, 2, 2]));
/// // The second cell of P6 is the third of P5.
/// let cell = |level: usize, column: usize| levels[level].clone().narrow(2, 0, 1).narrow(3, column, 1);
/// assert_eq!(cell(1, 1).into_data(), cell(0, 2).into_data());
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum P6Source {
    /// The backbone's last feature map, as in the RetinaNet paper.
    C5,
    /// The pyramid's level 5, as in torchvision's `retinanet_resnet50_fpn`.
    P5,
    /// Every second cell of level 5, without a convolution, as in Faster R-CNN (Lin et al., *Feature
    /// Pyramid Networks*, CVPR 2017, §4.1).
    Subsampled,
}

/// Configuration of an [`Fpn`]; the default is that of torchvision's RetinaNet.
///
/// With `lowest_level = highest_level` there is a single map, at 4 one of stride 16 made from C4 alone.
///
/// ```
/// use sed_models::backbone::FpnConfig;
///
/// let config = FpnConfig { lowest_level: 2, highest_level: 6, ..FpnConfig::default() };
/// assert_eq!(config.strides(), [4, 8, 16, 32, 64]);
/// // P6 lies above the residual network.
/// assert_eq!(config.highest_body_level(), 5);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of each level.
    pub out_channels: usize,
    /// The finest level, 2 to 5; level `l` has stride `2^l`.
    pub lowest_level: usize,
    /// The coarsest level, from the lowest up to 7; up to 6 with [`P6Source::Subsampled`].
    pub highest_level: usize,
    /// What P6 is computed from.
    pub p6_source: P6Source,
    /// What follows the convolutions of levels up to P5; with it they lose their bias.
    pub norm: NormKind,
}

impl Default for FpnConfig {
    fn default() -> Self {
        Self {
            out_channels: 256,
            lowest_level: 3,
            highest_level: 7,
            p6_source: P6Source::P5,
            norm: NormKind::None,
        }
    }
}

impl FpnConfig {
    /// Whether the options fit together.
    ///
    /// # Errors
    ///
    /// Names the option and the rule it breaks.
    ///
    /// ```
    /// use sed_models::backbone::{BackboneConfigError, FpnConfig};
    ///
    /// assert!(FpnConfig::default().validate().is_ok());
    /// assert_eq!(
    ///     FpnConfig { highest_level: 8, ..FpnConfig::default() }.validate(),
    ///     Err(BackboneConfigError::HighestLevel { highest: 8, lowest: 3, last: 7 })
    /// );
    /// ```
    pub fn validate(&self) -> Result<(), BackboneConfigError> {
        if self.out_channels == 0 {
            return Err(BackboneConfigError::NoChannels("out_channels"));
        }
        if !(2..=5).contains(&self.lowest_level) {
            return Err(BackboneConfigError::LowestLevel(self.lowest_level));
        }
        let last = if self.p6_source == P6Source::Subsampled { 6 } else { 7 };
        if !(self.lowest_level..=last).contains(&self.highest_level) {
            return Err(BackboneConfigError::HighestLevel {
                highest: self.highest_level,
                lowest: self.lowest_level,
                last,
            });
        }
        self.norm.validate(self.out_channels)?;
        Ok(())
    }

    /// The strides of the levels, finest first.
    pub fn strides(&self) -> Vec<usize> {
        (self.lowest_level..=self.highest_level).map(|level| 1 << level).collect()
    }

    /// The pyramid on feature maps C2 … C5 of `in_channels`, on `device`; convolutions start
    /// uniform with variance `1 / fan_in`, biases at 0.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::backbone::{FpnConfig, ResNetConfig};
    ///
    /// let channels = ResNetConfig::new(18).out_channels()?;
    /// let fpn = FpnConfig { out_channels: 8, ..FpnConfig::default() }.init(channels, &Device::default())?;
    /// // The finest level is made from C3, of 128 channels.
    /// assert_eq!(fpn.inner_blocks[0].0.weight.dims(), [8, 128, 1, 1]);
    /// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
    /// ```
    pub fn init(&self, in_channels: [usize; 4], device: &Device) -> Result<Fpn, BackboneConfigError> {
        self.validate()?;
        let conv = |input: usize, kernel: usize, stride: usize, bias: bool| {
            Conv2dConfig::new(input, self.out_channels, kernel)
                .with_stride(stride)
                .with_padding(kernel / 2)
                .with_bias(bias)
                .with_initializer(Initializer::KaimingUniform { gain: 1.0, fan_out_only: false })
                .init(device)
        };
        let norm = || NormConfig::new(self.norm, self.out_channels).init(device);
        let bias = self.norm == NormKind::None;
        let levels = &in_channels[self.lowest_level - 2..=self.highest_body_level() - 2];
        let p6_in = if self.p6_source == P6Source::C5 { in_channels[3] } else { self.out_channels };
        let subsampled = self.p6_source == P6Source::Subsampled;
        Ok(Fpn {
            inner_blocks: levels.iter().map(|&input| (conv(input, 1, 1, bias), norm())).collect(),
            layer_blocks: levels.iter().map(|_| (conv(self.out_channels, 3, 1, bias), norm())).collect(),
            extra_blocks: ExtraLevels {
                p6: (self.highest_level >= 6 && !subsampled).then(|| conv(p6_in, 3, 2, true)),
                p7: (self.highest_level >= 7).then(|| conv(self.out_channels, 3, 2, true)),
            },
            lowest_level: self.lowest_level,
            p6_source: (self.highest_level >= 6).then_some(self.p6_source),
        })
    }

    /// The last of C2 … C5 that the pyramid is made from.
    pub fn highest_body_level(&self) -> usize {
        self.highest_level.min(5)
    }
}

/// The convolutions of the levels that lie above the backbone.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::backbone::FpnConfig;
///
/// let up_to = |highest_level: usize| {
///     let config = FpnConfig { out_channels: 4, highest_level, ..FpnConfig::default() };
///     config.init([2; 4], &Device::default()).map(|fpn| fpn.extra_blocks)
/// };
/// assert!(up_to(7)?.p7.is_some());
/// let without_p7 = up_to(6)?;
/// assert!(without_p7.p6.is_some() && without_p7.p7.is_none());
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ExtraLevels {
    /// To P6, of stride 2.
    pub p6: Option<Conv2d>,
    /// From P6 to P7, of stride 2.
    pub p7: Option<Conv2d>,
}

/// The feature pyramid: `P_l = layer_l(M_l)`, `M_5 = inner_5(C5)`,
/// `M_l = inner_l(C_l) + up(M_{l+1})`, `P6 = p6(P5 or C5)`, `P7 = p7(relu(P6))`, where `up`
/// repeats each cell twice in both directions.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::backbone::FpnConfig;
///
/// let device = Device::default();
/// let fpn = FpnConfig { out_channels: 4, ..FpnConfig::default() }.init([2, 4, 8, 16], &device)?;
/// // C2 to C5 of an image of 128×64.
/// let features: Vec<_> = (0..4).map(|i| Tensor::ones([1, 2 << i, 32 >> i, 16 >> i], &device)).collect();
/// let levels = fpn.forward(&features);
/// let shapes: Vec<_> = levels.iter().map(|level| level.dims()).collect();
/// assert_eq!(shapes, [[1, 4, 16, 8], [1, 4, 8, 4], [1, 4, 4, 2], [1, 4, 2, 1], [1, 4, 1, 1]]);
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct Fpn {
    /// 1×1 convolution and its normalisation, a level, finest first.
    pub inner_blocks: Vec<(Conv2d, Norm)>,
    /// 3×3 convolution and its normalisation, a level, finest first.
    pub layer_blocks: Vec<(Conv2d, Norm)>,
    /// P6 and P7.
    pub extra_blocks: ExtraLevels,
    #[module(skip)]
    lowest_level: usize,
    /// `None` without P6.
    #[module(skip)]
    p6_source: Option<P6Source>,
}

impl Fpn {
    /// The finest level.
    pub fn lowest_level(&self) -> usize {
        self.lowest_level
    }

    /// The last of C2 … C5 that it is made from.
    pub fn highest_body_level(&self) -> usize {
        self.lowest_level + self.inner_blocks.len() - 1
    }

    /// All levels, finest first, from C2, C3, … up to [`highest_body_level`](Self::highest_body_level).
    ///
    /// # Panics
    ///
    /// As [`forward_from`](Self::forward_from).
    pub fn forward(&self, features: &[Tensor<4>]) -> Vec<Tensor<4>> {
        self.forward_from(features, self.lowest_level())
    }

    /// The levels from `lowest` on, finest first: the same values as in [`forward`](Self::forward),
    /// without the work for finer levels.
    ///
    /// # Panics
    ///
    /// If the pyramid has no level `lowest` made from a feature map, a feature map is missing, or two
    /// neighbouring ones are not of sizes `n` and `n / 2`, rounded up.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::backbone::FpnConfig;
    ///
    /// let device = Device::default();
    /// let fpn = FpnConfig { out_channels: 4, ..FpnConfig::default() }.init([2; 4], &device)?;
    /// let features = [32, 16, 8, 4].map(|side| Tensor::<4>::ones([1, 2, side, side], &device));
    /// let (all, coarse) = (fpn.forward(&features), fpn.forward_from(&features, 4));
    /// assert_eq!((all.len(), coarse.len()), (5, 4));
    /// let difference = all[1].clone() - coarse[0].clone();
    /// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
    /// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
    /// ```
    pub fn forward_from(&self, features: &[Tensor<4>], lowest: usize) -> Vec<Tensor<4>> {
        let (finest, coarsest) = (self.lowest_level(), self.highest_body_level());
        assert!(
            (finest..=coarsest).contains(&lowest),
            "Fpn: level {lowest} asked of a pyramid on C{finest} to C{coarsest}"
        );
        assert!(
            features.len() > coarsest - 2,
            "Fpn: {} feature maps, C2 to C{coarsest} are needed",
            features.len()
        );
        let mut merged: Option<Tensor<4>> = None;
        let mut levels = Vec::new();
        for level in (lowest..=coarsest).rev() {
            let (inner, inner_norm) = &self.inner_blocks[level - finest];
            let (layer, layer_norm) = &self.layer_blocks[level - finest];
            let lateral = inner_norm.forward(inner.forward(features[level - 2].clone()));
            let sum = match merged.take() {
                Some(coarser) => {
                    let [_, _, height, width] = lateral.dims();
                    lateral + upsample(coarser, height, width)
                }
                None => lateral,
            };
            levels.push(layer_norm.forward(layer.forward(sum.clone())));
            merged = Some(sum);
        }
        levels.reverse();
        if let Some(source) = self.p6_source {
            let p5 = &levels[coarsest - lowest];
            levels.push(match (source, &self.extra_blocks.p6) {
                (P6Source::C5, Some(p6)) => p6.forward(features[3].clone()),
                (_, Some(p6)) => p6.forward(p5.clone()),
                (_, None) => every_second(p5.clone()),
            });
        }
        if let (Some(p7), Some(p6)) = (&self.extra_blocks.p7, levels.last()) {
            levels.push(p7.forward(relu(p6.clone())));
        }
        levels
    }
}

/// The cells of even row and column.
///
/// Made of views, so that its gradient exists on every backend.
fn every_second(x: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    x.pad([(0, 2 * rows - h), (0, 2 * columns - w)], 0.0)
        .reshape([n, c, rows, 2, columns, 2])
        .slice([0..n, 0..c, 0..rows, 0..1, 0..columns, 0..1])
        .reshape([n, c, rows, columns])
}

/// Each cell twice in both directions, the last row or column once where the target is odd.
///
/// Made of views, so that its gradient exists on every backend.
fn upsample(x: Tensor<4>, height: usize, width: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    assert!(
        h == height.div_ceil(2) && w == width.div_ceil(2),
        "Fpn: a level of {h}×{w} above one of {height}×{width}"
    );
    x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, 2, w, 2]).reshape([n, c, 2 * h, 2 * w]).slice([
        0..n,
        0..c,
        0..height,
        0..width,
    ])
}

#[cfg(test)]
#[path = "fpn_tests.rs"]
mod tests;
