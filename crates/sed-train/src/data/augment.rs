//! How views are drawn: their geometry, and which of them are changed strongly.

use sed_core::ImageSize;
use serde::{Deserialize, Serialize};

use super::invalid_config::{require, require_probability, require_range};
use super::{HostRng, InvalidConfig, StrongConfig, ViewGeometry};

/// Weak augmentation (geometry) and strong augmentation (colours, blur, erased rectangles on top).
///
/// The strong part's defaults are those that Unbiased Teacher and Dense Teacher share; which
/// augmentations the paper on Scale-Equivalent Distillation uses is not known to us.
///
/// ```
/// use sed_train::data::AugmentConfig;
///
/// let config = AugmentConfig { image_size: 64, flip_probability: 0.0, ..AugmentConfig::default() };
/// assert!(config.validate().is_ok());
///
/// let error = AugmentConfig { image_size: 33, ..config }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "augment.image_size = 33: must be even and positive");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AugmentConfig {
    /// Side of the square views, in pixels. For training it must be a multiple of the detector's
    /// size divisor.
    pub image_size: usize,
    /// Range of the scale, relative to the one that fits an image's longer side to `image_size`;
    /// below 1 the view is padded, above 1 a random window is cut out.
    pub scale: [f32; 2],
    /// Probability of a horizontal flip.
    pub flip_probability: f64,
    /// Objects with a shorter side in the view are dropped, in pixels.
    pub min_box_side: f32,
    /// Objects of which a smaller share is left in the view are dropped.
    pub min_visible: f32,
    /// Probability that a labeled image gets strong augmentation.
    pub labeled_strong_probability: f64,
    /// The strong augmentation.
    pub strong: StrongConfig,
}

impl Default for AugmentConfig {
    fn default() -> Self {
        Self {
            image_size: 512,
            scale: [0.75, 1.25],
            flip_probability: 0.5,
            min_box_side: 1.0,
            min_visible: 0.25,
            labeled_strong_probability: 0.5,
            strong: StrongConfig::default(),
        }
    }
}

impl AugmentConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require(
            self.image_size > 0 && self.image_size.is_multiple_of(2),
            "augment.image_size",
            self.image_size,
            "must be even and positive",
        )?;
        require_range("augment.scale", self.scale, 0.01, "must be a range, low to high, from 0.01 up")?;
        require_probability("augment.flip_probability", self.flip_probability)?;
        require(
            self.min_box_side >= 0.0 && self.min_box_side.is_finite(),
            "augment.min_box_side",
            self.min_box_side,
            "must be 0 or above",
        )?;
        require_probability("augment.min_visible", self.min_visible.into())?;
        require_probability("augment.labeled_strong_probability", self.labeled_strong_probability)?;
        self.strong.validate()
    }

    /// Draws the geometry of a view.
    ///
    /// ```
    /// use sed_core::ImageSize;
    /// use sed_train::data::{AugmentConfig, HostRng, Purpose};
    ///
    /// let config = AugmentConfig { image_size: 64, scale: [0.5, 0.5], ..AugmentConfig::default() };
    /// let mut rng = HostRng::new(0, Purpose::LabeledView, 0, 0);
    /// let geometry = config.sample_geometry(ImageSize::new(300, 400), &mut rng);
    /// assert_eq!(geometry.view_size(), ImageSize::new(24, 32)); // half of what would fit
    /// assert_eq!(geometry.output, ImageSize::new(64, 64));
    /// ```
    pub fn sample_geometry(&self, source: ImageSize, rng: &mut HostRng) -> ViewGeometry {
        let factor = rng.uniform(self.scale);
        let mut geometry = ViewGeometry::scaled_to_fit(source, self.image_size, factor);
        let free = |scaled: usize, output: usize| scaled.saturating_sub(output);
        geometry.offset = [
            rng.between([0, free(geometry.resized.width, geometry.output.width)]),
            rng.between([0, free(geometry.resized.height, geometry.output.height)]),
        ];
        geometry.flip = rng.chance(self.flip_probability);
        geometry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    fn rng(index: u64) -> HostRng {
        HostRng::new(5, Purpose::UnlabeledView, index, 0)
    }

    #[test]
    fn geometries_use_scale_crop_and_flip() {
        let config = AugmentConfig { image_size: 64, scale: [0.5, 2.0], ..AugmentConfig::default() };
        let source = ImageSize::new(90, 120);
        let geometries: Vec<_> = (0..300).map(|i| config.sample_geometry(source, &mut rng(i))).collect();
        let flips = geometries.iter().filter(|g| g.flip).count();
        // 150 with a deviation of 9.
        assert!((110..190).contains(&flips), "{flips}");
        assert!(geometries.iter().any(|g| g.offset[0] > 20 && g.offset[1] > 10));
        for geometry in &geometries {
            let long = geometry.resized.width;
            assert!((32..=128).contains(&long));
            let view = geometry.view_size();
            assert_eq!(view, ImageSize::new(geometry.resized.height.min(64), long.min(64)));
        }
        let plain = AugmentConfig { scale: [1.0, 1.0], flip_probability: 0.0, ..config };
        let geometry = plain.sample_geometry(source, &mut rng(0));
        assert_eq!(geometry, ViewGeometry::scaled_to_fit(source, 64, 1.0));
    }

    #[test]
    fn rules_name_their_field() {
        AugmentConfig::default().validate().unwrap();
        type Break = fn(&mut AugmentConfig);
        let broken: [(&str, Break); 9] = [
            ("augment.image_size", |c| c.image_size = 33),
            ("augment.scale", |c| c.scale = [2.0, 1.0]),
            ("augment.scale", |c| c.scale = [f32::NAN, 1.0]),
            ("augment.flip_probability", |c| c.flip_probability = -0.1),
            ("augment.min_visible", |c| c.min_visible = 2.0),
            ("augment.strong.hue", |c| c.strong.hue = 0.6),
            ("augment.strong.blur_sigma", |c| c.strong.blur_sigma = [0.0, 1.0]),
            ("augment.strong.erase.area", |c| c.strong.erase[0].area = [0.1, 1.1]),
            ("augment.strong.brightness", |c| c.strong.brightness = f32::INFINITY),
        ];
        for (field, change) in broken {
            let mut config = AugmentConfig::default();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }
}
