//! The convolution as a layer.

use burn::{
    config::Config,
    module::{Module, Param},
    nn::Initializer,
    tensor::{Device, Tensor},
};

use super::{conv2d, conv2d_relu};

/// Configuration of a [`Conv2d`] with a square kernel.
///
/// ```
/// use burn::{module::Module, tensor::Device};
/// use sed_models::ops::conv2d::Conv2dConfig;
///
/// let conv = Conv2dConfig::new(16, 32, 3).with_stride(2).with_padding(1).init(&Device::default());
/// assert_eq!(conv.num_params(), 32 * 16 * 9 + 32);
/// ```
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
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::ops::conv2d::Conv2dConfig;
///
/// let device = Device::default();
/// let conv = Conv2dConfig::new(3, 8, 3).with_stride(2).with_padding(1).init(&device);
/// assert_eq!(conv.weight.dims(), [8, 3, 3, 3]);
/// let maps = conv.forward(Tensor::zeros([2, 3, 16, 10], &device));
/// assert_eq!(maps.dims(), [2, 8, 8, 5]);
/// ```
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
    ///
    /// ```
    /// use burn::{nn::Initializer, tensor::Device};
    /// use sed_models::ops::conv2d::Conv2dConfig;
    ///
    /// let config = Conv2dConfig::new(1, 4, 1).with_initializer(Initializer::Constant { value: 0.5 });
    /// let conv = config.with_bias(false).init(&Device::default());
    /// assert_eq!(conv.weight.val().sum().into_scalar::<f32>(), 2.0);
    /// assert!(conv.bias.is_none());
    /// ```
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
    ///
    /// ```
    /// use burn::{
    ///     nn::Initializer,
    ///     tensor::{Device, Tensor},
    /// };
    /// use sed_models::ops::conv2d::Conv2dConfig;
    ///
    /// let device = Device::default();
    /// let conv =
    ///     Conv2dConfig::new(1, 1, 3).with_padding(1).with_initializer(Initializer::Ones).init(&device);
    /// // The corners see four of the ones, the edges six, the middle all nine.
    /// let sums = conv.forward(Tensor::ones([1, 1, 3, 3], &device)).into_data().try_to_vec::<f32>().unwrap();
    /// assert_eq!(sums, [4.0, 6.0, 4.0, 6.0, 9.0, 6.0, 4.0, 6.0, 4.0]);
    /// ```
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d(input, self.weight.val(), self.bias.as_ref().map(Param::val), self.stride, self.padding)
    }

    /// `relu(forward(input))`.
    ///
    /// ```
    /// use burn::{
    ///     nn::Initializer,
    ///     tensor::{Device, Tensor},
    /// };
    /// use sed_models::ops::conv2d::Conv2dConfig;
    ///
    /// let device = Device::default();
    /// let conv = Conv2dConfig::new(1, 1, 1).with_initializer(Initializer::Ones).init(&device);
    /// let output = conv.forward_relu(Tensor::from_floats([[[[-1.0, 2.0]]]], &device));
    /// assert_eq!(output.into_data().try_to_vec::<f32>().unwrap(), [0.0, 2.0]);
    /// ```
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        conv2d_relu(input, self.weight.val(), self.bias.as_ref().map(Param::val), self.stride, self.padding)
    }

    /// The convolution with its output channels multiplied by `scale` and moved by `shift`, both `[out]`, as a fixed
    /// normalisation does: both go into weight and bias, which saves passes over the maps.
    pub(crate) fn affine(&self, scale: Tensor<1>, shift: Tensor<1>) -> AffineConv2d {
        let out = scale.dims()[0];
        let weight = self.weight.val();
        let inner = weight.dtype();
        let weight = (weight.cast(scale.dtype()) * scale.clone().reshape([out, 1, 1, 1])).cast(inner);
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
