use burn::tensor::{Int, Tolerance};

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
        let x = Tensor::<1, Int>::arange(0..16, &device).float().reshape([1, 1, 4, 4]).neg();
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
    let config =
        ResNetConfig { stem_channels: Some(5), stem_kernel_size: 3, conv_bias: true, ..tiny(NormKind::None) };
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
