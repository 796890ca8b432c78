//! Residual networks of depth 18, 34, 50 and 101 (He et al., *Deep Residual Learning for Image
//! Recognition*, 2015), without the classifier.

use burn::{
    module::Module,
    nn::PaddingConfig2d,
    nn::pool::{MaxPool2d, MaxPool2dConfig},
    tensor::{Device, Tensor, activation::relu},
};
use serde::{Deserialize, Serialize};

use super::BackboneConfigError;
use crate::{
    layers::norm::{Norm, NormConfig, NormKind},
    ops::conv2d::{Conv2d, Conv2dConfig},
};

/// Configuration of a [`ResNet`]; the default is torchvision's ResNet-50 with frozen batch norm.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::{backbone::ResNetConfig, layers::norm::NormKind};
///
/// // A small one to be trained from nothing.
/// let norm = NormKind::Group { groups: 2 };
/// let config = ResNetConfig { base_width: 4, stem_kernel_size: 3, norm, ..ResNetConfig::new(18) };
/// let device = Device::default();
/// let maps = config.init(&device)?.forward(Tensor::zeros([1, 3, 64, 64], &device));
/// let channels: Vec<_> = maps.iter().map(|map| map.dims()[1]).collect();
/// assert_eq!(channels, [4, 8, 16, 32]);
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetConfig {
    /// 18 or 34 (blocks of two 3×3 convolutions), 50 or 101 (bottlenecks of 1×1, 3×3, 1×1).
    pub depth: usize,
    /// Channels inside the first stage's blocks; all other counts are multiples of it.
    pub base_width: usize,
    /// Channels of the stem; `base_width` when absent.
    pub stem_channels: Option<usize>,
    /// Side of the stem's convolution, odd; its stride is 2 and its padding half the side, rounded down.
    pub stem_kernel_size: usize,
    /// Padding of the stem's 3×3 max pooling of stride 2: top, left, bottom, right. Padding never
    /// wins a maximum. `[0, 0, 1, 1]` is the caffe way, for images of even size after the convolution.
    pub stem_pool_padding: [usize; 4],
    /// What follows each convolution.
    pub norm: NormKind,
    /// Added to each variance. The published RetinaNet weights of torchvision were trained with 0.
    pub norm_epsilon: f64,
    /// Whether convolutions have a bias, as in networks with batch norm folded in.
    pub conv_bias: bool,
    /// Whether a bottleneck halves the image in its first 1×1 convolution (as the paper and caffe
    /// do) and not in the 3×3 one (as torchvision does).
    pub stride_in_1x1: bool,
    /// How many of the five parts (layer4, layer3, layer2, layer1, stem, counted in this order) train;
    /// the others are frozen. torchvision takes 3 when it fine-tunes a detector.
    pub trainable_layers: usize,
}

impl Default for ResNetConfig {
    fn default() -> Self {
        Self {
            depth: 50,
            base_width: 64,
            stem_channels: None,
            stem_kernel_size: 7,
            stem_pool_padding: [1; 4],
            norm: NormKind::FrozenBatch,
            norm_epsilon: 1e-5,
            conv_bias: false,
            stride_in_1x1: false,
            trainable_layers: 5,
        }
    }
}

impl ResNetConfig {
    /// The default options at another depth.
    ///
    /// ```
    /// use sed_models::backbone::ResNetConfig;
    ///
    /// assert_eq!(ResNetConfig::new(50), ResNetConfig::default());
    /// assert_eq!(ResNetConfig::new(101).depth, 101);
    /// ```
    pub fn new(depth: usize) -> Self {
        Self { depth, ..Self::default() }
    }

    /// Blocks in each stage and whether they are bottlenecks.
    fn layout(&self) -> Result<([usize; 4], bool), BackboneConfigError> {
        match self.depth {
            18 => Ok(([2, 2, 2, 2], false)),
            34 => Ok(([3, 4, 6, 3], false)),
            50 => Ok(([3, 4, 6, 3], true)),
            101 => Ok(([3, 4, 23, 3], true)),
            depth => Err(BackboneConfigError::Depth(depth)),
        }
    }

