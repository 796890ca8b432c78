//! One scene: what is in it, and its picture.

use image::{Rgb, RgbImage};
use sed_core::Targets;

use super::SceneConfig;
use super::palette::{desaturated, object_color};
use super::raster::Canvas;
use super::shapes::{Outline, ShapeClass, clutter_outline};
use super::texture::{Texture, contrasting_color, random_color};
use crate::data::HostRng;

/// Places tried for an object before it is given up.
const PLACEMENT_TRIES: usize = 20;

/// A picture with its labeled objects; labels are positions in [`ShapeClass::ALL`].
///
/// ```
/// use sed_train::data::{HostRng, Purpose, scenes::{Scene, SceneConfig, ShapeClass}};
///
/// let config = SceneConfig { image_size: 48, ..SceneConfig::default() };
/// let draw = |index| Scene::draw(&config, &mut HostRng::new(config.seed, Purpose::TrainScene, index, 0));
/// let scene = draw(0);
/// assert_eq!(scene.image.dimensions(), (48, 48));
/// assert!(scene.targets.labels.iter().all(|&label| label < ShapeClass::ALL.len()));
/// assert_eq!(draw(0).image, scene.image);
/// assert_ne!(draw(1).image, scene.image);
/// ```
#[derive(Debug, Clone)]
pub struct Scene {
    /// The picture.
    pub image: RgbImage,
    /// The objects: boxes are the bounds of what lies within the image, whether figures before it
    /// hide a part or not.
    pub targets: Targets,
}

/// Figures from front to back, drawn on a fine grid.
struct Composition {
    canvas: Canvas,
    textures: Vec<Texture>,
    targets: Targets,
}

impl Scene {
    /// Draws a scene; the configuration must be valid.
    pub fn draw(config: &SceneConfig, rng: &mut HostRng) -> Self {
        let size = config.image_size as f32;
        let base = desaturated(random_color(rng), rng.uniform(config.background_saturation));
        let background = Texture::of_background(rng, base, config.background_texture, size);
        let mut composition = Composition {
            canvas: Canvas::new(config.image_size, config.samples_per_pixel),
            textures: Vec::new(),
            targets: Targets::default(),
        };
        // Objects and clutter in random order of depth.
        let objects = rng.between(config.objects);
        let mut is_object = vec![true; objects];
        is_object.resize(objects + rng.between(config.clutter), false);
        rng.shuffle(&mut is_object);
        for is_object in is_object {
            if is_object {
                composition.add_object(config, base, rng);
            } else {
                composition.add_clutter(config, base, rng);
            }
        }
        let noise = rng.uniform(config.noise);
        Self {
            image: composition.render(config.image_size, &background, noise, rng),
            targets: composition.targets,
        }
    }
}

impl Composition {
    /// Puts an object behind what is there, if a place is found where enough of it is seen.
    fn add_object(&mut self, config: &SceneConfig, background: [f32; 3], rng: &mut HostRng) {
        let label = rng.below(ShapeClass::ALL.len());
        let size = rng.log_uniform(config.object_size);
        let (aspect, angle) = (rng.log_uniform(config.aspect), rng.uniform([0.0, std::f32::consts::TAU]));
        let image_size = config.image_size as f32;
        for _ in 0..PLACEMENT_TRIES {
            let center = self.center(config, size, rng);
            let outline = ShapeClass::ALL[label].outline().placed(aspect, angle, size, center);
            let Some(visible) = outline.bounds_within(image_size) else { continue };
            let area = |[x1, y1, x2, y2]: [f32; 4]| (x2 - x1) * (y2 - y1);
            let spans = self.canvas.spans(&outline);
            let (covered, free) = self.canvas.count(&spans);
            let seen_enough = free as f32 >= (1.0 - config.max_occlusion) * covered as f32;
            if covered == 0 || !seen_enough || area(visible) < config.min_inside * area(outline.bounds()) {
                continue;
            }
            self.canvas.claim(&spans, self.textures.len());
            let classes = ShapeClass::ALL.len();
            let color = object_color(rng, label, classes, config.hue_spread, background, config.contrast);
            self.textures.push(Texture::of_figure(rng, color, config.figure_texture, size, center));
            self.targets.boxes.push(visible);
            self.targets.labels.push(label);
            return;
        }
    }

    /// Anywhere in the image, or at the rim of an object that is there.
    fn center(&self, config: &SceneConfig, size: f32, rng: &mut HostRng) -> [f32; 2] {
        if !self.targets.is_empty() && rng.chance(config.overlap_probability) {
            let [x1, y1, x2, y2] = self.targets.boxes[rng.below(self.targets.len())];
            let distance = 0.4 * (size + (x2 - x1).max(y2 - y1));
            let (sin, cos) = rng.uniform([0.0, std::f32::consts::TAU]).sin_cos();
            [(x1 + x2) / 2.0 + distance * cos, (y1 + y2) / 2.0 + distance * sin]
        } else {
            [0; 2].map(|_| rng.uniform([0.0, config.image_size as f32]))
        }
    }

    /// Puts an unlabeled figure behind what is there; it may be hidden altogether. Objects that come
    /// later lie behind it, and are held to their occlusion limit.
    fn add_clutter(&mut self, config: &SceneConfig, background: [f32; 3], rng: &mut HostRng) {
        let size = rng.log_uniform(config.clutter_size);
        let center = [0; 2].map(|_| rng.uniform([0.0, config.image_size as f32]));
        let angle = rng.uniform([0.0, std::f32::consts::TAU]);
        let outline: Outline = clutter_outline(rng).placed(1.0, angle, size, center);
        let spans = self.canvas.spans(&outline);
        self.canvas.claim(&spans, self.textures.len());
        let color = contrasting_color(rng, background, config.contrast);
        self.textures.push(Texture::of_figure(rng, color, config.figure_texture, size, center));
    }

