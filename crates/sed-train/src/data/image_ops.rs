//! Changes of an image that leave every object where it is: colours, blur, erased rectangles.
//!
//! All work in place on pixels in `[0, 1]` and keep them there. The colour operations follow the
//! definitions of torchvision's `ColorJitter`.

use super::{FloatImage, HostRng};

/// Luma of ITU-R BT.601, the grey value of a colour.
fn luma(r: f32, g: f32, b: f32) -> f32 {
    0.299 * r + 0.587 * g + 0.114 * b
}

/// Multiplies every pixel: `x ← clamp(f·x)`.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// let mut pixel = FloatImage::new(ImageSize::new(1, 1), vec![0.2, 0.4, 0.8]);
/// image_ops::brightness(&mut pixel, 2.0);
/// assert_eq!(pixel.data(), [0.4, 0.8, 1.0]);
/// ```
pub fn brightness(image: &mut FloatImage, factor: f32) {
    for plane in image.planes_mut() {
        plane.iter_mut().for_each(|x| *x = (*x * factor).clamp(0.0, 1.0));
    }
}

/// Moves every pixel away from the mean grey value `m` of the image: `x ← clamp(m + f·(x − m))`.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// // Two grey pixels about a mean of 0.5.
/// let mut image = FloatImage::new(ImageSize::new(1, 2), [0.25, 0.75].repeat(3));
/// image_ops::contrast(&mut image, 0.5);
/// assert!((image.pixel(0, 0)[0] - 0.375).abs() < 1e-6);
/// assert!((image.pixel(0, 1)[0] - 0.625).abs() < 1e-6);
/// ```
pub fn contrast(image: &mut FloatImage, factor: f32) {
    let [r, g, b] = image.planes().map(|plane| {
        // Sums of rows of a plane in f32 lose little; the outer sum is in f64.
        let sum: f64 = plane.chunks(256).map(|part| f64::from(part.iter().sum::<f32>())).sum();
        (sum / plane.len() as f64) as f32
    });
    let mean = luma(r, g, b);
    for plane in image.planes_mut() {
        plane.iter_mut().for_each(|x| *x = (mean + (*x - mean) * factor).clamp(0.0, 1.0));
    }
}

/// Moves every pixel away from its own grey value `y`: `x ← clamp(y + f·(x − y))`; 0 gives grey.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// let mut red = FloatImage::new(ImageSize::new(1, 1), vec![1.0, 0.0, 0.0]);
/// image_ops::saturation(&mut red, 0.5);
/// let [r, g, b] = red.pixel(0, 0); // half way to a grey of 0.299
/// assert!((r - 0.6495).abs() < 1e-6 && g == b && (g - 0.1495).abs() < 1e-6);
/// ```
pub fn saturation(image: &mut FloatImage, factor: f32) {
    let [red, green, blue] = image.planes_mut();
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let grey = luma(*r, *g, *b);
        let moved = |x: f32| (grey + (x - grey) * factor).clamp(0.0, 1.0);
        (*r, *g, *b) = (moved(*r), moved(*g), moved(*b));
    }
}

/// Gives each pixel its grey value in all channels.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// let mut red = FloatImage::new(ImageSize::new(1, 1), vec![1.0, 0.0, 0.0]);
/// image_ops::grey(&mut red);
/// assert_eq!(red.pixel(0, 0), [0.299; 3]);
/// ```
pub fn grey(image: &mut FloatImage) {
    saturation(image, 0.0);
}

