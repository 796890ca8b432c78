//! The grids of a dense head on an image and on its half-size view, and which anchors of the two pair.

use burn::tensor::Tensor;
use sed_core::{
    ImageBatch, ImageSize, Predictions, ViewPair,
    pyramid::{CellPairs, LevelLayout, LevelPair, PairingError, PyramidLayout},
};
use thiserror::Error;

use crate::anchors::{AnchorConfig, AnchorGenerator};

/// Why a detector cannot compare an image with its half-size view.
///
/// ```
/// use sed_models::{
///     anchors::AnchorConfig,
///     grids::ScaleViewsError,
///     retinanet::{RetinaNetConfig, RetinaNetConfigError},
/// };
///
/// let rounded = RetinaNetConfig { anchors: AnchorConfig::torchvision(), ..RetinaNetConfig::resnet50(80) };
/// assert_eq!(
///     rounded.validate_for_views(),
///     Err(RetinaNetConfigError::ScaleViews(ScaleViewsError::NotOctaves { coarse: 16, fine: 8 }))
/// );
/// ```
#[derive(Debug, Error, PartialEq)]
pub enum ScaleViewsError {
    /// A level without a partner, or none at all.
    #[error("scale_levels: {levels:?}, but the levels with a partner on the half-size view are {paired:?}")]
    Levels {
        /// The levels of the configuration.
        levels: Vec<usize>,
        /// The levels it may name.
        paired: Vec<usize>,
    },
    /// Two levels whose anchors do not correspond.
    #[error(
        "anchors: those of stride {coarse} are not twice those of stride {fine}, so an image and its half-size view \
         do not compare; take the sizes of whole octaves without rounding"
    )]
    NotOctaves {
        /// Stride on the full view.
        coarse: usize,
        /// Stride on the half view.
        fine: usize,
    },
    /// Images are padded to sides whose half views have other grids.
    #[error(
        "pad_multiple: {multiple} is no multiple of {needed}, so an image and its half-size view do not compare"
    )]
    Padding {
        /// What sides are padded to a multiple of.
        multiple: usize,
        /// What the comparison needs.
        needed: usize,
    },
    /// Padding to multiples of 0.
    #[error("pad_multiple: must be positive")]
    NoMultiple,
    /// A single map on which no anchor has a partner.
    #[error("anchors: on a single map of stride {0} some size must be twice another, without rounding")]
    NothingDoubles(usize),
}

/// Which anchors of an image belong to which of its half-size view: the anchor of the image is twice the
/// other, and both see the same part of the scene.
///
/// ```
/// use burn::tensor::Device;
/// use sed_core::{ImageSize, pyramid::LevelPair};
/// use sed_models::{grids::ScalePairs, retinanet::RetinaNetConfig};
///
/// // Strides 4 to 32.
/// let model = RetinaNetConfig::tiny(3).init(&Device::default())?;
/// let full = model.layout(ImageSize::new(64, 64));
/// let (half, pairs) = model.half_layout(&full, ImageSize::new(32, 32));
/// let ScalePairs::Levels(pairs) = pairs else { unreachable!("a pyramid pairs by levels") };
/// assert_eq!(pairs[0], LevelPair { full: 1, half: 0 });
/// assert_eq!((full.levels[1].stride, half.levels[0].stride), (8, 4));
/// # Ok::<(), sed_models::retinanet::RetinaNetConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ScalePairs {
    /// Whole levels of a pyramid, of strides `2t` and `t`.
    Levels(Vec<LevelPair>),
    /// Anchors on a single map: of the image every second cell in both directions, and the sizes of which
    /// the half is there too.
    Map(CellPairs),
}

