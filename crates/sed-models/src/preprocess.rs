//! From pixels in `[0, 1]` to what a backbone was trained on.

use burn::tensor::{Device, Tensor, TensorData};
use sed_core::{ImageBatch, ImageSize};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The order of the three colour channels.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::ImageBatch;
/// use sed_models::preprocess::{ChannelOrder, Preprocess};
///
/// // One red pixel.
/// let pixels = Tensor::<4>::from_floats([[[[1.0]], [[0.0]], [[0.0]]]], &Device::default());
/// let as_caffe = Preprocess {
///     channel_order: ChannelOrder::Bgr,
///     scale: 255.0,
///     mean: [103.0, 116.0, 123.0],
///     std: [1.0; 3],
/// };
/// let input = as_caffe.forward(&ImageBatch::unpadded(pixels), 1);
/// assert_eq!(input.into_data().try_to_vec::<f32>().unwrap(), [-103.0, -116.0, 132.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChannelOrder {
    /// Red first.
    Rgb,
    /// Blue first, as networks trained with Caffe expect.
    Bgr,
}

/// Normalisation of pixels: channels reordered, then `(scale·p − mean)/std`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::ImageBatch;
/// use sed_models::preprocess::Preprocess;
///
/// let preprocess = Preprocess { mean: [0.5; 3], std: [0.25; 3], ..Preprocess::default() };
/// let white = ImageBatch::unpadded(Tensor::ones([1, 3, 2, 2], &Device::default()));
/// // (1 − 0.5) / 0.25.
/// assert_eq!(preprocess.forward(&white, 1).into_data().try_to_vec::<f32>().unwrap(), [2.0; 12]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Preprocess {
    /// The order that the backbone expects.
    pub channel_order: ChannelOrder,
    /// Factor of the pixels: 1, or 255 for backbones trained on bytes.
    pub scale: f32,
    /// Subtracted from the scaled pixels, in the backbone's channel order.
    pub mean: [f32; 3],
    /// Divides the difference, in the backbone's channel order.
    pub std: [f32; 3],
}

