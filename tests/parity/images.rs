//! The images and objects of a fixture of a whole detector, and its detections.

use burn::tensor::{Device, Tensor, TensorData};
use sed::core::{Detections, ImageBatch, ImageSize, Targets};

use crate::{fixture::Fixture, formula::uniform};

/// The images of the fixture in one batch. What lies beside an image is grey, not 0: the detector
/// has to blank it, as torchvision pads after normalising.
pub fn batch(name: &str, fixture: &Fixture, device: &Device) -> ImageBatch {
    let sizes: Vec<[usize; 2]> = fixture.at("sizes").get();
    let height = sizes.iter().map(|size| size[0]).max().expect("an image");
    let width = sizes.iter().map(|size| size[1]).max().expect("an image");
    let mut pixels = vec![0.5f32; sizes.len() * 3 * height * width];
    for (i, &[h, w]) in sizes.iter().enumerate() {
        let image = uniform(&format!("{name}/image/{i}"), 3 * h * w, 0.0, 1.0);
        for (row, values) in image.chunks(w).enumerate() {
            let start = ((i * 3 + row / h) * height + row % h) * width;
            pixels[start..start + w].copy_from_slice(values);
        }
    }
    let pixels = Tensor::from_data(TensorData::new(pixels, [sizes.len(), 3, height, width]), device);
    ImageBatch::new(pixels, sizes.iter().map(|&[h, w]| ImageSize::new(h, w)).collect())
}

/// The objects of the fixture's images.
pub fn targets(fixture: &Fixture) -> Vec<Targets> {
    let of =
        |t: Fixture| Targets { boxes: t.at("boxes").get(), labels: t.at("labels").get(), crowds: vec![] };
    fixture.at("targets").list().into_iter().map(of).collect()
}

/// Compares detections: the same objects in the same order, scores to 1e-4 and boxes to 0.05 px.
#[track_caller]
pub fn close_detections(name: &str, found: &[Detections], expected: &Fixture) {
    for (found, expected) in found.iter().zip(expected.list()) {
        let boxes: Vec<[f32; 4]> = expected.at("boxes").get();
        let labels: Vec<usize> = expected.at("labels").get();
        let scores: Vec<f32> = expected.at("scores").get();
        // torchvision keeps boxes that clipping has left without area, which we drop; they suppress
        // nothing, but take places under the limit, so ours may go on where its list ends.
        let with_area = |i: &usize| boxes[*i][0] < boxes[*i][2] && boxes[*i][1] < boxes[*i][3];
        let kept: Vec<usize> = (0..boxes.len()).filter(with_area).collect();
        assert!(found.len() >= kept.len() && kept.len() > 10, "{} of {}", found.len(), kept.len());
        let (mut score_error, mut box_error) = (0.0f32, 0.0f32);
        for (i, &k) in kept.iter().enumerate() {
            assert_eq!(found.labels[i], labels[k], "label of detection {i}");
            score_error = score_error.max((found.scores[i] - scores[k]).abs());
            for (a, b) in found.boxes[i].iter().zip(boxes[k]) {
                box_error = box_error.max((a - b).abs());
            }
        }
        println!("{name}: scores off by {score_error:.1e}, boxes by {box_error:.1e} px");
        // What the head's outputs are off by, at logits of about 5 and anchors of about 500 px.
        assert!(score_error < 1e-4, "scores off by {score_error}");
        assert!(box_error < 0.05, "boxes off by {box_error} px");
    }
}
