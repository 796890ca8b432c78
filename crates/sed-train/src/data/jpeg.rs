//! JPEG files, decoded to the same pixels as libjpeg-turbo, on which torchvision and OpenCV build: a detector that was
//! trained elsewhere sees what it saw there.

use std::io::Cursor;

use image::{
    DynamicImage, ImageError, ImageFormat, ImageResult, Limits, RgbImage,
    codecs::jpeg::JpegDecoder,
    error::{DecodingError, LimitError, LimitErrorKind},
    metadata::Orientation,
};
use libjpeg_turbo_rs::{DecodeLimits, Decoder, PixelFormat};

/// Scans that a file may have. Progressive ones have about ten; thousands of empty ones would keep a decoder busy for
/// as many passes over the image.
const MAX_SCANS: usize = 100;

/// A file whose header was read.
pub(super) struct Jpeg<'a> {
    bytes: &'a [u8],
    decoder: Decoder<'a>,
}

impl<'a> Jpeg<'a> {
    /// Reads the header; the image must keep within the limits.
    pub(super) fn open(bytes: &'a [u8], mut limits: Limits) -> ImageResult<Self> {
        let scans = DecodeLimits { max_scans: MAX_SCANS, ..DecodeLimits::default() };
        let mut decoder = Decoder::new_with_limits(bytes, scans).map_err(undecodable)?;
        decoder.set_output_format(PixelFormat::Rgb);
        let jpeg = Self { bytes, decoder };
        let (width, height) = jpeg.dimensions();
        limits.check_dimensions(width, height)?;
        limits.reserve(3 * u64::from(width) * u64::from(height))?;
        Ok(jpeg)
    }

    /// Width and height as stored.
    pub(super) fn dimensions(&self) -> (u32, u32) {
        let header = self.decoder.header();
        (header.width.into(), header.height.into())
    }

    pub(super) fn orientation(&self) -> Orientation {
        self.decoder.exif_orientation().and_then(Orientation::from_exif).unwrap_or(Orientation::NoTransforms)
    }

    /// The pixels as stored.
    ///
    /// Compressed data that breaks off or makes no sense is an error, where libjpeg-turbo warns and goes on.
    pub(super) fn pixels(self) -> ImageResult<RgbImage> {
        if !self.is_common() {
            return JpegDecoder::new(Cursor::new(self.bytes))
                .and_then(DynamicImage::from_decoder)
                .map(DynamicImage::into_rgb8);
        }
        let image = self.decoder.decode_image().map_err(undecodable)?;
        let (width, height) = self.dimensions();
        RgbImage::from_raw(width, height, image.data)
            .ok_or_else(|| ImageError::Limits(LimitError::from_kind(LimitErrorKind::DimensionError)))
    }

    /// Whether the image is grey or in colours of 8 bits, as photos are. Of files with four components, CMYK, a
    /// damaged one makes this decoder panic.
    fn is_common(&self) -> bool {
        let header = self.decoder.header();
        header.precision == 8 && !header.is_lossless && matches!(header.components.len(), 1 | 3)
    }
}

fn undecodable(error: libjpeg_turbo_rs::JpegError) -> ImageError {
    ImageError::Decoding(DecodingError::new(ImageFormat::Jpeg.into(), error))
}

/// Whether a JPEG has its end marker `FF D9`.
///
/// Segments are walked from the start, for the last two bytes do not tell: a preview inside a
/// segment has an end marker of its own, and some cameras append data after the image.
pub(super) fn has_end(bytes: &[u8]) -> bool {
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
