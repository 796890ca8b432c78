use burn::tensor::{Tensor, module::avg_pool2d, ops::AvgPoolOptions};

/// Height and width in pixels.
///
/// ```
/// use sed_core::ImageSize;
///
/// let size = ImageSize::new(480, 641);
/// assert_eq!((size.height, size.width), (480, 641));
/// assert_eq!(size.halved(), ImageSize::new(240, 321));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ImageSize {
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

impl ImageSize {
    /// A size of `height` rows and `width` columns.
    pub fn new(height: usize, width: usize) -> Self {
        Self { height, width }
    }

    /// The size after halving both sides, rounded up.
    pub fn halved(self) -> Self {
        Self::new(self.height.div_ceil(2), self.width.div_ceil(2))
    }
}

/// Images of one batch, padded at the bottom and the right to a common size.
///
/// Pixels are RGB in `[0, 1]`; a detector applies its own normalisation.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageBatch, ImageSize};
///
/// // Two images of other sizes, padded to 4×6.
/// let pixels = Tensor::zeros([2, 3, 4, 6], &Device::default());
/// let batch = ImageBatch::new(pixels, vec![ImageSize::new(4, 5), ImageSize::new(3, 6)]);
/// assert_eq!((batch.len(), batch.is_empty()), (2, false));
/// assert_eq!(batch.padded_size(), ImageSize::new(4, 6));
/// ```
#[derive(Debug, Clone)]
pub struct ImageBatch {
    /// `[N, 3, H, W]`.
    pub pixels: Tensor<4>,
    /// The part of each image that is not padding; `N` entries, each within `H × W`.
    pub sizes: Vec<ImageSize>,
}

impl ImageBatch {
    /// A batch with the valid size of each image.
    ///
    /// # Panics
    ///
    /// If `sizes` has not one entry an image, or an entry exceeds the tensor.
    pub fn new(pixels: Tensor<4>, sizes: Vec<ImageSize>) -> Self {
        let [n, _, height, width] = pixels.dims();
        assert_eq!(sizes.len(), n, "ImageBatch: {n} images but {} sizes", sizes.len());
        for size in &sizes {
            assert!(
                size.height <= height && size.width <= width,
                "ImageBatch: an image of {}×{} in a batch of {height}×{width}",
                size.height,
                size.width
            );
        }
        Self { pixels, sizes }
    }

    /// A batch without padding: each image fills the tensor.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageBatch, ImageSize};
    ///
    /// let batch = ImageBatch::unpadded(Tensor::zeros([2, 3, 4, 6], &Device::default()));
    /// assert_eq!(batch.sizes, [ImageSize::new(4, 6); 2]);
    /// ```
    pub fn unpadded(pixels: Tensor<4>) -> Self {
        let [n, _, height, width] = pixels.dims();
        Self::new(pixels, vec![ImageSize::new(height, width); n])
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether the batch holds no image.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Height and width of the tensor, padding included.
    pub fn padded_size(&self) -> ImageSize {
        let [_, _, height, width] = self.pixels.dims();
        ImageSize::new(height, width)
    }

    /// The same images at half size: the mean of each 2×2 block of pixels.
    ///
    /// Averaging keeps the two pixel grids aligned: pixel `(i, j)` of the result covers exactly
    /// the pixels `(2i, 2j) … (2i+1, 2j+1)`. Taking every second pixel would shift the grid by
    /// half a pixel. (Our design; the paper only asks for a smaller view.)
    ///
    /// # Panics
    ///
    /// If height or width of the tensor is odd.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageBatch, ImageSize};
    ///
    /// let pixels = Tensor::from_floats([[[[0.0, 0.5], [0.5, 1.0]]; 3]], &Device::default());
    /// let half = ImageBatch::unpadded(pixels).halved();
    /// assert_eq!(half.sizes, [ImageSize::new(1, 1)]);
    /// // The mean of the four pixels, in each channel.
    /// assert_eq!(half.pixels.into_data().try_to_vec::<f32>().unwrap(), [0.5; 3]);
    /// ```
    pub fn halved(&self) -> Self {
        let ImageSize { height, width } = self.padded_size();
        assert!(
            height.is_multiple_of(2) && width.is_multiple_of(2),
            "ImageBatch::halved: {height}×{width} has an odd side"
        );
        let pixels = avg_pool2d(self.pixels.clone(), AvgPoolOptions::new([2, 2]));
        Self::new(pixels, self.sizes.iter().map(|size| size.halved()).collect())
    }
}

/// The views of a batch of unlabeled images, in one geometry.
///
/// Scale-Equivalent Distillation compares all but the mirrored one ([`Views::new`]); methods that need less leave
/// out what they do not look at, and a detector computes nothing for a view that is not there.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageBatch, ImageSize, Views};
///
/// let device = Device::default();
/// let image = |value: f32| ImageBatch::unpadded(Tensor::full([1, 3, 4, 6], value, &device));
/// let views = Views::new(image(0.2), image(0.8));
/// assert_eq!(views.half.unwrap().padded_size(), ImageSize::new(2, 3));
/// // A method that needs the teacher alone asks for no half-size view.
/// assert!(Views::taught(image(0.2), image(0.8)).half.is_none());
/// ```
#[derive(Debug, Clone)]
pub struct Views {
    /// `X`, strongly augmented, for the student.
    pub strong: ImageBatch,
    /// `X_w`, weakly augmented, for the teacher.
    pub weak: Option<ImageBatch>,
    /// `X̂`, the strong view at half size, for the student.
    pub half: Option<ImageBatch>,
    /// The strong view with left and right exchanged, for the student.
    pub mirrored: Option<ImageBatch>,
}

impl Views {
    /// The weak and the strong view, the latter also at half size: what Scale-Equivalent Distillation compares.
    ///
    /// # Panics
    ///
    /// If the two views differ in shape, or a side is odd.
    pub fn new(weak: ImageBatch, strong: ImageBatch) -> Self {
        let half = strong.halved();
        Self { half: Some(half), ..Self::taught(weak, strong) }
    }