/// Turns the hue of every pixel by `turns` of the colour circle, at constant value and saturation
/// in HSV; a whole turn is the identity, a third takes red to green.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// let mut pixel = FloatImage::new(ImageSize::new(1, 1), vec![0.9, 0.1, 0.1]);
/// image_ops::hue(&mut pixel, 1.0 / 3.0); // red to green
/// let [r, g, b] = pixel.pixel(0, 0);
/// assert!((g - 0.9).abs() < 1e-5 && r.max(b) < 0.1 + 1e-5);
/// ```
pub fn hue(image: &mut FloatImage, turns: f32) {
    let sixths = 6.0 * (turns - turns.floor());
    let [red, green, blue] = image.planes_mut();
    for ((r, g), b) in red.iter_mut().zip(green).zip(blue) {
        let value = r.max(*g).max(*b);
        let chroma = value - r.min(*g).min(*b);
        // The hue of grey is arbitrary: any finite number will do.
        let inverse = 1.0 / chroma.max(1e-12);
        let hue = if value == *r {
            (*g - *b) * inverse
        } else if value == *g {
            2.0 + (*b - *r) * inverse
        } else {
            4.0 + (*r - *g) * inverse
        };
        // hue is in [−1, 5], the sum with 1..=5 and `sixths` in [0, 16).
        let channel = |n: f32| {
            let k = hue + sixths + n;
            let k = if k >= 12.0 {
                k - 12.0
            } else if k >= 6.0 {
                k - 6.0
            } else {
                k
            };
            value - chroma * k.min(4.0 - k).clamp(0.0, 1.0)
        };
        (*r, *g, *b) = (channel(5.0), channel(3.0), channel(1.0));
    }
}

/// Convolves each plane with a Gaussian of standard deviation `sigma` pixels, cut at 3σ; beyond the
/// border the outermost pixel repeats.
///
/// # Panics
///
/// If `sigma` is not positive and finite.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, image_ops};
///
/// // A white column between black ones.
/// let mut image = FloatImage::new(ImageSize::new(1, 3), [0.0, 1.0, 0.0].repeat(3));
/// image_ops::gaussian_blur(&mut image, 0.5);
/// let red = image.planes()[0];
/// assert!(red[1] < 1.0 && red[0] > 0.0);
/// assert!((red[0] - red[2]).abs() < 1e-6);
/// ```
pub fn gaussian_blur(image: &mut FloatImage, sigma: f32) {
    assert!(sigma > 0.0 && sigma.is_finite(), "gaussian_blur: sigma is {sigma}");
    let radius = (3.0 * sigma).ceil() as usize;
    let weights: Vec<f32> = (0..=radius).map(|i| (-0.5 * (i as f32 / sigma).powi(2)).exp()).collect();
    // The center counts once, all other weights twice.
    let total = weights[0] + 2.0 * weights[1..].iter().sum::<f32>();
    let weights: Vec<f32> = weights.iter().map(|w| w / total).collect();
    let (height, width) = (image.size().height, image.size().width);
    let mut across = vec![0.0; height * width];
    let mut padded = vec![0.0; width + 2 * radius];
    for plane in image.planes_mut() {
        for (row, out) in plane.chunks_exact(width).zip(across.chunks_exact_mut(width)) {
            padded[..radius].fill(row[0]);
            padded[radius..radius + width].copy_from_slice(row);
            padded[radius + width..].fill(row[width - 1]);
            weigh(out, weights[0], row);
            for (i, &weight) in weights.iter().enumerate().skip(1) {
                add_pair(out, weight, &padded[radius - i..][..width], &padded[radius + i..][..width]);
            }
        }
        let row = |y: usize| &across[y * width..][..width];
        for (y, out) in plane.chunks_exact_mut(width).enumerate() {
            weigh(out, weights[0], row(y));
            for (i, &weight) in weights.iter().enumerate().skip(1) {
                add_pair(out, weight, row(y.saturating_sub(i)), row((y + i).min(height - 1)));
            }
        }
    }
}

// The two loops of the blur run along a row without branches, so that the compiler vectorises them.

fn weigh(out: &mut [f32], weight: f32, row: &[f32]) {
    out.iter_mut().zip(row).for_each(|(out, x)| *out = weight * x);
}

fn add_pair(out: &mut [f32], weight: f32, a: &[f32], b: &[f32]) {
    out.iter_mut().zip(a.iter().zip(b)).for_each(|(out, (a, b))| *out += weight * (a + b));
}

/// A rectangle of whole pixels.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, HostRng, Purpose, image_ops::{PixelRect, erase}};
///
/// let mut image = FloatImage::new(ImageSize::new(2, 3), vec![1.0; 18]);
/// let right_column = PixelRect { top: 0, left: 2, height: 2, width: 1 };
/// erase(&mut image, right_column, &mut HostRng::new(0, Purpose::UnlabeledView, 0, 0));
/// let changed = |y, x| image.pixel(y, x) != [1.0; 3];
/// assert_eq!([changed(0, 1), changed(0, 2), changed(1, 2)], [false, true, true]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelRect {
    /// First row.
    pub top: usize,
    /// First column.
    pub left: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Replaces a rectangle by noise, uniform in `[0, 1)` in each pixel and channel.
