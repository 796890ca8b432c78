//! RoIAlign: features of a fixed size from boxes of any size.
//!
//! On Burn's CPU backend flex (feature `flex`) both passes run over blocks of channels that lie side by side in
//! memory; elsewhere, and for other types than `f32`, the operation is composed of Burn's tensor operations.

mod composed;
#[cfg(feature = "flex")]
mod flex;
mod taps;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use burn::tensor::Tensor;
use sed_core::InvalidOption;
use serde::{Deserialize, Serialize};

#[cfg(feature = "flex")]
use crate::ops::flex::is_flex_f32;
use taps::{Map, Taps};

/// RoIAlign (He et al. 2017) with a fixed sampling ratio, as `torchvision.ops.roi_align`.
///
/// A box is scaled to the map and divided into S × S bins of equal size. With r the sampling ratio, a bin is the mean
/// of r × r bilinear samples, at the centres of its r × r equal parts:
///
/// `y[k, c, i, j] = 1/r² · Σ_{u,v} f_c(y₀ + (i + (u + ½)/r)·h/S, x₀ + (j + (v + ½)/r)·w/S)`
///
/// for u and v from 0 to r − 1, where `(x₀, y₀) = scale · (x1, y1)`, `(w, h) = scale · (x2 − x1, y2 − y1)`, and
/// `f_c(y, x)` interpolates channel c of the box's image, whose elements lie at whole numbers. A coordinate in `[−1, 0]`
/// counts as 0, one in `[H − 1, H]` (or `[W − 1, W]`) as the last; a sample beyond is 0, and so is every sample of a
/// box with a coordinate that is not finite.
///
/// The gradient flows to the features, not to the boxes.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::ops::roi_align::RoiAlign;
///
/// // A map of 4×4 whose elements are their column.
/// let columns = Tensor::<1>::from_floats([0.0, 1.0, 2.0, 3.0], &Device::default());
/// let map = columns.reshape([1, 1, 1, 4]).repeat(&[1, 1, 4, 1]);
/// let align = RoiAlign { output_size: 2, sampling_ratio: 1, ..RoiAlign::default() };
/// // Bins of half an element, from column 1 to column 2: their centres are at 1¼ and 1¾.
/// let pooled = align.forward(map, &[[1.0, 0.0, 2.0, 1.0]], &[0], 1.0);
/// assert_eq!(pooled.into_data().try_to_vec::<f32>().unwrap(), [1.25, 1.75, 1.25, 1.75]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiAlign {
    /// S: bins on each axis.
    pub output_size: usize,
    /// r: samples of a bin on each axis; at least 1.
    pub sampling_ratio: usize,
    /// Whether elements are taken to lie at the centres of their cells: `(x₀, y₀)` is then smaller by ½. Without it,
    /// w and h are at least 1, so that inverted boxes count as boxes of one element.
    pub aligned: bool,
}

impl Default for RoiAlign {
    /// 7 × 7 bins of 2 × 2 samples, not aligned: as torchvision's detectors.
    fn default() -> Self {
        Self { output_size: 7, sampling_ratio: 2, aligned: false }
    }
}

impl RoiAlign {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::ops::roi_align::RoiAlign;
    ///
    /// assert!(RoiAlign::default().validate().is_ok());
    /// let error = RoiAlign { sampling_ratio: 0, ..Default::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "roi_align.sampling_ratio");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_positive("roi_align.output_size", self.output_size as f64)?;
        InvalidOption::unless_positive("roi_align.sampling_ratio", self.sampling_ratio as f64)
    }

    /// The bins of each box.
    ///
    /// - `features`: `[N, C, H, W]`
    /// - `boxes`: K boxes, in pixels of their images
    /// - `images`: for each box the index of its image, below N
    /// - `scale`: elements of the map a pixel, 1 / stride
    ///
    /// Gives `[K, C, S, S]`; K may be 0.
    ///
    /// # Panics
    ///
    /// If `boxes` and `images` differ in length, or the index of an image is not below N.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::ops::roi_align::RoiAlign;
    ///
    /// // Two images of 64×64 px on maps of stride 8; one box in the first, two in the second.
    /// let features = Tensor::ones([2, 16, 8, 8], &Device::default());
    /// let boxes = [[0.0, 0.0, 64.0, 64.0], [8.0, 8.0, 24.0, 40.0], [0.0, 0.0, 16.0, 16.0]];
    /// let pooled = RoiAlign::default().forward(features, &boxes, &[0, 1, 1], 1.0 / 8.0);
    /// assert_eq!(pooled.dims(), [3, 16, 7, 7]);
    /// assert!((pooled.mean().into_scalar::<f32>() - 1.0).abs() < 1e-6);
    /// ```
    pub fn forward(
        &self,
        features: Tensor<4>,
        boxes: &[[f32; 4]],
        images: &[usize],
        scale: f32,
    ) -> Tensor<4> {
        let taps = Arc::new(self.taps(features.dims(), boxes, images, scale));
        #[cfg(feature = "flex")]
        if is_flex_f32(&features) {
            return flex::roi_align(features, taps);
        }
        composed::roi_align(features, &taps)
    }

    fn taps(&self, shape: [usize; 4], boxes: &[[f32; 4]], images: &[usize], scale: f32) -> Taps {
        let [n, _, height, width] = shape;
        let (b, i) = (boxes.len(), images.len());
        assert_eq!(b, i, "RoiAlign: {b} boxes, {i} indices of images");
        if let Some(image) = images.iter().find(|image| **image >= n) {
            panic!("RoiAlign: image {image} of features {shape:?}");
        }
        Taps::new(self, Map { height, width, scale: scale.into() }, boxes, images)
    }
}