    /// The picture: each pixel is the mean of the textures seen in it, plus noise.
    fn render(&self, size: usize, background: &Texture, noise: f32, rng: &mut HostRng) -> RgbImage {
        let mut image = RgbImage::new(size as u32, size as u32);
        for (x, y, pixel) in image.enumerate_pixels_mut() {
            let center = [x as f32 + 0.5, y as f32 + 0.5];
            let mut color = [0.0; 3];
            self.canvas.shares(x as usize, y as usize, |figure, share| {
                let texture = figure.map_or(background, |figure| &self.textures[figure]);
                for (sum, channel) in color.iter_mut().zip(texture.at(center[0], center[1])) {
                    *sum += share * channel.clamp(0.0, 1.0);
                }
            });
            *pixel = Rgb(color.map(|channel| {
                let channel = if noise > 0.0 { channel + noise * rng.normal() } else { channel };
                (channel * 255.0).round().clamp(0.0, 255.0) as u8
            }));
        }
        image
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    fn draw(config: &SceneConfig, index: u64) -> Scene {
        Scene::draw(config, &mut HostRng::new(config.seed, Purpose::TrainScene, index, 0))
    }

    /// One plain bright object on a plain background, nothing else.
    fn plain() -> SceneConfig {
        SceneConfig {
            image_size: 128,
            object_size: [7.0, 120.0],
            objects: [1, 1],
            clutter: [0, 0],
            background_texture: [0.0, 0.0],
            figure_texture: [0.0, 0.0],
            noise: [0.0, 0.0],
            contrast: [0.4, 0.5],
            ..SceneConfig::default()
        }
    }

    #[test]
    fn the_box_is_tight_around_the_drawn_object() {
        for index in 0..40 {
            let Scene { image, targets } = draw(&plain(), index);
            let [x1, y1, x2, y2] = targets.boxes[0];
            // The most frequent colour of the outermost box-free pixels is the background: take the
            // pixel of the corner that lies farthest from the box.
            let corner = [(0, 0), (127, 0), (0, 127), (127, 127)]
                .into_iter()
                .max_by_key(|&(x, y)| {
                    let (cx, cy) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0);
                    ((x as f32 - cx).powi(2) + (y as f32 - cy).powi(2)) as u32
                })
                .unwrap();
            let background = image.get_pixel(corner.0, corner.1);
            let changed: Vec<(f32, f32)> = image
                .enumerate_pixels()
                .filter(|(_, _, pixel)| *pixel != background)
                .map(|(x, y, _)| (x as f32, y as f32))
                .collect();
            let least = |f: fn(&(f32, f32)) -> f32| changed.iter().map(f).fold(f32::INFINITY, f32::min);
            let most = |f: fn(&(f32, f32)) -> f32| changed.iter().map(f).fold(0.0, f32::max) + 1.0;
            let found = [least(|p| p.0), least(|p| p.1), most(|p| p.0), most(|p| p.1)];
            for (found, expected) in found.into_iter().zip([x1, y1, x2, y2]) {
                // Whole pixels against exact bounds; a sharp tip between two samples is not drawn,
                // for the star up to two pixels of it.
                assert!((found - expected).abs() < 2.5, "scene {index}: {found} {expected}");
            }
        }
    }

    #[test]
    fn the_same_stream_draws_the_same_scene() {
        let config = SceneConfig::default();
        let (a, b) = (draw(&config, 5), draw(&config, 5));
        assert_eq!((a.image, a.targets), (b.image, b.targets));
        assert_ne!(draw(&config, 5).image, draw(&config, 6).image);
    }

    #[test]
    fn counts_sizes_and_classes_spread_as_configured() {
        let config = SceneConfig::default();
        let scenes: Vec<Scene> = (0..200).map(|index| draw(&config, index)).collect();
        let mut per_class = [0; 6];
        let mut sides = Vec::new();
        for scene in &scenes {
            assert!((1..=4).contains(&scene.targets.len()));
            for (&[x1, y1, x2, y2], &label) in scene.targets.boxes.iter().zip(&scene.targets.labels) {
                assert!(x1 >= 0.0 && y1 >= 0.0 && x2 <= 64.0 && y2 <= 64.0 && x2 > x1 && y2 > y1);
                per_class[label] += 1;
                sides.push((x2 - x1).max(y2 - y1));
            }
        }
        // Some 480 objects: about 80 a class, with a deviation of 9.
        assert!(per_class.iter().all(|&n| n > 44), "{per_class:?}");
        sides.sort_by(f32::total_cmp);
        assert!(sides[0] < 11.0 && sides[sides.len() - 1] > 45.0);
        // The median of the log-uniform range is √(9·58) = 22.8; large objects fit less often.
        let median = sides[sides.len() / 2];
        assert!((17.0..25.0).contains(&median), "{median}");
    }

    #[test]
    fn no_object_is_hidden_beyond_the_limit() {
        // Without hiding allowed, the objects' samples are disjoint from everything before them:
        // crowded scenes then hold fewer objects.
        let crowded = SceneConfig { objects: [30, 30], object_size: [15.0, 30.0], ..SceneConfig::default() };
        let count = |max_occlusion| draw(&SceneConfig { max_occlusion, ..crowded.clone() }, 0).targets.len();
        assert!(count(0.0) < count(0.6), "{} {}", count(0.0), count(0.6));
        assert_eq!(count(1.0), 30);
    }
}
