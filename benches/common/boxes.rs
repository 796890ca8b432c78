//! Boxes by formula.

use super::unit;

/// Objects in a square of 1,000 pixels.
const OBJECTS: usize = 200;

/// `count` boxes and their scores: each lies about one of 200 objects 20 to 200 pixels wide and high, off by up to
/// a fifth of its size in place and in extent.
pub fn boxes(count: usize) -> (Vec<[f32; 4]>, Vec<f32>) {
    let part = |item: usize, axis: usize| unit((item * 8 + axis) as u32);
    let one = |k: usize| {
        let (object, own) = (k % OBJECTS, OBJECTS + k);
        let off = |axis| 0.4 * (part(own, axis) - 0.5);
        let [w, h] = [2, 3].map(|axis| 20.0 + 180.0 * part(object, axis));
        let [x, y] = [(0, w), (1, h)].map(|(axis, side)| 1000.0 * part(object, axis) + side * off(axis));
        let [w, h] = [(2, w), (3, h)].map(|(axis, side)| side * (1.0 + off(axis)));
        ([x, y, x + w, y + h], part(own, 4))
    };
    (0..count).map(one).unzip()
}
