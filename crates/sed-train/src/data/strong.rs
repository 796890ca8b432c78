//! Strong augmentation: colours, blur, erased rectangles.

use sed_core::ImageSize;
use serde::{Deserialize, Serialize};

use super::image_ops::{self, PixelRect};
use super::invalid_config::{require, require_probability, require_range};
use super::{FloatImage, HostRng, InvalidConfig};

/// Colour jitter, grey, blur and erased rectangles, in this order.
///
/// The four jitters are drawn together and applied in random order. A strength `s` of brightness,
/// contrast or saturation draws a factor from `[max(0, 1 − s), 1 + s]`.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{FloatImage, HostRng, Purpose, StrongConfig};
///
/// let only_grey = StrongConfig {
///     jitter_probability: 0.0,
///     grey_probability: 1.0,
///     blur_probability: 0.0,
///     erase: vec![],
///     ..StrongConfig::default()
/// };
/// only_grey.validate()?;
/// let mut image = FloatImage::new(ImageSize::new(1, 1), vec![1.0, 0.0, 0.0]);
/// only_grey.apply(&mut image, &mut HostRng::new(0, Purpose::UnlabeledView, 0, 0));
/// assert_eq!(image.pixel(0, 0), [0.299; 3]);
/// # Ok::<(), sed_train::data::InvalidConfig>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StrongConfig {
    /// Probability of colour jitter.
    pub jitter_probability: f64,
    /// Strength of the brightness jitter.
    pub brightness: f32,
    /// Strength of the contrast jitter.
    pub contrast: f32,
    /// Strength of the saturation jitter.
    pub saturation: f32,
    /// Largest turn of the hue, as a share of the colour circle, to either side; at most 0.5.
    pub hue: f32,
    /// Probability that all colour is taken away.
    pub grey_probability: f64,
    /// Probability of a Gaussian blur.
    pub blur_probability: f64,
    /// Range of the blur's standard deviation, in pixels of the view.
    pub blur_sigma: [f32; 2],
    /// The rectangles that may be erased, each on its own.
    pub erase: Vec<EraseConfig>,
}

/// A rectangle of noise that hides a part of the image.
///
/// ```
/// use sed_train::data::{EraseConfig, StrongConfig};
///
/// // In every second image up to a tenth is hidden, by a square.
/// let square = EraseConfig { probability: 0.5, area: [0.02, 0.1], aspect: [1.0, 1.0] };
/// let config = StrongConfig { erase: vec![square.clone()], ..StrongConfig::default() };
/// assert!(config.validate().is_ok());
///
/// let too_large = EraseConfig { area: [0.02, 1.1], ..square };
/// let error = StrongConfig { erase: vec![too_large], ..config }.validate().unwrap_err();
/// assert_eq!(error.field, "augment.strong.erase.area");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EraseConfig {
    /// Probability of the rectangle.
    pub probability: f64,
    /// Range of its area, as a share of the image's.
    pub area: [f32; 2],
    /// Range of its height over its width; log-uniform.
    pub aspect: [f32; 2],
}

impl Default for StrongConfig {
    fn default() -> Self {
        Self {
            jitter_probability: 0.8,
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
            hue: 0.1,
            grey_probability: 0.2,
            blur_probability: 0.5,
            blur_sigma: [0.1, 2.0],
            erase: vec![
                EraseConfig { probability: 0.7, area: [0.05, 0.2], aspect: [0.3, 3.3] },
                EraseConfig { probability: 0.5, area: [0.02, 0.2], aspect: [0.1, 6.0] },
                EraseConfig { probability: 0.3, area: [0.02, 0.2], aspect: [0.05, 8.0] },
            ],
        }
    }
}

