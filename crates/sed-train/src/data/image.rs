//! Decoding of JPEG and PNG files.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::{ImageFormat, ImageReader, Limits, RgbImage};
use sed_core::ImageSize;

use super::DataError;

/// The longest side that is decoded, in pixels.
pub const MAX_SIDE: u32 = 16384;
/// The most memory that decoding one image may take, in bytes.
pub const MAX_BYTES: u64 = 256 << 20;

/// Decodes a JPEG or PNG file to 8-bit RGB.
///
/// Grey images get three equal channels; an alpha channel is dropped, not blended. The orientation
/// tag of EXIF is not applied, since boxes are given for the pixels as stored.
///
/// # Errors
///
/// [`DataError::Io`] if the file cannot be read, [`DataError::Decode`] if it is corrupt, neither
/// JPEG nor PNG, or exceeds [`MAX_SIDE`] or [`MAX_BYTES`], [`DataError::Truncated`] if its end
/// is missing: the JPEG decoder alone would fill the missing rows with grey.
pub fn decode(path: &Path) -> Result<RgbImage, DataError> {
    let bytes = fs::read(path).map_err(|source| DataError::io(path, source))?;
    let decode_error = |source| DataError::Decode { path: path.to_owned(), source };
    let mut reader =
        ImageReader::new(Cursor::new(&bytes)).with_guessed_format().map_err(|e| DataError::io(path, e))?;
    let whole = match reader.format() {
        Some(ImageFormat::Jpeg) => has_jpeg_end(&bytes),
        Some(ImageFormat::Png) => has_png_end(&bytes),
        _ => true,
    };
    if !whole {
        return Err(DataError::Truncated { path: path.to_owned() });
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    Ok(reader.decode().map_err(decode_error)?.into_rgb8())
}

/// Decodes an image of an annotation file and checks its size against the file's.
///
/// # Errors
///
/// Those of [`decode`], and [`DataError::SizeMismatch`]: boxes of an image of another size would
/// be in the wrong places.
pub fn decode_listed(path: &Path, id: u64, listed: ImageSize) -> Result<RgbImage, DataError> {
    let image = decode(path)?;
    let found = ImageSize::new(image.height() as usize, image.width() as usize);
    if found != listed {
        return Err(DataError::SizeMismatch { path: path.to_owned(), id, found, listed });
    }
    Ok(image)
}

/// Whether a JPEG has its end marker `FF D9`.
///
/// Segments are walked from the start, for the last two bytes do not tell: a preview inside a
/// segment has an end marker of its own, and some cameras append data after the image.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    const END: u8 = 0xD9;
    let mut at = 2;
    // Bytes that are no marker are compressed data, in which `FF` is followed by 0 or by a restart
    // marker `D0..=D7`.
    while let Some(offset) = bytes.get(at..).and_then(|rest| rest.iter().position(|&byte| byte == 0xFF)) {
        at += offset + 1;
        match bytes.get(at) {
            Some(&END) => return true,
            // A filler byte: the marker is still to come.
            Some(0xFF) => {}
            Some(0 | 1 | 0xD0..=0xD8) => at += 1,
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(length) => at += 1 + usize::from(u16::from_be_bytes([length[0], length[1]])),
                None => return false,
            },
            None => return false,
        }
    }
    false
}