    /// The weak and the strong view at full size: what a teacher's soft outputs are learned on.
    ///
    /// # Panics
    ///
    /// If the two views differ in shape.
    pub fn taught(weak: ImageBatch, strong: ImageBatch) -> Self {
        assert_eq!(
            weak.pixels.dims(),
            strong.pixels.dims(),
            "Views: the weak and the strong view differ in shape"
        );
        Self { strong, weak: Some(weak), half: None, mirrored: None }
    }

    /// The strong view and its mirror image: what consistency under flips compares.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_core::{ImageBatch, Views};
    ///
    /// let pixels = Tensor::from_floats([[[[0.1, 0.2, 0.3]]; 3]], &Device::default());
    /// let mirrored = Views::with_mirror(ImageBatch::unpadded(pixels)).mirrored.unwrap();
    /// let row = mirrored.pixels.into_data().try_to_vec::<f32>().unwrap();
    /// assert_eq!(row[..3], [0.3, 0.2, 0.1]);
    /// ```
    pub fn with_mirror(strong: ImageBatch) -> Self {
        let mirrored = ImageBatch::new(strong.pixels.clone().flip([3]), strong.sizes.clone());
        Self { strong, weak: None, half: None, mirrored: Some(mirrored) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, values};

    #[test]
    fn half_size_is_the_mean_of_blocks() {
        let device = device();
        let row = |a: f32| [a, a + 2.0, 8.0, 8.0];
        let channel = Tensor::<2>::from_floats([row(0.0), row(4.0)], &device).reshape([1, 1, 2, 4]);
        let batch = ImageBatch::new(channel.repeat_dim(1, 3), vec![ImageSize::new(1, 3)]).halved();
        // (0 + 2 + 4 + 6)/4 and 8.
        assert_eq!(values(&batch.pixels), [3.0, 8.0, 3.0, 8.0, 3.0, 8.0]);
        assert_eq!((batch.sizes[0], batch.len()), (ImageSize::new(1, 2), 1));
    }

    #[test]
    #[should_panic(expected = "3×4 has an odd side")]
    fn odd_sides_have_no_half() {
        ImageBatch::unpadded(Tensor::zeros([1, 3, 3, 4], &device())).halved();
    }

    #[test]
    #[should_panic(expected = "an image of 5×2 in a batch of 4×4")]
    fn a_size_must_fit_the_batch() {
        ImageBatch::new(Tensor::zeros([1, 3, 4, 4], &device()), vec![ImageSize::new(5, 2)]);
    }

    #[test]
    fn a_view_that_is_not_asked_for_is_not_there() {
        let device = device();
        let batch = || {
            ImageBatch::unpadded(Tensor::<4>::from_floats(
                [[[[1.0, 2.0]], [[3.0, 4.0]], [[5.0, 6.0]]]],
                &device,
            ))
        };
        let taught = Views::taught(batch(), batch());
        assert!(taught.weak.is_some() && taught.half.is_none() && taught.mirrored.is_none());
        let mirrored = Views::with_mirror(batch());
        assert!(mirrored.weak.is_none() && mirrored.half.is_none());
        let pixels = mirrored.mirrored.expect("a mirror image").pixels;
        assert_eq!(values(&pixels), [2.0, 1.0, 4.0, 3.0, 6.0, 5.0]);
    }

    #[test]
    #[should_panic(expected = "the weak and the strong view differ in shape")]
    fn views_share_a_shape() {
        let batch = |side| ImageBatch::unpadded(Tensor::zeros([1, 3, side, side], &device()));
        Views::new(batch(4), batch(8));
    }
}
