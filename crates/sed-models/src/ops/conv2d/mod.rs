//! The convolution that every layer of this crate uses.
//!
//! On Burn's CPU backend flex (feature `flex`) it is computed here, forward and backward, by gathering the
//! patches of a tile of output positions into a matrix (Chellapilla et al. 2006) and multiplying, and where a 3×3 kernel of
//! stride 1 meets maps that are large and deep enough by Winograd's minimal filtering (Lavin and Gray 2016); elsewhere, and
//! for other types than `f32`, it is Burn's own convolution. It computes in the type of the weight, and gives that of the input.

#[cfg(feature = "flex")]
mod flex;
mod layer;

use burn::tensor::{Tensor, activation::relu, module::conv2d as burn_conv2d, ops::ConvOptions};

#[cfg(feature = "flex")]
use crate::ops::flex::is_flex_f32;

pub(crate) use layer::AffineConv2d;
pub use layer::{Conv2d, Conv2dConfig};

/// The convolution (cross-correlation) of `input` with `weight`, plus `bias`:
/// `y[n,o,i,j] = b[o] + Σ_{c,u,v} w[o,c,u,v] · x[n, c, stride·i + u − padding, stride·j + v − padding]`, with zeros
/// outside of the input.
///
/// - `input`: `[N, in, H, W]`
/// - `weight`: `[out, in, k, k]`
/// - `bias`: `[out]`
///
/// Gives `[N, out, H', W']` with `H' = (H + 2·padding − k) / stride + 1`, rounded down, and W' likewise.
///
/// Where `input` and `weight` are of different types, as `f32` and `bf16`, it is computed in that of the weight, and given in that of the input.
///
/// Panics when the shapes do not fit each other or the kernel is larger than the padded input.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::ops::conv2d::conv2d;
///
/// let device = Device::default();
/// let input = Tensor::<4>::from_floats([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]], &device);
/// let bias = Tensor::<1>::from_floats([0.5], &device);
/// // The sum of each 2×2 patch, and ½.
/// let output = conv2d(input, Tensor::ones([1, 1, 2, 2], &device), Some(bias), 1, 0);
/// assert_eq!(output.into_data().try_to_vec::<f32>().unwrap(), [12.5, 16.5, 24.5, 28.5]);
/// ```
pub fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    check(&input, &weight, bias.as_ref(), stride, padding);
    let (outer, inner) = (input.dtype(), weight.dtype());
    if outer != inner {
        let bias = bias.map(|bias| bias.cast(inner));
        return conv2d(input.cast(inner), weight, bias, stride, padding).cast(outer);
    }
    #[cfg(feature = "flex")]
    if is_flex(&input, &weight, bias.as_ref()) {
        return flex::conv2d(input, weight, bias, stride, padding, false);
    }
    burn_conv2d(input, weight, bias, ConvOptions::new([stride, stride], [padding, padding], [1, 1], 1))
}

/// `relu(conv2d(…))`, on flex as one operation.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::ops::conv2d::conv2d_relu;
///
/// let device = Device::default();
/// let input = Tensor::<4>::from_floats([[[[-1.0, 2.0]]]], &device);
/// let output = conv2d_relu(input, Tensor::full([1, 1, 1, 1], 3.0, &device), None, 1, 0);
/// assert_eq!(output.into_data().try_to_vec::<f32>().unwrap(), [0.0, 6.0]);
/// ```
pub fn conv2d_relu(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    #[cfg(feature = "flex")]
    if is_flex(&input, &weight, bias.as_ref()) {
        check(&input, &weight, bias.as_ref(), stride, padding);
        return flex::conv2d(input, weight, bias, stride, padding, true);
    }
    relu(conv2d(input, weight, bias, stride, padding))
}

#[cfg(feature = "flex")]
fn is_flex(input: &Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>) -> bool {
    is_flex_f32(input) && is_flex_f32(weight) && bias.is_none_or(is_flex_f32)
}

fn check(input: &Tensor<4>, weight: &Tensor<4>, bias: Option<&Tensor<1>>, stride: usize, padding: usize) {
    let (x, w) = (input.dims(), weight.dims());
    assert!(x[1] == w[1] && w[2] == w[3], "conv2d: an input {x:?} does not fit a weight {w:?}");
    assert!(
        stride > 0 && x[2] + 2 * padding >= w[2] && x[3] + 2 * padding >= w[3],
        "conv2d: an input {x:?} with stride {stride} and padding {padding} does not fit a weight {w:?}"
    );
    if let Some(bias) = bias {
        assert_eq!(bias.dims(), [w[0]], "conv2d: the bias does not fit a weight {w:?}");
    }
}
