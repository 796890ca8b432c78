//! Detectors of torchvision from the bytes of an image to boxes in its pixels.

use burn::tensor::Device;
use image::{Rgb, RgbImage};
use sed::{
    core::Detector,
    models::{
        faster_rcnn::{FasterRcnnConfig, ProposalFilter, RoiPostProcess},
        retinanet::{PostProcess, RetinaNetConfig},
    },
    train::data::ShortSideResize,
};

use crate::{fixture::Fixture, formula::uniform, images::close_detections, weights::fill};

/// `photo` of `scripts/fixtures/pipeline.py`.
fn photo(name: &str, [height, width]: [usize; 2]) -> RgbImage {
    let columns = width / 10 + 1;
    let patches = uniform(name, (height / 10 + 1) * columns * 3, 0.0, 192.0);
    let noise = uniform(&format!("{name}/noise"), height * width * 3, 0.0, 64.0);
    RgbImage::from_fn(width as u32, height as u32, |x, y| {
        let (x, y) = (x as usize, y as usize);
        let value = |c: usize| patches[(y / 10 * columns + x / 10) * 3 + c] + noise[(y * width + x) * 3 + c];
        Rgb([value(0), value(1), value(2)].map(|v| v as u8))
    })
}

fn compare<D: Detector>(key: &str, mut detector: D) {
    let all = Fixture::load("pipeline");
    let fixture = all.at(key);
    let name: String = fixture.at("name").get();
    fill(&mut detector, &name, &fixture.at("parameters"));
    let resize = ShortSideResize { short: all.at("short").get(), long: all.at("long").get() };
    let sizes: Vec<[usize; 2]> = all.at("sizes").get();
    let find = |(i, size): (usize, [usize; 2])| {
        let batch = resize.batch(i as u64, &photo(&format!("{name}/{i}"), size));
        batch.to_original(0, &detector.detect(&batch.images.to_batch(&Device::default()))[0])
    };
    let found: Vec<_> = sizes.into_iter().enumerate().map(find).collect();
    close_detections(key, &found, &fixture.at("detections"));
}

#[test]
fn retinanet_sees_images_as_torchvision_does() {
    let config = RetinaNetConfig::torchvision(4);
    let postprocess = PostProcess { max_detections: 40, ..config.postprocess };
    let config = RetinaNetConfig { postprocess, ..config };
    compare("retinanet", config.init(&Device::default()).expect("the options fit together"));
}

#[test]
fn faster_rcnn_sees_images_as_torchvision_does() {
    let mut config = FasterRcnnConfig::torchvision(4);
    config.rpn.test_proposals = ProposalFilter { max_proposals: 60, ..config.rpn.test_proposals };
    config.roi.postprocess = RoiPostProcess { max_detections: 40, ..config.roi.postprocess };
    compare("faster_rcnn", config.init(&Device::default()).expect("the options fit together"));
}
