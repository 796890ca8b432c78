//! Image sizes as torchvision's detectors choose them.

use image::RgbImage;
use sed_core::ImageSize;

use super::{EvalBatch, FloatImage, ViewGeometry};

/// Scales an image so that its shorter side has a given length, or its longer side another one if that is less.
///
/// `s = min(short / min(h, w), long / max(h, w))`; sides are `⌊s·h⌋` and `⌊s·w⌋`. Pixels are interpolated between the four
/// nearest, without averaging where the image shrinks. Both as the transform of torchvision's detectors has it, so that a network of
/// theirs sees the same pixels; our own training fits images into a square and averages
/// ([`ViewGeometry::scaled_to_fit`]).
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::ShortSideResize;
///
/// let resize = ShortSideResize::default();
/// assert_eq!(resize.geometry(ImageSize::new(400, 500)).resized, ImageSize::new(800, 1000));
/// // Twice the size would make the longer side 1600 pixels.
/// assert_eq!(resize.geometry(ImageSize::new(400, 800)).resized, ImageSize::new(666, 1333));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShortSideResize {
    /// The length of the shorter side, in pixels.
    pub short: usize,
    /// The most that the longer side may have, in pixels.
    pub long: usize,
}

impl Default for ShortSideResize {
    /// 800 and 1333 pixels, those of torchvision.
    fn default() -> Self {
        Self { short: 800, long: 1333 }
    }
}

impl ShortSideResize {
    /// How an image of this size is scaled.
    ///
    /// # Panics
    ///
    /// If a side is 0.
    pub fn geometry(&self, source: ImageSize) -> ViewGeometry {
        let ImageSize { height, width } = source;
        assert!(height > 0 && width > 0, "ShortSideResize: an image of {height}×{width}");
        let scale =
            (self.short as f64 / height.min(width) as f64).min(self.long as f64 / height.max(width) as f64);
        let scaled = |side: usize| ((side as f64 * scale).floor() as usize).max(1);
        let resized = ImageSize::new(scaled(height), scaled(width));
        ViewGeometry { source, resized, offset: [0, 0], flip: false, output: resized }
    }

    /// The image alone in a batch.
    ///
    /// ```
    /// use image::RgbImage;
    /// use sed_core::Detections;
    /// use sed_train::data::ShortSideResize;
    ///
    /// let resize = ShortSideResize { short: 20, long: 40 };
    /// let batch = resize.batch(7, &RgbImage::new(15, 10));
    /// assert_eq!((batch.images.height, batch.images.width), (20, 30));
    /// // Detections go back to pixels of the image.
    /// let found = Detections { boxes: vec![[10.0, 4.0, 30.0, 20.0]], scores: vec![0.9], labels: vec![0] };
    /// assert_eq!(batch.to_original(0, &found).boxes, [[5.0, 2.0, 15.0, 10.0]]);
    /// ```
    pub fn batch(&self, id: u64, image: &RgbImage) -> EvalBatch {
        let geometry = self.geometry(ImageSize::new(image.height() as usize, image.width() as usize));
        EvalBatch::single(id, &interpolated(image, geometry.resized), geometry)
    }
}

/// The image at another size: `x = (x' + ½)·w/w' − ½`, at least 0, between the two columns around it; rows alike. Single
/// precision, as in PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
fn interpolated(image: &RgbImage, size: ImageSize) -> FloatImage {
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (rows, columns) = (taps(height, size.height), taps(width, size.width));
    let source = FloatImage::from_rgb8(image, false);
    let mut data = Vec::with_capacity(3 * size.height * size.width);
    for plane in source.planes() {
        for row in &rows {
            let upper = &plane[row.first * width..][..width];
            let lower = &plane[row.second * width..][..width];
            data.extend(columns.iter().map(|column| {
                let along = |line: &[f32]| column.between(line[column.first], line[column.second]);
                row.between(along(upper), along(lower))
            }));
        }
    }
    FloatImage::new(size, data)
}

/// The two pixels of a line that one of another line lies between.
struct Tap {
    first: usize,
    second: usize,
    /// Of the second.
    weight: f32,
}

impl Tap {
    fn between(&self, first: f32, second: f32) -> f32 {
        (1.0 - self.weight) * first + self.weight * second
    }
}

/// For each of `to` pixels where it lies among `from`.
fn taps(from: usize, to: usize) -> Vec<Tap> {
    let scale = from as f32 / to as f32;
    let tap = |x: usize| {
        let at = (scale * (x as f32 + 0.5) - 0.5).max(0.0);
        let first = (at.floor() as usize).min(from - 1);
        Tap { first, second: (first + 1).min(from - 1), weight: (at - first as f32).min(1.0) }
    };
    (0..to).map(tap).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;
    use sed_core::Detections;

    use super::*;

    fn size(resize: ShortSideResize, height: usize, width: usize) -> [usize; 2] {
        let resized = resize.geometry(ImageSize::new(height, width)).resized;
        [resized.height, resized.width]
    }

    #[test]
    fn the_shorter_side_decides_unless_the_longer_one_would_be_too_long() {
        let resize = ShortSideResize::default();
        // 800/480 = 5/3.
        assert_eq!(size(resize, 480, 640), [800, 1066]);
        assert_eq!(size(resize, 640, 480), [1066, 800]);
        // 1333/1000 is less than 800/300.
        assert_eq!(size(resize, 300, 1000), [399, 1333]);
        assert_eq!(size(resize, 1600, 1600), [800, 800]);
        // Nothing is left of no row at all.
        assert_eq!(size(resize, 1, 4000), [1, 1333]);
    }

    #[test]
    fn pixels_by_hand() {
        let row = RgbImage::from_fn(2, 1, |x, _| Rgb([255 * x as u8, 51, 0]));
        // 4 of 2 columns: at −¼, ¼, ¾ and 1¼ of the old ones; beyond the border the last one goes on.
        let wide = interpolated(&row, ImageSize::new(2, 4));
        let red = [0.0, 0.25, 0.75, 1.0];
        assert_eq!(wide.planes()[0], [red, red].concat());
        assert!(wide.planes()[1].iter().all(|&v| v == 0.2));
        // Shrinking to a quarter looks at columns 1½ and 5½ and at no other: no average.
        let stripes = RgbImage::from_fn(8, 1, |x, _| Rgb([if x == 1 || x == 2 { 255 } else { 0 }, 0, 0]));
        assert_eq!(interpolated(&stripes, ImageSize::new(1, 2)).planes()[0], [1.0, 0.0]);
        // The same size is the same image.
        let image = RgbImage::from_fn(7, 5, |x, y| Rgb([(x * 30) as u8, (y * 50) as u8, 9]));
        assert_eq!(interpolated(&image, ImageSize::new(5, 7)), FloatImage::from_rgb8(&image, false));
    }

    #[test]
    fn detections_go_back_to_the_original_image() {
        let image = RgbImage::from_pixel(40, 20, Rgb([255, 0, 0]));
        let batch = ShortSideResize { short: 50, long: 1000 }.batch(7, &image);
        assert_eq!((batch.ids[0], batch.images.height, batch.images.width), (7, 50, 100));
        let found = Detections { boxes: vec![[10., 5., 110., 50.]], scores: vec![0.5], labels: vec![0] };
        assert_eq!(batch.to_original(0, &found).boxes, [[4., 2., 40., 20.]]);
    }
}
