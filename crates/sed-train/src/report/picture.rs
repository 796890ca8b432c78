use image::{
    RgbImage,
    imageops::{self, FilterType},
};
use sed_core::{Detections, Targets};

use super::{
    bitmap_font::{draw_text, fill, text_height, text_width},
    palette::class_color,
};

const BLACK: [u8; 3] = [0; 3];
const WHITE: [u8; 3] = [255; 3];
const GREY: [u8; 3] = [150; 3];

/// How [`draw_detections`] draws.
///
/// ```
/// use image::RgbImage;
/// use sed_core::{Detections, Targets};
/// use sed_train::report::{PictureConfig, draw_detections};
///
/// let config = PictureConfig { enlarge_to: 200, ..PictureConfig::default() };
/// let width = |image: &RgbImage, config: &PictureConfig| {
///     draw_detections(image, &Targets::default(), &Detections::default(), &[], config).width()
/// };
/// assert_eq!(width(&RgbImage::new(64, 48), &config), 3 * 64);
/// // Photos become as wide as a page shows them.
/// assert_eq!(width(&RgbImage::new(960, 480), &PictureConfig::for_page(0.5)), 480);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct PictureConfig {
    /// Detections below this score are left out.
    pub min_score: f32,
    /// Small images are enlarged by a whole factor as long as the longer side stays within this
    /// many pixels, so that labels fit.
    pub enlarge_to: u32,
    /// Images whose longer side has more pixels are shrunk to it, boxes and all.
    pub shrink_to: u32,
    /// Longer class names are cut to this many letters.
    pub name_length: usize,
}

impl Default for PictureConfig {
    /// Scores of at least 0.3, enlarged to at most 768 pixels, never shrunk, names of at most 8 letters.
    fn default() -> Self {
        Self { min_score: 0.3, enlarge_to: 768, shrink_to: u32::MAX, name_length: 8 }
    }
}

impl PictureConfig {
    /// Pictures for a page, about 400 pixels wide, with the detections of at least `min_score`.
    pub fn for_page(min_score: f32) -> Self {
        Self { min_score, enlarge_to: 400, shrink_to: 480, ..Self::default() }
    }
}

