//! The convolution against Burn's own, values and gradients. On other backends than flex the two are the same.

use burn::tensor::{Device, Tensor, TensorData, Tolerance, activation::relu, module, ops::ConvOptions};
#[cfg(feature = "flex")]
use proptest::prelude::*;
use sed_models::ops::conv2d::{conv2d, conv2d_relu};

/// Values in [-1, 1) that look random: the high bits of a linear congruential generator.
fn values<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn burn_conv2d(x: Tensor<4>, w: Tensor<4>, b: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    module::conv2d(x, w, b, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
}

/// Equal up to rounding: both sum the same few thousand products of magnitude 1 in different orders, which in `f32`
/// differs by some 1e-6 of the largest results; a wrong term would be of order 1.
fn assert_close<const D: usize>(actual: Tensor<D>, expected: Tensor<D>, what: &str) {
    assert_eq!(actual.dims(), expected.dims(), "{what}");
    let scale: f32 = expected.clone().abs().max().into_scalar();
    let error: f32 = (actual - expected).abs().max().into_scalar();
    assert!(error <= 1e-5 * scale.max(1.0), "{what}: off by {error} at a scale of {scale}");
}

#[derive(Debug)]
struct Case {
    input: [usize; 4],
    out: usize,
    kernel: usize,
    stride: usize,
    padding: usize,
    bias: bool,
}

fn check(case: &Case) {
    check_on(&Device::default(), case, false);
    check_on(&Device::default(), case, true);
}

fn check_on(device: &Device, case: &Case, cut: bool) {
    let &Case { input, out, kernel, stride, padding, bias } = case;
    let what = format!(
        "{input:?} -> {out}, kernel {kernel}, stride {stride}, padding {padding}, bias {bias}, relu {cut}"
    );
    let device = device.clone().autodiff();
    let leaves = || {
        let x = values(input, 1, &device).require_grad();
        let w = values([out, input[1], kernel, kernel], 2, &device).require_grad();
        let b = bias.then(|| values([out], 3, &device).require_grad());
        (x, w, b)
    };
    let (x, w, b) = leaves();
    let own = if cut { conv2d_relu } else { conv2d };
    let actual = own(x.clone(), w.clone(), b.clone(), stride, padding);
    let (x0, w0, b0) = leaves();
    let expected = burn_conv2d(x0.clone(), w0.clone(), b0.clone(), stride, padding);
    let mut weights = values(expected.dims(), 4, &device);
    let expected = if cut {
        // So near the kink of ReLU, the order of summation decides the side and with it the gradient.
        let at_the_kink = expected.clone().inner().abs().lower_elem(1e-4);
        weights = weights.mask_fill(Tensor::from_inner(at_the_kink), 0.0);
        relu(expected)
    } else {
        expected
    };
    assert_close(actual.clone().inner(), expected.clone().inner(), &what);

    let grads = (actual * weights.clone()).sum().backward();
    let grads0 = (expected * weights).sum().backward();
    assert_close(x.grad(&grads).unwrap(), x0.grad(&grads0).unwrap(), &format!("input gradient of {what}"));
    assert_close(w.grad(&grads).unwrap(), w0.grad(&grads0).unwrap(), &format!("weight gradient of {what}"));
    if let (Some(b), Some(b0)) = (b, b0) {
        assert_close(b.grad(&grads).unwrap(), b0.grad(&grads0).unwrap(), &format!("bias gradient of {what}"));
    }
}

#[test]
fn matches_burn_for_each_kernel_stride_and_padding() {
    for (kernel, paddings) in [(1, vec![0, 1]), (2, vec![0, 1]), (3, vec![0, 1, 2, 3]), (7, vec![0, 3])] {
        for padding in paddings {
            for stride in [1, 2, 3] {
                for (height, width) in [(7, 7), (8, 9)] {
                    let bias = (height + stride) % 2 == 0;
                    check(&Case { input: [2, 3, height, width], out: 4, kernel, stride, padding, bias });
                }
            }
        }
    }
}

/// Shapes that take each road: several images in a tile, several tiles in an image, groups of channels, several
/// threads.
#[test]
fn matches_burn_for_shapes_of_detectors() {
    for (input, out, kernel, stride) in [
        ([8, 32, 4, 4], 32, 3, 1),
        ([8, 32, 4, 4], 32, 3, 2),
        ([5, 40, 2, 2], 24, 3, 1),
        ([3, 24, 1, 1], 8, 3, 1),
        ([2, 8, 24, 20], 16, 3, 1),
        ([2, 40, 24, 21], 36, 3, 1),
        ([5, 33, 11, 12], 64, 3, 1),
        ([2, 128, 23, 25], 132, 3, 1),
        ([1, 20, 40, 36], 6, 3, 2),
        ([2, 48, 16, 16], 24, 1, 1),
        ([9, 48, 3, 3], 24, 1, 1),
        ([2, 32, 9, 9], 8, 1, 2),
        ([1, 3, 48, 48], 8, 7, 2),
    ] {
        check(&Case { input, out, kernel, stride, padding: kernel / 2, bias: true });
    }
}

/// One of the sums before ReLU is so near zero that the two orders of summation have it on different sides.
#[test]
fn a_sum_at_the_kink_of_relu_is_no_difference() {
    check(&Case { input: [4, 15, 25, 31], out: 12, kernel: 3, stride: 1, padding: 0, bias: true });
}

/// Multiplications of a random case at most.
#[cfg(feature = "flex")]
const WORK: usize = 20_000_000;

#[cfg(feature = "flex")]
prop_compose! {
    /// Wide enough in images, channels and maps that tiles and groups of channels begin and end everywhere.
    fn any_case()(
        batch in 1..6usize,
        channels in 1..140usize,
        side in [1..36usize, 1..36],
        out in 1..70usize,
        kernel in prop::sample::select(vec![1, 1, 2, 3, 3, 3, 5, 7]),
        stride in 1..4usize,
        padding in 0..4usize,
        bias: bool,
    ) -> Case {
        let padding = padding.min(kernel);
        let least = kernel.saturating_sub(2 * padding).max(1);
        let side = side.map(|side| side.max(least));
        let positions = side.map(|side| (side + 2 * padding - kernel) / stride + 1);
        let per_channel = batch * positions[0] * positions[1] * kernel * kernel * out;
        let channels = channels.min((WORK / per_channel).max(1));
        Case { input: [batch, channels, side[0], side[1]], out, kernel, stride, padding, bias }
    }
}

#[cfg(feature = "flex")]
proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// On flex whatever the device of the other tests: elsewhere the two are one.
    #[test]
    fn matches_burn_for_any_shape(case in any_case(), cut: bool) {
        check_on(&Device::flex(), &case, cut);
    }
}

