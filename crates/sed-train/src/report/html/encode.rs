//! Text and pictures as they may stand in a page.

use std::io::Cursor;

use image::{ImageFormat, RgbImage, codecs::jpeg::JpegEncoder};

use crate::report::ReportError;

/// Pictures whose PNG is larger are stored as JPEG, if that is smaller.
const LARGEST_PNG: usize = 160 << 10;
/// The quality of such pictures, of 100.
const JPEG_QUALITY: u8 = 88;

/// The text with the five letters that have a meaning in HTML written out, for contents and attributes.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            letter => escaped.push(letter),
        }
    }
    escaped
}

/// A picture as a `data:` address: PNG, or JPEG for a picture that is large as PNG.
pub(super) fn data_uri(picture: &RgbImage) -> Result<String, ReportError> {
    let failed = |source| ReportError::Page { reason: format!("a picture: {source}") };
    let mut png = Vec::new();
    picture.write_to(&mut Cursor::new(&mut png), ImageFormat::Png).map_err(failed)?;
    if png.len() > LARGEST_PNG {
        let mut jpeg = Vec::new();
        picture.write_with_encoder(JpegEncoder::new_with_quality(&mut jpeg, JPEG_QUALITY)).map_err(failed)?;
        if jpeg.len() < png.len() {
            return Ok(format!("data:image/jpeg;base64,{}", base64(&jpeg)));
        }
    }
    Ok(format!("data:image/png;base64,{}", base64(&png)))
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0, |bits, &byte| bits << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let index = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place <= group.len() { char::from(ALPHABET[index]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        // The test vectors of RFC 4648, section 10, and the last two letters.
        let cases = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (text, encoded) in cases {
            assert_eq!(base64(text.as_bytes()), encoded);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }

    #[test]
    fn text_is_escaped() {
        assert_eq!(
            escape(r#"<script>alert("a & 'b'")</script>"#),
            "&lt;script&gt;alert(&quot;a &amp; &#39;b&#39;&quot;)&lt;/script&gt;"
        );
        assert_eq!(escape("größer"), "größer");
    }

    #[test]
    fn small_pictures_are_png_and_large_ones_jpeg() {
        let start = |picture: &RgbImage| data_uri(picture).unwrap()[..16].to_owned();
        assert_eq!(start(&RgbImage::new(8, 8)), "data:image/png;b");
        // Noise of 300 × 300 is 270 kB as PNG.
        let mut state = 1_u32;
        let noise = RgbImage::from_fn(300, 300, |_, _| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            image::Rgb([(state >> 8) as u8, (state >> 16) as u8, (state >> 24) as u8])
        });
        assert_eq!(start(&noise), "data:image/jpeg;");
        assert!(data_uri(&RgbImage::new(0, 0)).is_err());
    }
}
