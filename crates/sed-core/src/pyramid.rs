//! The grids of a feature pyramid and their pairing between an image and its half-size view.
//!
//! Level `f` of the full view `X` pairs with the level of the half view `X̂` whose stride is half
//! as large. Where both grids have equal height and width, cell `(i, j)` covers the same part of
//! the scene in both, and the anchors of `X` are those of `X̂` times two: encoded deltas compare
//! without rescaling. (The pairing `f' = f − 1` is the paper's; the condition on the grids is our
//! design.)
//!
//! A detector with a single map of stride `t` has no such level. There cell `(2i, 2j)` of `X` and cell
//! `(i, j)` of `X̂` are centred on the same point of the scene, and an anchor of `X` pairs with the one of
//! half its size in the cell of `X̂`. (The paper says that the method extends to such detectors; this
//! pairing is our design.)

use thiserror::Error;

use crate::structures::ImageSize;

/// The grid of one level.
///
/// ```
/// use sed_core::pyramid::LevelLayout;
///
/// let level = LevelLayout { stride: 8, height: 32, width: 48, anchors_per_cell: 9 };
/// assert_eq!(level.num_anchors(), 32 * 48 * 9);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelLayout {
    /// Pixels of the image between two cells.
    pub stride: usize,
    /// Rows of cells.
    pub height: usize,
    /// Columns of cells.
    pub width: usize,
    /// Anchors in each cell.
    pub anchors_per_cell: usize,
}

impl LevelLayout {
    /// The number of anchors of the level.
    pub fn num_anchors(&self) -> usize {
        self.height * self.width * self.anchors_per_cell
    }

    /// The pairs of anchors between this map, of the full view, and the map of the same stride on the half
    /// view; `doubled` has the anchors `(a, b)` of a cell of which `a` is twice as large as `b`.
    ///
    /// Cell `(2i, 2j)` of the full view pairs with cell `(i, j)` of the half view: both are centred on one
    /// point of the scene. The other cells of the full view have no partner.
    ///
    /// # Errors
    ///
    /// If the grid of the full view is not twice that of the half view.
    ///
    /// # Panics
    ///
    /// If the strides differ, or a cell has no such anchor.
    ///
    /// ```
    /// use sed_core::pyramid::LevelLayout;
    ///
    /// let map = |height, width| LevelLayout { stride: 16, height, width, anchors_per_cell: 3 };
    /// // Sizes 32, 64, 128: the second is twice the first, the third twice the second.
    /// let pairs = map(2, 4).pair_with_half_map(&map(1, 2), &[(1, 0), (2, 1)])?;
    /// // Cells 0 and 2 of the first row of the full view, three anchors a cell.
    /// assert_eq!(pairs.full, [1, 2, 7, 8]);
    /// assert_eq!(pairs.half, [0, 1, 3, 4]);
    /// # Ok::<(), sed_core::pyramid::PairingError>(())
    /// ```
    pub fn pair_with_half_map(
        &self,
        half: &Self,
        doubled: &[(usize, usize)],
    ) -> Result<CellPairs, PairingError> {
        assert_eq!(
            self.stride, half.stride,
            "pair_with_half_map: strides {} and {}",
            self.stride, half.stride
        );
        let (a, b) = (self.anchors_per_cell, half.anchors_per_cell);
        for &(f, h) in doubled {
            assert!(f < a && h < b, "pair_with_half_map: anchors ({f}, {h}) of cells of {a} and {b}");
        }
        if (self.height, self.width) != (2 * half.height, 2 * half.width) {
            return Err(PairingError::Map {
                stride: self.stride,
                full: [self.height, self.width],
                half: [half.height, half.width],
            });
        }
        let cells = (0..half.height).flat_map(|i| (0..half.width).map(move |j| (i, j)));
        let (full, half) = cells
            .flat_map(|(i, j)| {
                let (full_cell, half_cell) = (2 * i * self.width + 2 * j, i * half.width + j);
                doubled.iter().map(move |(f, h)| (full_cell * a + f, half_cell * b + h))
            })
            .unzip();
        Ok(CellPairs { full, half })
    }
}

/// The grids of all levels, finest first; anchors are numbered level by level, within a level row
/// by row, and within a cell one after another.
///
/// ```
/// use sed_core::{ImageSize, pyramid::PyramidLayout};
///
/// let layout = PyramidLayout::over(ImageSize::new(64, 96), &[8, 16, 32], 3);
/// let grids: Vec<_> = layout.levels.iter().map(|level| (level.height, level.width)).collect();
/// assert_eq!(grids, [(8, 12), (4, 6), (2, 3)]);
/// assert_eq!(layout.num_anchors(), 3 * (96 + 24 + 6));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PyramidLayout {
    /// One entry a level.
    pub levels: Vec<LevelLayout>,
}

