//! Scale, crop and flip of one view, for pixels and boxes alike.

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use image::RgbImage;
use sed_core::{ImageSize, Targets};

use super::FloatImage;

/// How a view is cut from an image: resize, crop, then flip.
///
/// The source is resized to `resized`, the window of at most `output` pixels at `offset` is cut
/// out, and it is mirrored if `flip` is set. With scales `s_x = resized.width / source.width`, `s_y`
/// alike, and a window `w` pixels wide, a point `(x, y)` of the source goes to
///
/// ```text
/// x' = s_x·x − offset_x        (w − that, if flipped)
/// y' = s_y·y − offset_y
/// ```
///
/// Boxes are mapped by this very formula, so they stay on their objects to within rounding. One
/// value describes the weak, the strong and the half-size view of an image (our design).
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::ViewGeometry;
///
/// // Twice as large; then the 40 columns and rows from (10, 0) on, mirrored.
/// let geometry = ViewGeometry {
///     source: ImageSize::new(20, 30),
///     resized: ImageSize::new(40, 60),
///     offset: [10, 0],
///     flip: true,
///     output: ImageSize::new(40, 40),
/// };
/// assert_eq!((geometry.scale(), geometry.view_size()), ([2.0, 2.0], ImageSize::new(40, 40)));
/// let object = [10.0, 5.0, 20.0, 10.0];
/// assert_eq!(geometry.map_box(object), [10.0, 10.0, 30.0, 20.0]);
/// assert_eq!(geometry.unmap_box(geometry.map_box(object)), object);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ViewGeometry {
    /// Size of the image before.
    pub source: ImageSize,
    /// Size of the whole image after scaling.
    pub resized: ImageSize,
    /// Left and top of the window in the scaled image.
    pub offset: [usize; 2],
    /// Whether left and right change places, within the window.
    pub flip: bool,
    /// The size that the view is padded to, at the bottom and the right.
    pub output: ImageSize,
}

impl ViewGeometry {
    /// The whole image, scaled by `factor` times what makes its longer side as long as that of the
    /// square of `side` pixels; not cropped, so `factor` above 1 keeps the upper left part.
    ///
    /// ```
    /// use sed_core::ImageSize;
    /// use sed_train::data::ViewGeometry;
    ///
    /// let geometry = ViewGeometry::scaled_to_fit(ImageSize::new(300, 400), 64, 1.0);
    /// assert_eq!(geometry.resized, ImageSize::new(48, 64));
    /// assert_eq!(geometry.output, ImageSize::new(64, 64)); // 16 rows of padding
    /// ```
    pub fn scaled_to_fit(source: ImageSize, side: usize, factor: f32) -> Self {
        let scale = side as f64 / source.height.max(source.width) as f64 * f64::from(factor);
        let scaled = |length: usize| ((length as f64 * scale).round() as usize).max(1);
        Self {
            source,
            resized: ImageSize::new(scaled(source.height), scaled(source.width)),
            offset: [0, 0],
            flip: false,
            output: ImageSize::new(side, side),
        }
    }

    /// The size of the view before padding.
    ///
    /// # Panics
    ///
    /// If the window lies outside the scaled image.
    pub fn view_size(&self) -> ImageSize {
        let [left, top] = self.offset;
        assert!(
            left < self.resized.width && top < self.resized.height,
            "ViewGeometry: offset {:?} in a scaled image of {:?}",
            self.offset,
            self.resized
        );
        ImageSize::new(
            self.output.height.min(self.resized.height - top),
            self.output.width.min(self.resized.width - left),
        )
    }

    /// `[s_x, s_y]`, pixels of the view a pixel of the source.
    pub fn scale(&self) -> [f32; 2] {
        [
            self.resized.width as f32 / self.source.width as f32,
            self.resized.height as f32 / self.source.height as f32,
        ]
    }

    /// The box in pixels of the view; it may reach beyond the view.
    pub fn map_box(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [sx, sy] = self.scale();
        let [left, top] = self.offset.map(|o| o as f32);
        let (x1, x2) = (x1 * sx - left, x2 * sx - left);
        let width = self.view_size().width as f32;
        let (x1, x2) = if self.flip { (width - x2, width - x1) } else { (x1, x2) };
        [x1, y1 * sy - top, x2, y2 * sy - top]
    }

    /// The box of the source that [`map_box`](Self::map_box) takes to the given one.
    pub fn unmap_box(&self, [x1, y1, x2, y2]: [f32; 4]) -> [f32; 4] {
        let [sx, sy] = self.scale();
        let [left, top] = self.offset.map(|o| o as f32);
        let width = self.view_size().width as f32;
        let (x1, x2) = if self.flip { (width - x2, width - x1) } else { (x1, x2) };
        [(x1 + left) / sx, (y1 + top) / sy, (x2 + left) / sx, (y2 + top) / sy]
    }

