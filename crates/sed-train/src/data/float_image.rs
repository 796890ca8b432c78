//! An image on the host while it is augmented.

use image::{Rgb, RgbImage};
use sed_core::ImageSize;

/// RGB pixels in `[0, 1]`, one plane a channel: `data[(c · height + y) · width + x]`.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use sed_train::data::FloatImage;
///
/// let mut pixels = RgbImage::new(3, 2);
/// pixels.put_pixel(2, 1, Rgb([255, 0, 0]));
/// let mut image = FloatImage::from_rgb8(&pixels, false);
/// assert_eq!((image.size().height, image.size().width), (2, 3));
/// assert_eq!(image.pixel(1, 2), [1.0, 0.0, 0.0]);
/// assert_eq!(FloatImage::from_rgb8(&pixels, true).pixel(1, 0), [1.0, 0.0, 0.0]);
///
/// let [red, _, _] = image.planes_mut();
/// red[0] = 0.5; // row 0, column 0
/// assert_eq!(image.data()[0], 0.5);
/// assert_eq!(image.to_rgb8().get_pixel(0, 0).0, [128, 0, 0]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct FloatImage {
    height: usize,
    width: usize,
    data: Vec<f32>,
}

impl FloatImage {
    /// An image of given planes.
    ///
    /// # Panics
    ///
    /// If `data` has not `3 · height · width` numbers, or there is no pixel.
    pub fn new(size: ImageSize, data: Vec<f32>) -> Self {
        let ImageSize { height, width } = size;
        assert!(height > 0 && width > 0, "FloatImage: {height}×{width} has no pixel");
        assert_eq!(
            data.len(),
            3 * height * width,
            "FloatImage: {} numbers for 3×{height}×{width}",
            data.len()
        );
        Self { height, width, data }
    }

    /// The image of 8-bit pixels; 255 becomes 1. With `mirrored`, left and right change places.
    pub fn from_rgb8(image: &RgbImage, mirrored: bool) -> Self {
        let (width, height) = (image.width() as usize, image.height() as usize);
        let mut data = vec![0.0; 3 * height * width];
        let mut planes = data.chunks_exact_mut(height * width);
        let planes: [&mut [f32]; 3] = std::array::from_fn(|_| planes.next().expect("three planes"));
        for (y, row) in image.as_raw().chunks_exact(3 * width).enumerate() {
            for (x, pixel) in row.chunks_exact(3).enumerate() {
                let column = if mirrored { width - 1 - x } else { x };
                for c in 0..3 {
                    planes[c][y * width + column] = f32::from(pixel[c]) / 255.0;
                }
            }
        }
        Self::new(ImageSize::new(height, width), data)
    }

    /// The image in 8 bits a channel, rounded; 1 becomes 255.
    pub fn to_rgb8(&self) -> RgbImage {
        RgbImage::from_fn(self.width as u32, self.height as u32, |x, y| {
            // `as` saturates: what lies outside [0, 1] is cut.
            Rgb(self.pixel(y as usize, x as usize).map(|value| (value * 255.0).round() as u8))
        })
    }

    /// Height and width.
    pub fn size(&self) -> ImageSize {
        ImageSize::new(self.height, self.width)
    }

    /// All three planes, red first.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// Red, green and blue, row by row.
    pub fn planes(&self) -> [&[f32]; 3] {
        let n = self.height * self.width;
        [&self.data[..n], &self.data[n..2 * n], &self.data[2 * n..]]
    }

    /// Red, green and blue, row by row, to be changed in place.
    pub fn planes_mut(&mut self) -> [&mut [f32]; 3] {
        let n = self.height * self.width;
        let (red, rest) = self.data.split_at_mut(n);
        let (green, blue) = rest.split_at_mut(n);
        [red, green, blue]
    }

    /// The pixel in row `y` and column `x`.
    pub fn pixel(&self, y: usize, x: usize) -> [f32; 3] {
        self.planes().map(|plane| plane[y * self.width + x])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_become_planes_and_mirroring_swaps_columns() {
        let image = RgbImage::from_raw(2, 1, vec![255, 0, 51, 0, 255, 102]).unwrap();
        let float = FloatImage::from_rgb8(&image, false);
        assert_eq!(float.size(), ImageSize::new(1, 2));
        assert_eq!(float.data(), [1.0, 0.0, 0.0, 1.0, 0.2, 0.4]);
        let mirrored = FloatImage::from_rgb8(&image, true);
        assert_eq!(mirrored.pixel(0, 0), float.pixel(0, 1));
        assert_eq!(mirrored.pixel(0, 1), float.pixel(0, 0));
    }

    #[test]
    fn bytes_come_back_and_other_values_are_cut() {
        let image = RgbImage::from_fn(16, 16, |x, y| Rgb([(16 * y + x) as u8, 255 - x as u8, 7]));
        assert_eq!(FloatImage::from_rgb8(&image, false).to_rgb8(), image);
        let odd = FloatImage::new(ImageSize::new(1, 2), vec![-0.5, 1.5, 0.5, f32::NAN, 0.0, 1.0]);
        // 127.5 rounds up.
        assert_eq!(odd.to_rgb8().into_raw(), [0, 128, 0, 255, 0, 255]);
    }

    #[test]
    #[should_panic(expected = "5 numbers for 3×1×2")]
    fn a_wrong_length_panics_with_both_sizes() {
        FloatImage::new(ImageSize::new(1, 2), vec![0.0; 5]);
    }
}