impl ScalePairs {
    /// The paired predictions, from those on each level of the image and of the half-size view; `half` is
    /// asked for the levels that have a partner, and for no other.
    ///
    /// # Panics
    ///
    /// If a level is missing.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{Predictions, pyramid::CellPairs};
    /// use sed_models::grids::ScalePairs;
    ///
    /// let device = Device::default();
    /// let map = |logits: &[f32]| {
    ///     let (n, logits) = (logits.len(), Tensor::<1>::from_floats(logits, &device));
    ///     Predictions::new(logits.reshape([1, n, 1]), Tensor::zeros([1, n, 4], &device))
    /// };
    /// let pairs = ScalePairs::Map(CellPairs { full: vec![1, 3], half: vec![0, 2] });
    /// let pair = pairs.pair(&[map(&[0.0, 1.0, 2.0, 3.0])], |_| map(&[10.0, 11.0, 12.0]));
    /// let logits = |side: Predictions| side.class_logits.into_data().try_to_vec::<f32>().unwrap();
    /// assert_eq!((logits(pair.student), logits(pair.other)), (vec![1.0, 3.0], vec![10.0, 12.0]));
    /// ```
    pub fn pair(&self, full: &[Predictions], half: impl Fn(usize) -> Predictions) -> ViewPair {
        match self {
            Self::Levels(pairs) => {
                let (student, other) =
                    pairs.iter().map(|pair| (full[pair.full].clone(), half(pair.half))).unzip();
                ViewPair::new(Predictions::cat(student), Predictions::cat(other))
            }
            Self::Map(cells) => {
                ViewPair::new(full[0].clone().select(&cells.full), half(0).select(&cells.half))
            }
        }
    }

    /// The numbers of the anchors of `full`, the layout of the full view, that have a partner, in the order of
    /// [`pair`](Self::pair).
    ///
    /// # Panics
    ///
    /// If the layout lacks a level.
    ///
    /// ```
    /// use sed_core::{
    ///     ImageSize,
    ///     pyramid::{LevelPair, PyramidLayout},
    /// };
    /// use sed_models::grids::ScalePairs;
    ///
    /// // Levels of 16 and of 4 anchors, of which the second has a partner.
    /// let full = PyramidLayout::over(ImageSize::new(32, 32), &[8, 16], 1);
    /// let pairs = ScalePairs::Levels(vec![LevelPair { full: 1, half: 0 }]);
    /// assert_eq!(pairs.full_anchors(&full), [16, 17, 18, 19]);
    /// ```
    pub fn full_anchors(&self, full: &PyramidLayout) -> Vec<usize> {
        match self {
            Self::Levels(pairs) => {
                let of_level = |pair: &LevelPair| {
                    let start: usize = full.levels[..pair.full].iter().map(LevelLayout::num_anchors).sum();
                    start..start + full.levels[pair.full].num_anchors()
                };
                pairs.iter().flat_map(of_level).collect()
            }
            Self::Map(cells) => cells.full.clone(),
        }
    }
}

/// Which anchors of an image are mirror images of which of its mirrored view: entry `k` of both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MirrorPairs {
    /// Anchors of the image.
    pub image: Vec<usize>,
    /// Anchors of the mirrored view.
    pub mirror: Vec<usize>,
}

impl MirrorPairs {
    /// The pairs of a layout: cell `(i, j)` with cell `(i, W − j)` of a level of `W` columns, the same anchor of both.
    ///
    /// Anchors are centred on the cells' upper left corners, `j` strides from the left border: the mirror image of column 0
    /// is the right border, where no cell begins, so column 0 has no partner.
    pub fn new(layout: &PyramidLayout) -> Self {
        let (mut image, mut mirror) = (Vec::new(), Vec::new());
        let mut first = 0;
        for level in &layout.levels {
            for row in 0..level.height {
                for column in 1..level.width {
                    let cell = |column: usize| first + (row * level.width + column) * level.anchors_per_cell;
                    let (own, other) = (cell(column), cell(level.width - column));
                    image.extend(own..own + level.anchors_per_cell);
                    mirror.extend(other..other + level.anchors_per_cell);
                }
            }
            first += level.num_anchors();
        }
        Self { image, mirror }
    }

    /// The paired predictions, those of the mirrored view mirrored back; `None` if each level is one column wide.
    pub fn pair(&self, image: Predictions, mirror: Predictions) -> Option<ViewPair> {
        if self.image.is_empty() {
            return None;
        }
        Some(ViewPair::new(image.select(&self.image), mirror.select(&self.mirror).mirrored()))
    }
}

/// The grids of a dense head.
#[derive(Debug, Clone)]
pub(crate) struct DenseGrids {
    /// Strides of the head's levels, finest first.
    strides: Vec<usize>,
    /// Has one level more than the head with a finer level on the half view.
    anchors: AnchorGenerator,
    scale_levels: Option<Vec<usize>>,
    /// What sides are padded to a multiple of, where the configuration says so.
    pad_multiple: Option<usize>,
}

