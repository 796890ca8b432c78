//! Anchor boxes on the grids of a feature pyramid.

use sed_core::{
    ImageSize,
    pyramid::{LevelLayout, PyramidLayout},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Sizes and aspect ratios of the anchors, level by level.
///
/// An anchor of size `s` and ratio `r` (height over width) has width `s/√r` and height `s·√r`, so
/// its area is `s²` for each ratio.
///
/// ```
/// use sed_core::{ImageSize, pyramid::PyramidLayout};
/// use sed_models::anchors::AnchorConfig;
///
/// // One level of stride 8, with anchors of 16 px: a square, and one four times as high as wide.
/// let config = AnchorConfig { sizes: vec![vec![16.0]], ratios: vec![1.0, 4.0], rounding: false };
/// let layout = PyramidLayout::over(ImageSize::new(8, 16), &[8], config.anchors_per_cell());
/// let anchors = config.init(&[8]).grid(&layout);
/// assert_eq!(anchors[..2], [[-8.0, -8.0, 8.0, 8.0], [-4.0, -16.0, 4.0, 16.0]]);
/// // The second cell lies 8 px to the right.
/// assert_eq!(anchors[2], [0.0, -8.0, 16.0, 8.0]);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnchorConfig {
    /// For each level, finest first, the sizes in pixels; each level has as many.
    pub sizes: Vec<Vec<f32>>,
    /// Height over width.
    pub ratios: Vec<f32>,
    /// Whether the corners are rounded to whole pixels (half to even), as torchvision does.
    ///
    /// Rounded anchors of one level are in general not twice those of the level below, so they
    /// do not serve for comparing two image sizes.
    pub rounding: bool,
}

/// What is wrong with an [`AnchorConfig`].
///
/// ```
/// use sed_models::anchors::{AnchorConfig, AnchorConfigError};
///
/// let config = AnchorConfig { ratios: vec![1.0, -2.0], ..AnchorConfig::default() };
/// let error = config.validate(5).unwrap_err();
/// assert_eq!(error, AnchorConfigError::NotPositive { field: "ratios", value: -2.0 });
/// assert_eq!(error.to_string(), "anchors.ratios: -2 is not a positive number");
/// ```
#[derive(Debug, Error, PartialEq)]
pub enum AnchorConfigError {
    /// No size on a level, or levels with different numbers of sizes.
    #[error("anchors.sizes: each level needs equally many sizes, at least one, not {0:?}")]
    Sizes(Vec<usize>),
    /// A size or a ratio that is not a positive number.
    #[error("anchors.{field}: {value} is not a positive number")]
    NotPositive {
        /// `sizes` or `ratios`.
        field: &'static str,
        /// The offending value.
        value: f32,
    },
    /// No ratio.
    #[error("anchors.ratios: at least one is needed")]
    NoRatio,
    /// Another number of levels than the pyramid has.
    #[error("anchors.sizes: {sizes} levels for a pyramid of {pyramid}")]
    Levels {
        /// Levels of the configuration.
        sizes: usize,
        /// Levels of the pyramid.
        pyramid: usize,
    },
}

impl Default for AnchorConfig {
    /// [`AnchorConfig::octaves`] of 32 px on 5 levels, 3 sizes an octave, ratios ½, 1, 2: those of
    /// the RetinaNet paper (Lin et al., ICCV 2017, §4.1).
    fn default() -> Self {
        Self::octaves(32.0, 5, 3, &[0.5, 1.0, 2.0])
    }
}

impl AnchorConfig {
    /// Sizes `first · 2^l · 2^(k/per_octave)` for level `l` and `k = 0 … per_octave − 1`, not rounded:
    /// the anchors of a level are exactly twice those of the level below.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let config = AnchorConfig::octaves(8.0, 3, 1, &[1.0]);
    /// assert_eq!(config.sizes, [[8.0], [16.0], [32.0]]);
    /// let denser = AnchorConfig::octaves(8.0, 3, 2, &[1.0]);
    /// assert_eq!(denser.sizes[2][1], 4.0 * denser.sizes[0][1]);
    /// ```
    pub fn octaves(first: f32, levels: usize, per_octave: usize, ratios: &[f32]) -> Self {
        // A power of two is exact in floating point, so doubling the first level's sizes keeps the
        // factor between levels exact whatever the rounding of the first level's roots.
        let lowest: Vec<f32> =
            (0..per_octave).map(|k| first * (k as f32 / per_octave as f32).exp2()).collect();
        let sizes =
            (0..levels).map(|l| lowest.iter().map(|size| size * (1u32 << l) as f32).collect()).collect();
        Self { sizes, ratios: ratios.to_vec(), rounding: false }
    }