impl StrongConfig {
    /// For networks trained from nothing on images of one to three hundred pixels: the same colours, a
    /// blur in proportion to such images, and nothing erased.
    ///
    /// The defaults are published for images of about 800 pixels and pre-trained networks. On small
    /// images their blur and their rectangles hide whole objects, which both the labels and the teacher
    /// then ask for all the same. (Our design.)
    ///
    /// ```
    /// use sed_train::data::{AugmentConfig, StrongConfig};
    ///
    /// let config =
    ///     AugmentConfig { image_size: 128, strong: StrongConfig::small_images(), ..AugmentConfig::default() };
    /// assert!(config.validate().is_ok());
    /// assert!(config.strong.erase.is_empty());
    /// assert_eq!(config.strong.hue, StrongConfig::default().hue);
    /// ```
    pub fn small_images() -> Self {
        Self { blur_sigma: [0.1, 0.7], erase: Vec::new(), ..Self::default() }
    }

    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require_probability("augment.strong.jitter_probability", self.jitter_probability)?;
        require_probability("augment.strong.grey_probability", self.grey_probability)?;
        require_probability("augment.strong.blur_probability", self.blur_probability)?;
        for (field, strength) in [
            ("augment.strong.brightness", self.brightness),
            ("augment.strong.contrast", self.contrast),
            ("augment.strong.saturation", self.saturation),
        ] {
            require(strength >= 0.0 && strength.is_finite(), field, strength, "must be 0 or above")?;
        }
        require((0.0..=0.5).contains(&self.hue), "augment.strong.hue", self.hue, "must be within 0 and 0.5")?;
        let [low, high] = self.blur_sigma;
        require(
            low > 0.0 && high >= low && high.is_finite(),
            "augment.strong.blur_sigma",
            self.blur_sigma,
            "must be a range of positive numbers, low to high",
        )?;
        for erase in &self.erase {
            require_probability("augment.strong.erase.probability", erase.probability)?;
            let rule = "must be a range of positive numbers, low to high";
            require_range("augment.strong.erase.aspect", erase.aspect, 1e-3, rule)?;
            require_range("augment.strong.erase.area", erase.area, 0.0, rule)?;
            require(
                erase.area[1] <= 1.0,
                "augment.strong.erase.area",
                erase.area,
                "must not exceed the image's area, 1",
            )?;
        }
        Ok(())
    }

    /// Changes an image at random; every object stays where it is.
    pub fn apply(&self, image: &mut FloatImage, rng: &mut HostRng) {
        if rng.chance(self.jitter_probability) {
            self.jitter(image, rng);
        }
        if rng.chance(self.grey_probability) {
            image_ops::grey(image);
        }
        if rng.chance(self.blur_probability) {
            image_ops::gaussian_blur(image, rng.uniform(self.blur_sigma));
        }
        for erase in &self.erase {
            if rng.chance(erase.probability)
                && let Some(rect) = erase.sample(image.size(), rng)
            {
                image_ops::erase(image, rect, rng);
            }
        }
    }

    fn jitter(&self, image: &mut FloatImage, rng: &mut HostRng) {
        let mut order = [0, 1, 2, 3];
        rng.shuffle(&mut order);
        for op in order {
            let mut factor = |strength: f32| rng.uniform([(1.0 - strength).max(0.0), 1.0 + strength]);
            // A strength of 0 skips the work: a factor of 1 changes nothing.
            match op {
                0 if self.brightness > 0.0 => image_ops::brightness(image, factor(self.brightness)),
                1 if self.contrast > 0.0 => image_ops::contrast(image, factor(self.contrast)),
                2 if self.saturation > 0.0 => image_ops::saturation(image, factor(self.saturation)),
                3 if self.hue > 0.0 => image_ops::hue(image, rng.uniform([-self.hue, self.hue])),
                _ => {}
            }
        }
    }
}

