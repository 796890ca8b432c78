//! The convolution as a layer.

use burn::{
    config::Config,
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

use super::{conv2d, conv2d_relu};

/// Configuration of a [`Conv2d`] with a square kernel.
#[derive(Config, Debug)]
pub struct Conv2dConfig {
    /// Channels of the input.
    pub in_channels: usize,
    /// Channels of the output.
    pub out_channels: usize,
    /// Side of the kernel.
    pub kernel_size: usize,
    /// Distance between two positions of the kernel.
    #[config(default = 1)]
    pub stride: usize,
    /// Zeros added on each side of the input.
    #[config(default = 0)]
    pub padding: usize,
    /// Whether a bias is added.
    #[config(default = true)]
    pub bias: bool,
    /// How the weight starts; the bias starts at 0.
    #[config(default = "Initializer::KaimingNormal { gain: std::f64::consts::SQRT_2, fan_out_only: true }")]
    pub initializer: Initializer,
}

/// A 2D convolution, `[N, in, H, W]` to `[N, out, H', W']` with
/// `H' = (H + 2·padding − kernel) / stride + 1`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[out, in, k, k]`.
    pub weight: Param<Tensor<4>>,
    /// `[out]`.
    pub bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    padding: usize,
}

impl Conv2dConfig {
    /// The layer, on `device`.
    pub fn init(&self, device: &Device) -> Conv2d {
        let k = self.kernel_size;
        let (fan_in, fan_out) = (self.in_channels * k * k, self.out_channels * k * k);
        let weight = self.initializer.init_with(
            [self.out_channels, self.in_channels, k, k],
            Some(fan_in),
            Some(fan_out),
            device,
        );
        let bias = self.bias.then(|| Initializer::Zeros.init([self.out_channels], device));
        Conv2d { weight, bias, stride: self.stride, padding: self.padding }
    }
}

impl Conv2d {
    /// `[N, in, H, W]` to `[N, out, H', W']`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d(input, self.weight.val(), self.bias.as_ref().map(Param::val), self.stride, self.padding)
    }

    /// `relu(forward(input))`.
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d_relu(input, self.weight.val(), self.bias.as_ref().map(Param::val), self.stride, self.padding)
    }

    /// The convolution with its output channels multiplied by `scale` and moved by `shift`, both `[out]`, as a fixed
    /// normalisation does: both go into weight and bias, which saves passes over the maps.
    pub(crate) fn affine(&self, scale: Tensor<1>, shift: Tensor<1>) -> AffineConv2d {
        let out = scale.dims()[0];
        let weight = self.weight.val() * scale.clone().reshape([out, 1, 1, 1]);
        let bias = match &self.bias {
            Some(bias) => bias.val() * scale + shift,
            None => shift,
        };
        AffineConv2d { weight, bias, stride: self.stride, padding: self.padding }
    }
}

/// A convolution with what follows it folded in.
pub(crate) struct AffineConv2d {
    weight: Tensor<4>,
    bias: Tensor<1>,
    stride: usize,
    padding: usize,
}

impl AffineConv2d {
    /// `[N, in, H, W]` to `[N, out, H', W']`.
    pub fn forward(self, input: Tensor<4>) -> Tensor<4> {
        conv2d(input, self.weight, Some(self.bias), self.stride, self.padding)
    }

    /// `relu(forward(input))`.
    pub fn forward_relu(self, input: Tensor<4>) -> Tensor<4> {
        conv2d_relu(input, self.weight, Some(self.bias), self.stride, self.padding)
    }
}