    /// The anchors of torchvision's `retinanet_resnet50_fpn`: sizes cut to whole numbers, corners
    /// rounded.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let config = AnchorConfig::torchvision();
    /// // 32 · 2^(1/3) is 40.3, 32 · 2^(2/3) is 50.8.
    /// assert_eq!(config.sizes[0], [32.0, 40.0, 50.0]);
    /// assert!(config.rounding);
    /// ```
    pub fn torchvision() -> Self {
        let sizes = (0..5)
            .map(|l| {
                let size = 32.0 * f64::from(1 << l);
                [0.0, 1.0, 2.0].map(|k| (size * (k / 3.0f64).exp2()).floor() as f32).to_vec()
            })
            .collect();
        Self { sizes, ratios: vec![0.5, 1.0, 2.0], rounding: true }
    }

    /// The number of anchors in each cell.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// // Three sizes in three ratios.
    /// assert_eq!(AnchorConfig::default().anchors_per_cell(), 9);
    /// ```
    pub fn anchors_per_cell(&self) -> usize {
        self.sizes.first().map_or(0, Vec::len) * self.ratios.len()
    }

    /// Checks the configuration for a pyramid of `levels` levels.
    ///
    /// # Errors
    ///
    /// The broken rule.
    ///
    /// ```
    /// use sed_models::anchors::{AnchorConfig, AnchorConfigError};
    ///
    /// assert!(AnchorConfig::default().validate(5).is_ok());
    /// // A pyramid that ends at P6.
    /// assert_eq!(
    ///     AnchorConfig::default().validate(4),
    ///     Err(AnchorConfigError::Levels { sizes: 5, pyramid: 4 })
    /// );
    /// ```
    pub fn validate(&self, levels: usize) -> Result<(), AnchorConfigError> {
        let counts: Vec<usize> = self.sizes.iter().map(Vec::len).collect();
        if self.sizes.len() != levels {
            return Err(AnchorConfigError::Levels { sizes: self.sizes.len(), pyramid: levels });
        }
        if counts.contains(&0) || counts.windows(2).any(|w| w[0] != w[1]) {
            return Err(AnchorConfigError::Sizes(counts));
        }
        if self.ratios.is_empty() {
            return Err(AnchorConfigError::NoRatio);
        }
        let positive = |field, values: &[f32]| match values.iter().find(|v| !(v.is_finite() && **v > 0.0)) {
            Some(&value) => Err(AnchorConfigError::NotPositive { field, value }),
            None => Ok(()),
        };
        positive("ratios", &self.ratios)?;
        self.sizes.iter().try_for_each(|sizes| positive("sizes", sizes))
    }

    /// The generator for levels of the given strides, finest first.
    ///
    /// # Panics
    ///
    /// If there is not one stride for each level of sizes.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let generator = AnchorConfig::octaves(32.0, 3, 2, &[0.5, 1.0, 2.0]).init(&[8, 16, 32]);
    /// assert_eq!(generator.strides(), [8, 16, 32]);
    /// assert_eq!(generator.anchors_per_cell(), 6);
    /// ```
    pub fn init(&self, strides: &[usize]) -> AnchorGenerator {
        assert_eq!(
            self.sizes.len(),
            strides.len(),
            "AnchorConfig: sizes for {} levels, strides for {}",
            self.sizes.len(),
            strides.len()
        );
        let levels = strides.iter().zip(&self.sizes).map(|(&s, sizes)| (s, self.cell(sizes))).collect();
        AnchorGenerator { levels }
    }

    /// The anchors around the origin: ratios outside, sizes inside, as torchvision orders them.
    fn cell(&self, sizes: &[f32]) -> Vec<[f32; 4]> {
        let mut anchors = Vec::with_capacity(sizes.len() * self.ratios.len());
        for ratio in &self.ratios {
            let tall = ratio.sqrt();
            let wide = 1.0 / tall;
            for size in sizes {
                let (w, h) = (wide * size / 2.0, tall * size / 2.0);
                let anchor = [-w, -h, w, h];
                anchors.push(if self.rounding { anchor.map(f32::round_ties_even) } else { anchor });
            }
        }
        anchors
    }
}