    /// The objects as seen in the view: boxes are mapped and clipped to it.
    ///
    /// An object is dropped if a side of its clipped box is below `min_side` pixels or if the
    /// clipped box has less than the share `min_visible` of the mapped box's area. Crowd regions
    /// are dropped only if nothing of them is left.
    ///
    /// ```
    /// use sed_core::{ImageSize, Targets};
    /// use sed_train::data::ViewGeometry;
    ///
    /// // The left half of an image of 20×40 pixels.
    /// let geometry = ViewGeometry {
    ///     source: ImageSize::new(20, 40),
    ///     resized: ImageSize::new(20, 40),
    ///     offset: [0, 0],
    ///     flip: false,
    ///     output: ImageSize::new(20, 20),
    /// };
    /// let targets = Targets {
    ///     boxes: vec![[2.0, 2.0, 8.0, 8.0], [15.0, 0.0, 25.0, 9.0], [19.0, 0.0, 39.0, 9.0]],
    ///     labels: vec![0, 1, 2],
    ///     crowds: vec![],
    /// };
    /// // Half of the second is left, a twentieth of the third.
    /// let seen = geometry.map_targets(&targets, 1.0, 0.25);
    /// assert_eq!(seen.boxes, [[2.0, 2.0, 8.0, 8.0], [15.0, 0.0, 20.0, 9.0]]);
    /// assert_eq!(seen.labels, [0, 1]);
    /// ```
    pub fn map_targets(&self, targets: &Targets, min_side: f32, min_visible: f32) -> Targets {
        let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
        let size = self.view_size();
        let clip = |[x1, y1, x2, y2]: [f32; 4]| {
            let (w, h) = (size.width as f32, size.height as f32);
            [x1.clamp(0.0, w), y1.clamp(0.0, h), x2.clamp(0.0, w), y2.clamp(0.0, h)]
        };
        let mut seen = Targets::default();
        for (&whole, &label) in targets.boxes.iter().zip(&targets.labels) {
            let mapped = self.map_box(whole);
            let clipped = clip(mapped);
            let [x1, y1, x2, y2] = clipped;
            let large_enough = x2 - x1 >= min_side && y2 - y1 >= min_side && area(clipped) > 0.0;
            if large_enough && area(clipped) >= min_visible * area(mapped) {
                seen.boxes.push(clipped);
                seen.labels.push(label);
            }
        }
        seen.crowds =
            targets.crowds.iter().map(|&c| clip(self.map_box(c))).filter(|&c| area(c) > 0.0).collect();
        seen
    }