/// A 3×3 kernel of ones at the corner of an image of ones sees four of them.
#[test]
fn counts_the_neighbours() {
    let device = Device::default();
    let y = conv2d(Tensor::ones([1, 1, 3, 3], &device), Tensor::ones([1, 1, 3, 3], &device), None, 1, 1);
    let expected = [[[[4.0f32, 6.0, 4.0], [6.0, 9.0, 6.0], [4.0, 6.0, 4.0]]]];
    y.into_data().assert_approx_eq::<f32>(&TensorData::from(expected), Tolerance::default());
}

#[test]
fn takes_views_of_tensors() {
    let device = Device::default().autodiff();
    let x = values([2, 6, 7, 3], 1, &device).require_grad();
    let w = values([3, 3, 3, 8], 2, &device).require_grad();
    let views = || {
        let x = x.clone().permute([0, 3, 2, 1]).slice([0..2, 0..3, 1..7, 0..5]);
        (x, w.clone().permute([3, 0, 2, 1]).narrow(0, 2, 5))
    };
    let ((x1, w1), (x2, w2)) = (views(), views());
    let (actual, expected) = (conv2d(x1, w1, None, 1, 1), burn_conv2d(x2, w2, None, 1, 1));
    assert_close(actual.clone().inner(), expected.clone().inner(), "views");
    // The gradient of a transposed view is itself a transposed view.
    let weights = values([6, 5, 5, 2], 3, &device).permute([3, 1, 0, 2]);
    let (actual, expected) = ((actual * weights.clone()).sum(), (expected * weights).sum());
    let (grads, grads0) = (actual.backward(), expected.backward());
    assert_close(x.grad(&grads).unwrap(), x.grad(&grads0).unwrap(), "input gradient of views");
    assert_close(w.grad(&grads).unwrap(), w.grad(&grads0).unwrap(), "weight gradient of views");
}