impl DenseGrids {
    /// The grids of levels of the given strides, finest first. With `finer_on_half` the half-size view has
    /// a level of half the finest stride too; `scale_levels` names the levels to compare by the logarithm
    /// of their stride, all that can be when absent.
    pub fn new(
        anchors: &AnchorConfig,
        strides: Vec<usize>,
        finer_on_half: bool,
        scale_levels: Option<Vec<usize>>,
    ) -> Self {
        let generator = anchors.init(&strides);
        let anchors = if finer_on_half { generator.with_finer_level() } else { generator };
        Self { strides, anchors, scale_levels, pad_multiple: None }
    }

    /// The same for batches that are padded to multiples of `pad_multiple`, if given.
    pub fn padded_to(self, pad_multiple: Option<usize>) -> Self {
        Self { pad_multiple, ..self }
    }

    /// Whether the levels to compare have a partner.
    ///
    /// # Errors
    ///
    /// If not.
    pub fn validate(&self) -> Result<(), ScaleViewsError> {
        if self.pad_multiple == Some(0) {
            return Err(ScaleViewsError::NoMultiple);
        }
        let paired: Vec<usize> = match self.single_map() {
            Some(stride) => vec![level_number(stride)],
            None => self.anchors.strides()[1..].iter().copied().map(level_number).collect(),
        };
        match &self.scale_levels {
            Some(levels) if levels.is_empty() || levels.iter().any(|level| !paired.contains(level)) => {
                Err(ScaleViewsError::Levels { levels: levels.clone(), paired })
            }
            _ => Ok(()),
        }
    }

    /// [`validate`](Self::validate), and whether anchors double as the comparison needs it.
    ///
    /// # Errors
    ///
    /// What stands in the way.
    pub fn validate_for_views(&self) -> Result<(), ScaleViewsError> {
        self.validate()?;
        let (multiple, needed) = (self.size_divisor(), self.divisor_of_views());
        if !multiple.is_multiple_of(needed) {
            return Err(ScaleViewsError::Padding { multiple, needed });
        }
        if let Some(stride) = self.single_map() {
            let doubled = self.anchors.doubled(stride);
            return if doubled.is_empty() { Err(ScaleViewsError::NothingDoubles(stride)) } else { Ok(()) };
        }
        match self.anchors.strides().windows(2).find(|pair| !self.anchors.doubles(pair[1], pair[0])) {
            Some(pair) => Err(ScaleViewsError::NotOctaves { coarse: pair[1], fine: pair[0] }),
            None => Ok(()),
        }
    }

    /// The stride of the only map that both views have.
    fn single_map(&self) -> Option<usize> {
        match self.anchors.strides()[..] {
            [stride] => Some(stride),
            _ => None,
        }
    }

    /// Sides of a batch are padded to multiples of this.
    pub fn size_divisor(&self) -> usize {
        self.pad_multiple.unwrap_or_else(|| self.divisor_of_views())
    }

    /// Sides that two views can be compared at are multiples of this: the coarsest stride, and twice that on a single
    /// map, whose half view has to fill its cells.
    fn divisor_of_views(&self) -> usize {
        let coarsest = self.strides.iter().copied().max().unwrap_or(1);
        if self.single_map().is_some() { 2 * coarsest } else { coarsest }
    }

    /// The number of the finest level on the full view.
    pub fn lowest_level(&self) -> usize {
        level_number(self.strides[0])
    }

    /// The number of the finest level on the half-size view.
    pub fn lowest_level_on_half(&self) -> usize {
        level_number(self.anchors.strides()[0])
    }

    /// The grids over a batch of this size, padding to the divisor included.
    pub fn layout(&self, batch: ImageSize) -> PyramidLayout {
        self.over(&self.strides, batch, self.size_divisor())
    }