    /// The pixels of the view, without padding.
    ///
    /// Scaling is bilinear, and averages where it shrinks (the kernel grows with the factor).
    ///
    /// # Panics
    ///
    /// If the image has another size than `source`, or the window lies outside the scaled image.
    ///
    /// ```
    /// use image::{Rgb, RgbImage};
    /// use sed_core::ImageSize;
    /// use sed_train::data::ViewGeometry;
    ///
    /// let mut image = RgbImage::new(4, 2);
    /// image.put_pixel(0, 0, Rgb([255, 0, 0]));
    /// let size = ImageSize::new(2, 4);
    /// let mirrored = ViewGeometry { flip: true, ..ViewGeometry::scaled_to_fit(size, 4, 1.0) };
    /// let view = mirrored.apply(&image);
    /// assert_eq!(view.size(), size);
    /// assert_eq!(view.pixel(0, 3), [1.0, 0.0, 0.0]);
    /// ```
    pub fn apply(&self, image: &RgbImage) -> FloatImage {
        let (width, height) = image.dimensions();
        assert_eq!(
            ImageSize::new(height as usize, width as usize),
            self.source,
            "ViewGeometry: an image of {height}×{width} for the geometry of {:?}",
            self.source
        );
        let view = self.view_size();
        if view == self.source && self.resized == self.source {
            return FloatImage::from_rgb8(image, self.flip);
        }
        // The window in pixels of the source. The last bounds keep rounding from leaving the image.
        let sx = self.source.width as f64 / self.resized.width as f64;
        let sy = self.source.height as f64 / self.resized.height as f64;
        let (left, top) = (self.offset[0] as f64 * sx, self.offset[1] as f64 * sy);
        let crop_width = (view.width as f64 * sx).min(f64::from(width) - left);
        let crop_height = (view.height as f64 * sy).min(f64::from(height) - top);
        let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::Bilinear)).crop(
            left,
            top,
            crop_width,
            crop_height,
        );
        let source = ImageRef::new(width, height, image.as_raw(), PixelType::U8x3)
            .expect("an RGB image has three bytes a pixel");
        let mut window = Image::new(view.width as u32, view.height as u32, PixelType::U8x3);
        Resizer::new().resize(&source, &mut window, &options).expect("the window lies within the image");
        let window = RgbImage::from_raw(view.width as u32, view.height as u32, window.into_vec())
            .expect("the window has three bytes a pixel");
        FloatImage::from_rgb8(&window, self.flip)
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn geometry(source: [usize; 2], resized: [usize; 2], offset: [usize; 2], flip: bool) -> ViewGeometry {
        let size = |[h, w]: [usize; 2]| ImageSize::new(h, w);
        ViewGeometry { source: size(source), resized: size(resized), offset, flip, output: size([64, 64]) }
    }

    /// A black image with a white box of whole pixels.
    fn with_box(size: ImageSize, [x1, y1, x2, y2]: [u32; 4]) -> RgbImage {
        RgbImage::from_fn(size.width as u32, size.height as u32, |x, y| {
            Rgb(if (x1..x2).contains(&x) && (y1..y2).contains(&y) { [255; 3] } else { [0; 3] })
        })
    }

    /// The bounds of the white region, to a fraction of a pixel: its extent is the sum of grey
    /// values along the row and the column through its middle.
    fn region(image: &FloatImage) -> [f32; 4] {
        let ImageSize { height, width } = image.size();
        let plane = image.planes()[0];
        let (mut sum, mut sx, mut sy) = (0.0, 0.0, 0.0);
        for y in 0..height {
            for x in 0..width {
                let v = plane[y * width + x];
                sum += v;
                sx += v * (x as f32 + 0.5);
                sy += v * (y as f32 + 0.5);
            }
        }
        let (cx, cy) = (sx / sum, sy / sum);
        let w: f32 = plane[cy as usize * width..][..width].iter().sum();
        let h: f32 = (0..height).map(|y| plane[y * width + cx as usize]).sum();
        [cx - w / 2.0, cy - h / 2.0, cx + w / 2.0, cy + h / 2.0]
    }

    #[test]
    fn pixels_and_boxes_go_to_the_same_place() {
        let corners = [30_u32, 16, 70, 40];
        for flip in [false, true] {
            for (resized, offset) in [
                ([80, 100], [0, 0]),
                ([80, 100], [21, 9]),
                ([40, 50], [0, 0]),
                ([120, 150], [40, 14]),
                ([57, 71], [3, 0]),
            ] {
                let geometry = geometry([80, 100], resized, offset, flip);
                let image = with_box(geometry.source, corners);
                let view = geometry.apply(&image);
                assert_eq!(view.size(), geometry.view_size());
                let targets =
                    Targets { boxes: vec![corners.map(|c| c as f32)], labels: vec![2], crowds: Vec::new() };
                let mapped = geometry.map_targets(&targets, 1.0, 0.0);
                for (found, expected) in region(&view).into_iter().zip(mapped.boxes[0]) {
                    // Bytes round grey values at the rim, and a kernel cut off at the window's rim
                    // shifts some: a tenth of a pixel.
                    assert!((found - expected).abs() < 0.1, "{geometry:?}: {found} {expected}");
                }
            }
        }
    }

    #[test]
    fn the_half_view_has_the_same_region_at_half_the_box() {
        let geometry = geometry([80, 100], [80, 100], [20, 8], true);
        let view = geometry.apply(&with_box(geometry.source, [30, 16, 70, 40]));
        let mut images = crate::data::HostImages::new(geometry.output);
        images.push(&view);
        let half = images.to_batch(&burn::tensor::Device::default()).halved();
        assert_eq!(half.sizes, [ImageSize::new(32, 32)]);
        let half = FloatImage::new(ImageSize::new(32, 32), half.pixels.into_data().try_to_vec().unwrap());
        let full = geometry.map_box([30.0, 16.0, 70.0, 40.0]);
        for (found, expected) in region(&half).into_iter().zip(full.map(|c| c / 2.0)) {
            // All edges lie on whole pixels: means of 2×2 zeros and ones are exact.
            assert!((found - expected).abs() < 1e-4, "{found} {expected}");
        }
    }

    #[test]
    fn a_window_without_scaling_copies_pixels() {
        let image = RgbImage::from_fn(20, 10, |x, y| Rgb([x as u8, y as u8, 7]));
        let geometry =
            ViewGeometry { output: ImageSize::new(4, 5), ..geometry([10, 20], [10, 20], [6, 3], false) };
        let view = geometry.apply(&image);
        assert_eq!(view.pixel(0, 0), [6.0 / 255.0, 3.0 / 255.0, 7.0 / 255.0]);
        assert_eq!(view.pixel(3, 4), [10.0 / 255.0, 6.0 / 255.0, 7.0 / 255.0]);
    }

    #[test]
    fn flipping_twice_is_the_identity() {
        let flip = geometry([50, 60], [50, 60], [0, 0], true);
        let image = with_box(flip.source, [3, 5, 20, 31]);
        let once = flip.apply(&image);
        let bytes = |i: &FloatImage| {
            RgbImage::from_fn(60, 50, |x, y| {
                Rgb(i.pixel(y as usize, x as usize).map(|v| (v * 255.0).round() as u8))
            })
        };
        assert_ne!(bytes(&once), image);
        assert_eq!(bytes(&flip.apply(&bytes(&once))), image);
        let corners = [3.0, 5.0, 20.0, 31.0];
        assert_eq!(flip.map_box(corners), [40.0, 5.0, 57.0, 31.0]);
        assert_eq!(flip.map_box(flip.map_box(corners)), corners);
    }

    #[test]
    fn unmapping_undoes_mapping() {
        for flip in [false, true] {
            let geometry = geometry([300, 211], [133, 94], [12, 40], flip);
            let corners = [20.0, 100.0, 180.5, 250.25];
            for (found, expected) in geometry.unmap_box(geometry.map_box(corners)).into_iter().zip(corners) {
                // A few roundings of numbers below 512.
                assert!((found - expected).abs() < 2e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn boxes_are_clipped_or_dropped() {
        // Output 64×64 of an unscaled image, from (10, 20).
        let geometry = geometry([100, 100], [100, 100], [10, 20], false);
        let targets = Targets {
            boxes: vec![
                [20.0, 30.0, 30.0, 50.0], // inside
                [0.0, 20.0, 20.0, 40.0],  // half of it is left
                [0.0, 20.0, 10.5, 40.0],  // half a pixel is left
                [80.0, 90.0, 95.0, 99.0], // outside
            ],
            labels: vec![0, 1, 2, 3],
            crowds: vec![[0.0, 0.0, 100.0, 100.0], [80.0, 90.0, 95.0, 99.0]],
        };
        let seen = geometry.map_targets(&targets, 1.0, 0.25);
        assert_eq!(seen.boxes, [[10.0, 10.0, 20.0, 30.0], [0.0, 0.0, 10.0, 20.0]]);
        assert_eq!(seen.labels, [0, 1]);
        assert_eq!(seen.crowds, [[0.0, 0.0, 64.0, 64.0]]);
        assert_eq!(geometry.map_targets(&targets, 1.0, 0.6).labels, [0]);
        assert_eq!(geometry.map_targets(&targets, 0.0, 0.0).labels, [0, 1, 2]);
    }

    #[test]
    fn fitting_keeps_the_long_side_within_the_output() {
        for (h, w) in [(480, 640), (640, 480), (37, 5), (1, 4000), (64, 64)] {
            let geometry = ViewGeometry::scaled_to_fit(ImageSize::new(h, w), 64, 1.0);
            assert_eq!(geometry.resized.height.max(geometry.resized.width), 64);
            assert_eq!(geometry.view_size(), geometry.resized);
        }
        let half = ViewGeometry::scaled_to_fit(ImageSize::new(100, 200), 64, 0.5);
        assert_eq!(half.view_size(), ImageSize::new(16, 32));
    }

    #[test]
    fn views_of_extreme_shapes_and_scales_are_cut() {
        for (h, w) in [(1, 1), (1, 4000), (4000, 1), (37, 5), (3, 1999)] {
            for factor in [0.01, 0.6, 1.0, 3.7, 100.0] {
                let mut geometry = ViewGeometry::scaled_to_fit(ImageSize::new(h, w), 64, factor);
                let last = geometry.resized;
                for offset in [[0, 0], [last.width - 1, last.height - 1]] {
                    geometry.offset = offset;
                    let view = geometry.apply(&RgbImage::from_pixel(w as u32, h as u32, Rgb([9; 3])));
                    assert_eq!(view.size(), geometry.view_size());
                    assert!(view.data().iter().all(|&v| v == 9.0 / 255.0), "{geometry:?}");
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "an image of 10×20")]
    fn an_image_of_another_size_panics() {
        geometry([20, 20], [20, 20], [0, 0], false).apply(&RgbImage::new(20, 10));
    }
}
