use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::data::InvalidConfig;
use crate::data::invalid_config::{require, require_probability, require_range};

/// How the generated scenes look. Every number that makes them easy or hard is a field.
///
/// Sizes are in pixels, colours in `[0, 1]`.
///
/// ```
/// use sed_train::data::scenes::SceneConfig;
///
/// let config = SceneConfig { image_size: 128, objects: [2, 6], ..SceneConfig::default() };
/// assert!(config.validate().is_ok());
/// // A folder by this name holds these scenes and no others.
/// assert_ne!(config.fingerprint(), SceneConfig { seed: 1, ..config.clone() }.fingerprint());
///
/// let error = SceneConfig { objects: [0, 6], ..config }.validate().unwrap_err();
/// assert_eq!(error.field, "objects");
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SceneConfig {
    /// Seed of everything random.
    pub seed: u64,
    /// Side of the square images.
    pub image_size: usize,
    /// Images of the training split.
    pub train_images: usize,
    /// Images of the validation split.
    pub val_images: usize,
    /// Least and most objects that are tried in an image.
    pub objects: [usize; 2],
    /// Range of the longer side of an object's box before the image cuts it; log-uniform.
    pub object_size: [f32; 2],
    /// Range of an object's stretch, width over height before it is turned; log-uniform.
    pub aspect: [f32; 2],
    /// The least area of an object's box within the image, as a share of the whole box.
    pub min_inside: f32,
    /// The largest share of an object's part in the image that figures before it may hide; an
    /// object hidden more is placed anew, and given up after a few tries.
    pub max_occlusion: f32,
    /// The probability that a place is tried at the rim of an earlier object, so that they overlap.
    pub overlap_probability: f64,
    /// Least and most unlabeled figures (bars, arcs, blobs) in an image.
    pub clutter: [usize; 2],
    /// Range of the longer side of unlabeled figures; log-uniform.
    pub clutter_size: [f32; 2],
    /// How far the hue of an object may lie from that of its class, to either side, as a share of the
    /// colour circle. The classes' hues lie a sixth apart; at 0.5 the colour says nothing.
    pub hue_spread: f32,
    /// Range of the saturation of the background, as a share of that of a random colour.
    pub background_saturation: [f32; 2],
    /// Range of the largest channel difference between a figure's and the background's mean colour.
    pub contrast: [f32; 2],
    /// Range of the amplitude of each layer of the background's texture.
    pub background_texture: [f32; 2],
    /// Range of the amplitude of a figure's texture.
    pub figure_texture: [f32; 2],
    /// Range of the standard deviation of the noise of an image, in each pixel and channel.
    pub noise: [f32; 2],
    /// Samples along each side of a pixel, for smooth edges.
    pub samples_per_pixel: usize,
}

impl Default for SceneConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            image_size: 64,
            train_images: 1600,
            val_images: 200,
            objects: [1, 4],
            object_size: [9.0, 58.0],
            aspect: [0.75, 1.33],
            min_inside: 0.7,
            max_occlusion: 0.6,
            overlap_probability: 0.1,
            clutter: [0, 1],
            clutter_size: [6.0, 30.0],
            hue_spread: 0.05,
            background_saturation: [0.0, 0.4],
            contrast: [0.3, 0.8],
            background_texture: [0.0, 0.06],
            figure_texture: [0.0, 0.08],
            noise: [0.0, 0.04],
            samples_per_pixel: 3,
        }
    }
}

impl SceneConfig {
    /// Checks every field.
    ///
    /// # Errors
    ///
    /// The first field that is out of range.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        require(
            (16..=4096).contains(&self.image_size),
            "image_size",
            self.image_size,
            "must be within 16 and 4096",
        )?;
        require(self.train_images > 0, "train_images", self.train_images, "must be positive")?;
        require(self.val_images > 0, "val_images", self.val_images, "must be positive")?;
        for (field, range) in [("objects", self.objects), ("clutter", self.clutter)] {
            require(
                range[0] <= range[1] && range[1] <= 1000,
                field,
                range,
                "must be a range, low to high, up to 1000",
            )?;
        }
        require(self.objects[0] > 0, "objects", self.objects, "must start at 1 or above")?;
        for (field, range) in
            [("object_size", self.object_size), ("aspect", self.aspect), ("clutter_size", self.clutter_size)]
        {
            require_range(field, range, 0.01, "must be a range of positive numbers, low to high")?;
        }
        require(
            (0.0..=0.5).contains(&self.hue_spread),
            "hue_spread",
            self.hue_spread,
            "must be within 0 and 0.5",
        )?;
        for (field, range) in [
            ("background_saturation", self.background_saturation),
            ("contrast", self.contrast),
            ("background_texture", self.background_texture),
            ("figure_texture", self.figure_texture),
            ("noise", self.noise),
        ] {
            require_range(field, range, 0.0, "must be a range of numbers from 0 up, low to high")?;
        }
        // A mid-grey background has no colour farther away than 0.5; the difference is then cut.
        require(self.contrast[1] <= 1.0, "contrast", self.contrast, "must not exceed 1")?;
        require_probability("min_inside", self.min_inside.into())?;
        require_probability("max_occlusion", self.max_occlusion.into())?;
        require_probability("overlap_probability", self.overlap_probability)?;
        require(
            (1..=8).contains(&self.samples_per_pixel),
            "samples_per_pixel",
            self.samples_per_pixel,
            "must be within 1 and 8",
        )
    }

    /// 16 hexadecimal digits that differ for different configurations and for different versions of
    /// the generator: a name for a folder that holds these scenes.
    pub fn fingerprint(&self) -> String {
        let document = serde_json::to_string(&SceneDocument::new(self)).expect("numbers become JSON");
        let digest = Sha256::digest(document);
        digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }
}

/// The configuration and the generator's version, as written beside the scenes.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct SceneDocument {
    generator_version: u32,
    config: SceneConfig,
}

impl SceneDocument {
    pub fn new(config: &SceneConfig) -> Self {
        Self { generator_version: GENERATOR_VERSION, config: config.clone() }
    }
}

/// Goes up when the same configuration gives other images than before.
const GENERATOR_VERSION: u32 = 1;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_survives_json() {
        let config = SceneConfig::default();
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<SceneConfig>(&text).unwrap(), config);
        assert!(serde_json::from_str::<SceneConfig>(r#"{"sed": 1}"#).is_err());
    }

    #[test]
    fn each_rule_names_its_field() {
        type Break = fn(&mut SceneConfig);
        let broken: [(&str, Break); 8] = [
            ("image_size", |c| c.image_size = 0),
            ("train_images", |c| c.train_images = 0),
            ("objects", |c| c.objects = [0, 3]),
            ("object_size", |c| c.object_size = [0.0, 3.0]),
            ("clutter", |c| c.clutter = [3, 2]),
            ("noise", |c| c.noise = [f32::NAN, 1.0]),
            ("max_occlusion", |c| c.max_occlusion = 1.5),
            ("samples_per_pixel", |c| c.samples_per_pixel = 0),
        ];
        for (field, change) in broken {
            let mut config = SceneConfig::default();
            change(&mut config);
            assert_eq!(config.validate().unwrap_err().field, field);
        }
    }

    #[test]
    fn the_fingerprint_follows_the_configuration() {
        let config = SceneConfig::default();
        assert_eq!(config.fingerprint(), config.clone().fingerprint());
        assert_eq!(config.fingerprint().len(), 16);
        assert_ne!(config.fingerprint(), SceneConfig { seed: 1, ..config }.fingerprint());
    }
}
