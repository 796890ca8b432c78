//! Detection at several image sizes.

use sed::{core::Detector, train::eval::detect_at_scales};

use super::{device, images, retinanet_that_sees};

#[test]
fn one_scale_of_1_is_detection_itself() {
    let (model, pixels) = (retinanet_that_sees().init(&device()).unwrap(), images(0.2).to_batch(&device()));
    // After suppression at an IoU of 0.5 no two boxes fuse at 0.55.
    let (alone, fused) = (model.detect(&pixels), detect_at_scales(&model, &pixels, &[1.0]));
    assert_eq!(fused[0].len(), alone[0].len());
    assert!(!fused[0].is_empty());
    assert_eq!((&fused[0].boxes[0], fused[0].scores[0]), (&alone[0].boxes[0], alone[0].scores[0]));
}

#[test]
fn boxes_of_other_scales_come_back_in_pixels_of_the_image() {
    let (model, pixels) = (retinanet_that_sees().init(&device()).unwrap(), images(0.2).to_batch(&device()));
    for scales in [&[0.5][..], &[2.0], &[0.75], &[1.0, 0.5]] {
        let found = detect_at_scales(&model, &pixels, scales).remove(0);
        assert!(!found.is_empty());
        let corners = found.boxes.as_flattened();
        let furthest = corners.iter().copied().fold(0.0, f32::max);
        // Boxes are clipped to the resized image, whose border is that of the image.
        assert!(furthest <= 64.0 && furthest > 40.0, "{scales:?}: {furthest}");
        assert!(found.scores.is_sorted_by(|a, b| a >= b));
    }
}

#[test]
#[should_panic(expected = "no scale")]
fn at_least_one_scale_is_needed() {
    let model = retinanet_that_sees().init(&device()).unwrap();
    let _ = detect_at_scales(&model, &images(0.0).to_batch(&device()), &[]);
}