/// Whether a PNG has its end chunk.
fn has_png_end(bytes: &[u8]) -> bool {
    // After a signature of 8 bytes, each chunk is a length, a type, data of that length and a checksum.
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((header, data)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        let checksum_end = u32::from_be_bytes([a, b, c, d]) as usize + 4;
        match data.get(checksum_end..) {
            Some(_) if kind == *b"IEND" => return true,
            Some(next) => rest = next,
            None => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use image::{DynamicImage, GrayImage, Rgb, RgbaImage};

    use super::*;
    use crate::data::UnlabeledSet;
    use crate::test_data::shared_data;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([(x * 3) as u8, (y * 5) as u8, ((x * y) % 251) as u8]))
    }

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn file(bytes: &[u8], name: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        (dir, path)
    }

    #[test]
    fn png_pixels_are_exact_and_jpeg_is_close() {
        let image = gradient(24, 16);
        let (_dir, path) = file(&encoded(image.clone(), ImageFormat::Png), "a.png");
        assert_eq!(decode(&path).unwrap(), image);

        let flat = RgbImage::from_pixel(24, 16, Rgb([200, 100, 50]));
        let (_dir, path) = file(&encoded(flat, ImageFormat::Jpeg), "a.jpg");
        let decoded = decode(&path).unwrap();
        assert_eq!(decoded.dimensions(), (24, 16));
        // An image of one colour has no detail to lose; what is left is rounding between YCbCr and RGB.
        let close = |pixel: &Rgb<u8>| pixel.0.iter().zip([200, 100, 50]).all(|(a, b)| a.abs_diff(b) <= 3);
        assert!(decoded.pixels().all(close));
    }

    #[test]
    fn the_content_decides_and_not_the_extension() {
        let image = gradient(8, 8);
        let (_dir, path) = file(&encoded(image.clone(), ImageFormat::Png), "a.jpg");
        assert_eq!(decode(&path).unwrap(), image);
    }

    #[test]
    fn grey_and_transparent_images_become_rgb() {
        let (_dir, path) =
            file(&encoded(GrayImage::from_pixel(4, 3, [77].into()), ImageFormat::Png), "g.png");
        assert_eq!(decode(&path).unwrap(), RgbImage::from_pixel(4, 3, Rgb([77; 3])));
        let clear = RgbaImage::from_pixel(4, 3, [10, 20, 30, 0].into());
        let (_dir, path) = file(&encoded(clear, ImageFormat::Png), "t.png");
        assert_eq!(decode(&path).unwrap(), RgbImage::from_pixel(4, 3, Rgb([10, 20, 30])));
    }

    #[test]
    fn a_truncated_jpeg_is_refused_wherever_it_ends() {
        let whole = encoded(gradient(64, 48), ImageFormat::Jpeg);
        assert!(has_jpeg_end(&whole));
        for length in 0..whole.len() {
            assert!(!has_jpeg_end(&whole[..length]), "{length} of {} bytes", whole.len());
        }
        let (_dir, path) = file(&whole[..whole.len() / 2], "cut.jpg");
        assert_eq!(
            decode(&path).unwrap_err().to_string(),
            format!("{}: the image is truncated: its end marker is missing", path.display())
        );
    }

    #[test]
    fn a_preview_inside_a_segment_does_not_count_as_the_end() {
        let whole = encoded(gradient(64, 48), ImageFormat::Jpeg);
        // A segment APP1 of 6 bytes that holds an end marker of its own.
        let preview = [0xFF, 0xE1, 0x00, 0x06, 0xFF, 0xD9, 0xFF, 0xD9];
        let mut bytes = [&whole[..2], &preview, &whole[2..]].concat();
        assert!(has_jpeg_end(&bytes));
        bytes.truncate(bytes.len() / 2);
        assert!(!has_jpeg_end(&bytes));
    }

    #[test]
    fn data_after_the_end_marker_is_allowed() {
        let image = gradient(64, 48);
        let whole = encoded(image, ImageFormat::Jpeg);
        let (_dir, plain) = file(&whole, "a.jpg");
        let (_dir, longer) = file(&[&whole[..], &[0, 1, 2, 3]].concat(), "b.jpg");
        assert_eq!(decode(&plain).unwrap(), decode(&longer).unwrap());
    }

    #[test]
    fn a_truncated_png_is_refused() {
        let whole = encoded(gradient(64, 48), ImageFormat::Png);
        assert!(has_png_end(&whole));
        for length in 0..whole.len() {
            assert!(!has_png_end(&whole[..length]), "{length} of {} bytes", whole.len());
        }
        // The last 12 bytes are the empty end chunk; without it all rows are there, yet not the whole file.
        let (_dir, path) = file(&whole[..whole.len() - 12], "cut.png");
        let error = decode(&path).unwrap_err();
        assert!(matches!(&error, DataError::Truncated { path: named } if *named == path), "{error}");
    }

    #[test]
    fn corrupt_and_foreign_files_are_named() {
        let mut damaged = encoded(gradient(64, 48), ImageFormat::Png);
        let middle = damaged.len() / 2;
        damaged[middle] ^= 0xFF;
        for (bytes, name) in
            [(damaged, "damaged.png"), (b"not an image".to_vec(), "text.png"), (vec![], "empty.png")]
        {
            let (_dir, path) = file(&bytes, name);
            let error = decode(&path).unwrap_err();
            assert!(matches!(error, DataError::Decode { .. }), "{error}");
            let start = format!("{}: cannot decode the image: ", path.display());
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }

    #[test]
    fn a_missing_file_is_named() {
        let path = Path::new("no-such-folder/a.png");
        let error = decode(path).unwrap_err();
        assert!(matches!(error, DataError::Io { .. }), "{error}");
        assert!(error.to_string().starts_with("no-such-folder/a.png: "), "{error}");
    }

    #[test]
    fn an_image_beyond_the_limits_is_refused_before_its_pixels_are_read() {
        // 16384 × 16384 × 3 bytes are 768 MiB; one row more than the longest side is refused as well.
        for (width, height) in [(MAX_SIDE, MAX_SIDE), (1, MAX_SIDE + 1)] {
            let mut bytes = encoded(RgbImage::new(1, 1), ImageFormat::Png);
            bytes[16..20].copy_from_slice(&width.to_be_bytes());
            bytes[20..24].copy_from_slice(&height.to_be_bytes());
            let checksum = crc32(&bytes[12..29]);
            bytes[29..33].copy_from_slice(&checksum.to_be_bytes());
            let (_dir, path) = file(&bytes, "large.png");
            let error = decode(&path).unwrap_err();
            let limited = |source: &image::ImageError| matches!(source, image::ImageError::Limits(_));
            assert!(matches!(&error, DataError::Decode { source, .. } if limited(source)), "{error}");
        }
    }

    /// The checksum of PNG chunks: bitwise, polynomial `EDB88320`.
    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |state, &byte| {
            (0..8).fold(state ^ u32::from(byte), |state, _| {
                (state >> 1) ^ (0xEDB8_8320 & (state & 1).wrapping_neg())
            })
        })
    }

    #[test]
    fn another_size_than_listed_is_refused() {
        let (_dir, path) = file(&encoded(gradient(24, 16), ImageFormat::Png), "a.png");
        assert!(decode_listed(&path, 5, ImageSize::new(16, 24)).is_ok());
        let error = decode_listed(&path, 5, ImageSize::new(24, 16)).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: image 5 is 24×16 pixels (width × height) but its annotations say 16×24",
                path.display()
            )
        );
    }

    #[test]
    fn real_photos_are_whole() {
        for name in ["imagenet_sample_unlabelled", "coco_subset/val2017"] {
            let Some(folder) = shared_data(name) else { continue };
            let images = UnlabeledSet::from_folder(folder).unwrap().images;
            for image in &images {
                assert!(has_jpeg_end(&fs::read(&image.path).unwrap()), "{}", image.path.display());
            }
            decode(&images[0].path).unwrap();
        }
    }
}
