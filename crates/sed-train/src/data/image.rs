//! Decoding of JPEG and PNG files.

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, Limits, RgbImage};
use sed_core::ImageSize;

use super::DataError;

/// The longest side that is decoded, in pixels.
///
/// ```
/// use sed_train::data::{DataError, image::{MAX_SIDE, decode}};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("long.png");
/// image::RgbImage::new(MAX_SIDE + 1, 1).save(&path)?;
/// assert!(matches!(decode(&path), Err(DataError::Decode { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub const MAX_SIDE: u32 = 16384;
/// The most memory that decoding one image may take, in bytes.
///
/// ```
/// use sed_train::data::image::{MAX_BYTES, MAX_SIDE};
///
/// // A square photo of 8,000 pixels a side may be read, one of the longest side may not.
/// assert!(3 * 8_000_u64.pow(2) < MAX_BYTES);
/// assert!(3 * u64::from(MAX_SIDE).pow(2) > MAX_BYTES);
/// ```
pub const MAX_BYTES: u64 = 256 << 20;

/// Decodes a JPEG or PNG file to 8-bit RGB, turned upright as its EXIF orientation says.
///
/// Grey images get three equal channels, 16 bits are scaled to 8, CMYK is converted; an alpha channel is
/// dropped, not blended.
///
/// # Errors
///
/// [`DataError::Io`] if it is no file or cannot be read, [`DataError::TooLarge`] beyond [`MAX_BYTES`],
/// [`DataError::UnsupportedImage`] if its content is neither JPEG nor a still PNG, whatever its extension,
/// [`DataError::Decode`] if it is corrupt or exceeds [`MAX_SIDE`] or, decoded, [`MAX_BYTES`],
/// [`DataError::Truncated`] if its end is missing: the JPEG decoder alone would fill the missing rows with
/// grey.
///
/// ```
/// use sed_train::data::{DataError, image::decode};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("grey.png");
/// image::GrayImage::from_pixel(4, 3, image::Luma([200])).save(&path)?;
/// assert_eq!(decode(&path)?.get_pixel(0, 0).0, [200; 3]);
///
/// let bytes = std::fs::read(&path)?;
/// std::fs::write(&path, &bytes[..bytes.len() - 6])?;
/// assert!(matches!(decode(&path), Err(DataError::Truncated { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode(path: &Path) -> Result<RgbImage, DataError> {
    decode_bytes(path, &read(path)?)
}

/// [`decode`], of the bytes of a file; `path` names them in errors.
///
/// # Errors
///
/// Those of [`decode`], but for reading.
///
/// ```
/// use std::path::Path;
///
/// use sed_train::data::{DataError, image::decode_bytes};
///
/// let error = decode_bytes(Path::new("day.tar/1.png"), b"GIF89a").unwrap_err();
/// assert!(matches!(error, DataError::UnsupportedImage { .. }));
/// assert!(error.to_string().starts_with("day.tar/1.png: "));
/// ```
pub fn decode_bytes(path: &Path, bytes: &[u8]) -> Result<RgbImage, DataError> {
    let format = whole_format(path, bytes)?;
    let mut decoder = decoder(path, bytes, format)?;
    let orientation = orientation(&mut decoder);
    let mut image = pixels(path, decoder)?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// Decodes an image of an annotation file. The listed size says which way the boxes were drawn: on the
/// upright image, or, if only that fits, on the pixels as stored.
///
/// # Errors
///
/// Those of [`decode`], and [`DataError::SizeMismatch`] if neither fits: boxes of an image of another size
/// would be in the wrong places.
///
/// ```
/// use sed_core::ImageSize;
/// use sed_train::data::{DataError, image::decode_listed};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("a.png");
/// image::RgbImage::new(4, 3).save(&path)?;
/// assert!(decode_listed(&path, 7, ImageSize::new(3, 4)).is_ok());
/// let error = decode_listed(&path, 7, ImageSize::new(30, 40)).unwrap_err();
/// assert!(matches!(error, DataError::SizeMismatch { id: 7, .. }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decode_listed(path: &Path, id: u64, listed: ImageSize) -> Result<RgbImage, DataError> {
    let bytes = read(path)?;
    let mut decoder = decoder(path, &bytes, whole_format(path, &bytes)?)?;
    let (stored, upright) = (stored_size(&decoder), orientation(&mut decoder));
    let orientation = if turned(stored, upright) == listed {
        upright
    } else if stored == listed {
        Orientation::NoTransforms
    } else {
        return Err(DataError::SizeMismatch { path: path.to_owned(), id, found: stored, listed });
    };
    let mut image = pixels(path, decoder)?;
    image.apply_orientation(orientation);
    Ok(image.into_rgb8())
}

