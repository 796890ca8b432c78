//! Views of one image, drawn.

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use image::RgbImage;
use sed::{
    core::{Detections, ImageSize, Targets, ops::boxes},
    train::{
        data::{AugmentConfig, FloatImage, HostImages, HostRng, LabeledView, Purpose, UnlabeledViews},
        report::{Figure, PictureConfig, draw_detections},
    },
};

/// Draws of an augmented labeled image.
const DRAWS: u64 = 2;

/// What finds objects in a weak view, in its pixels.
pub type Teacher<'a> = dyn Fn(&HostImages) -> Detections + 'a;

/// How images are shown.
pub struct Pictures<'a> {
    /// How views are drawn.
    pub augment: &'a AugmentConfig,
    /// The classes.
    pub names: &'a [String],
    /// The seed of the views.
    pub seed: u64,
    /// Where half-size views are made.
    pub device: &'a Device,
    /// The least score of a pseudo-label.
    pub threshold: f32,
}

impl Pictures<'_> {
    /// A labeled image, and as some training steps see it.
    pub fn labeled(&self, name: &str, image: &RgbImage, targets: &Targets, place: u64) -> Vec<Figure> {
        let mut figures = vec![self.figure(&format!("{name}, labels"), image, targets, None)];
        for draw in 0..DRAWS {
            let mut rng = HostRng::new(self.seed, Purpose::LabeledView, draw, place);
            let view = LabeledView::sample(image, targets, self.augment, &mut rng);
            let caption = format!("as trained, draw {}", draw + 1);
            figures.push(self.figure(&caption, &view.image.to_rgb8(), &view.targets, None));
        }
        figures
    }

    /// The weak, the strong and the half-size view of an unlabeled image, with the true boxes where they are known, and on
    /// the weak view what the teacher finds.
    pub fn unlabeled(
        &self,
        name: &str,
        image: &RgbImage,
        truth: Option<&Targets>,
        place: u64,
        teacher: Option<&Teacher>,
    ) -> Result<Vec<Figure>> {
        let augment = self.augment;
        let mut rng = HostRng::new(self.seed, Purpose::UnlabeledView, 0, place);
        let views = UnlabeledViews::sample(image, augment, &mut rng);
        let carried = |targets: &Targets| {
            views.geometry.map_targets(targets, augment.min_box_side, augment.min_visible)
        };
        let full = truth.map(carried).unwrap_or_default();
        let batch = |view: &FloatImage| {
            let mut batch = HostImages::new(ImageSize::new(augment.image_size, augment.image_size));
            batch.push(view);
            batch
        };

        let found = teacher.map(|detect| detect(&batch(&views.weak)));
        let caption = match &found {
            Some(found) => {
                let labels = found.scores.iter().filter(|score| **score >= self.threshold).count();
                format!("{name}, weak view, {labels} pseudo-labels")
            }
            None => format!("{name}, weak view"),
        };
        let half = self.halved(&batch(&views.strong))?;
        let scaled =
            |boxes: &[[f32; 4]]| boxes.iter().map(|corners| boxes::scale(corners, 0.5)).collect::<Vec<_>>();
        let halved =
            Targets { boxes: scaled(&full.boxes), labels: full.labels.clone(), crowds: scaled(&full.crowds) };
        let ImageSize { height, width } = half.size();
        Ok(vec![
            self.figure(&caption, &views.weak.to_rgb8(), &full, found.as_ref()),
            self.figure("strong view", &views.strong.to_rgb8(), &full, None),
            self.figure(&format!("half-size view, {width}×{height} px"), &half.to_rgb8(), &halved, None),
        ])
    }

    /// The half-size view of the one image of a batch, made as in training and cut to what is no padding.
    fn halved(&self, batch: &HostImages) -> Result<FloatImage> {
        let half = batch.to_batch(self.device).halved();
        let (padded, size) = (half.padded_size(), half.sizes[0]);
        let pixels: Vec<f32> =
            half.pixels.into_data().try_to_vec().map_err(|error| anyhow!("half-size view: {error:?}"))?;
        let rows = pixels.chunks_exact(padded.width).enumerate();
        let inside = rows.filter(|(row, _)| row % padded.height < size.height);
        let data = inside.flat_map(|(_, row)| row[..size.width].iter().copied()).collect();
        Ok(FloatImage::new(size, data))
    }

    fn figure(&self, caption: &str, image: &RgbImage, truth: &Targets, found: Option<&Detections>) -> Figure {
        let config = PictureConfig::for_page(self.threshold);
        let none = Detections::default();
        let picture = draw_detections(image, truth, found.unwrap_or(&none), self.names, &config);
        Figure { caption: caption.to_string(), picture }
    }
}