/// What is wrong with a [`Preprocess`].
///
/// ```
/// use sed_models::preprocess::{Preprocess, PreprocessError};
///
/// let refused = Preprocess { std: [0.0; 3], ..Preprocess::default() }.validate();
/// assert_eq!(refused, Err(PreprocessError::NotPositive("std")));
/// ```
#[derive(Debug, Error, PartialEq)]
pub enum PreprocessError {
    /// A number that is not finite.
    #[error("preprocess.{0}: not a finite number")]
    NotFinite(&'static str),
    /// A scale or a standard deviation that is not positive.
    #[error("preprocess.{0}: must be positive")]
    NotPositive(&'static str),
}

impl Default for Preprocess {
    /// The mean and standard deviation of ImageNet that torchvision's backbones expect.
    fn default() -> Self {
        Self {
            channel_order: ChannelOrder::Rgb,
            scale: 1.0,
            mean: [0.485, 0.456, 0.406],
            std: [0.229, 0.224, 0.225],
        }
    }
}

impl Preprocess {
    /// Checks the numbers.
    ///
    /// # Errors
    ///
    /// The field that breaks a rule.
    ///
    /// ```
    /// use sed_models::preprocess::Preprocess;
    ///
    /// assert!(Preprocess::default().validate().is_ok());
    /// let error = Preprocess { mean: [f32::NAN; 3], ..Preprocess::default() }.validate().unwrap_err();
    /// assert_eq!(error.to_string(), "preprocess.mean: not a finite number");
    /// ```
    pub fn validate(&self) -> Result<(), PreprocessError> {
        if !self.mean.iter().all(|v| v.is_finite()) {
            return Err(PreprocessError::NotFinite("mean"));
        }
        for (field, values) in [("scale", &[self.scale][..]), ("std", &self.std)] {
            if !values.iter().all(|v| v.is_finite()) {
                return Err(PreprocessError::NotFinite(field));
            }
            if !values.iter().all(|v| *v > 0.0) {
                return Err(PreprocessError::NotPositive(field));
            }
        }
        Ok(())
    }

    /// The normalised pixels `[N, 3, H', W']`, with `H'` and `W'` the batch's height and width rounded
    /// up to multiples of `divisor`. All padding is 0, which is the mean colour.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageBatch, ImageSize};
    /// use sed_models::preprocess::Preprocess;
    ///
    /// // An image of 3×4 in a batch of 5×6, for a network that needs multiples of 8.
    /// let pixels = Tensor::ones([1, 3, 5, 6], &Device::default());
    /// let input = Preprocess::default().forward(&ImageBatch::new(pixels, vec![ImageSize::new(3, 4)]), 8);
    /// assert_eq!(input.dims(), [1, 3, 8, 8]);
    /// // White is above the mean colour, and the padding is the mean colour.
    /// assert!(input.clone().slice([0..1, 0..3, 0..3, 0..4]).min().into_scalar::<f32>() > 0.0);
    /// assert_eq!(input.slice([0..1, 0..3, 3..8, 0..8]).abs().max().into_scalar::<f32>(), 0.0);
    /// ```
    pub fn forward(&self, images: &ImageBatch, divisor: usize) -> Tensor<4> {
        let ImageSize { height, width } = images.padded_size();
        let mut pixels = images.pixels.clone();
        let device = pixels.device();
        if self.channel_order == ChannelOrder::Bgr {
            pixels = pixels.flip([1]);
        }
        let row = |values: [f32; 3]| Tensor::<1>::from_floats(values, &device).reshape([1, 3, 1, 1]);
        pixels = pixels * row(self.std.map(|s| self.scale / s))
            - row(std::array::from_fn(|c| self.mean[c] / self.std[c]));
        if let Some(mask) = valid_mask(images, &device) {
            pixels = pixels * mask;
        }
        let (bottom, right) =
            (height.next_multiple_of(divisor) - height, width.next_multiple_of(divisor) - width);
        if (bottom, right) == (0, 0) { pixels } else { pixels.pad((0, right, 0, bottom), 0.0) }
    }
}

/// 1 on each image, 0 on its padding, `[N, 1, H, W]`; nothing where there is no padding.
fn valid_mask(images: &ImageBatch, device: &Device) -> Option<Tensor<4>> {
    let full = images.padded_size();
    if images.sizes.iter().all(|size| *size == full) {
        return None;
    }
    let mut mask = vec![0.0f32; images.len() * full.height * full.width];
    for (size, mask) in images.sizes.iter().zip(mask.chunks_mut(full.height * full.width)) {
        for row in mask.chunks_mut(full.width).take(size.height) {
            row[..size.width].fill(1.0);
        }
    }
    Some(Tensor::from_data(TensorData::new(mask, [images.len(), 1, full.height, full.width]), device))
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Tolerance;

    #[test]
    fn padding_is_zero_after_normalisation_and_sides_are_rounded_up() {
        let pixels = Tensor::<4>::ones([2, 3, 2, 3], &Device::default());
        let images = ImageBatch::new(pixels, vec![ImageSize::new(2, 3), ImageSize::new(1, 2)]);
        let out = Preprocess::default().forward(&images, 4);
        assert_eq!(out.dims(), [2, 3, 4, 4]);
        // Red: (1 − .485)/.229 = 2.2489.
        let r = 2.248_908;
        let first = [r, r, r, 0., r, r, r, 0., 0., 0., 0., 0., 0., 0., 0., 0.];
        let second = [r, r, 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0., 0.];
        let expected = Tensor::<1>::from_floats([first, second].concat().as_slice(), &out.device());
        let red = out.narrow(1, 0, 1).reshape([32]);
        red.into_data().assert_approx_eq(&expected.into_data(), Tolerance::<f32>::relative(1e-5));
    }

    #[test]
    fn channels_are_reordered_before_the_mean_is_taken() {
        let device = Device::default();
        let pixels = Tensor::<1>::from_floats([0.1, 0.2, 0.3], &device).reshape([1, 3, 1, 1]);
        let preprocess = Preprocess {
            channel_order: ChannelOrder::Bgr,
            scale: 100.0,
            mean: [1.0, 2.0, 3.0],
            std: [1.0, 2.0, 1.0],
        };
        let out = preprocess.forward(&ImageBatch::unpadded(pixels), 1).reshape([3]);
        // Blue 30 − 1, green (20 − 2)/2, red 10 − 3.
        let expected = Tensor::<1>::from_floats([29.0, 9.0, 7.0], &device);
        out.into_data().assert_approx_eq(&expected.into_data(), Tolerance::<f32>::relative(1e-5));
    }

    #[test]
    fn bad_numbers_are_named() {
        let good = Preprocess::default();
        assert_eq!(good.validate(), Ok(()));
        let flat = Preprocess { std: [1.0, 0.0, 1.0], ..good };
        assert_eq!(flat.validate(), Err(PreprocessError::NotPositive("std")));
        let nan = Preprocess { mean: [f32::NAN; 3], ..good };
        assert_eq!(nan.validate(), Err(PreprocessError::NotFinite("mean")));
        let scale = Preprocess { scale: f32::INFINITY, ..good };
        assert_eq!(scale.validate(), Err(PreprocessError::NotFinite("scale")));
    }
}