/// [`decode_listed`] where an id and a size are listed, else [`decode`].
pub(super) fn decode_as(path: &Path, listed: Option<(u64, ImageSize)>) -> Result<RgbImage, DataError> {
    match listed {
        Some((id, size)) => decode_listed(path, id, size),
        None => decode(path),
    }
}

/// The bytes of an image file, which must not be larger than [`MAX_BYTES`].
pub(super) fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    let io_error = |source| DataError::io(path, source);
    let metadata = fs::metadata(path).map_err(io_error)?;
    if !metadata.is_file() {
        return Err(io_error(io::Error::other("not a file")));
    }
    if metadata.len() > MAX_BYTES {
        let (bytes, limit) = (metadata.len(), MAX_BYTES);
        return Err(DataError::TooLarge { path: path.to_owned(), bytes, limit });
    }
    fs::read(path).map_err(io_error)
}

/// The format of an image that is there to its end.
fn whole_format(path: &Path, bytes: &[u8]) -> Result<ImageFormat, DataError> {
    let unsupported = |found: String| Err(DataError::UnsupportedImage { path: path.to_owned(), found });
    let (format, whole) = match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => (ImageFormat::Jpeg, has_jpeg_end(bytes)),
        Ok(ImageFormat::Png) => match has_png_end(bytes) {
            PngEnd::Animated => return unsupported("an animated PNG".to_owned()),
            end => (ImageFormat::Png, end == PngEnd::Found),
        },
        Ok(other) => {
            return unsupported(format!("content of the format {}", format!("{other:?}").to_uppercase()));
        }
        Err(_) if bytes.is_empty() => return unsupported("an empty file".to_owned()),
        Err(_) => return unsupported("content of no known image format".to_owned()),
    };
    if whole { Ok(format) } else { Err(DataError::Truncated { path: path.to_owned() }) }
}

fn decoder<'a>(
    path: &Path,
    bytes: &'a [u8],
    format: ImageFormat,
) -> Result<Box<dyn ImageDecoder + 'a>, DataError> {
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    let result = match format {
        ImageFormat::Jpeg => JpegDecoder::new(Cursor::new(bytes)).and_then(|mut decoder| {
            decoder.set_limits(limits.clone())?;
            limits.reserve(decoder.total_bytes())?;
            Ok(Box::new(decoder) as Box<dyn ImageDecoder>)
        }),
        _ => PngDecoder::with_limits(Cursor::new(bytes), limits.clone()).and_then(|decoder| {
            limits.reserve(decoder.total_bytes())?;
            Ok(Box::new(decoder) as Box<dyn ImageDecoder>)
        }),
    };
    result.map_err(|source| DataError::Decode { path: path.to_owned(), source })
}

fn pixels(path: &Path, decoder: Box<dyn ImageDecoder + '_>) -> Result<DynamicImage, DataError> {
    DynamicImage::from_decoder(decoder).map_err(|source| DataError::Decode { path: path.to_owned(), source })
}

/// How to turn the image upright; an unreadable tag counts as none.
fn orientation(decoder: &mut dyn ImageDecoder) -> Orientation {
    decoder.orientation().unwrap_or(Orientation::NoTransforms)
}

fn stored_size(decoder: &dyn ImageDecoder) -> ImageSize {
    let (width, height) = decoder.dimensions();
    ImageSize::new(height as usize, width as usize)
}

fn turned(size: ImageSize, orientation: Orientation) -> ImageSize {
    match orientation {
        Orientation::Rotate90
        | Orientation::Rotate270
        | Orientation::Rotate90FlipH
        | Orientation::Rotate270FlipH => ImageSize::new(size.width, size.height),
        _ => size,
    }
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

/// What the chunks of a PNG say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PngEnd {
    Found,
    Missing,
    /// There are several pictures.
    Animated,
}

/// Whether a PNG has its end chunk.
fn has_png_end(bytes: &[u8]) -> PngEnd {
    // After a signature of 8 bytes, each chunk is a length, a type, data of that length and a checksum.
    let mut rest = bytes.get(8..).unwrap_or_default();
    while let Some((header, data)) = rest.split_first_chunk::<8>() {
        let [a, b, c, d, kind @ ..] = *header;
        let checksum_end = u32::from_be_bytes([a, b, c, d]) as usize + 4;
        match data.get(checksum_end..) {
            Some(_) if kind == *b"IEND" => return PngEnd::Found,
            Some(_) if kind == *b"acTL" => return PngEnd::Animated,
            Some(next) => rest = next,
            None => return PngEnd::Missing,
        }
    }
    PngEnd::Missing
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
