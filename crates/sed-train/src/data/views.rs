//! What training sees of one image.

use image::RgbImage;
use sed_core::{ImageSize, Targets};

use super::{AugmentConfig, FloatImage, HostRng, ViewGeometry};

/// A labeled image as a training step sees it.
///
/// ```
/// use image::RgbImage;
/// use sed_core::Targets;
/// use sed_train::data::{AugmentConfig, HostRng, LabeledView, Purpose};
///
/// let image = RgbImage::new(40, 30);
/// let targets = Targets { boxes: vec![[10.0, 10.0, 20.0, 20.0]], labels: vec![0], crowds: vec![] };
/// let config = AugmentConfig { image_size: 64, scale: [1.0, 1.0], ..AugmentConfig::default() };
/// let mut rng = HostRng::new(0, Purpose::LabeledView, 0, 0);
/// let view = LabeledView::sample(&image, &targets, &config, &mut rng);
/// assert_eq!(view.image.size(), view.geometry.view_size());
/// assert_eq!(view.targets.boxes, [view.geometry.map_box(targets.boxes[0])]);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LabeledView {
    /// How it was cut from the image.
    pub geometry: ViewGeometry,
    /// The pixels.
    pub image: FloatImage,
    /// The objects, in pixels of the view.
    pub targets: Targets,
}

/// An unlabeled image as a training step sees it: two views in one geometry.
///
/// ```
/// use image::{Rgb, RgbImage};
/// use sed_train::data::{AugmentConfig, HostRng, Purpose, UnlabeledViews};
///
/// let image = RgbImage::from_pixel(40, 30, Rgb([200, 80, 20]));
/// let config = AugmentConfig { image_size: 64, ..AugmentConfig::default() };
/// let mut rng = HostRng::new(0, Purpose::UnlabeledView, 0, 0);
/// let views = UnlabeledViews::sample(&image, &config, &mut rng);
/// assert_eq!(views.weak, views.geometry.apply(&image));
/// assert_eq!(views.strong.size(), views.weak.size()); // objects are at the same place in both
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct UnlabeledViews {
    /// How both were cut from the image.
    pub geometry: ViewGeometry,
    /// Geometry only.
    pub weak: FloatImage,
    /// The weak view after the strong augmentation.
    pub strong: FloatImage,
}

fn size_of(image: &RgbImage) -> ImageSize {
    ImageSize::new(image.height() as usize, image.width() as usize)
}

impl LabeledView {
    /// Draws a view; `targets` are in pixels of `image`.
    pub fn sample(image: &RgbImage, targets: &Targets, config: &AugmentConfig, rng: &mut HostRng) -> Self {
        let geometry = config.sample_geometry(size_of(image), rng);
        let targets = geometry.map_targets(targets, config.min_box_side, config.min_visible);
        let mut image = geometry.apply(image);
        if rng.chance(config.labeled_strong_probability) {
            config.strong.apply(&mut image, rng);
        }
        Self { geometry, image, targets }
    }
}

impl UnlabeledViews {
    /// Draws the two views.
    pub fn sample(image: &RgbImage, config: &AugmentConfig, rng: &mut HostRng) -> Self {
        let geometry = config.sample_geometry(size_of(image), rng);
        let weak = geometry.apply(image);
        let mut strong = weak.clone();
        config.strong.apply(&mut strong, rng);
        Self { geometry, weak, strong }
    }
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;
    use crate::data::{Purpose, StrongConfig};

    fn image() -> RgbImage {
        RgbImage::from_fn(70, 50, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, ((x + y) % 7 * 30) as u8]))
    }

    fn config() -> AugmentConfig {
        AugmentConfig { image_size: 64, ..AugmentConfig::default() }
    }

    fn rng(index: u64) -> HostRng {
        HostRng::new(0, Purpose::UnlabeledView, index, 0)
    }

    #[test]
    fn weak_and_strong_share_their_geometry() {
        let never = StrongConfig {
            jitter_probability: 0.0,
            grey_probability: 0.0,
            blur_probability: 0.0,
            erase: Vec::new(),
            ..StrongConfig::default()
        };
        let still = AugmentConfig { strong: never, ..config() };
        for index in 0..20 {
            let views = UnlabeledViews::sample(&image(), &still, &mut rng(index));
            assert_eq!(views.weak, views.strong);
            assert_eq!(views.weak, views.geometry.apply(&image()));
            // With the strong augmentation on, the weak view is the same.
            let strong = UnlabeledViews::sample(&image(), &config(), &mut rng(index));
            assert_eq!((strong.weak, strong.geometry), (views.weak, views.geometry));
        }
    }

    #[test]
    fn the_strong_view_differs_within_the_same_size() {
        let differing = (0..20).filter(|&index| {
            let views = UnlabeledViews::sample(&image(), &config(), &mut rng(index));
            assert_eq!(views.weak.size(), views.strong.size());
            views.weak != views.strong
        });
        // Nothing happens with probability 0.2·0.8·0.5·0.3·0.5·0.7 = 0.008 an image.
        assert!(differing.count() >= 18);
    }

    #[test]
    fn labeled_images_get_strong_colours_only_if_asked() {
        let targets = Targets { boxes: vec![[10.0, 10.0, 40.0, 40.0]], labels: vec![1], crowds: Vec::new() };
        let view = |probability, index| {
            let config = AugmentConfig { labeled_strong_probability: probability, ..config() };
            LabeledView::sample(&image(), &targets, &config, &mut rng(index))
        };
        let mut changed = 0;
        for index in 0..20 {
            let (weak, strong) = (view(0.0, index), view(1.0, index));
            assert_eq!(weak.image, weak.geometry.apply(&image()));
            assert_eq!((weak.geometry, &weak.targets), (strong.geometry, &strong.targets));
            assert_eq!(weak.targets, weak.geometry.map_targets(&targets, 1.0, 0.25));
            changed += usize::from(weak.image != strong.image);
        }
        assert!(changed >= 18, "{changed}");
    }
}
