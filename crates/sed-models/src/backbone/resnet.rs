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
            Some((conv, norm)) => norm.forward(conv.forward(input.clone())),
            None => input.clone(),
        };
        let x = relu(self.bn1.forward(self.conv1.forward(input)));
        let mut x = self.bn2.forward(self.conv2.forward(x));
        if let (Some(conv), Some(norm)) = (&self.conv3, &self.bn3) {
            x = norm.forward(conv.forward(relu(x)));
        }
        relu(x + shortcut)
    }
}

/// A residual network without its classifier.
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
    pub fn forward(&self, images: Tensor<4>) -> [Tensor<4>; 4] {
        let run = |blocks: &[ResidualBlock], x| blocks.iter().fold(x, |x, block| block.forward(x));
        let stem = self.maxpool.forward(relu(self.bn1.forward(self.conv1.forward(images))));
        let c2 = run(&self.layer1, stem);
        let c3 = run(&self.layer2, c2.clone());
        let c4 = run(&self.layer3, c3.clone());
        let c5 = run(&self.layer4, c4.clone());
        [c2, c3, c4, c5]
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
mod tests {
    use burn::tensor::Tolerance;

    use super::*;

    fn tiny(norm: NormKind) -> ResNetConfig {
        ResNetConfig { base_width: 2, norm, ..ResNetConfig::new(18) }
    }

    #[test]
    fn parameters_are_as_many_as_torchvisions() {
        // torchvision's counts less the classifier (1000 · 513 or 1000 · 2049), plus the running
        // statistics: twice as many as there are channels normalised.
        for (depth, params, channels) in [
            (18, 11_689_512 - 513_000, 4_800),
            (34, 21_797_672 - 513_000, 8_512),
            (50, 25_557_032 - 2_049_000, 26_560),
            (101, 44_549_160 - 2_049_000, 52_672),
        ] {
            let net = ResNetConfig::new(depth).init(&Device::default()).unwrap();
            assert_eq!(net.num_params(), params + 2 * channels, "depth {depth}");
        }
    }

    #[test]
    fn features_have_strides_4_to_32_at_any_size() {
        let device = Device::default();
        for (depth, channels) in [(18, [2, 4, 8, 16]), (50, [8, 16, 32, 64])] {
            let config = ResNetConfig { depth, ..tiny(NormKind::None) };
            assert_eq!(config.out_channels().unwrap(), channels);
            let net = config.init(&device).unwrap();
            let features = net.forward(Tensor::ones([1, 3, 64, 37], &device));
            for ((feature, c), stride) in features.into_iter().zip(channels).zip([4, 8, 16, 32]) {
                assert_eq!(feature.dims(), [1, c, 64 / stride, 37_usize.div_ceil(stride)]);
            }
        }
    }

    #[test]
    fn a_block_of_zero_convolutions_is_the_relu_of_its_input() {
        let device = Device::default();
        let net = tiny(NormKind::FrozenBatch).init(&device).unwrap();
        let mut block = net.layer1[0].clone();
        block.conv2.weight = block.conv2.weight.map(|w| w.zeros_like());
        let x = Tensor::<4>::from_floats([[[[1.0, -2.0]], [[-3.0, 4.0]]]], &device);
        // The normalisation divides by √(1 + 1e-5); the block's branch is exactly 0 all the same.
        block.forward(x.clone()).into_data().assert_eq(&relu(x).into_data(), true);
    }

    #[test]
    fn pooling_pads_only_where_it_is_told() {
        let device = Device::default();
        let mut config = tiny(NormKind::None);
        let pooled = |config: &ResNetConfig| {
            let x = Tensor::<1>::arange_step(0..16, 1, &device).reshape([1, 1, 4, 4]).neg();
            config.init(&device).unwrap().maxpool.forward(x)
        };
        // Rows -0 -1 -2 -3, -4 -5 …: the maximum of a window is its top left value. Windows start
        // one before 0 and 2, or at 0 and 2.
        let symmetric = Tensor::<4>::from_floats([[[[0.0, -1.0], [-4.0, -5.0]]]], &device);
        pooled(&config).into_data().assert_eq(&symmetric.into_data(), true);
        config.stem_pool_padding = [0, 0, 1, 1];
        let caffe = Tensor::<4>::from_floats([[[[0.0, -2.0], [-8.0, -10.0]]]], &device);
        pooled(&config).into_data().assert_eq(&caffe.into_data(), true);
    }

    #[test]
    fn the_stem_has_its_own_width_and_kernel() {
        let config = ResNetConfig {
            stem_channels: Some(5),
            stem_kernel_size: 3,
            conv_bias: true,
            ..tiny(NormKind::None)
        };
        let net = config.init(&Device::default()).unwrap();
        assert_eq!(net.conv1.weight.dims(), [5, 3, 3, 3]);
        assert_eq!(net.conv1.bias.as_ref().unwrap().dims(), [5]);
        // 5 to 2 channels needs a shortcut of its own even at stride 1.
        assert_eq!(net.layer1[0].downsample.as_ref().unwrap().0.weight.dims(), [2, 5, 1, 1]);
        assert_eq!(net.forward(Tensor::ones([1, 3, 32, 32], &Device::default()))[0].dims(), [1, 2, 8, 8]);
    }

    #[test]
    fn the_stride_of_a_bottleneck_is_where_it_is_told() {
        let device = Device::default();
        for stride_in_1x1 in [false, true] {
            let config = ResNetConfig { depth: 50, stride_in_1x1, ..tiny(NormKind::None) };
            let block = &config.init(&device).unwrap().layer2[0];
            let inner = block.conv1.forward(Tensor::ones([1, 8, 8, 8], &device));
            assert_eq!(inner.dims()[2], if stride_in_1x1 { 4 } else { 8 });
            assert_eq!(block.conv2.forward(inner).dims()[2], 4);
        }
    }

    #[test]
    fn frozen_parts_get_no_gradient_and_the_others_do() {
        let device = Device::default().autodiff();
        for trainable in 0..=5 {
            let config = ResNetConfig { trainable_layers: trainable, ..tiny(NormKind::Group { groups: 1 }) };
            let net = config.init(&device).unwrap();
            // The sum over all stages reaches each part even where the image has shrunk to one cell.
            let loss = net.forward(Tensor::ones([1, 3, 32, 32], &device)).into_iter().map(Tensor::sum);
            let loss = loss.reduce(|a, b| a + b).unwrap();
            let grads = (trainable > 0).then(|| loss.backward());
            let parts = [
                &net.layer4[1].conv2,
                &net.layer3[1].conv2,
                &net.layer2[1].conv2,
                &net.layer1[1].conv2,
                &net.conv1,
            ];
            for (index, conv) in parts.into_iter().enumerate() {
                let gradient = grads.as_ref().and_then(|grads| conv.weight.val().grad(grads));
                assert_eq!(gradient.is_some(), index < trainable, "part {index}, {trainable} trainable");
            }
            let Norm::Group(norm) = &net.bn1 else { panic!("asked for group norm") };
            let gradient = grads.as_ref().and_then(|grads| norm.weight.val().grad(grads));
            assert_eq!(gradient.is_some(), trainable == 5);
        }
    }

    #[test]
    fn frozen_batch_norm_layers_keep_their_statistics() {
        let device = Device::default().autodiff();
        let config = ResNetConfig { trainable_layers: 3, ..tiny(NormKind::Batch) };
        let net = config.init(&device).unwrap();
        net.forward(Tensor::ones([1, 3, 32, 32], &device));
        let moved = |norm: &Norm| {
            let Norm::Batch(norm) = norm.valid() else { panic!("asked for batch norm") };
            let start = Tensor::<1>::ones(norm.running_var.value().dims(), &Device::default());
            (norm.running_var.value() - start).abs().sum().into_scalar::<f32>() > 0.0
        };
        assert!(!moved(&net.bn1));
        assert!(!moved(&net.layer1[0].bn1));
        assert!(moved(&net.layer2[0].bn1));
    }

    #[test]
    fn epsilon_reaches_the_layers() {
        let device = Device::default();
        let stem = |norm_epsilon| {
            let config = ResNetConfig { norm_epsilon, ..tiny(NormKind::FrozenBatch) };
            config.init(&device).unwrap().bn1.forward(Tensor::ones([1, 2, 1, 1], &device))
        };
        let ones = Tensor::<4>::ones([1, 2, 1, 1], &device);
        stem(0.0).into_data().assert_eq(&ones.clone().into_data(), true);
        // 1 / √(1 + 3), one rounding off at most.
        stem(3.0).into_data().assert_approx_eq::<f32>(&(ones / 2.0).into_data(), Tolerance::absolute(1e-6));
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        use BackboneConfigError as E;
        let base = || tiny(NormKind::FrozenBatch);
        for (config, error) in [
            (ResNetConfig::new(20), E::Depth(20)),
            (ResNetConfig { base_width: 0, ..base() }, E::NoChannels("base_width")),
            (ResNetConfig { stem_channels: Some(0), ..base() }, E::NoChannels("stem_channels")),
            (ResNetConfig { stem_kernel_size: 4, ..base() }, E::EvenStemKernel(4)),
            (ResNetConfig { stem_pool_padding: [0, 0, 2, 1], ..base() }, E::PoolPadding([0, 0, 2, 1])),
            (ResNetConfig { stride_in_1x1: true, ..base() }, E::StrideIn1x1(18)),
            (ResNetConfig { trainable_layers: 6, ..base() }, E::TrainableLayers(6)),
            (ResNetConfig { norm_epsilon: -1.0, ..base() }, E::Epsilon(-1.0)),
            (ResNetConfig { norm_epsilon: 0.0, ..tiny(NormKind::Batch) }, E::Epsilon(0.0)),
        ] {
            assert_eq!(config.validate(), Err(error.clone()));
            assert_eq!(config.init(&Device::default()).err(), Some(error));
        }
        let groups = tiny(NormKind::Group { groups: 3 }).validate();
        assert!(matches!(groups, Err(E::Groups(_))), "{groups:?}");
        assert!(serde_json::from_str::<ResNetConfig>(r#"{"dept": 18}"#).is_err());
        let read: ResNetConfig = serde_json::from_str(r#"{"depth": 18, "norm": "batch"}"#).unwrap();
        assert_eq!(read, ResNetConfig { norm: NormKind::Batch, ..ResNetConfig::new(18) });
    }
}