    /// Whether the options fit together.
    ///
    /// # Errors
    ///
    /// Names the option and the rule it breaks.
    ///
    /// ```
    /// use sed_models::backbone::{BackboneConfigError, ResNetConfig};
    ///
    /// assert!(ResNetConfig::default().validate().is_ok());
    /// let even = ResNetConfig { stem_kernel_size: 4, ..ResNetConfig::default() };
    /// assert_eq!(even.validate(), Err(BackboneConfigError::EvenStemKernel(4)));
    /// ```
    pub fn validate(&self) -> Result<(), BackboneConfigError> {
        let (_, bottleneck) = self.layout()?;
        if self.base_width == 0 {
            return Err(BackboneConfigError::NoChannels("base_width"));
        }
        if self.stem_channels == Some(0) {
            return Err(BackboneConfigError::NoChannels("stem_channels"));
        }
        if self.stem_kernel_size.is_multiple_of(2) {
            return Err(BackboneConfigError::EvenStemKernel(self.stem_kernel_size));
        }
        if self.stem_pool_padding.iter().any(|&p| p > 1) {
            return Err(BackboneConfigError::PoolPadding(self.stem_pool_padding));
        }
        if self.stride_in_1x1 && !bottleneck {
            return Err(BackboneConfigError::StrideIn1x1(self.depth));
        }
        if self.trainable_layers > 5 {
            return Err(BackboneConfigError::TrainableLayers(self.trainable_layers));
        }
        // Batch norm divides by the root of a variance that may be 0; fixed statistics need not.
        let positive = self.norm_epsilon > 0.0 || self.norm == NormKind::FrozenBatch;
        if !self.norm_epsilon.is_finite() || self.norm_epsilon < 0.0 || !positive {
            return Err(BackboneConfigError::Epsilon(self.norm_epsilon));
        }
        // All other channel counts are multiples of these two.
        self.norm.validate(self.base_width)?;
        self.norm.validate(self.stem_channels())?;
        Ok(())
    }

    fn stem_channels(&self) -> usize {
        self.stem_channels.unwrap_or(self.base_width)
    }

    /// The channels of C2, C3, C4 and C5.
    ///
    /// # Errors
    ///
    /// If there is no network of this depth.
    ///
    /// ```
    /// use sed_models::backbone::ResNetConfig;
    ///
    /// assert_eq!(ResNetConfig::new(18).out_channels(), Ok([64, 128, 256, 512]));
    /// // Bottlenecks widen four times.
    /// assert_eq!(ResNetConfig::new(50).out_channels(), Ok([256, 512, 1024, 2048]));
    /// ```
    pub fn out_channels(&self) -> Result<[usize; 4], BackboneConfigError> {
        let (_, bottleneck) = self.layout()?;
        let expansion = if bottleneck { 4 } else { 1 };
        Ok([1, 2, 4, 8].map(|factor| self.base_width * factor * expansion))
    }

    /// The network, on `device`, with convolutions drawn from `N(0, 2 / fan_out)`.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::backbone::ResNetConfig;
    ///
    /// // As for fine-tuning: stem and layer1 are frozen.
    /// let config = ResNetConfig { base_width: 2, trainable_layers: 3, ..ResNetConfig::new(18) };
    /// let net = config.init(&Device::default().autodiff())?;
    /// assert!(!net.conv1.weight.val().is_require_grad());
    /// assert!(net.layer2[0].conv1.weight.val().is_require_grad());
    /// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
    /// ```
    pub fn init(&self, device: &Device) -> Result<ResNet, BackboneConfigError> {
        self.validate()?;
        let (blocks, bottleneck) = self.layout()?;
        let outs = self.out_channels()?;
        let stem = self.stem_channels();
        let stage = |index: usize| {
            let input = if index == 0 { stem } else { outs[index - 1] };
            let width = self.base_width << index;
            (0..blocks[index])
                .map(|block| {
                    let first = block == 0;
                    let stride = if first && index > 0 { 2 } else { 1 };
                    let input = if first { input } else { outs[index] };
                    self.block([input, width, outs[index]], stride, bottleneck, device)
                })
                .collect::<Vec<_>>()
        };
        let [top, left, bottom, right] = self.stem_pool_padding;
        let net = ResNet {
            conv1: self.conv(3, stem, self.stem_kernel_size, 2, device),
            bn1: self.norm(stem, device),
            maxpool: MaxPool2dConfig::new([3, 3])
                .with_strides([2, 2])
                .with_padding(PaddingConfig2d::Explicit(top, left, bottom, right))
                .init(),
            layer1: stage(0),
            layer2: stage(1),
            layer3: stage(2),
            layer4: stage(3),
        };
        Ok(net.freeze_below(self.trainable_layers))
    }

    fn conv(&self, input: usize, output: usize, kernel: usize, stride: usize, device: &Device) -> Conv2d {
        Conv2dConfig::new(input, output, kernel)
            .with_stride(stride)
            .with_padding(kernel / 2)
            .with_bias(self.conv_bias)
            .init(device)
    }

    fn norm(&self, channels: usize, device: &Device) -> Norm {
        NormConfig::new(self.norm, channels).with_epsilon(self.norm_epsilon).init(device)
    }

    fn block(
        &self,
        [input, width, output]: [usize; 3],
        stride: usize,
        bottleneck: bool,
        device: &Device,
    ) -> ResidualBlock {
        let downsample = (stride != 1 || input != output)
            .then(|| (self.conv(input, output, 1, stride, device), self.norm(output, device)));
        let (kernel, strides) = match (bottleneck, self.stride_in_1x1) {
            (false, _) => (3, [stride, 1]),
            (true, true) => (1, [stride, 1]),
            (true, false) => (1, [1, stride]),
        };
        ResidualBlock {
            conv1: self.conv(input, width, kernel, strides[0], device),
            bn1: self.norm(width, device),
            conv2: self.conv(width, width, 3, strides[1], device),
            bn2: self.norm(width, device),
            conv3: bottleneck.then(|| self.conv(width, output, 1, 1, device)),
            bn3: bottleneck.then(|| self.norm(output, device)),
            downsample,
        }
    }
}

