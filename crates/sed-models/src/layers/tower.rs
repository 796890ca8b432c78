//! The convolutions of a dense head that look at one level of a pyramid.

use burn::{
    nn::Initializer,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use crate::{
    layers::norm::{Norm, NormConfig, NormKind},
    ops::conv2d::{Conv2d, Conv2dConfig},
};

/// How the weights of a tower start; those of the predictors always start small.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::{layers::tower::TowerInit, retinanet::HeadConfig};
///
/// let largest = |tower_init: TowerInit| {
///     let head = HeadConfig { num_convs: 1, channels: 8, tower_init, ..HeadConfig::default() };
///     let head = head.init(8, 1, 3, &Device::default());
///     head.classification_head.conv[0].0.weight.val().abs().max().into_scalar::<f32>()
/// };
/// // Deviations of 0.01 and of √(2 / (8·9)).
/// assert!(largest(TowerInit::Small) < 0.1 && largest(TowerInit::Kaiming) > 0.1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TowerInit {
    /// `N(0, 0.01²)`, as published: for towers without a norm on a pre-trained backbone.
    Small,
    /// Kaiming's, scaled by the fan-out: for normalised towers, where a step of an adaptive
    /// optimizer would turn small weights over. (Our design.)
    Kaiming,
}

impl TowerInit {
    fn initializer(self) -> Initializer {
        match self {
            Self::Small => Initializer::Normal { mean: 0.0, std: 0.01 },
            // Keeps the variance of what flows back through a ReLU.
            Self::Kaiming => {
                Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true }
            }
        }
    }
}

/// 3×3 convolutions in a row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TowerConfig {
    pub num_convs: usize,
    pub channels: usize,
    /// What follows each convolution; with it they have no bias.
    pub norm: NormKind,
}

impl TowerConfig {
    pub fn init(&self, in_channels: usize, start: TowerInit, device: &Device) -> Vec<(Conv2d, Norm)> {
        (0..self.num_convs)
            .map(|i| {
                let conv =
                    Conv2dConfig::new(if i == 0 { in_channels } else { self.channels }, self.channels, 3)
                        .with_padding(1)
                        .with_bias(self.norm == NormKind::None)
                        .with_initializer(start.initializer())
                        .init(device);
                (conv, NormConfig::new(self.norm, self.channels).init(device))
            })
            .collect()
    }
}

/// The convolution that predicts, weights from `N(0, 0.01²)` and biases at 0.
pub(crate) fn predictor(inputs: usize, outputs: usize, kernel: usize, device: &Device) -> Conv2d {
    Conv2dConfig::new(inputs, outputs, kernel)
        .with_padding(kernel / 2)
        .with_initializer(TowerInit::Small.initializer())
        .init(device)
}

/// The convolutions, each followed by its norm and a ReLU.
pub(crate) fn tower(convs: &[(Conv2d, Norm)], input: Tensor<4>) -> Tensor<4> {
    convs.iter().fold(input, |x, (conv, norm)| norm.relu_after(conv, x))
}

/// `[N, anchors·values, H, W]` to `[N, H·W·anchors, values]`.
pub(crate) fn by_anchor(output: Tensor<4>, values: usize) -> Tensor<3> {
    let [n, channels, h, w] = output.dims();
    output.permute([0, 2, 3, 1]).reshape([n, h * w * (channels / values), values])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anchors_are_ordered_by_row_column_and_anchor() {
        // Two anchors of three classes on a grid of 1×2: channel a·3 + c.
        let output = Tensor::<1, burn::tensor::Int>::arange(0..12, &Device::default()).float();
        let rows = by_anchor(output.reshape([1, 6, 1, 2]), 3);
        assert_eq!(rows.dims(), [1, 4, 3]);
        let expected: [[f32; 3]; 4] = [[0., 2., 4.], [6., 8., 10.], [1., 3., 5.], [7., 9., 11.]];
        rows.into_data()
            .assert_eq(&Tensor::<3>::from_floats([expected], &Device::default()).into_data(), true);
    }
}
