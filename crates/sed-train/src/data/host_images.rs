//! Padded batches of images on the host.

use std::ops::Range;

use burn::tensor::{Device, Tensor, TensorData};
use sed_core::{ImageBatch, ImageSize, Views};

use super::FloatImage;

/// The images of a batch in host memory, padded with zeros at the bottom and the right.
///
/// ```
/// use burn::tensor::Device;
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, HostImages};
///
/// let mut images = HostImages::new(ImageSize::new(4, 4));
/// images.push(&FloatImage::new(ImageSize::new(2, 3), vec![0.5; 18]));
/// images.push(&FloatImage::new(ImageSize::new(4, 4), vec![1.0; 48]));
/// assert_eq!((images.len(), images.part(1..2).len()), (2, 1));
///
/// let batch = images.to_batch(&Device::default());
/// assert_eq!(batch.pixels.dims(), [2, 3, 4, 4]);
/// assert_eq!(batch.sizes[0], ImageSize::new(2, 3)); // the rest is padding
/// assert_eq!(batch.pixels.sum().into_scalar::<f32>(), 9.0 + 48.0);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HostImages {
    /// `[N, 3, H, W]`, row-major, RGB in `[0, 1]`.
    pub pixels: Vec<f32>,
    /// H.
    pub height: usize,
    /// W.
    pub width: usize,
    /// The part of each image that is not padding.
    pub sizes: Vec<ImageSize>,
}

impl HostImages {
    /// A batch without images that pads to `padded`.
    pub fn new(padded: ImageSize) -> Self {
        Self { pixels: Vec::new(), height: padded.height, width: padded.width, sizes: Vec::new() }
    }

    /// The number of images.
    pub fn len(&self) -> usize {
        self.sizes.len()
    }

    /// Whether the batch has no image.
    pub fn is_empty(&self) -> bool {
        self.sizes.is_empty()
    }

    /// Adds an image.
    ///
    /// # Panics
    ///
    /// If it is larger than the padded size.
    pub fn push(&mut self, image: &FloatImage) {
        let size = image.size();
        assert!(
            size.height <= self.height && size.width <= self.width,
            "HostImages: an image of {}×{} in a batch of {}×{}",
            size.height,
            size.width,
            self.height,
            self.width
        );
        for plane in image.planes() {
            let start = self.pixels.len();
            self.pixels.resize(start + self.height * self.width, 0.0);
            let rows = self.pixels[start..].chunks_exact_mut(self.width);
            for (padded, row) in rows.zip(plane.chunks_exact(size.width)) {
                padded[..size.width].copy_from_slice(row);
            }
        }
        self.sizes.push(size);
    }

    /// The images of a range, padded alike.
    ///
    /// # Panics
    ///
    /// If there are fewer.
    #[must_use]
    pub fn part(&self, images: Range<usize>) -> Self {
        let stride = 3 * self.height * self.width;
        let pixels = self.pixels[images.start * stride..images.end * stride].to_vec();
        Self { pixels, height: self.height, width: self.width, sizes: self.sizes[images].to_vec() }
    }

    /// The batch as tensors on a device.
    pub fn to_batch(&self, device: &Device) -> ImageBatch {
        let shape = [self.len(), 3, self.height, self.width];
        let pixels = Tensor::<4>::from_data(TensorData::new(self.pixels.clone(), shape), device);
        ImageBatch::new(pixels, self.sizes.clone())
    }
}

/// Two views of the same unlabeled images in one geometry.
///
/// ```
/// use burn::tensor::Device;
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, HostImages, HostViews};
///
/// let batch = |value: f32| {
///     let mut images = HostImages::new(ImageSize::new(4, 4));
///     images.push(&FloatImage::new(ImageSize::new(4, 4), vec![value; 48]));
///     images
/// };
/// let views = HostViews { weak: batch(0.5), strong: batch(1.0), keys: vec!["a.png".into()] };
/// let views = views.to_views(&Device::default());
/// assert_eq!(views.weak.unwrap().pixels.dims(), [1, 3, 4, 4]);
/// assert_eq!(views.half.unwrap().pixels.dims(), [1, 3, 2, 2]); // of the strong view
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct HostViews {
    /// Geometry only, for the teacher.
    pub weak: HostImages,
    /// With colours, blur and erased rectangles, for the student.
    pub strong: HostImages,
    /// The name of each image.
    pub keys: Vec<String>,
}

impl HostViews {
    /// The views on a device, with the half-size view of the strong one.
    pub fn to_views(&self, device: &Device) -> Views {
        Views::new(self.weak.to_batch(device), self.strong.to_batch(device))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_padded_at_the_bottom_and_the_right() {
        let mut batch = HostImages::new(ImageSize::new(2, 4));
        batch.push(&FloatImage::new(ImageSize::new(1, 2), vec![0.1, 0.2, 0.3, 0.4, 0.5, 0.6]));
        batch.push(&FloatImage::new(ImageSize::new(2, 4), vec![1.0; 24]));
        let batch = batch.to_batch(&Device::default());
        assert_eq!(batch.pixels.dims(), [2, 3, 2, 4]);
        assert_eq!(batch.sizes, [ImageSize::new(1, 2), ImageSize::new(2, 4)]);
        let values: Vec<f32> = batch.pixels.into_data().try_to_vec().unwrap();
        assert_eq!(values[..8], [0.1, 0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(values[16..24], [0.5, 0.6, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(values[24..], [1.0; 24]);
    }

    #[test]
    fn a_part_has_its_own_images() {
        let mut batch = HostImages::new(ImageSize::new(1, 2));
        batch.push(&FloatImage::new(ImageSize::new(1, 2), vec![0.1; 6]));
        batch.push(&FloatImage::new(ImageSize::new(1, 1), vec![0.2; 3]));
        let part = batch.part(1..2);
        assert_eq!((part.sizes, part.pixels), (vec![ImageSize::new(1, 1)], [0.2, 0.0].repeat(3)));
        assert!(batch.part(1..1).is_empty());
    }

    #[test]
    #[should_panic(expected = "3×2 in a batch of 2×2")]
    fn an_image_larger_than_the_batch_panics() {
        HostImages::new(ImageSize::new(2, 2)).push(&FloatImage::new(ImageSize::new(3, 2), vec![0.0; 18]));
    }

    #[test]
    fn views_carry_the_mean_of_two_by_two_strong_pixels() {
        let mut weak = HostImages::new(ImageSize::new(2, 2));
        let mut strong = weak.clone();
        weak.push(&FloatImage::new(ImageSize::new(2, 2), vec![0.0; 12]));
        strong.push(&FloatImage::new(ImageSize::new(2, 2), [0.0, 0.5, 0.25, 0.25].repeat(3)));
        let views = HostViews { weak, strong, keys: vec!["a".into()] }.to_views(&Device::default());
        assert_eq!(views.half.unwrap().pixels.into_data().try_to_vec::<f32>().unwrap(), [0.25; 3]);
    }
}
