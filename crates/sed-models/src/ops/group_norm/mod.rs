//! Group normalisation.
//!
//! On Burn's CPU backend flex (feature `flex`) forward and backward each pass once over memory, with the ReLU that
//! may follow; elsewhere, and for other types than `f32`, it is composed of Burn's tensor operations.

#[cfg(feature = "flex")]
mod flex;

use burn::tensor::{Tensor, activation::relu};

#[cfg(feature = "flex")]
use crate::ops::flex::is_flex_f32;

/// Group normalisation (Wu and He 2018): `y = (x − μ) / √(σ² + eps) · gamma + beta`, where μ and σ² are the mean
/// and the (biased) variance over the positions and channels of one group of one image.
///
/// - `x`: `[N, C, H, W]`; its channels form `groups` groups of C / groups neighbours
/// - `gamma`, `beta`: `[C]`
///
/// Gives `[N, C, H, W]`. Panics when `groups` does not divide C, or `gamma` or `beta` do not have C elements.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::ops::group_norm::group_norm;
///
/// let device = Device::default();
/// let x = Tensor::<4>::from_floats([[[[1.0, 3.0]], [[10.0, 30.0]]]], &device);
/// let (gamma, beta) = (Tensor::from_floats([1.0, 2.0], &device), Tensor::from_floats([0.0, 5.0], &device));
/// let y = group_norm(x, gamma, beta, 2, 1e-5).into_data().try_to_vec::<f32>().unwrap();
/// // Each channel is a group: ∓1, times γ, plus β.
/// for (value, expected) in y.into_iter().zip([-1.0, 1.0, 3.0, 7.0]) {
///     assert!((value - expected).abs() < 1e-4);
/// }
/// ```
pub fn group_norm(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Tensor<4> {
    normalize(x, gamma, beta, groups, eps, false)
}

/// `max(0, group_norm(…))`, as one operation on flex.
///
/// ```
/// use burn::tensor::{Device, Tensor, activation::relu};
/// use sed_models::ops::group_norm::{group_norm, group_norm_relu};
///
/// let device = Device::default();
/// let x = Tensor::<4>::from_floats([[[[1.0, 3.0]], [[10.0, 30.0]]]], &device);
/// let (gamma, beta) = (Tensor::<1>::ones([2], &device), Tensor::<1>::zeros([2], &device));
/// let rectified = group_norm_relu(x.clone(), gamma.clone(), beta.clone(), 1, 1e-5);
/// let difference = rectified - relu(group_norm(x, gamma, beta, 1, 1e-5));
/// assert!(difference.abs().max().into_scalar::<f32>() < 1e-6);
/// ```
pub fn group_norm_relu(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
) -> Tensor<4> {
    normalize(x, gamma, beta, groups, eps, true)
}

fn normalize(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    rectify: bool,
) -> Tensor<4> {
    let shape = x.dims();
    assert!(
        groups > 0 && shape[1].is_multiple_of(groups),
        "group_norm: {groups} groups do not divide the channels of {shape:?}"
    );
    assert!(
        gamma.dims() == [shape[1]] && beta.dims() == [shape[1]],
        "group_norm: gamma {:?} and beta {:?} do not fit {shape:?}",
        gamma.dims(),
        beta.dims()
    );
    #[cfg(feature = "flex")]
    if is_flex_f32(&x) && is_flex_f32(&gamma) && is_flex_f32(&beta) {
        return flex::group_norm(x, gamma, beta, groups, eps, rectify);
    }
    let output = composed(x, gamma, beta, groups, eps);
    if rectify { relu(output) } else { output }
}

fn composed(x: Tensor<4>, gamma: Tensor<1>, beta: Tensor<1>, groups: usize, eps: f64) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let x = x.reshape([n, groups, c / groups * h * w]);
    let x = x.clone() - x.mean_dim(2);
    let variance = x.clone().square().mean_dim(2);
    let x = (x / (variance + eps).sqrt()).reshape([n, c, h, w]);
    x * gamma.reshape([1, c, 1, 1]) + beta.reshape([1, c, 1, 1])
}

#[cfg(test)]
mod tests {
    use burn::tensor::{DType, Device, TensorData};

    use super::*;

    /// Values in [-1, 1) that look random.
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

    fn error<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f32 {
        assert_eq!(actual.dims(), expected.dims());
        (actual - expected).abs().max().into_scalar()
    }

    fn check(shape: [usize; 4], groups: usize, rectify: bool, permuted: bool) {
        let device = Device::default().autodiff();
        let run = |fused: bool| {
            let x = values(shape, 1, &device).require_grad();
            // A view with another order of the elements, and an offset that the statistics must cope with.
            let input = x.clone() * 0.7 + 3.0;
            let input = if permuted { input.permute([0, 1, 3, 2]) } else { input };
            let gamma = values([shape[1]], 2, &device).require_grad();
            let beta = values([shape[1]], 3, &device).require_grad();
            let y = if fused {
                normalize(input, gamma.clone(), beta.clone(), groups, 1e-5, rectify)
            } else {
                let y = composed(input, gamma.clone(), beta.clone(), groups, 1e-5);
                if rectify { relu(y) } else { y }
            };
            let grads = (y.clone() * values(y.dims(), 4, &device)).sum().backward();
            let gradients = (x.grad(&grads), gamma.grad(&grads), beta.grad(&grads));
            (y.inner(), gradients.0.unwrap(), gradients.1.unwrap(), gradients.2.unwrap())
        };
        let (actual, expected) = (run(true), run(false));
        // The mean of values near 3 is off by some 3e-7, which the division by σ ≈ 0.4 enlarges; sums over up to a
        // thousand elements add the rounding of their order. A wrong term would be of order 1.
        let what = format!("{shape:?} in {groups} groups, rectify {rectify}, permuted {permuted}");
        assert!(error(actual.0, expected.0) < 2e-5, "{what}");
        assert!(error(actual.1, expected.1) < 1e-4, "input gradient of {what}");
        assert!(error(actual.2, expected.2) < 2e-3, "gamma gradient of {what}");
        assert!(error(actual.3, expected.3) < 1e-3, "beta gradient of {what}");
    }

