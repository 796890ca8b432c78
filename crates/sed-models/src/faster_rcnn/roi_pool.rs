//! Regions pooled from the level of a pyramid that fits their size.

use burn::tensor::{Int, Tensor, TensorData};
use sed_core::{InvalidOption, ops::boxes};
use serde::{Deserialize, Serialize};

use super::Rois;
use crate::ops::roi_align::RoiAlign;

/// Pools each region from one level of a pyramid.
///
/// The level of a box of area `w·h` is `⌊canonical_level + log₂(√(w·h) / canonical_size)⌋`, or the nearest
/// that there is. (Lin et al., *Feature Pyramid Networks*, CVPR 2017, eq. 1; `10⁻⁶` is added before
/// rounding down, as in torchvision.)
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::faster_rcnn::{RoiPool, Rois};
///
/// // P2 and P3 of an image of 64×64, the one of ones and the other of twos.
/// let device = Device::default();
/// let features = [Tensor::ones([1, 4, 16, 16], &device), Tensor::full([1, 4, 8, 8], 2.0, &device)];
/// let pool = RoiPool { canonical_size: 32.0, canonical_level: 3, ..RoiPool::default() };
/// let rois = Rois::new(&[vec![[0.0, 0.0, 32.0, 32.0], [0.0, 0.0, 16.0, 16.0]]]);
/// let levels = pool.levels(&rois, 2, 2);
/// assert_eq!(levels, [1, 0]);
/// let pooled = pool.forward(&features, 2, &rois, &levels);
/// assert_eq!(pooled.dims(), [2, 4, 7, 7]);
/// let means = pooled.reshape([2, -1]).mean_dim(1).into_data().try_to_vec::<f32>().unwrap();
/// assert!((means[0] - 2.0).abs() < 1e-5 && (means[1] - 1.0).abs() < 1e-5);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoiPool {
    /// How a region is sampled.
    pub align: RoiAlign,
    /// The side of a square box, in pixels, that is pooled from the canonical level.
    pub canonical_size: f32,
    /// The number of the canonical level; 4 is P4.
    pub canonical_level: usize,
    /// Which level of the half-size view pools a region.
    pub half_view_level: HalfViewLevel,
}

/// Which level of the half-size view pools a region `b/2`, that on the image is `b`.
///
/// ```
/// use sed_models::faster_rcnn::{HalfViewLevel, RoiPool, Rois};
///
/// let pool = RoiPool::default();
/// assert_eq!(pool.half_view_level, HalfViewLevel::Shifted);
/// // By the rule a region of 224 px is pooled from P4, and its half from P3.
/// let rois = Rois::new(&[vec![[0.0, 0.0, 224.0, 224.0]]]);
/// assert_eq!((pool.levels(&rois, 2, 4), pool.levels(&rois.scaled(0.5), 2, 4)), (vec![2], vec![1]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HalfViewLevel {
    /// The level of `b/2` by the rule, one below that of `b` where there is one: cells that cover the same
    /// part of the scene.
    Shifted,
    /// The level of `b`: the same weights of the pyramid, cells twice as large in the scene.
    Same,
}

impl Default for RoiPool {
    /// 7×7, two samples a bin and direction; 224 px at P4; shifted.
    fn default() -> Self {
        Self {
            align: RoiAlign::default(),
            canonical_size: 224.0,
            canonical_level: 4,
            half_view_level: HalfViewLevel::Shifted,
        }
    }
}