///
/// # Panics
///
/// If the rectangle exceeds the image.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, HostRng, Purpose, image_ops::{PixelRect, erase}};
///
/// let white = FloatImage::new(ImageSize::new(2, 2), vec![1.0; 12]);
/// let pixel = PixelRect { top: 0, left: 0, height: 1, width: 1 };
/// let erased = |seed| {
///     let mut image = white.clone();
///     erase(&mut image, pixel, &mut HostRng::new(seed, Purpose::UnlabeledView, 0, 0));
///     image
/// };
/// assert_eq!(erased(1), erased(1)); // the noise is a function of the stream
/// assert_ne!(erased(1), erased(2));
/// ```
pub fn erase(image: &mut FloatImage, rect: PixelRect, rng: &mut HostRng) {
    let size = image.size();
    assert!(
        rect.top + rect.height <= size.height && rect.left + rect.width <= size.width,
        "erase: {rect:?} in an image of {}×{}",
        size.height,
        size.width
    );
    for plane in image.planes_mut() {
        for row in plane.chunks_exact_mut(size.width).skip(rect.top).take(rect.height) {
            row[rect.left..rect.left + rect.width].iter_mut().for_each(|x| *x = rng.unit());
        }
    }
}

#[cfg(test)]
mod tests {
    use sed_core::ImageSize;

    use super::*;
    use crate::data::Purpose;

    /// Rounding of a few operations on numbers up to 1 (up to 6 for hues).
    const TOLERANCE: f32 = 2e-6;

    fn random_image(height: usize, width: usize) -> FloatImage {
        let mut rng = HostRng::new(1, Purpose::LabeledView, 0, 0);
        FloatImage::new(ImageSize::new(height, width), (0..3 * height * width).map(|_| rng.unit()).collect())
    }

    fn one_pixel(color: [f32; 3]) -> FloatImage {
        FloatImage::new(ImageSize::new(1, 1), color.to_vec())
    }

    fn difference(a: &FloatImage, b: &FloatImage) -> f32 {
        a.data().iter().zip(b.data()).fold(0.0, |m, (a, b)| m.max((a - b).abs()))
    }

    fn after(image: &FloatImage, change: impl Fn(&mut FloatImage)) -> FloatImage {
        let mut changed = image.clone();
        change(&mut changed);
        changed
    }

    #[test]
    fn a_factor_of_one_and_a_whole_turn_change_nothing() {
        let image = random_image(9, 7);
        for change in [
            (|x| brightness(x, 1.0)) as fn(&mut FloatImage),
            |x| contrast(x, 1.0),
            |x| saturation(x, 1.0),
            |x| hue(x, 0.0),
            |x| hue(x, 1.0),
            |x| hue(x, -2.0),
        ] {
            assert!(difference(&image, &after(&image, change)) < TOLERANCE);
        }
    }

    #[test]
    fn colours_by_hand() {
        let image = one_pixel([0.2, 0.4, 0.8]);
        assert_eq!(after(&image, |x| brightness(x, 2.0)).data(), [0.4, 0.8, 1.0]);
        // 0.299·0.2 + 0.587·0.4 + 0.114·0.8 = 0.3858, which is also the mean of this single pixel.
        for change in [(|x| saturation(x, 0.5)) as fn(&mut FloatImage), |x| contrast(x, 0.5)] {
            let expected = one_pixel([0.2929, 0.3929, 0.5929]);
            assert!(difference(&after(&image, change), &expected) < TOLERANCE);
        }
        assert!(difference(&after(&image, grey), &one_pixel([0.3858; 3])) < TOLERANCE);
    }

    #[test]
    fn contrast_zero_is_the_mean_and_keeps_it() {
        let image = random_image(20, 30);
        let [r, g, b] = image.planes().map(|p| p.iter().sum::<f32>() / p.len() as f32);
        let flat = after(&image, |x| contrast(x, 0.0));
        // Two ways to sum 600 numbers.
        assert!((flat.data()[0] - luma(r, g, b)).abs() < 1e-5);
        assert!(flat.data().iter().all(|&x| x == flat.data()[0]));
    }