/// `y = relu(f(x) + s(x))`, with `f` two or three convolutions and `s` the identity or, where the
/// shape changes, a 1×1 convolution.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::backbone::ResNetConfig;
///
/// let device = Device::default();
/// let net = ResNetConfig { base_width: 2, ..ResNetConfig::new(18) }.init(&device)?;
/// let x = Tensor::ones([1, 2, 8, 8], &device);
/// // The first block of layer2 halves the map and doubles the channels, so it needs a 1×1 convolution.
/// let block = &net.layer2[0];
/// assert!(block.downsample.is_some());
/// assert_eq!(block.forward(x).dims(), [1, 4, 4, 4]);
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ResidualBlock {
    /// 3×3, or the 1×1 that narrows a bottleneck.
    pub conv1: Conv2d,
    /// After `conv1`.
    pub bn1: Norm,
    /// 3×3.
    pub conv2: Conv2d,
    /// After `conv2`.
    pub bn2: Norm,
    /// The 1×1 that widens a bottleneck.
    pub conv3: Option<Conv2d>,
    /// After `conv3`.
    pub bn3: Option<Norm>,
    /// `s`: 1×1 convolution and its normalisation.
    pub downsample: Option<(Conv2d, Norm)>,
}

impl ResidualBlock {
    /// `[N, in, H, W]` to `[N, out, H / stride, W / stride]`, rounded up.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.after(conv, input.clone()),
            None => input.clone(),
        };
        let x = self.bn1.relu_after(&self.conv1, input);
        let x = match (&self.conv3, &self.bn3) {
            (Some(conv3), Some(bn3)) => bn3.after(conv3, self.bn2.relu_after(&self.conv2, x)),
            _ => self.bn2.after(&self.conv2, x),
        };
        relu(x + shortcut)
    }
}

/// A residual network without its classifier.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::backbone::ResNetConfig;
///
/// let device = Device::default();
/// let net = ResNetConfig { base_width: 2, ..ResNetConfig::new(18) }.init(&device)?;
/// let sizes = |maps: Vec<Tensor<4>>| maps.iter().map(|map| map.dims()[2]).collect::<Vec<_>>();
/// let images = Tensor::zeros([1, 3, 64, 64], &device);
/// assert_eq!(sizes(net.forward(images.clone())), [16, 8, 4, 2]);
/// // C2 and C3 alone.
/// assert_eq!(sizes(net.forward_to(images, 3)), [16, 8]);
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ResNet {
    /// The stem's convolution, of stride 2.
    pub conv1: Conv2d,
    /// After `conv1`.
    pub bn1: Norm,
    maxpool: MaxPool2d,
    /// To C2, of stride 4.
    pub layer1: Vec<ResidualBlock>,
    /// To C3, of stride 8.
    pub layer2: Vec<ResidualBlock>,
    /// To C4, of stride 16.
    pub layer3: Vec<ResidualBlock>,
    /// To C5, of stride 32.
    pub layer4: Vec<ResidualBlock>,
}

impl ResNet {
    /// The feature maps C2, C3, C4, C5 of `images` `[N, 3, H, W]`, of strides 4, 8, 16, 32.
    ///
    /// Their grids are the image divided by the stride, rounded up, where the stem's pooling pads
    /// all sides; with another padding this holds if `H` and `W` are multiples of 4.
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.forward_to(images, 5)
    }

    /// The feature maps up to that of number `highest`, 2 to 5, as in [`forward`](Self::forward),
    /// without the work for coarser ones.
    pub fn forward_to(&self, images: Tensor<4>, highest: usize) -> Vec<Tensor<4>> {
        let mut x = self.maxpool.forward(self.bn1.relu_after(&self.conv1, images));
        let layers = [&self.layer1, &self.layer2, &self.layer3, &self.layer4];
        let mut maps = Vec::new();
        for blocks in layers.into_iter().take(highest - 1) {
            x = blocks.iter().fold(x, |x, block| block.forward(x));
            maps.push(x.clone());
        }
        maps
    }

    /// Freezes all but the last `trainable` of stem, layer1, … layer4: no gradient, and batch norm
    /// keeps and uses its running statistics.
    fn freeze_below(mut self, trainable: usize) -> Self {
        if trainable < 5 {
            self.conv1 = self.conv1.freeze();
            self.bn1 = self.bn1.freeze();
        }
        if trainable < 4 {
            self.layer1 = self.layer1.freeze();
        }
        if trainable < 3 {
            self.layer2 = self.layer2.freeze();
        }
        if trainable < 2 {
            self.layer3 = self.layer3.freeze();
        }
        if trainable < 1 {
            self.layer4 = self.layer4.freeze();
        }
        self
    }
}

#[cfg(test)]
mod tests;
