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
    let (_dir, path) = file(&encoded(GrayImage::from_pixel(4, 3, [77].into()), ImageFormat::Png), "g.png");
    assert_eq!(decode(&path).unwrap(), RgbImage::from_pixel(4, 3, Rgb([77; 3])));
    let clear = RgbaImage::from_pixel(4, 3, [10, 20, 30, 0].into());
    let (_dir, path) = file(&encoded(clear, ImageFormat::Png), "t.png");
    assert_eq!(decode(&path).unwrap(), RgbImage::from_pixel(4, 3, Rgb([10, 20, 30])));
}

#[test]
fn a_truncated_jpeg_is_refused_wherever_it_ends() {
    let whole = encoded(gradient(64, 48), ImageFormat::Jpeg);
    assert!(jpeg::has_end(&whole));
    for length in 0..whole.len() {
        assert!(!jpeg::has_end(&whole[..length]), "{length} of {} bytes", whole.len());
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
    assert!(jpeg::has_end(&bytes));
    bytes.truncate(bytes.len() / 2);
    assert!(!jpeg::has_end(&bytes));
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
    assert_eq!(has_png_end(&whole), PngEnd::Found);
    for length in 0..whole.len() {
        assert_eq!(has_png_end(&whole[..length]), PngEnd::Missing, "{length} of {} bytes", whole.len());
    }
    // The last 12 bytes are the empty end chunk; without it all rows are there, yet not the whole file.
    let (_dir, path) = file(&whole[..whole.len() - 12], "cut.png");
    let error = decode(&path).unwrap_err();
    assert!(matches!(&error, DataError::Truncated { path: named } if *named == path), "{error}");
}

#[test]
fn a_corrupt_file_is_named() {
    let mut damaged = encoded(gradient(64, 48), ImageFormat::Png);
    let middle = damaged.len() / 2;
    damaged[middle] ^= 0xFF;
    let (_dir, path) = file(&damaged, "damaged.png");
    let error = decode(&path).unwrap_err();
    assert!(matches!(error, DataError::Decode { .. }), "{error}");
    let start = format!("{}: cannot decode the image: ", path.display());
    assert!(error.to_string().starts_with(&start), "{error}");
}

#[test]
fn other_content_than_jpeg_and_png_is_refused_by_name() {
    let animated = {
        let mut bytes = encoded(gradient(4, 4), ImageFormat::Png);
        // After the signature and the header chunk: an animation of two frames; its checksum is not read.
        let chunk = [b"\0\0\0\x08acTL" as &[u8], &[0, 0, 0, 2, 0, 0, 0, 0], &[0; 4]].concat();
        bytes.splice(33..33, chunk);
        bytes
    };
    for (bytes, name, expected) in [
        (b"not an image".to_vec(), "text.png", "content of no known image format"),
        (vec![], "empty.png", "an empty file"),
        (b"GIF89a\x01\0\x01\0\0\0\0;".to_vec(), "a.png", "content of the format GIF"),
        (b"RIFF\x1a\0\0\0WEBPVP8L".to_vec(), "a.jpg", "content of the format WEBP"),
        (b"BM\x1e\0\0\0".to_vec(), "a.jpg", "content of the format BMP"),
        (b"II*\0\x08\0\0\0".to_vec(), "a.png", "content of the format TIFF"),
        (animated, "moving.png", "an animated PNG"),
    ] {
        let (_dir, path) = file(&bytes, name);
        let text = format!("{}: {expected}; JPEG and PNG files are read", path.display());
        assert_eq!(decode(&path).unwrap_err().to_string(), text);
    }
}

#[test]
fn a_folder_and_a_file_of_more_bytes_than_the_limit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let error = decode(dir.path()).unwrap_err().to_string();
    assert_eq!(error, format!("{}: not a file", dir.path().display()));
    let path = dir.path().join("sparse.png");
    fs::File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
    let error = decode(&path).unwrap_err();
    assert!(matches!(error, DataError::TooLarge { limit: MAX_BYTES, .. }), "{error}");
}