impl EraseConfig {
    /// Draws a rectangle within an image; none if ten tries do not fit, as with an extreme aspect
    /// ratio in a narrow image.
    fn sample(&self, size: ImageSize, rng: &mut HostRng) -> Option<PixelRect> {
        (0..10).find_map(|_| {
            let area = rng.uniform(self.area) * (size.height * size.width) as f32;
            let aspect = rng.log_uniform(self.aspect);
            let height = (area * aspect).sqrt().round() as usize;
            let width = (area / aspect).sqrt().round() as usize;
            let fits = (1..=size.height).contains(&height) && (1..=size.width).contains(&width);
            fits.then(|| PixelRect {
                top: rng.between([0, size.height - height]),
                left: rng.between([0, size.width - width]),
                height,
                width,
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    fn rng(index: u64) -> HostRng {
        HostRng::new(5, Purpose::UnlabeledView, index, 0)
    }

    fn random_image() -> FloatImage {
        let mut rng = rng(99);
        let size = ImageSize::new(24, 32);
        FloatImage::new(size, (0..3 * 24 * 32).map(|_| 0.2 + 0.5 * rng.unit()).collect())
    }

    /// Nothing happens with this one.
    fn off() -> StrongConfig {
        StrongConfig {
            jitter_probability: 0.0,
            grey_probability: 0.0,
            blur_probability: 0.0,
            erase: Vec::new(),
            ..StrongConfig::default()
        }
    }

    fn changes(config: &StrongConfig) -> bool {
        let image = random_image();
        (0..20).any(|index| {
            let mut changed = image.clone();
            config.apply(&mut changed, &mut rng(index));
            assert!(changed.data().iter().all(|x| (0.0..=1.0).contains(x)));
            changed != image
        })
    }

    #[test]
    fn each_strong_operation_acts_and_probability_zero_turns_it_off() {
        assert!(!changes(&off()));
        assert!(changes(&StrongConfig { grey_probability: 1.0, ..off() }));
        assert!(changes(&StrongConfig { blur_probability: 1.0, ..off() }));
        let erase = |probability| StrongConfig {
            erase: vec![EraseConfig { probability, ..StrongConfig::default().erase[0].clone() }],
            ..off()
        };
        assert!(changes(&erase(1.0)));
        assert!(!changes(&erase(0.0)));
        let still = StrongConfig { brightness: 0.0, contrast: 0.0, saturation: 0.0, hue: 0.0, ..off() };
        let jitter = StrongConfig { jitter_probability: 1.0, ..still };
        assert!(!changes(&jitter));
        assert!(changes(&StrongConfig { brightness: 0.4, ..jitter.clone() }));
        assert!(changes(&StrongConfig { contrast: 0.4, ..jitter.clone() }));
        assert!(changes(&StrongConfig { saturation: 0.4, ..jitter.clone() }));
        assert!(changes(&StrongConfig { hue: 0.1, ..jitter.clone() }));
        assert!(!changes(&StrongConfig { jitter_probability: 0.0, hue: 0.1, ..jitter }));
    }

    #[test]
    fn small_images_are_blurred_less_and_keep_every_object() {
        StrongConfig::small_images().validate().unwrap();
        // What is left of a white dot on black, and the brightest pixel elsewhere, over many draws.
        let (side, middle) = (21, 10 * 21 + 10);
        let extremes = |config: StrongConfig| {
            let config = StrongConfig { jitter_probability: 0.0, grey_probability: 0.0, ..config };
            let draw = |seed| {
                let dot = (0..3 * side * side).map(|i| if i % (side * side) == middle { 1.0 } else { 0.0 });
                let mut image = FloatImage::new(ImageSize::new(side, side), dot.collect());
                config.apply(&mut image, &mut rng(seed));
                let plane = image.planes()[0];
                (plane[middle], plane[0])
            };
            (0..200).map(draw).fold((1.0_f32, 0.0_f32), |(dot, corner), (d, c)| (dot.min(d), corner.max(c)))
        };
        // A Gaussian of σ leaves about 1 / (2πσ²) of a dot: a third at 0.7, a 25th at 2. No blur
        // reaches the corner, an erased rectangle may.
        let (dot, corner) = extremes(StrongConfig::small_images());
        assert!(dot > 0.25 && corner < 1e-3, "{dot} {corner}");
        let (dot, corner) = extremes(StrongConfig::default());
        assert!(dot < 0.1 && corner > 0.5, "{dot} {corner}");
    }

    #[test]
    fn the_blur_uses_its_range() {
        let blur = |sigma: f32| {
            let config = StrongConfig { blur_probability: 1.0, blur_sigma: [sigma, sigma], ..off() };
            let mut image = random_image();
            config.apply(&mut image, &mut rng(0));
            image
        };
        let mut expected = random_image();
        image_ops::gaussian_blur(&mut expected, 1.5);
        assert_eq!(blur(1.5), expected);
        assert_ne!(blur(0.5), expected);
    }

    #[test]
    fn erased_rectangles_keep_area_and_aspect() {
        let size = ImageSize::new(200, 300);
        let erase = EraseConfig { probability: 1.0, area: [0.05, 0.2], aspect: [0.3, 3.3] };
        for index in 0..200 {
            let rect = erase.sample(size, &mut rng(index)).unwrap();
            assert!(rect.top + rect.height <= 200 && rect.left + rect.width <= 300);
            let area = (rect.height * rect.width) as f32 / 60_000.0;
            let aspect = rect.height as f32 / rect.width as f32;
            // Sides of at least 30 pixels are rounded by half a pixel.
            assert!((0.05 * 0.96..0.2 * 1.04).contains(&area), "{area}");
            assert!((0.3 * 0.96..3.3 * 1.04).contains(&aspect), "{aspect}");
        }
        let too_long = EraseConfig { probability: 1.0, area: [0.5, 0.5], aspect: [100.0, 100.0] };
        assert_eq!(too_long.sample(size, &mut rng(0)), None);
    }
}
