//! The feature pyramid network (Lin et al., 2017) with RetinaNet's extra levels P6 and P7 (Lin et
//! al., *Focal Loss for Dense Object Detection*, 2017).

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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum P6Source {
    /// The backbone's last feature map, as in the RetinaNet paper.
    C5,
    /// The pyramid's level 5, as in torchvision's `retinanet_resnet50_fpn`.
    P5,
}

/// Configuration of an [`Fpn`]; the default is that of torchvision's RetinaNet.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of each level.
    pub out_channels: usize,
    /// The finest level, 2 to 5; level `l` has stride `2^l`.
    pub lowest_level: usize,
    /// The coarsest level, 5 to 7.
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
    pub fn validate(&self) -> Result<(), BackboneConfigError> {
        if self.out_channels == 0 {
            return Err(BackboneConfigError::NoChannels("out_channels"));
        }
        if !(2..=5).contains(&self.lowest_level) {
            return Err(BackboneConfigError::LowestLevel(self.lowest_level));
        }
        if !(5..=7).contains(&self.highest_level) {
            return Err(BackboneConfigError::HighestLevel(self.highest_level));
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
        let levels = &in_channels[self.lowest_level - 2..];
        let p6_in = match self.p6_source {
            P6Source::C5 => in_channels[3],
            P6Source::P5 => self.out_channels,
        };
        Ok(Fpn {
            inner_blocks: levels.iter().map(|&input| (conv(input, 1, 1, bias), norm())).collect(),
            layer_blocks: levels.iter().map(|_| (conv(self.out_channels, 3, 1, bias), norm())).collect(),
            extra_blocks: ExtraLevels {
                p6: (self.highest_level >= 6).then(|| conv(p6_in, 3, 2, true)),
                p7: (self.highest_level >= 7).then(|| conv(self.out_channels, 3, 2, true)),
            },
            p6_from_c5: self.p6_source == P6Source::C5,
        })
    }
}

/// The convolutions of the levels that lie above the backbone.
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
#[derive(Module, Debug)]
pub struct Fpn {
    /// 1×1 convolution and its normalisation, a level, finest first.
    pub inner_blocks: Vec<(Conv2d, Norm)>,
    /// 3×3 convolution and its normalisation, a level, finest first.
    pub layer_blocks: Vec<(Conv2d, Norm)>,
    /// P6 and P7.
    pub extra_blocks: ExtraLevels,
    #[module(skip)]
    p6_from_c5: bool,
}

impl Fpn {
    /// The finest level.
    pub fn lowest_level(&self) -> usize {
        6 - self.inner_blocks.len()
    }

    /// All levels, finest first, from C2, C3, C4, C5.
    pub fn forward(&self, features: [Tensor<4>; 4]) -> Vec<Tensor<4>> {
        self.forward_from(features, self.lowest_level())
    }

    /// The levels from `lowest` on, finest first: the same values as in [`forward`](Self::forward),
    /// without the work for finer levels.
    ///
    /// # Panics
    ///
    /// If the pyramid has no level `lowest`, `lowest` is above 5, or two neighbouring feature maps
    /// are not of sizes `n` and `n / 2`, rounded up.
    pub fn forward_from(&self, features: [Tensor<4>; 4], lowest: usize) -> Vec<Tensor<4>> {
        let finest = self.lowest_level();
        assert!(
            (finest..=5).contains(&lowest),
            "Fpn: level {lowest} asked of a pyramid that starts at {finest}"
        );
        let c5 = features[3].clone();
        let mut merged: Option<Tensor<4>> = None;
        let mut levels = Vec::new();
        let blocks = self.inner_blocks.iter().zip(&self.layer_blocks);
        let inputs = features.into_iter().skip(finest - 2);
        for (((inner, inner_norm), (layer, layer_norm)), feature) in
            blocks.zip(inputs).skip(lowest - finest).collect::<Vec<_>>().into_iter().rev()
        {
            let lateral = inner_norm.forward(inner.forward(feature));
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
        if let (Some(p6), Some(p5)) = (&self.extra_blocks.p6, levels.last()) {
            levels.push(p6.forward(if self.p6_from_c5 { c5 } else { p5.clone() }));
        }
        if let (Some(p7), Some(p6)) = (&self.extra_blocks.p7, levels.last()) {
            levels.push(p7.forward(relu(p6.clone())));
        }
        levels
    }
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