/// Only what requires a gradient gets one, and the same one as when all do.
#[test]
fn tracks_only_what_requires_it() {
    let device = Device::default().autodiff();
    let (x, w, b) =
        (values([2, 3, 5, 5], 1, &device), values([4, 3, 3, 3], 2, &device), values([4], 3, &device));
    let gradients = |track: [bool; 3]| {
        let (mut x, mut w, mut b) = (x.clone(), w.clone(), b.clone());
        if track[0] {
            x = x.require_grad();
        }
        if track[1] {
            w = w.require_grad();
        }
        if track[2] {
            b = b.require_grad();
        }
        let y = conv2d(x.clone(), w.clone(), Some(b.clone()), 1, 1);
        let grads = y.powi_scalar(2).sum().backward();
        (x.grad(&grads), w.grad(&grads), b.grad(&grads))
    };
    let (x_all, w_all, b_all) = gradients([true; 3]);
    for track in [[true, false, false], [false, true, false], [false, false, true], [false, true, true]] {
        let (x, w, b) = gradients(track);
        assert_eq!([x.is_some(), w.is_some(), b.is_some()], track);
        if let Some(x) = x {
            assert_close(x, x_all.clone().unwrap(), "input gradient alone");
        }
        if let Some(w) = w {
            assert_close(w, w_all.clone().unwrap(), "weight gradient alone");
        }
        if let Some(b) = b {
            assert_close(b, b_all.clone().unwrap(), "bias gradient alone");
        }
    }
}

/// A tensor of the plain device counts as a constant beside one of the autodiff device.
#[test]
fn mixes_tensors_with_and_without_autodiff() {
    let (plain, tracked) = (Device::default(), Device::default().autodiff());
    let x = values([1, 2, 4, 4], 1, &plain);
    let w = values([3, 2, 3, 3], 2, &tracked).require_grad();
    let grads = conv2d(x.clone(), w.clone(), None, 1, 1).sum().backward();
    let w0 = values([3, 2, 3, 3], 2, &tracked).require_grad();
    let grads0 = burn_conv2d(Tensor::from_inner(x.clone()), w0.clone(), None, 1, 1).sum().backward();
    assert_close(w.grad(&grads).unwrap(), w0.grad(&grads0).unwrap(), "weight gradient");

    let x = Tensor::from_inner(x).require_grad();
    let grads = conv2d(x.clone(), w0.clone().inner(), None, 1, 1).sum().backward();
    let grads0 = burn_conv2d(x.clone(), w0.clone(), None, 1, 1).sum().backward();
    assert_close(x.grad(&grads).unwrap(), x.grad(&grads0).unwrap(), "input gradient");

    let detached = conv2d(x.clone() * 2.0, w0.clone(), None, 1, 1).detach();
    let grads = conv2d(detached, w0.clone().permute([1, 0, 2, 3]), None, 1, 1).sum().backward();
    assert!(x.grad(&grads).is_none() && w0.grad(&grads).is_some());
}

#[test]
fn works_with_gradient_checkpointing() {
    let gradient = |device: Device| {
        let x = values([1, 2, 6, 6], 1, &device).require_grad();
        let w = values([2, 2, 3, 3], 2, &device).require_grad();
        let y = conv2d((x.clone() * 1.5).exp(), w.clone(), None, 1, 1);
        let y = conv2d((y * 0.1).exp(), w.clone(), None, 2, 1);
        let grads = y.sum().backward();
        (x.grad(&grads).unwrap(), w.grad(&grads).unwrap())
    };
    let (x, w) = gradient(Device::default().autodiff());
    let (x0, w0) = gradient(Device::default().autodiff().gradient_checkpointing());
    assert_close(x, x0, "input gradient");
    assert_close(w, w0, "weight gradient");
}

#[test]
fn other_types_take_burns_convolution() {
    let device = Device::default();
    let (x, w) = (values([1, 2, 5, 5], 1, &device), values([3, 2, 3, 3], 2, &device));
    let f64 = burn::tensor::DType::F64;
    let y = conv2d(x.clone().cast(f64), w.clone().cast(f64), None, 1, 1);
    assert_eq!(y.dtype(), f64);
    assert_close(y.cast(x.dtype()), conv2d(x, w, None, 1, 1), "f64");
}

#[test]
#[should_panic(expected = "an input [1, 2, 5, 5] does not fit a weight [3, 4, 3, 3]")]
fn channels_that_do_not_fit_panic() {
    let device = Device::default();
    conv2d(Tensor::zeros([1, 2, 5, 5], &device), Tensor::zeros([3, 4, 3, 3], &device), None, 1, 1);
}

#[test]
#[should_panic(expected = "with stride 1 and padding 0 does not fit")]
fn kernels_larger_than_the_input_panic() {
    let device = Device::default();
    conv2d(Tensor::zeros([1, 2, 2, 5], &device), Tensor::zeros([3, 2, 3, 3], &device), None, 1, 0);
}