/// A level of the full view and the level of the half view with the same grid.
///
/// ```
/// use sed_core::{
///     ImageSize,
///     pyramid::{LevelPair, PyramidLayout},
/// };
///
/// let full = PyramidLayout::over(ImageSize::new(64, 64), &[8, 16], 3);
/// let half = PyramidLayout::over(ImageSize::new(32, 32), &[8, 16], 3);
/// // Stride 16 of the full view with stride 8 of the half view.
/// assert_eq!(full.pair_with_half(&half), Ok(vec![LevelPair { full: 1, half: 0 }]));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LevelPair {
    /// Index into the levels of the full view.
    pub full: usize,
    /// Index into the levels of the half view.
    pub half: usize,
}

/// The anchors of a single map that pair: entry `k` of `full` and entry `k` of `half`, both numbers of
/// anchors within their level.
///
/// ```
/// use sed_core::pyramid::{CellPairs, LevelLayout};
///
/// let map = |side: usize| LevelLayout { stride: 16, height: side, width: side, anchors_per_cell: 2 };
/// let pairs = map(2).pair_with_half_map(&map(1), &[(1, 0)]);
/// // The large anchor of the first cell with the small one of the only cell.
/// assert_eq!(pairs, Ok(CellPairs { full: vec![1], half: vec![0] }));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CellPairs {
    /// Anchors of the full view.
    pub full: Vec<usize>,
    /// Anchors of the half view.
    pub half: Vec<usize>,
}

/// Why two pyramids do not pair.
///
/// ```
/// use sed_core::{
///     ImageSize,
///     pyramid::{PairingError, PyramidLayout},
/// };
///
/// // 72 is no multiple of 32: 5 rows of 16 pixels on the full view, 4 of 8 pixels if the half is cut to 32.
/// let full = PyramidLayout::over(ImageSize::new(72, 64), &[8, 16], 3);
/// let half = PyramidLayout::over(ImageSize::new(32, 32), &[8, 16], 3);
/// match full.pair_with_half(&half) {
///     Err(PairingError::Grid { full, half, .. }) => assert_eq!((full, half), ([5, 4], [4, 4])),
///     other => unreachable!("{other:?}"),
/// }
/// ```
#[derive(Debug, Error, PartialEq, Eq)]
pub enum PairingError {
    /// Two levels see the same scene on different grids.
    #[error(
        "stride {full_stride} of the full view has a grid of {full:?}, stride {half_stride} of the half view one of \
         {half:?}: pad the image so that both sides are multiples of twice the coarsest paired stride"
    )]
    Grid {
        /// Stride on the full view.
        full_stride: usize,
        /// Stride on the half view.
        half_stride: usize,
        /// Height and width of the full view's grid.
        full: [usize; 2],
        /// Height and width of the half view's grid.
        half: [usize; 2],
    },
    /// On a single map the full view's grid has not twice the rows and columns of the half view's.
    #[error(
        "a map of stride {stride} has a grid of {full:?} on the full view, of {half:?} on the half view: pad the image \
         so that both sides are multiples of twice the stride"
    )]
    Map {
        /// Stride on both views.
        stride: usize,
        /// Height and width of the full view's grid.
        full: [usize; 2],
        /// Height and width of the half view's grid.
        half: [usize; 2],
    },
    /// Two levels have another number of anchors in a cell.
    #[error(
        "stride {full_stride} of the full view has {full} anchors a cell, stride {half_stride} of the half view {half}"
    )]
    AnchorsPerCell {
        /// Stride on the full view.
        full_stride: usize,
        /// Stride on the half view.
        half_stride: usize,
        /// Anchors a cell on the full view.
        full: usize,
        /// Anchors a cell on the half view.
        half: usize,
    },
    /// No stride of the full view is twice a stride of the half view.
    #[error("no level pairs: the strides of the full view are {full:?}, of the half view {half:?}")]
    NoPair {
        /// Strides of the full view.
        full: Vec<usize>,
        /// Strides of the half view.
        half: Vec<usize>,
    },
}

impl PyramidLayout {
    /// The layout of levels with the given strides and anchors a cell over an image; a level's grid
    /// is the image divided by the stride, rounded up, as convolutions with padding make it.
    ///
    /// ```
    /// use sed_core::{ImageSize, pyramid::PyramidLayout};
    ///
    /// // 100 / 8 is rounded up.
    /// let layout = PyramidLayout::over(ImageSize::new(100, 64), &[8], 1);
    /// assert_eq!((layout.levels[0].height, layout.levels[0].width), (13, 8));
    /// ```
    pub fn over(image: ImageSize, strides: &[usize], anchors_per_cell: usize) -> Self {
        let levels = strides
            .iter()
            .map(|&stride| LevelLayout {
                stride,
                height: image.height.div_ceil(stride),
                width: image.width.div_ceil(stride),
                anchors_per_cell,
            })
            .collect();
        Self { levels }
    }

    /// The number of anchors of all levels.
    pub fn num_anchors(&self) -> usize {
        self.levels.iter().map(LevelLayout::num_anchors).sum()
    }

