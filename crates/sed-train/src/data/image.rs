//! Decoding of JPEG and PNG files.

use std::fs;
use std::io::{self, Cursor};
use std::path::Path;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageError, ImageFormat, Limits, RgbImage};
use sed_core::ImageSize;

use super::{DataError, jpeg};

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
    let header = Header::read(path, bytes)?;
    let orientation = header.orientation;
    header.pixels(orientation)
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
    let header = Header::read(path, &bytes)?;
    let (stored, upright) = (header.size, header.orientation);
    let orientation = if turned(stored, upright) == listed {
        upright
    } else if stored == listed {
        Orientation::NoTransforms
    } else {
        return Err(DataError::SizeMismatch { path: path.to_owned(), id, found: stored, listed });
    };
    header.pixels(orientation)
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
        Ok(ImageFormat::Jpeg) => (ImageFormat::Jpeg, jpeg::has_end(bytes)),
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

/// What the header of an image says, and the way to its pixels.
struct Header<'a> {
    path: &'a Path,
    /// As stored.
    size: ImageSize,
    /// How to turn the image upright; an unreadable tag counts as none.
    orientation: Orientation,
    source: Source<'a>,
}

enum Source<'a> {
    Jpeg(Box<jpeg::Jpeg<'a>>),
    Png(Box<PngDecoder<Cursor<&'a [u8]>>>),
}

impl<'a> Header<'a> {
    /// Refuses what is not whole, of another format, or beyond the limits.
    fn read(path: &'a Path, bytes: &'a [u8]) -> Result<Self, DataError> {
        let undecodable = |source| DataError::Decode { path: path.to_owned(), source };
        let mut limits = Limits::default();
        limits.max_image_width = Some(MAX_SIDE);
        limits.max_image_height = Some(MAX_SIDE);
        limits.max_alloc = Some(MAX_BYTES);
        let ((width, height), orientation, source) = if whole_format(path, bytes)? == ImageFormat::Jpeg {
            let jpeg = jpeg::Jpeg::open(bytes, limits).map_err(undecodable)?;
            (jpeg.dimensions(), jpeg.orientation(), Source::Jpeg(Box::new(jpeg)))
        } else {
            let png = PngDecoder::with_limits(Cursor::new(bytes), limits.clone()).and_then(|png| {
                limits.reserve(png.total_bytes())?;
                Ok(png)
            });
            let mut png = png.map_err(undecodable)?;
            let orientation = png.orientation().unwrap_or(Orientation::NoTransforms);
            (png.dimensions(), orientation, Source::Png(Box::new(png)))
        };
        Ok(Self { path, size: ImageSize::new(height as usize, width as usize), orientation, source })
    }

    /// Decodes, and turns the image.
    fn pixels(self, orientation: Orientation) -> Result<RgbImage, DataError> {
        let image: Result<DynamicImage, ImageError> = match self.source {
            Source::Jpeg(jpeg) => jpeg.pixels().map(DynamicImage::from),
            Source::Png(png) => DynamicImage::from_decoder(*png),
        };
        let mut image = image.map_err(|source| DataError::Decode { path: self.path.to_owned(), source })?;
        image.apply_orientation(orientation);
        Ok(image.into_rgb8())
    }
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