/// An image with true and predicted boxes, both `[x1, y1, x2, y2]` in pixels of `image`.
///
/// A colour stands for a class. Predicted boxes are solid and carry the class name and the score in
/// percent; true boxes are dashed, crowds dashed in grey. Better detections lie on top. A strip below the
/// image names the classes that occur and says what solid and dashed mean.
///
/// # Panics
///
/// If boxes, scores and labels differ in number, or a label has no name.
///
/// ```
/// use image::RgbImage;
/// use sed_core::{Detections, Targets};
/// use sed_train::report::{PictureConfig, class_color, draw_detections};
///
/// let names = ["nut".to_owned(), "screw".to_owned()];
/// let truth = Targets { boxes: vec![[5., 5., 30., 30.]], labels: vec![1], crowds: vec![] };
/// let found = Detections { boxes: vec![[6., 6., 30., 28.]], scores: vec![0.8], labels: vec![0] };
/// let picture = draw_detections(&RgbImage::new(40, 40), &truth, &found, &names, &PictureConfig::default());
/// let drawn = |class| picture.pixels().any(|pixel| pixel.0 == class_color(class));
/// assert!(drawn(0) && drawn(1)); // a solid box of the one class and a dashed one of the other
/// assert!(picture.height() > picture.width()); // the legend is below
/// ```
pub fn draw_detections(
    image: &RgbImage,
    truth: &Targets,
    predicted: &Detections,
    class_names: &[String],
    config: &PictureConfig,
) -> RgbImage {
    let counts = [predicted.boxes.len(), predicted.scores.len(), predicted.labels.len()];
    assert!(
        counts[0] == counts[1] && counts[1] == counts[2],
        "draw_detections: {counts:?} boxes, scores and labels"
    );
    let counts = [truth.boxes.len(), truth.labels.len()];
    assert!(counts[0] == counts[1], "draw_detections: {counts:?} true boxes and labels");
    for &label in predicted.labels.iter().chain(&truth.labels) {
        assert!(label < class_names.len(), "draw_detections: label {label} of {} names", class_names.len());
    }

    let longer = image.width().max(image.height()).max(1);
    let (factor, filter) = if longer > config.shrink_to {
        (config.shrink_to as f32 / longer as f32, FilterType::Triangle)
    } else {
        ((config.enlarge_to / longer).max(1) as f32, FilterType::Nearest)
    };
    let scaled = |side: u32| ((side as f32 * factor).round() as u32).max(side.min(1));
    let mut picture = imageops::resize(image, scaled(image.width()), scaled(image.height()), filter);
    let thickness = (picture.width().max(picture.height()) / 384).clamp(1, 3);
    let pen = |bounds: [f32; 4], color, dashed| Outline::new(bounds, factor, thickness, color, dashed);

    for &bounds in &truth.crowds {
        pen(bounds, GREY, true).draw(&mut picture);
    }
    let mut shown: Vec<usize> =
        (0..predicted.len()).filter(|&i| predicted.scores[i] >= config.min_score).collect();
    shown.sort_by(|&a, &b| predicted.scores[a].total_cmp(&predicted.scores[b]));
    for &i in &shown {
        pen(predicted.boxes[i], class_color(predicted.labels[i]), false).draw(&mut picture);
    }
    // On top: dashes let a solid line below them be seen.
    for (&bounds, &label) in truth.boxes.iter().zip(&truth.labels) {
        pen(bounds, class_color(label), true).draw(&mut picture);
    }
    for &i in &shown {
        let label = predicted.labels[i];
        let name = short_name(&class_names[label], config.name_length);
        let text = format!("{name} {:.0}", predicted.scores[i] * 100.0);
        let corner = pen(predicted.boxes[i], BLACK, false);
        draw_label(&mut picture, &text, corner.left, corner.top, class_color(label), thickness);
    }

    let mut classes: Vec<usize> =
        shown.iter().map(|&i| predicted.labels[i]).chain(truth.labels.iter().copied()).collect();
    classes.sort_unstable();
    classes.dedup();
    with_legend(picture, &classes, class_names, thickness)
}

/// The outline of a box on the enlarged picture.
struct Outline {
    left: i64,
    top: i64,
    right: i64,
    bottom: i64,
    thickness: u32,
    color: [u8; 3],
    dashed: bool,
}

impl Outline {
    fn new(bounds: [f32; 4], factor: f32, thickness: u32, color: [u8; 3], dashed: bool) -> Self {
        // `as` saturates, so no box is too large; NaN becomes 0.
        let [left, top, right, bottom] = bounds.map(|side| (side * factor).round() as i32 as i64);
        Self { left, top, right, bottom, thickness, color, dashed }
    }

    fn draw(&self, picture: &mut RgbImage) {
        let t = i64::from(self.thickness);
        for top in [self.top, self.bottom - t] {
            self.side(picture, [self.left, self.right], |picture, from, length, color| {
                fill(picture, from, top, length, self.thickness, color);
            });
        }
        for left in [self.left, self.right - t] {
            self.side(picture, [self.top, self.bottom], |picture, from, length, color| {
                fill(picture, left, from, self.thickness, length, color);
            });
        }
    }

    /// Draws one side in one piece, or as dashes of four thicknesses with white gaps as long: they stand out
    /// on a solid line of the same colour, too.
    fn side(&self, picture: &mut RgbImage, ends: [i64; 2], draw: impl Fn(&mut RgbImage, i64, u32, [u8; 3])) {
        let limit = i64::from(picture.width().max(picture.height()));
        let [start, end] = ends.map(|end| end.clamp(-limit, 2 * limit));
        let dash = if self.dashed { 4 * i64::from(self.thickness) } else { (end - start).max(1) };
        let mut from = start;
        for color in [self.color, WHITE].into_iter().cycle() {
            if from >= end {
                break;
            }
            draw(picture, from, dash.min(end - from) as u32, color);
            from += dash;
        }
    }
}