/// Puts the anchors of each level on its grid.
///
/// The anchors of cell `(i, j)` of a level of stride `t` are centred at `(t·j, t·i)`, the corner of
/// the cell at the top left, as torchvision has it.
///
/// ```
/// use sed_core::{ImageSize, pyramid::PyramidLayout};
/// use sed_models::anchors::AnchorConfig;
///
/// let generator = AnchorConfig::octaves(8.0, 2, 1, &[1.0]).init(&[4, 8]);
/// let layout =
///     PyramidLayout::over(ImageSize::new(16, 16), &generator.strides(), generator.anchors_per_cell());
/// let anchors = generator.grid(&layout);
/// assert_eq!(anchors.len(), 16 + 4);
/// // The first of the fine level, the last of the coarse one.
/// assert_eq!((anchors[0], anchors[19]), ([-4.0, -4.0, 4.0, 4.0], [0.0, 0.0, 16.0, 16.0]));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct AnchorGenerator {
    /// Stride and the anchors around the origin.
    levels: Vec<(usize, Vec<[f32; 4]>)>,
}

impl AnchorGenerator {
    /// The strides of the levels, finest first.
    pub fn strides(&self) -> Vec<usize> {
        self.levels.iter().map(|(stride, _)| *stride).collect()
    }

    /// The number of anchors in each cell.
    pub fn anchors_per_cell(&self) -> usize {
        self.levels.first().map_or(0, |(_, cell)| cell.len())
    }

    /// The same generator with one level below the finest, of half its stride and half its anchors.
    ///
    /// # Panics
    ///
    /// If there is no level, or the finest has an odd stride.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let generator = AnchorConfig::octaves(32.0, 2, 1, &[1.0]).init(&[8, 16]).with_finer_level();
    /// assert_eq!(generator.strides(), [4, 8, 16]);
    /// assert!(generator.doubles(8, 4));
    /// ```
    pub fn with_finer_level(&self) -> Self {
        let (stride, cell) = &self.levels[0];
        assert!(stride.is_multiple_of(2), "AnchorGenerator: stride {stride} has no half");
        let finer = (stride / 2, cell.iter().map(|anchor| anchor.map(|v| v / 2.0)).collect());
        Self { levels: std::iter::once(finer).chain(self.levels.iter().cloned()).collect() }
    }

    /// Whether the anchors of stride `coarse` are exactly twice those of stride `fine`.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let strides = [8, 16, 32, 64, 128];
    /// assert!(AnchorConfig::default().init(&strides).doubles(16, 8));
    /// // Rounding breaks it.
    /// assert!(!AnchorConfig::torchvision().init(&strides).doubles(16, 8));
    /// ```
    pub fn doubles(&self, coarse: usize, fine: usize) -> bool {
        let (coarse, fine) = (self.cell(coarse), self.cell(fine));
        coarse.len() == fine.len() && coarse.iter().zip(fine).all(|(c, f)| *c == f.map(|v| 2.0 * v))
    }

    /// The anchors `(a, b)` in a cell of stride `stride` of which `a` is exactly twice `b`.
    ///
    /// # Panics
    ///
    /// If there is no such level.
    ///
    /// ```
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let sizes = vec![vec![32.0, 64.0, 128.0]];
    /// let generator = AnchorConfig { sizes, ratios: vec![1.0], rounding: false }.init(&[16]);
    /// assert_eq!(generator.doubled(16), [(1, 0), (2, 1)]);
    /// ```
    pub fn doubled(&self, stride: usize) -> Vec<(usize, usize)> {
        let cell = self.cell(stride);
        let partner = |a: &[f32; 4]| cell.iter().position(|b| *a == b.map(|v| 2.0 * v));
        cell.iter().enumerate().filter_map(|(a, anchor)| Some((a, partner(anchor)?))).collect()
    }

    /// The anchors around the origin.
    fn cell(&self, stride: usize) -> &[[f32; 4]] {
        match self.levels.iter().find(|level| level.0 == stride) {
            Some((_, cell)) => cell,
            None => panic!("AnchorGenerator: no level of stride {stride}, only {:?}", self.strides()),
        }
    }