    #[test]
    fn the_relu_does_not_hide_what_is_not_a_number() {
        let device = Device::default();
        let x = Tensor::<4>::from_floats([[[[f32::NAN, 1.0]], [[2.0, 3.0]]]], &device);
        let y = group_norm_relu(x, Tensor::ones([2], &device), Tensor::zeros([2], &device), 2, 1e-5);
        let y = y.into_data().try_to_vec::<f32>().unwrap();
        // The group with the NaN is lost, the other is not.
        assert!(y[0].is_nan() && y[1].is_nan() && y[2] == 0.0 && y[3] > 0.9, "{y:?}");
    }

    #[test]
    fn matches_the_composed_operations() {
        for shape in [[1, 4, 1, 5], [2, 8, 3, 3], [3, 6, 4, 5], [2, 16, 16, 16]] {
            for groups in [1, 2, shape[1]] {
                if shape[1] / groups * shape[2] * shape[3] > 4 {
                    check(shape, groups, false, false);
                    check(shape, groups, true, true);
                }
            }
        }
    }

    #[test]
    fn groups_have_mean_0_and_variance_1() {
        let device = Device::default();
        let x = values([2, 6, 8, 8], 1, &device) * 5.0 + 100.0;
        let y = group_norm(x, Tensor::ones([6], &device), Tensor::zeros([6], &device), 3, 0.0);
        let y = y.reshape([6, 128]);
        // Values near 100 have an error of 4e-6, and means of them as much again; σ is about 3.
        assert!(y.clone().mean_dim(1).abs().max().into_scalar::<f32>() < 1e-5);
        assert!(error(y.square().mean_dim(1), Tensor::ones([6, 1], &device)) < 1e-5);
    }

    /// Scaling and shifting the input changes nothing, so the gradient is orthogonal to both 1 and the input.
    #[test]
    fn gradient_is_orthogonal_to_scale_and_shift() {
        let device = Device::default().autodiff();
        let x = values([1, 4, 5, 5], 1, &device).require_grad();
        let y = group_norm(x.clone(), values([4], 2, &device), values([4], 3, &device), 2, 0.0);
        let grads = (y * values([1, 4, 5, 5], 4, &device)).sum().backward();
        let gradient = x.grad(&grads).unwrap().reshape([2, 50]);
        let x = x.inner().reshape([2, 50]);
        // Sums of 50 terms of magnitude 1.
        assert!(gradient.clone().sum_dim(1).abs().max().into_scalar::<f32>() < 2e-5);
        assert!((gradient * x).sum_dim(1).abs().max().into_scalar::<f32>() < 2e-5);
    }

    #[test]
    fn tracks_only_what_requires_it() {
        let device = Device::default().autodiff();
        for track in [[true, false, false], [false, true, false], [false, false, true]] {
            let (mut x, mut gamma, mut beta) =
                (values([1, 2, 3, 3], 1, &device), values([2], 2, &device), values([2], 3, &device));
            if track[0] {
                x = x.require_grad();
            }
            if track[1] {
                gamma = gamma.require_grad();
            }
            if track[2] {
                beta = beta.require_grad();
            }
            let y = group_norm_relu(x.clone(), gamma.clone(), beta.clone(), 1, 1e-5);
            let grads = y.sum().backward();
            let has = [x.grad(&grads).is_some(), gamma.grad(&grads).is_some(), beta.grad(&grads).is_some()];
            assert_eq!(has, track);
        }
    }

    /// A constant group has no variance: eps keeps values and gradients finite.
    #[test]
    fn constant_groups_stay_finite() {
        let device = Device::default().autodiff();
        let x = Tensor::<4>::ones([1, 2, 3, 3], &device).require_grad();
        let beta = values([2], 3, &device);
        let y = group_norm(x.clone(), Tensor::ones([2], &device), beta.clone(), 1, 1e-5);
        let expected = beta.inner().reshape([1, 2, 1, 1]).expand([1, 2, 3, 3]);
        assert!(error(y.clone().inner(), expected) < 1e-6);
        let gradient = x.grad(&y.sum().backward()).unwrap();
        // dy/dx of the sum is 0; rounding is enlarged by 1/√eps ≈ 316.
        assert!(gradient.abs().max().into_scalar::<f32>() < 1e-3);
    }

    #[test]
    fn other_types_are_composed() {
        let device = Device::default();
        let (x, gamma, beta) =
            (values([1, 4, 3, 3], 1, &device), values([4], 2, &device), values([4], 3, &device));
        let y = group_norm(x.clone(), gamma.clone(), beta.clone(), 2, 1e-5);
        let f64 = DType::F64;
        let y64 = group_norm(x.cast(f64), gamma.cast(f64), beta.cast(f64), 2, 1e-5);
        assert_eq!(y64.dtype(), f64);
        assert!(error(y64.cast(y.dtype()), y) < 1e-5);
    }

    #[test]
    #[should_panic(expected = "4 groups do not divide the channels of [1, 6, 2, 2]")]
    fn groups_that_do_not_divide_panic() {
        let device = Device::default();
        let one = Tensor::<1>::ones([6], &device);
        group_norm(Tensor::zeros([1, 6, 2, 2], &device), one.clone(), one, 4, 1e-5);
    }
}
