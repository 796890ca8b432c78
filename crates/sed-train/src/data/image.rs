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
    if reader.format() == Some(ImageFormat::Jpeg) && !has_jpeg_end(&bytes) {
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

/// Whether the end marker `FF D9` of a JPEG is there, as the last bytes or before trailing
/// padding: some cameras append zeros or metadata.
fn has_jpeg_end(bytes: &[u8]) -> bool {
    let end = bytes.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
    bytes[..end].ends_with(&[0xFF, 0xD9])
}