    /// The anchors `[x1, y1, x2, y2]` of all levels of `layout`, one after another: level by level,
    /// row by row, column by column, and within a cell by ratio, then size.
    ///
    /// They are not clipped to the image.
    ///
    /// # Panics
    ///
    /// If the layout has a stride that the generator has not, or another number of anchors a cell.
    pub fn grid(&self, layout: &PyramidLayout) -> Vec<[f32; 4]> {
        self.place(layout, |level| [level.stride; 2])
    }

    /// The same on an image of size `padded`, which the strides need not divide: the anchors of a level of `r` rows are
    /// `⌊height / r⌋` apart, its columns alike. On whole cells that is the stride; torchvision does so always.
    ///
    /// # Panics
    ///
    /// As [`grid`](Self::grid), and if the layout has more cells in a row than the image has pixels.
    ///
    /// ```
    /// use sed_core::{ImageSize, pyramid::PyramidLayout};
    /// use sed_models::anchors::AnchorConfig;
    ///
    /// let generator = AnchorConfig::octaves(8.0, 1, 1, &[1.0]).init(&[8]);
    /// // 20 px are three cells of 8, the last of which reaches beyond the image.
    /// let size = ImageSize::new(8, 20);
    /// let layout = PyramidLayout::over(size, &[8], 1);
    /// let left = |anchors: Vec<[f32; 4]>| anchors.iter().map(|anchor| anchor[0]).collect::<Vec<_>>();
    /// assert_eq!(left(generator.grid(&layout)), [-4.0, 4.0, 12.0]);
    /// assert_eq!(left(generator.spread(&layout, size)), [-4.0, 2.0, 8.0]);
    /// ```
    pub fn spread(&self, layout: &PyramidLayout, padded: ImageSize) -> Vec<[f32; 4]> {
        let step = |pixels: usize, cells: usize| {
            assert!(cells <= pixels, "AnchorGenerator: {cells} cells on {pixels} pixels");
            pixels / cells
        };
        self.place(layout, |level| [step(padded.height, level.height), step(padded.width, level.width)])
    }

