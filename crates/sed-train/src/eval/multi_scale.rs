//! Detection at several image sizes.

use burn::tensor::{
    module::interpolate,
    ops::{InterpolateMode, InterpolateOptions},
};
use sed_core::{
    Detections, Detector, ImageBatch, ImageSize,
    ops::{boxes, fuse_boxes},
};

/// The usual IoU of box fusion (Solovyev et al., 2021).
const FUSION_IOU: f32 = 0.55;

/// What a detector finds when it looks at each image at several sizes, its boxes fused.
///
/// Each scale costs a pass over the resized image. It is the usual answer to a detector that sees objects at one size and misses
/// them at another, which scale consistency trains away. Boxes are in pixels of `images`, see [`fuse_boxes`].
///
/// # Panics
///
/// If there is no scale, or one is not positive.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageBatch, ImageSize};
/// use sed_train::eval::detect_at_scales;
/// # mod detector { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/whole_image.rs")); }
/// # use detector::WholeImage;
/// let device = Device::default();
/// let detector = WholeImage::new(2, &device); // finds one object in any image, as large as the image
/// let pixels = Tensor::<4>::full([1, 3, 32, 32], 0.5, &device);
/// let images = ImageBatch { pixels, sizes: vec![ImageSize::new(32, 32)] };
/// let found = detect_at_scales(&detector, &images, &[1.0, 0.5]);
/// // The boxes of both scales are one.
/// assert_eq!(found[0].boxes, [[0.0, 0.0, 32.0, 32.0]]);
/// ```
pub fn detect_at_scales<D: Detector>(detector: &D, images: &ImageBatch, scales: &[f64]) -> Vec<Detections> {
    assert!(!scales.is_empty(), "detect_at_scales: no scale");
    let passes: Vec<Vec<Detections>> =
        scales.iter().map(|&scale| detect_at(detector, images, scale)).collect();
    let of_image = |i: usize| passes.iter().map(|pass| pass[i].clone()).collect::<Vec<_>>();
    (0..images.len()).map(|i| fuse_boxes(&of_image(i), FUSION_IOU)).collect()
}

/// What is found at one scale, in pixels of `images`.
fn detect_at<D: Detector>(detector: &D, images: &ImageBatch, scale: f64) -> Vec<Detections> {
    assert!(scale > 0.0 && scale.is_finite(), "detect_at_scales: a scale of {scale}");
    if scale == 1.0 {
        return detector.detect(images);
    }
    let resized =
        if scale == 0.5 && even(images.padded_size()) { images.halved() } else { resize(images, scale) };
    let mut found = detector.detect(&resized);
    for found in &mut found {
        found.boxes.iter_mut().for_each(|b| *b = boxes::scale(b, (1.0 / scale) as f32));
    }
    found
}

fn even(size: ImageSize) -> bool {
    size.height.is_multiple_of(2) && size.width.is_multiple_of(2)
}

/// The images at `scale`, bilinear; sides are rounded.
fn resize(images: &ImageBatch, scale: f64) -> ImageBatch {
    let scaled = |side: usize| ((side as f64 * scale).round() as usize).max(1);
    let ImageSize { height, width } = images.padded_size();
    let to = [scaled(height), scaled(width)];
    let options = InterpolateOptions {
        align_corners: false,
        output_size: Some(to),
        ..InterpolateOptions::new(InterpolateMode::Bilinear)
    };
    let pixels = interpolate(images.pixels.clone(), options);
    let size =
        |size: &ImageSize| ImageSize::new(scaled(size.height).min(to[0]), scaled(size.width).min(to[1]));
    ImageBatch::new(pixels, images.sizes.iter().map(size).collect())
}