    /// The pairs of levels between this layout, of the full view, and that of the half view.
    ///
    /// Levels whose partner is missing (the finest of the full view, the coarsest of the half
    /// view) are left out.
    ///
    /// # Errors
    ///
    /// If a pair of matching strides has different grids or anchor counts, or if nothing pairs.
    ///
    /// ```
    /// use sed_core::{ImageSize, pyramid::PyramidLayout};
    ///
    /// let strides = [8, 16, 32, 64, 128];
    /// let full = PyramidLayout::over(ImageSize::new(256, 384), &strides, 9);
    /// let half = PyramidLayout::over(ImageSize::new(128, 192), &strides, 9);
    /// let pairs = full.pair_with_half(&half)?;
    /// // P4 of the full view with P3 of the half view, … P7 with P6.
    /// assert_eq!(pairs.iter().map(|p| (p.full, p.half)).collect::<Vec<_>>(), [(1, 0), (2, 1), (3, 2), (4, 3)]);
    /// # Ok::<(), sed_core::pyramid::PairingError>(())
    /// ```
    pub fn pair_with_half(&self, half: &Self) -> Result<Vec<LevelPair>, PairingError> {
        let mut pairs = Vec::new();
        for (i, a) in self.levels.iter().enumerate() {
            let Some((j, b)) = half.levels.iter().enumerate().find(|(_, b)| a.stride == 2 * b.stride) else {
                continue;
            };
            if (a.height, a.width) != (b.height, b.width) {
                return Err(PairingError::Grid {
                    full_stride: a.stride,
                    half_stride: b.stride,
                    full: [a.height, a.width],
                    half: [b.height, b.width],
                });
            }
            if a.anchors_per_cell != b.anchors_per_cell {
                return Err(PairingError::AnchorsPerCell {
                    full_stride: a.stride,
                    half_stride: b.stride,
                    full: a.anchors_per_cell,
                    half: b.anchors_per_cell,
                });
            }
            pairs.push(LevelPair { full: i, half: j });
        }
        if pairs.is_empty() {
            return Err(PairingError::NoPair {
                full: self.levels.iter().map(|l| l.stride).collect(),
                half: half.levels.iter().map(|l| l.stride).collect(),
            });
        }
        Ok(pairs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRIDES: [usize; 5] = [8, 16, 32, 64, 128];

    fn layouts(height: usize, width: usize) -> (PyramidLayout, PyramidLayout) {
        let full = ImageSize::new(height, width);
        (PyramidLayout::over(full, &STRIDES, 3), PyramidLayout::over(full.halved(), &STRIDES, 3))
    }

    #[test]
    fn multiples_of_128_pair_on_four_levels() {
        for (h, w) in [(128, 128), (128, 640), (512, 384), (1024, 768)] {
            let (full, half) = layouts(h, w);
            let pairs = full.pair_with_half(&half).unwrap();
            assert_eq!(pairs.len(), 4);
            for pair in pairs {
                assert_eq!(full.levels[pair.full].num_anchors(), half.levels[pair.half].num_anchors());
            }
        }
    }

    #[test]
    fn a_stride_of_4_on_the_half_view_pairs_the_finest_level() {
        let full = PyramidLayout::over(ImageSize::new(256, 256), &STRIDES, 3);
        let half = PyramidLayout::over(ImageSize::new(128, 128), &[4, 8, 16, 32, 64], 3);
        assert_eq!(full.pair_with_half(&half).unwrap().len(), 5);
    }

    #[test]
    fn grids_of_other_heights_are_refused() {
        // 100 / 16 rounds up to 7, and so does 50 / 8; 257 / 16 rounds up to 17, 129 / 8 to 17.
        let full = PyramidLayout::over(ImageSize::new(256, 256), &[16], 3);
        let half = PyramidLayout::over(ImageSize::new(120, 128), &[8], 3);
        assert_eq!(
            full.pair_with_half(&half),
            Err(PairingError::Grid { full_stride: 16, half_stride: 8, full: [16, 16], half: [15, 16] })
        );
    }

    #[test]
    fn a_map_whose_grid_is_not_twice_that_of_the_half_view_is_refused() {
        let map = |height, width| LevelLayout { stride: 16, height, width, anchors_per_cell: 2 };
        let refused = PairingError::Map { stride: 16, full: [3, 4], half: [2, 2] };
        assert_eq!(map(3, 4).pair_with_half_map(&map(2, 2), &[(1, 0)]), Err(refused));
    }

    #[test]
    fn other_anchor_counts_are_refused() {
        let full = PyramidLayout::over(ImageSize::new(128, 128), &[16], 3);
        let half = PyramidLayout::over(ImageSize::new(64, 64), &[8], 9);
        assert!(matches!(full.pair_with_half(&half), Err(PairingError::AnchorsPerCell { .. })));
    }

    #[test]
    fn pyramids_without_a_common_grid_are_refused() {
        let full = PyramidLayout::over(ImageSize::new(128, 128), &[8], 3);
        let half = PyramidLayout::over(ImageSize::new(64, 64), &[8], 3);
        assert_eq!(full.pair_with_half(&half), Err(PairingError::NoPair { full: vec![8], half: vec![8] }));
    }
}