    /// The anchors of all levels, with rows and columns `steps` pixels apart.
    fn place(&self, layout: &PyramidLayout, steps: impl Fn(&LevelLayout) -> [usize; 2]) -> Vec<[f32; 4]> {
        let mut anchors = Vec::with_capacity(layout.num_anchors());
        for level in &layout.levels {
            let cell = self.cell(level.stride);
            assert_eq!(
                cell.len(),
                level.anchors_per_cell,
                "AnchorGenerator: {} anchors a cell, the layout has {}",
                cell.len(),
                level.anchors_per_cell
            );
            let [down, right] = steps(level);
            for i in 0..level.height {
                let y = (i * down) as f32;
                for j in 0..level.width {
                    let x = (j * right) as f32;
                    anchors.extend(cell.iter().map(|a| [a[0] + x, a[1] + y, a[2] + x, a[3] + y]));
                }
            }
        }
        anchors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_ordered_by_ratio_then_size_and_grids_by_row() {
        let config = AnchorConfig { sizes: vec![vec![4.0, 8.0]], ratios: vec![0.25, 1.0], rounding: false };
        let anchors = config.init(&[16]).grid(&PyramidLayout::over(ImageSize::new(32, 32), &[16], 4));
        // Ratio ¼: twice as wide and half as high as the size.
        let cell = [[-4., -1., 4., 1.], [-8., -2., 8., 2.], [-2., -2., 2., 2.], [-4., -4., 4., 4.]];
        assert_eq!(anchors[..4], cell);
        // Second column: 16 to the right; second row: 16 down.
        assert_eq!(anchors[4], [12., -1., 20., 1.]);
        assert_eq!(anchors[8], [-4., 15., 4., 17.]);
        assert_eq!(anchors.len(), 16);
    }

    #[test]
    fn on_cells_cut_short_anchors_are_spread_over_the_image() {
        let generator = AnchorConfig::octaves(8.0, 2, 1, &[1.0]).init(&[16, 64]);
        // 96 by 160 pixels: 6 by 10 cells of stride 16, and 2 by 3 of stride 64, 96/2 = 48 and ⌊160/3⌋ = 53 apart.
        let size = ImageSize::new(96, 160);
        let layout = PyramidLayout::over(size, &[16, 64], 1);
        let (spread, grid) = (generator.spread(&layout, size), generator.grid(&layout));
        assert_eq!(spread[..60], grid[..60]);
        assert_eq!(spread[61], [53. - 8., -8., 53. + 8., 8.]);
        assert_eq!(spread[65], [106. - 8., 48. - 8., 106. + 8., 48. + 8.]);
        assert_eq!(grid[65], [128. - 8., 64. - 8., 128. + 8., 64. + 8.]);
    }

    #[test]
    fn torchvision_sizes_are_cut_and_corners_rounded() {
        let config = AnchorConfig::torchvision();
        // 32·2^(1/3) = 40.3, 32·2^(2/3) = 50.8; 512·2^(1/3) = 645.1, 512·2^(2/3) = 812.7.
        assert_eq!(config.sizes[0], [32.0, 40.0, 50.0]);
        assert_eq!(config.sizes[4], [512.0, 645.0, 812.0]);
        let cell = &config.init(&[8, 16, 32, 64, 128]).levels[0].1;
        // Ratio ½, size 32: half width 32·√2/2 = 22.6, half height 11.3.
        assert_eq!(cell[0], [-23., -11., 23., 11.]);
        // 50/2 = 25 and 25/√2·… stay whole; half to even is seen on the size 645: 322.5 → 322.
        let cell = &config.init(&[8, 16, 32, 64, 128]).levels[4].1;
        assert_eq!(cell[4], [-322., -322., 322., 322.]);
    }

    #[test]
    fn octaves_double_exactly_from_level_to_level() {
        for per_octave in 1..=3 {
            let generator =
                AnchorConfig::octaves(9.7, 5, per_octave, &[0.5, 1.0, 1.7]).init(&[8, 16, 32, 64, 128]);
            for pair in generator.levels.windows(2) {
                let doubled: Vec<_> = pair[0].1.iter().map(|a| a.map(|v| 2.0 * v)).collect();
                assert_eq!(pair[1].1, doubled);
                assert!(generator.doubles(pair[1].0, pair[0].0));
            }
        }
        // 40 and 80 double, 80 and 161 do not.
        assert!(!AnchorConfig::torchvision().init(&[8, 16, 32, 64, 128]).doubles(32, 16));
    }

    #[test]
    fn anchors_of_one_cell_that_double_are_found() {
        let config = AnchorConfig {
            sizes: vec![vec![8.0, 12.0, 16.0, 32.0]],
            ratios: vec![0.5, 1.0],
            rounding: false,
        };
        // Ratios outside, sizes inside: 16 and 32 of both ratios.
        assert_eq!(config.init(&[16]).doubled(16), [(2, 0), (3, 2), (6, 4), (7, 6)]);
    }

    #[test]
    fn a_finer_level_halves_stride_and_anchors() {
        let generator = AnchorConfig::octaves(32.0, 2, 1, &[1.0]).init(&[8, 16]).with_finer_level();
        assert_eq!(generator.strides(), [4, 8, 16]);
        assert_eq!(generator.levels[0].1, [[-8., -8., 8., 8.]]);
    }

    #[test]
    fn bad_configurations_are_named() {
        let good = AnchorConfig::default();
        assert_eq!(good.validate(5), Ok(()));
        assert_eq!(good.anchors_per_cell(), 9);
        assert_eq!(good.validate(4), Err(AnchorConfigError::Levels { sizes: 5, pyramid: 4 }));
        let uneven = AnchorConfig { sizes: vec![vec![1.0], vec![1.0, 2.0]], ..good.clone() };
        assert_eq!(uneven.validate(2), Err(AnchorConfigError::Sizes(vec![1, 2])));
        let none = AnchorConfig { ratios: vec![], ..good.clone() };
        assert_eq!(none.validate(5), Err(AnchorConfigError::NoRatio));
        let negative = AnchorConfig { ratios: vec![-1.0], ..good };
        assert_eq!(
            negative.validate(5),
            Err(AnchorConfigError::NotPositive { field: "ratios", value: -1.0 })
        );
    }

    #[test]
    #[should_panic(expected = "no level of stride 4")]
    fn an_unknown_stride_panics() {
        let layout = PyramidLayout::over(ImageSize::new(8, 8), &[4], 1);
        AnchorConfig::octaves(8.0, 1, 1, &[1.0]).init(&[8]).grid(&layout);
    }
}