#[test]
fn every_kind_of_pixel_becomes_rgb() {
    use image::{ImageBuffer, LumaA, Rgb, Rgba};
    // 16 bits are scaled: 0x8000 of 0xFFFF is 128 of 255.
    let deep = ImageBuffer::<Rgb<u16>, _>::from_pixel(3, 2, Rgb([0xFFFF, 0x8000, 0]));
    let deep_alpha = ImageBuffer::<Rgba<u16>, _>::from_pixel(3, 2, Rgba([0xFFFF, 0x8000, 0, 9]));
    let grey_alpha = ImageBuffer::<LumaA<u8>, _>::from_pixel(3, 2, LumaA([99, 0]));
    for (image, expected) in [
        (DynamicImage::from(deep), [255, 128, 0]),
        (DynamicImage::from(deep_alpha), [255, 128, 0]),
        (DynamicImage::from(grey_alpha), [99, 99, 99]),
        (DynamicImage::from(RgbImage::from_pixel(3, 2, Rgb([1, 2, 3]))), [1, 2, 3]),
    ] {
        let (_dir, path) = file(&encoded(image, ImageFormat::Png), "a.png");
        assert_eq!(decode(&path).unwrap(), RgbImage::from_pixel(3, 2, Rgb(expected)));
    }
    let (_dir, path) = file(&encoded(gradient(1, 1), ImageFormat::Jpeg), "one.jpg");
    assert_eq!(decode(&path).unwrap().dimensions(), (1, 1));
}

/// A file that scripts/fixtures/images.py made.
fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/images").join(name)
}

#[test]
fn jpeg_pixels_are_those_of_libjpeg_turbo() {
    for name in ["444", "422", "420", "restart", "progressive"] {
        let [jpeg, png] =
            ["jpg", "png"].map(|end| decode(&fixture(&format!("pattern_{name}.{end}"))).unwrap());
        assert_eq!(jpeg, png, "{name}");
    }
}

#[test]
fn damaged_jpeg_data_is_refused() {
    let mut bytes = fs::read(fixture("pattern_420.jpg")).unwrap();
    // Without its last quarter, yet with an end marker.
    let cut = bytes.len() * 3 / 4;
    bytes.splice(cut.., [0xFF, 0xD9]);
    let (_dir, path) = file(&bytes, "cut.jpg");
    let error = decode(&path).unwrap_err();
    assert!(matches!(error, DataError::Decode { .. }), "{error}");
}

#[test]
fn a_jpeg_of_countless_scans_is_refused() {
    let bytes = fs::read(fixture("pattern_progressive.jpg")).unwrap();
    let scans = |bytes: &[u8]| bytes.windows(2).filter(|marker| *marker == [0xFF, 0xDA]).count();
    let first = bytes.windows(2).position(|marker| marker == [0xFF, 0xDA]).unwrap();
    let tables = bytes[first + 2..].windows(2).position(|marker| marker == [0xFF, 0xC4]).unwrap() + first + 2;
    let (before, scan, after) = (&bytes[..first], &bytes[first..tables], &bytes[tables..]);
    let with_copies = |copies: usize| [before, &scan.repeat(copies), after].concat();
    for (copies, is_read) in [(20, true), (100, false)] {
        let bytes = with_copies(copies);
        assert_eq!(scans(&bytes) > 100, !is_read);
        let (_dir, path) = file(&bytes, "scans.jpg");
        let result = decode(&path);
        assert_eq!(result.is_ok(), is_read, "{copies}: {:?}", result.err());
    }
}

/// Files of kinds that no encoder here writes.
#[test]
fn cmyk_and_palettes_are_converted() {
    let fixture = |name: &str| decode(&fixture(name)).unwrap();
    let palette = fixture("palette.png");
    assert_eq!([palette.get_pixel(0, 0).0, palette.get_pixel(1, 0).0], [[200, 100, 50], [10, 20, 30]]);
    // CMYK (55, 155, 205, 0) is RGB (200, 100, 50); JPEG of one colour is off by rounding alone.
    for name in ["cmyk.jpg", "grey.jpg"] {
        let expected = if name == "cmyk.jpg" { [200, 100, 50] } else { [77; 3] };
        let image = fixture(name);
        assert_eq!(image.dimensions(), (8, 8));
        let close = |pixel: &Rgb<u8>| pixel.0.iter().zip(expected).all(|(a, b)| a.abs_diff(b) <= 4);
        assert!(image.pixels().all(close), "{name}: {:?}", image.get_pixel(0, 0));
    }
}