    /// The grids on a half-size view, padded to half the divisor, and which anchors of `full`, the layout of
    /// the full view, pair with its anchors.
    ///
    /// # Panics
    ///
    /// If the grids or the anchors do not correspond: the half view is not of half the size, or the anchors
    /// do not double (which [`validate_for_views`](Self::validate_for_views) tells beforehand).
    pub fn half_layout(&self, full: &PyramidLayout, half: ImageSize) -> (PyramidLayout, ScalePairs) {
        let half = self.over(&self.anchors.strides(), half, self.size_divisor() / 2);
        let refused = |error: PairingError| -> ! {
            panic!("a view and its half: {error} (full view {full:?}, half view {half:?})")
        };
        if let Some(stride) = self.single_map() {
            let doubled = self.anchors.doubled(stride);
            return match full.levels[0].pair_with_half_map(&half.levels[0], &doubled) {
                Ok(cells) => (half, ScalePairs::Map(cells)),
                Err(error) => refused(error),
            };
        }
        let mut pairs = full.pair_with_half(&half).unwrap_or_else(|error| refused(error));
        if let Some(levels) = &self.scale_levels {
            pairs.retain(|pair| levels.contains(&level_number(full.levels[pair.full].stride)));
        }
        for pair in &pairs {
            let (coarse, fine) = (full.levels[pair.full].stride, half.levels[pair.half].stride);
            assert!(
                self.anchors.doubles(coarse, fine),
                "the anchors of stride {coarse} are not twice those of stride {fine}"
            );
        }
        (half, ScalePairs::Levels(pairs))
    }

    /// The anchors of a layout, `[x1, y1, x2, y2]`.
    pub fn anchors(&self, layout: &PyramidLayout) -> Vec<[f32; 4]> {
        self.anchors.grid(layout)
    }

    /// The grids and the anchors `[x1, y1, x2, y2]` over a batch of this size, padding to the divisor included.
    ///
    /// Where the coarsest stride does not divide the padded sides, the anchors of such a level are spread over them.
    pub fn over_batch(&self, batch: ImageSize) -> (PyramidLayout, Vec<[f32; 4]>) {
        let layout = self.layout(batch);
        let anchors = self.anchors.spread(&layout, padded(batch, self.size_divisor()));
        (layout, anchors)
    }

    /// The anchors of a batch of this size that pair with one of its half-size view, in the order of
    /// [`ScalePairs::pair`].
    ///
    /// # Panics
    ///
    /// As [`half_layout`](Self::half_layout).
    pub fn paired_anchors(&self, batch: ImageSize) -> Vec<[f32; 4]> {
        let full = self.layout(batch);
        let (_, pairs) = self.half_layout(&full, batch.halved());
        let anchors = self.anchors(&full);
        pairs.full_anchors(&full).into_iter().map(|anchor| anchors[anchor]).collect()
    }

    fn over(&self, strides: &[usize], batch: ImageSize, divisor: usize) -> PyramidLayout {
        PyramidLayout::over(padded(batch, divisor), strides, self.anchors.anchors_per_cell())
    }
}

/// The size of a batch with its sides rounded up to multiples of `divisor`.
fn padded(batch: ImageSize, divisor: usize) -> ImageSize {
    ImageSize::new(batch.height.next_multiple_of(divisor), batch.width.next_multiple_of(divisor))
}

/// Panics where a level `[N, C, H, W]` has another size than its grid.
pub(crate) fn check_grids(levels: &[Tensor<4>], layout: &PyramidLayout) {
    for (level, grid) in levels.iter().zip(&layout.levels) {
        let [_, _, height, width] = level.dims();
        assert_eq!(
            [height, width],
            [grid.height, grid.width],
            "features of another size than the grid of stride {}",
            grid.stride
        );
    }
}

/// Panics where a mirrored batch would be padded, on the side that was the left one.
pub(crate) fn check_mirror(images: &ImageBatch, divisor: usize) {
    let ImageSize { width, .. } = images.padded_size();
    assert!(width.is_multiple_of(divisor), "a mirror image of width {width}, no multiple of {divisor}");
}

/// The same images, for a teacher: without autodiff on the input one made by `valid` builds no graph at all.
pub(crate) fn without_autodiff(images: &ImageBatch) -> ImageBatch {
    ImageBatch::new(images.pixels.clone().inner(), images.sizes.clone())
}

/// Level `l` has stride `2^l`.
fn level_number(stride: usize) -> usize {
    stride.ilog2() as usize
}

#[cfg(test)]
#[path = "grids_tests.rs"]
mod tests;