    #[test]
    fn hue_turns_red_to_green_to_blue_and_back() {
        let red = one_pixel([0.9, 0.1, 0.1]);
        let green = after(&red, |x| hue(x, 1.0 / 3.0));
        assert!(difference(&green, &one_pixel([0.1, 0.9, 0.1])) < TOLERANCE);
        let blue = after(&red, |x| hue(x, -1.0 / 3.0));
        assert!(difference(&blue, &one_pixel([0.1, 0.1, 0.9])) < TOLERANCE);
        let yellow = after(&red, |x| hue(x, 1.0 / 6.0));
        assert!(difference(&yellow, &one_pixel([0.9, 0.9, 0.1])) < TOLERANCE);
    }

    #[test]
    fn hue_turns_back_and_keeps_greys_values_and_saturations() {
        let image = random_image(16, 16);
        for turns in [0.05, 0.3, 0.77] {
            let turned = after(&image, |x| hue(x, turns));
            assert!(difference(&image, &turned) > 0.05);
            assert!(difference(&image, &after(&turned, |x| hue(x, -turns))) < 1e-5);
            let extremes = |i: &FloatImage, y, x| {
                let p = i.pixel(y, x);
                (p.into_iter().fold(0.0, f32::max), p.into_iter().fold(1.0, f32::min))
            };
            for i in 0..16 {
                let (a, b) = (extremes(&image, i, i), extremes(&turned, i, i));
                assert!((a.0 - b.0).abs() < TOLERANCE && (a.1 - b.1).abs() < TOLERANCE);
            }
        }
        let plain = one_pixel([0.5; 3]);
        assert_eq!(after(&plain, |x| hue(x, 0.4)), plain);
    }

    #[test]
    fn blur_keeps_flat_images_and_sums_far_from_the_border() {
        let flat = FloatImage::new(ImageSize::new(8, 5), vec![0.5; 120]);
        // Weights sum to 1 up to rounding, twice.
        assert!(difference(&flat, &after(&flat, |x| gaussian_blur(x, 1.5))) < TOLERANCE);
        let mut point = vec![0.0; 3 * 31 * 33];
        point[15 * 33 + 16] = 1.0;
        let point = FloatImage::new(ImageSize::new(31, 33), point);
        let blurred = after(&point, |x| gaussian_blur(x, 2.0));
        assert!((blurred.data().iter().sum::<f32>() - 1.0).abs() < 1e-5);
        // exp(−d²/2σ²) at distance 1 and, as a product of both axes, at (1, 2).
        let at = |y: usize, x: usize| blurred.pixel(15 + y, 16 + x)[0];
        assert!((at(0, 1) / at(0, 0) - (-1.0_f32 / 8.0).exp()).abs() < 1e-5);
        assert!((at(1, 2) / at(0, 0) - (-5.0_f32 / 8.0).exp()).abs() < 1e-5);
        assert_eq!(blurred.pixel(15, 16)[1], 0.0);
    }

    #[test]
    fn a_blur_wider_than_the_image_is_fine_and_a_tiny_one_is_the_identity() {
        let image = random_image(3, 2);
        assert!(after(&image, |x| gaussian_blur(x, 5.0)).data().iter().all(|x| (0.0..=1.0).contains(x)));
        // exp(−50) of the neighbours.
        assert!(difference(&image, &after(&image, |x| gaussian_blur(x, 0.1))) < 1e-6);
    }

    #[test]
    fn erase_changes_the_rectangle_and_nothing_else() {
        let image = FloatImage::new(ImageSize::new(8, 9), vec![2.0; 3 * 72]);
        let rect = PixelRect { top: 2, left: 3, height: 4, width: 6 };
        let erased = after(&image, |x| erase(x, rect, &mut HostRng::new(0, Purpose::LabeledView, 0, 0)));
        for y in 0..8 {
            for x in 0..9 {
                let inside = (2..6).contains(&y) && (3..9).contains(&x);
                // Noise is below 1, the image is 2 all over.
                assert_eq!(erased.pixel(y, x).map(|v| v < 1.0), [inside; 3]);
            }
        }
    }
}