/// A text on a filled ground, above the corner `(left, top)` where there is room, else below it.
fn draw_label(picture: &mut RgbImage, text: &str, left: i64, top: i64, ground: [u8; 3], scale: u32) {
    let (width, height) = (text_width(text, scale) + 2 * scale, text_height(scale) + 2 * scale);
    let x = left.min(i64::from(picture.width()) - i64::from(width)).max(0);
    let above = top - i64::from(height);
    let y = if above >= 0 { above } else { top.max(0) };
    fill(picture, x, y, width, height, ground);
    draw_text(picture, text, x + i64::from(scale), y + i64::from(scale), scale, BLACK);
}

/// The picture with a strip below it: a coloured square and the name of each class, wrapped.
fn with_legend(picture: RgbImage, classes: &[usize], names: &[String], scale: u32) -> RgbImage {
    let line = text_height(scale) + 4 * scale;
    let mut entries =
        vec![(WHITE, "solid: predicted, score in %".to_owned()), (WHITE, "dashed: true".to_owned())];
    entries.extend(classes.iter().map(|&class| (class_color(class), names[class].clone())));

    // Place first, then draw: the height of the strip follows from the places.
    let (mut x, mut y) = (2 * scale, picture.height() + 2 * scale);
    let mut placed = Vec::new();
    for (color, text) in entries {
        let square = if color == WHITE { 0 } else { text_height(scale) + 2 * scale };
        let width = square + text_width(&text, scale) + 8 * scale;
        if x > 2 * scale && x + width > picture.width() {
            (x, y) = (2 * scale, y + line);
        }
        placed.push((x, y, square, color, text));
        x += width;
    }
    let mut framed = RgbImage::new(picture.width(), y + line);
    imageops::replace(&mut framed, &picture, 0, 0);
    for (x, y, square, color, text) in placed {
        let (x, y) = (i64::from(x), i64::from(y));
        if square > 0 {
            fill(&mut framed, x, y, text_height(scale), text_height(scale), color);
        }
        draw_text(&mut framed, &text, x + i64::from(square), y, scale, WHITE);
    }
    framed
}

fn short_name(name: &str, length: usize) -> String {
    name.chars().take(length).collect()
}

#[cfg(test)]
mod tests {
    use image::Rgb;

    use super::*;

    fn names() -> Vec<String> {
        ["disc", "ring", "a very long name"].map(String::from).to_vec()
    }

    fn plain() -> PictureConfig {
        PictureConfig { enlarge_to: 0, ..PictureConfig::default() }
    }

    fn count(picture: &RgbImage, color: [u8; 3]) -> usize {
        // Only the image: the strip below repeats the colours.
        picture.enumerate_pixels().filter(|(_, y, pixel)| *y < 100 && pixel.0 == color).count()
    }

    fn one(bounds: [f32; 4], score: f32, label: usize) -> Detections {
        Detections { boxes: vec![bounds], scores: vec![score], labels: vec![label] }
    }

    #[test]
    fn a_predicted_box_is_a_closed_line_of_its_colour() {
        let image = RgbImage::new(100, 100);
        let predicted = one([20.0, 40.0, 60.0, 80.0], 0.9, 1);
        let picture = draw_detections(&image, &Targets::default(), &predicted, &names(), &plain());
        for i in 20..60 {
            for (x, y) in [(i, 40), (i, 79), (20, i + 20), (59, i + 20)] {
                assert_eq!(picture.get_pixel(x, y), &Rgb(class_color(1)), "({x}, {y})");
            }
        }
        assert_eq!(picture.get_pixel(40, 60), &Rgb(BLACK), "the inside is untouched");
        assert_eq!(picture.width(), 100);
        assert!(picture.height() > 100, "the legend is below the image");
    }

    #[test]
    fn a_true_box_is_dashed() {
        let image = RgbImage::new(100, 100);
        let truth = Targets { boxes: vec![[20.0, 40.0, 60.0, 80.0]], labels: vec![0], crowds: vec![] };
        let picture = draw_detections(&image, &truth, &Detections::default(), &names(), &plain());
        let on = (20..60).filter(|&x| picture.get_pixel(x, 40).0 == class_color(0)).count();
        // Five dashes of four pixels with gaps as long, and the first pixel of the right side.
        assert_eq!(on, 21);
    }