/// A JPEG of 24 × 16 pixels as stored, with this orientation in its EXIF data.
fn with_orientation(orientation: u8) -> Vec<u8> {
    let mut bytes = encoded(gradient(24, 16), ImageFormat::Jpeg);
    // One entry: tag 0x0112, a short, one of it, the value.
    let tiff =
        [b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" as &[u8], &[orientation], &[0; 6]].concat();
    let segment = [b"Exif\0\0", tiff.as_slice()].concat();
    let length = (segment.len() as u16 + 2).to_be_bytes();
    bytes.splice(2..2, [&[0xFF, 0xE1], &length[..], &segment].concat());
    bytes
}

#[test]
fn the_listed_size_decides_about_the_orientation() {
    let stored = {
        let (_dir, path) = file(&with_orientation(1), "a.jpg");
        decode(&path).unwrap()
    };
    // 6: the camera was turned, and the picture is upright when turned by 90 degrees to the right.
    let (_dir, path) = file(&with_orientation(6), "a.jpg");
    let upright = image::imageops::rotate90(&stored);
    assert_eq!(upright.dimensions(), (16, 24));
    assert_eq!(decode(&path).unwrap(), upright);
    let listed = |height, width| decode_listed(&path, 1, ImageSize::new(height, width));
    assert_eq!(listed(24, 16).unwrap(), upright);
    assert_eq!(listed(16, 24).unwrap(), stored);
    assert!(matches!(listed(16, 16), Err(DataError::SizeMismatch { .. })));
    // 3: upside down, which the size does not tell.
    let (_dir, path) = file(&with_orientation(3), "a.jpg");
    let turned = image::imageops::rotate180(&stored);
    assert_eq!(decode_listed(&path, 1, ImageSize::new(16, 24)).unwrap(), turned);
    // A value that means nothing.
    let (_dir, path) = file(&with_orientation(77), "a.jpg");
    assert_eq!(decode(&path).unwrap(), stored);
}

/// Damage of headers and data ends in an image or a typed error.
#[test]
fn damaged_images_do_not_panic() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a");
    let mut state = 1_u64;
    let mut below = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    for format in [ImageFormat::Jpeg, ImageFormat::Png] {
        let whole = encoded(gradient(24, 16), format);
        let mut refused = 0;
        for number in 0..1000 {
            let mut bytes = whole.clone();
            for _ in 0..1 + below(4) {
                let at = below(bytes.len());
                bytes[at] = below(256) as u8;
            }
            fs::write(&path, &bytes).unwrap();
            let result = std::panic::catch_unwind(|| decode(&path));
            let result = result.unwrap_or_else(|_| panic!("{format:?} {number}: a panic"));
            refused += usize::from(result.is_err());
        }
        assert!(refused > 100, "{format:?}: {refused} of 1000 refused");
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

        let mut bytes = encoded(RgbImage::new(1, 1), ImageFormat::Jpeg);
        // The frame's header: its length, the precision, the height, the width.
        let frame = bytes.windows(2).position(|marker| marker == [0xFF, 0xC0]).unwrap();
        bytes[frame + 5..frame + 7].copy_from_slice(&(height as u16).to_be_bytes());
        bytes[frame + 7..frame + 9].copy_from_slice(&(width as u16).to_be_bytes());
        let (_dir, path) = file(&bytes, "large.jpg");
        let error = decode(&path).unwrap_err();
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
        format!("{}: image 5 is 24×16 pixels (width × height) but its annotations say 16×24", path.display())
    );
}

#[test]
fn real_photos_are_whole() {
    for name in ["imagenet_sample_unlabelled", "coco_subset/val2017"] {
        let Some(folder) = shared_data(name) else { continue };
        let images = UnlabeledSet::from_folder(folder).unwrap().images;
        for image in &images {
            assert!(jpeg::has_end(&fs::read(&image.path).unwrap()), "{}", image.path.display());
        }
        decode(&images[0].path).unwrap();
    }
}
