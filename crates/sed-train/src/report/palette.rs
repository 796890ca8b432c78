/// Ten colours that differ in hue and lightness, light enough for black letters on them.
const COLORS: [[u8; 3]; 10] = [
    [255, 107, 90],
    [77, 190, 255],
    [124, 220, 90],
    [255, 196, 61],
    [214, 130, 255],
    [64, 224, 200],
    [255, 143, 200],
    [190, 200, 80],
    [160, 170, 255],
    [255, 160, 80],
];

/// The colour of a dense class id, RGB; it repeats after ten classes.
///
/// ```
/// use sed_train::report::class_color;
///
/// assert_ne!(class_color(0), class_color(1));
/// assert_eq!(class_color(0), class_color(10));
/// ```
pub fn class_color(class: usize) -> [u8; 3] {
    COLORS[class % COLORS.len()]
}

/// The same hue, dark enough for a line on white.
pub(super) fn line_color(index: usize) -> [u8; 3] {
    class_color(index).map(|channel| (f32::from(channel) * 0.72) as u8)
}
