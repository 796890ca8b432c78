//! Boxes, suppression, the box coder, anchors and the matcher.

use burn::tensor::Device;
use sed::{
    core::{
        ImageSize,
        ops::{batched_nms, boxes, nms},
        pyramid::PyramidLayout,
    },
    models::{
        anchors::AnchorConfig,
        box_coder::BoxCoder,
        matcher::{Assignment, Matcher},
    },
};

use crate::fixture::{Fixture, values};

type Boxes = Vec<[f32; 4]>;

/// Sums and quotients of a few numbers: a handful of roundings of f32 (6e-8).
const ARITHMETIC: f64 = 5e-7;

#[test]
fn iou_and_giou() {
    let fixture = Fixture::load("boxes").at("pairs");
    let (a, b): (Vec<[f64; 4]>, Vec<[f64; 4]>) = (fixture.at("a").get(), fixture.at("b").get());
    for (name, overlap) in [("iou", boxes::iou as fn(&[f64; 4], &[f64; 4]) -> f64), ("giou", boxes::giou)] {
        for (x, row) in a.iter().zip(fixture.at(name).list()) {
            let found: Vec<f32> = b.iter().map(|y| overlap(x, y) as f32).collect();
            row.close(&found, ARITHMETIC);
        }
    }
}

#[test]
fn clipping() {
    let fixture = Fixture::load("boxes").at("clipping");
    let (height, width) = (fixture.at("height").get(), fixture.at("width").get());
    let found: Boxes =
        fixture.at("boxes").get::<Boxes>().iter().map(|b| boxes::clip(b, height, width)).collect();
    // Minimum and maximum do not round.
    assert_eq!(found, fixture.at("clipped").get::<Boxes>());
}

#[test]
fn suppression_keeps_the_same_boxes_in_the_same_order() {
    let fixture = Fixture::load("boxes").at("suppression");
    let boxes: Boxes = fixture.at("boxes").get();
    let (scores, labels): (Vec<f32>, Vec<usize>) = (fixture.at("scores").get(), fixture.at("labels").get());
    for run in fixture.at("runs").list() {
        let threshold = run.at("iou_threshold").get();
        assert_eq!(
            nms(&boxes, &scores, threshold),
            run.at("nms").get::<Vec<usize>>(),
            "threshold {threshold}"
        );
        let kept = batched_nms(&boxes, &scores, &labels, threshold);
        assert_eq!(kept, run.at("batched_nms").get::<Vec<usize>>(), "threshold {threshold}");
    }
}

#[test]
fn box_coder_on_the_host_and_on_tensors() {
    let fixture = Fixture::load("boxes").at("coder");
    let device = Device::default().autodiff();
    let (targets, anchors, deltas): (Boxes, Boxes, Boxes) =
        (fixture.at("boxes").get(), fixture.at("anchors").get(), fixture.at("deltas").get());
    for run in fixture.at("runs").list() {
        let coder = BoxCoder { weights: run.at("weights").get(), ..BoxCoder::default() };
        let encoded: Boxes = targets.iter().zip(&anchors).map(|(t, a)| coder.encode(*t, *a)).collect();
        run.at("encoded").close(encoded.as_flattened(), ARITHMETIC);
        let decoded: Boxes = deltas.iter().zip(&anchors).map(|(d, a)| coder.decode(*d, *a)).collect();
        run.at("decoded").close(decoded.as_flattened(), ARITHMETIC);

        let on_device = |name: &str| fixture.at(name).tensor::<2>(&device);
        let encoded = coder.encode_tensor(on_device("boxes"), on_device("anchors"));
        run.at("encoded").close_tensor(&encoded, ARITHMETIC);
        let leaf = on_device("deltas").require_grad();
        let decoded = coder.decode_tensor(leaf.clone(), on_device("anchors"));
        run.at("decoded").close_tensor(&decoded, ARITHMETIC);
        let gradients = (decoded * on_device("upstream")).sum().backward();
        let gradient = values(&leaf.grad(&gradients).expect("a gradient"));
        run.at("deltas_gradient").close(&gradient, ARITHMETIC);
    }
}

#[test]
fn anchors_of_whole_grids() {
    for case in Fixture::load("boxes").at("anchors").list() {
        let config =
            AnchorConfig { sizes: case.at("sizes").get(), ratios: case.at("ratios").get(), rounding: true };
        let strides: Vec<usize> = case.at("strides").get();
        let image = ImageSize::new(case.at("height").get(), case.at("width").get());
        let layout = PyramidLayout::over(image, &strides, config.anchors_per_cell());
        let grid = config.init(&strides).grid(&layout);
        assert_eq!(grid.len(), case.at("count").get::<usize>());
        let picked: Boxes = grid.into_iter().step_by(case.at("step").get()).collect();
        // Rounded to whole pixels: equal.
        assert_eq!(picked, case.at("boxes").get::<Boxes>(), "{}", case.at("name").get::<String>());
    }
}

#[test]
fn the_preset_anchors_are_those_of_torchvisions_retinanet() {
    let fixture = Fixture::load("boxes").at("anchors").list().remove(0);
    let preset = AnchorConfig::torchvision();
    assert_eq!(preset.sizes, fixture.at("sizes").get::<Vec<Vec<f32>>>());
    assert_eq!(preset.ratios, fixture.at("ratios").get::<Vec<f32>>());
}

#[test]
fn matcher_with_and_without_low_quality_matches() {
    let fixture = Fixture::load("boxes").at("matching");
    let (targets, anchors): (Boxes, Boxes) = (fixture.at("targets").get(), fixture.at("anchors").get());
    for run in fixture.at("runs").list() {
        let matcher = Matcher {
            high: run.at("high").get(),
            low: run.at("low").get(),
            allow_low_quality: run.at("allow_low_quality").get(),
        };
        let found = matcher.assign(&targets, &anchors).into_iter().map(|assignment| match assignment {
            Assignment::Matched(target) => target as i64,
            Assignment::Background => -1,
            Assignment::Ignored => -2,
        });
        assert_eq!(found.collect::<Vec<_>>(), run.at("matched").get::<Vec<i64>>(), "{matcher:?}");
    }
}