    #[test]
    fn the_minimum_score_leaves_boxes_out() {
        let image = RgbImage::new(100, 100);
        let predicted = one([20.0, 40.0, 60.0, 80.0], 0.5, 0);
        let draw = |min_score| {
            let config = PictureConfig { min_score, ..plain() };
            draw_detections(&image, &Targets::default(), &predicted, &names(), &config)
        };
        assert_eq!(count(&draw(0.51), class_color(0)), 0);
        assert!(count(&draw(0.5), class_color(0)) > 100);
    }

    #[test]
    fn crowds_are_grey() {
        let image = RgbImage::new(100, 100);
        let truth = Targets { crowds: vec![[10.0, 10.0, 90.0, 90.0]], ..Targets::default() };
        let picture = draw_detections(&image, &truth, &Detections::default(), &names(), &plain());
        assert!(count(&picture, GREY) > 100);
    }

    #[test]
    fn small_images_are_enlarged_by_a_whole_factor() {
        let mut image = RgbImage::new(100, 50);
        image.put_pixel(99, 49, Rgb([1, 2, 3]));
        let draw = |enlarge_to| {
            let config = PictureConfig { enlarge_to, ..PictureConfig::default() };
            draw_detections(&image, &Targets::default(), &Detections::default(), &names(), &config)
        };
        assert_eq!(draw(399).width(), 300);
        assert_eq!(draw(400).width(), 400);
        assert_eq!(draw(400).get_pixel(399, 199), &Rgb([1, 2, 3]));
        assert_eq!(draw(99).width(), 100);
    }

    #[test]
    fn large_images_are_shrunk_with_their_boxes() {
        let image = RgbImage::new(400, 200);
        let config = PictureConfig { shrink_to: 100, ..PictureConfig::default() };
        let predicted = one([80.0, 40.0, 240.0, 160.0], 0.9, 1);
        let picture = draw_detections(&image, &Targets::default(), &predicted, &names(), &config);
        assert_eq!(picture.width(), 100);
        // A quarter: from (20, 10) to (60, 40).
        for (x, y) in [(20, 25), (59, 25), (40, 39), (20, 39), (59, 39)] {
            assert_eq!(picture.get_pixel(x, y), &Rgb(class_color(1)), "({x}, {y})");
        }
        assert_eq!(picture.get_pixel(61, 25), &Rgb(BLACK));
    }

    #[test]
    fn names_are_cut() {
        assert_eq!(short_name("a very long name", 6), "a very");
        let image = RgbImage::new(100, 100);
        let predicted = one([2.0, 40.0, 90.0, 80.0], 0.9, 2);
        let draw = |name_length| {
            let config = PictureConfig { name_length, ..plain() };
            count(
                &draw_detections(&image, &Targets::default(), &predicted, &names(), &config),
                class_color(2),
            )
        };
        assert!(draw(8) > draw(2), "a longer label has more ground");
    }

    #[test]
    fn boxes_outside_the_image_and_of_no_size_are_harmless() {
        let image = RgbImage::new(100, 100);
        let boxes =
            vec![[-50.0, -50.0, 500.0, 500.0], [f32::NAN; 4], [f32::MIN, 0.0, f32::MAX, 1.0], [50.0; 4]];
        let predicted = Detections { scores: vec![0.9; 4], labels: vec![0; 4], boxes: boxes.clone() };
        let truth = Targets { labels: vec![1; 4], boxes, crowds: vec![[1e30; 4]] };
        draw_detections(&image, &truth, &predicted, &names(), &plain());
        let empty = RgbImage::new(0, 0);
        draw_detections(&empty, &truth, &predicted, &names(), &PictureConfig::default());
    }

    #[test]
    #[should_panic(expected = "label 3 of 3 names")]
    fn a_label_without_a_name_is_refused() {
        let image = RgbImage::new(10, 10);
        draw_detections(&image, &Targets::default(), &one([0.0, 0.0, 5.0, 5.0], 0.9, 3), &names(), &plain());
    }
}
