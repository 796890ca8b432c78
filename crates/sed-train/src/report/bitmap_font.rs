//! Letters of 5×7 dots, so that labels on pictures need no font file.

use image::{Rgb, RgbImage};

/// Dots between the left sides of two letters, the gap of one included.
const ADVANCE: u32 = 6;

/// Rows of dots of a letter.
const HEIGHT: u32 = 7;

/// Rows from top to bottom; the bit of value 16 is the leftmost dot.
#[rustfmt::skip]
const GLYPHS: [(char, [u8; 7]); 45] = [
    ('0', [0b01110, 0b10001, 0b10011, 0b10101, 0b11001, 0b10001, 0b01110]),
    ('1', [0b00100, 0b01100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('2', [0b01110, 0b10001, 0b00001, 0b00110, 0b01000, 0b10000, 0b11111]),
    ('3', [0b11110, 0b00001, 0b00001, 0b01110, 0b00001, 0b00001, 0b11110]),
    ('4', [0b10010, 0b10010, 0b10010, 0b11111, 0b00010, 0b00010, 0b00010]),
    ('5', [0b11111, 0b10000, 0b11110, 0b00001, 0b00001, 0b10001, 0b01110]),
    ('6', [0b01110, 0b10000, 0b10000, 0b11110, 0b10001, 0b10001, 0b01110]),
    ('7', [0b11111, 0b00001, 0b00010, 0b00010, 0b00100, 0b00100, 0b00100]),
    ('8', [0b01110, 0b10001, 0b10001, 0b01110, 0b10001, 0b10001, 0b01110]),
    ('9', [0b01110, 0b10001, 0b10001, 0b01111, 0b00001, 0b00001, 0b01110]),
    ('A', [0b00100, 0b01010, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001]),
    ('B', [0b11110, 0b10001, 0b10001, 0b11110, 0b10001, 0b10001, 0b11110]),
    ('C', [0b01111, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b01111]),
    ('D', [0b11110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11110]),
    ('E', [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b11111]),
    ('F', [0b11111, 0b10000, 0b10000, 0b11110, 0b10000, 0b10000, 0b10000]),
    ('G', [0b01111, 0b10000, 0b10000, 0b10011, 0b10001, 0b10001, 0b01111]),
    ('H', [0b10001, 0b10001, 0b10001, 0b11111, 0b10001, 0b10001, 0b10001]),
    ('I', [0b01110, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b01110]),
    ('J', [0b00111, 0b00010, 0b00010, 0b00010, 0b00010, 0b10010, 0b01100]),
    ('K', [0b10001, 0b10010, 0b10100, 0b11000, 0b10100, 0b10010, 0b10001]),
    ('L', [0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b10000, 0b11111]),
    ('M', [0b10001, 0b11011, 0b10101, 0b10101, 0b10001, 0b10001, 0b10001]),
    ('N', [0b10001, 0b11001, 0b11001, 0b10101, 0b10011, 0b10011, 0b10001]),
    ('O', [0b01110, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('P', [0b11110, 0b10001, 0b10001, 0b11110, 0b10000, 0b10000, 0b10000]),
    ('Q', [0b01110, 0b10001, 0b10001, 0b10001, 0b10101, 0b10010, 0b01101]),
    ('R', [0b11110, 0b10001, 0b10001, 0b11110, 0b10100, 0b10010, 0b10001]),
    ('S', [0b01111, 0b10000, 0b10000, 0b01110, 0b00001, 0b00001, 0b11110]),
    ('T', [0b11111, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100, 0b00100]),
    ('U', [0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b01110]),
    ('V', [0b10001, 0b10001, 0b10001, 0b10001, 0b01010, 0b01010, 0b00100]),
    ('W', [0b10001, 0b10001, 0b10001, 0b10101, 0b10101, 0b11011, 0b10001]),
    ('X', [0b10001, 0b01010, 0b01010, 0b00100, 0b01010, 0b01010, 0b10001]),
    ('Y', [0b10001, 0b10001, 0b01010, 0b00100, 0b00100, 0b00100, 0b00100]),
    ('Z', [0b11111, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000, 0b11111]),
    (' ', [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000]),
    ('.', [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b01100]),
    (',', [0b00000, 0b00000, 0b00000, 0b00000, 0b01100, 0b00100, 0b01000]),
    ('-', [0b00000, 0b00000, 0b00000, 0b01110, 0b00000, 0b00000, 0b00000]),
    ('_', [0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b00000, 0b11111]),
    (':', [0b00000, 0b01100, 0b01100, 0b00000, 0b01100, 0b01100, 0b00000]),
    ('%', [0b11001, 0b11001, 0b00010, 0b00100, 0b01000, 0b10011, 0b10011]),
    ('/', [0b00001, 0b00001, 0b00010, 0b00100, 0b01000, 0b10000, 0b10000]),
    ('+', [0b00000, 0b00100, 0b00100, 0b11111, 0b00100, 0b00100, 0b00000]),
];

/// What stands for a character without a glyph.
const UNKNOWN: [u8; 7] = [0b11111, 0b10001, 0b10001, 0b10001, 0b10001, 0b10001, 0b11111];

/// Width of a text in pixels, with dots of `scale` pixels.
pub(super) fn text_width(text: &str, scale: u32) -> u32 {
    (text.chars().count() as u32 * ADVANCE).saturating_sub(1) * scale
}

/// Height of a text in pixels.
pub(super) fn text_height(scale: u32) -> u32 {
    HEIGHT * scale
}

/// Writes a line of text with its upper left corner at `(x, y)`; what falls outside is left out.
/// Small letters are shown as capitals.
pub(super) fn draw_text(picture: &mut RgbImage, text: &str, x: i64, y: i64, scale: u32, color: [u8; 3]) {
    for (index, character) in text.chars().enumerate() {
        let left = x + i64::from(index as u32 * ADVANCE * scale);
        for (row, bits) in glyph(character).into_iter().enumerate() {
            for column in 0..5 {
                if bits & (16 >> column) != 0 {
                    let top = y + i64::from(row as u32 * scale);
                    fill(picture, left + i64::from(column * scale), top, scale, scale, color);
                }
            }
        }
    }
}

/// Fills a rectangle; what falls outside is left out.
pub(super) fn fill(picture: &mut RgbImage, x: i64, y: i64, width: u32, height: u32, color: [u8; 3]) {
    let (right, bottom) = (i64::from(picture.width()), i64::from(picture.height()));
    for row in y.max(0)..(y + i64::from(height)).min(bottom) {
        for column in x.max(0)..(x + i64::from(width)).min(right) {
            picture.put_pixel(column as u32, row as u32, Rgb(color));
        }
    }
}

fn glyph(character: char) -> [u8; 7] {
    let capital = character.to_ascii_uppercase();
    GLYPHS.iter().find(|(known, _)| *known == capital).map_or(UNKNOWN, |(_, rows)| *rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(text: &str) -> Vec<String> {
        let mut picture = RgbImage::new(text_width(text, 1), text_height(1));
        draw_text(&mut picture, text, 0, 0, 1, [255, 255, 255]);
        let dot = |pixel: &Rgb<u8>| if pixel.0 == [0; 3] { '.' } else { '#' };
        picture.rows().map(|row| row.map(dot).collect()).collect()
    }

    #[test]
    fn letters_look_as_they_should() {
        let rows = render("L1");
        let expected = [
            "#.......#..",
            "#......##..",
            "#.......#..",
            "#.......#..",
            "#.......#..",
            "#.......#..",
            "#####..###.",
        ];
        assert_eq!(rows, expected);
    }

    #[test]
    fn every_glyph_differs_and_small_letters_are_capitals() {
        for (index, (name, rows)) in GLYPHS.iter().enumerate() {
            assert!(rows.iter().all(|row| *row < 32), "{name} is wider than five dots");
            for (other, rows_of_other) in &GLYPHS[..index] {
                assert_ne!(rows, rows_of_other, "{name} and {other} look alike");
            }
        }
        assert_eq!(render("abz"), render("ABZ"));
        assert_eq!(glyph('é'), UNKNOWN);
    }

    #[test]
    fn text_that_leaves_the_picture_is_cut() {
        let mut picture = RgbImage::new(4, 4);
        draw_text(&mut picture, "88", -1, -1, 2, [9, 9, 9]);
        draw_text(&mut picture, "88", 100, 100, 2, [9, 9, 9]);
        assert!(picture.pixels().any(|pixel| pixel.0 == [9, 9, 9]));
    }

    #[test]
    fn scale_multiplies_both_sides() {
        assert_eq!((text_width("ab", 1), text_height(1)), (11, 7));
        assert_eq!((text_width("ab", 3), text_height(3)), (33, 21));
        assert_eq!(text_width("", 3), 0);
    }
}