impl RoiPool {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::RoiPool;
    ///
    /// assert!(RoiPool::default().validate().is_ok());
    /// let error = RoiPool { canonical_size: 0.0, ..RoiPool::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "pool.canonical_size");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        self.align.validate()?;
        InvalidOption::unless_positive("pool.canonical_size", self.canonical_size.into())
    }

    /// The level of each region, as an index into levels whose finest has the number `lowest`.
    ///
    /// ```
    /// use sed_models::faster_rcnn::{RoiPool, Rois};
    ///
    /// // Sides of 224, 448 and 10 px on P2 to P5: P4, P5, and the nearest, P2.
    /// let square = |side: f32| [0.0, 0.0, side, side];
    /// let rois = Rois::new(&[vec![square(224.0), square(448.0), square(10.0)]]);
    /// assert_eq!(RoiPool::default().levels(&rois, 2, 4), [2, 3, 0]);
    /// ```
    pub fn levels(&self, rois: &Rois, lowest: usize, levels: usize) -> Vec<usize> {
        let level = |b: &[f32; 4]| {
            let octaves = (boxes::area(b).sqrt() / self.canonical_size).log2() + 1e-6;
            let number = (self.canonical_level as f32 + octaves).floor() - lowest as f32;
            // A box without area has level −∞.
            number.clamp(0.0, levels as f32 - 1.0) as usize
        };
        rois.boxes.iter().map(level).collect()
    }

    /// `[K, C, S, S]`, each of the `K` regions from the feature map of its level; `features` are `[N, C, H, W]`
    /// of stride `2^(lowest + index)`.
    ///
    /// # Panics
    ///
    /// If there is no region, or a region has no level or no image.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::{
    ///     faster_rcnn::{RoiPool, Rois},
    ///     ops::roi_align::RoiAlign,
    /// };
    ///
    /// let pool =
    ///     RoiPool { align: RoiAlign { output_size: 5, ..RoiAlign::default() }, ..RoiPool::default() };
    /// // A single map, C4.
    /// let features = [Tensor::zeros([2, 8, 4, 4], &Device::default())];
    /// let rois = Rois::new(&[vec![[0.0, 0.0, 40.0, 64.0]], vec![[8.0, 8.0, 24.0, 24.0]]]);
    /// assert_eq!(pool.forward(&features, 4, &rois, &[0, 0]).dims(), [2, 8, 5, 5]);
    /// ```
    pub fn forward(&self, features: &[Tensor<4>], lowest: usize, rois: &Rois, levels: &[usize]) -> Tensor<4> {
        assert!(!rois.is_empty(), "RoiPool: no regions");
        assert_eq!(rois.len(), levels.len(), "RoiPool: {} regions, {} levels", rois.len(), levels.len());
        let (mut pooled, mut order) = (Vec::new(), Vec::with_capacity(rois.len()));
        for (index, map) in features.iter().enumerate() {
            let here: Vec<usize> = (0..rois.len()).filter(|&k| levels[k] == index).collect();
            if here.is_empty() {
                continue;
            }
            let boxes: Vec<[f32; 4]> = here.iter().map(|&k| rois.boxes[k]).collect();
            let images: Vec<usize> = here.iter().map(|&k| rois.images[k]).collect();
            let scale = 1.0 / (1 << (lowest + index)) as f32;
            pooled.push(self.align.forward(map.clone(), &boxes, &images, scale));
            order.extend(here);
        }
        assert_eq!(order.len(), rois.len(), "RoiPool: {} regions on {} levels", rois.len(), features.len());
        if pooled.len() == 1 {
            return pooled.remove(0);
        }
        // Row r of the joined maps is region order[r]; back into the order of the regions.
        let mut rows = vec![0_i64; order.len()];
        order.iter().zip(0..).for_each(|(&k, row)| rows[k] = row);
        let pooled = Tensor::cat(pooled, 0);
        let rows = Tensor::<1, Int>::from_data(TensorData::new(rows, [order.len()]), &pooled.device());
        pooled.select(0, rows)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    fn squares(sides: &[f32]) -> Rois {
        Rois::new(&[sides.iter().map(|&s| [0.0, 0.0, s, s]).collect()])
    }

    #[test]
    fn levels_double_with_the_side() {
        let pool = RoiPool::default();
        let rois = squares(&[0.0, 10.0, 111.9, 112.0, 223.9, 224.0, 447.0, 448.0, 5000.0]);
        assert_eq!(pool.levels(&rois, 2, 4), [0, 0, 0, 1, 1, 2, 2, 3, 3]);
        // Half the side, one level less, where there is one.
        assert_eq!(pool.levels(&rois.scaled(0.5), 2, 4), [0, 0, 0, 0, 0, 1, 1, 2, 3]);
        let other = RoiPool { canonical_size: 112.0, canonical_level: 3, ..pool };
        assert_eq!(other.levels(&rois, 2, 4), pool.levels(&rois, 2, 4));
        assert_eq!(RoiPool { canonical_level: 5, ..pool }.levels(&squares(&[224.0]), 2, 4), [3]);
    }

    #[test]
    fn each_region_comes_from_its_level_in_the_order_of_the_regions() {
        let device = Device::default();
        // Level l is filled with l + 1, in the second image ten times that.
        let maps: Vec<Tensor<4>> = (0..3)
            .map(|l| {
                let side = 16 >> l;
                let value = l as f32 + 1.0;
                let image = |factor: f32| Tensor::full([1, 1, side, side], factor * value, &device);
                Tensor::cat(vec![image(1.0), image(10.0)], 0)
            })
            .collect();
        let pool = RoiPool { canonical_size: 16.0, canonical_level: 2, ..RoiPool::default() };
        let boxes = |sides: &[f32]| sides.iter().map(|&s| [4.0, 4.0, 4.0 + s, 4.0 + s]).collect::<Vec<_>>();
        let rois = Rois::new(&[boxes(&[40.0, 10.0]), boxes(&[30.0, 50.0, 17.0])]);
        let levels = pool.levels(&rois, 2, 3);
        assert_eq!(levels, [1, 0, 0, 1, 0]);
        let pooled = pool.forward(&maps, 2, &rois, &levels);
        assert_eq!(pooled.dims(), [5, 1, 7, 7]);
        let means: Vec<f32> = pooled.mean_dims(&[1, 2, 3]).try_into_vec_as().unwrap();
        for (mean, expected) in means.iter().zip([2.0, 1.0, 10.0, 20.0, 10.0]) {
            assert!((mean - expected).abs() < 1e-5, "{means:?}");
        }
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = RoiPool::default();
        assert_eq!(good.validate(), Ok(()));
        let bad = RoiPool { canonical_size: 0.0, ..good };
        assert_eq!(bad.validate().unwrap_err().option, "pool.canonical_size");
    }
}
