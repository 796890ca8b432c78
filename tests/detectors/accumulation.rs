//! A step whose images are taken in parts.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, Tensor},
    train::TrainStep,
};
use sed::{
    core::{
        Targets,
        reweight::{Normalizer, ReweightConfig},
    },
    models::retinanet::RetinaNet,
    train::{
        data::{HostImages, HostViews, TrainBatch},
        train::{Method, Run, SemiSupervised, Stop, TeacherWatch, TrainConfig, TrainError, train},
    },
};

use crate::{cells::CellDetector, data_failures::Fixture, images, object, retinanet};

/// Two labeled and two unlabeled images, all different; one of the labeled ones has no object.
fn batch() -> TrainBatch {
    let two = |a: f32, b: f32| {
        let (mut both, second) = (images(a), images(b));
        both.pixels.extend(second.pixels);
        both.sizes.extend(second.sizes);
        both
    };
    TrainBatch {
        iteration: 0,
        labeled: two(0.0, 0.4),
        targets: vec![object(), Targets::default()],
        labeled_ids: vec![7, 8],
        unlabeled: Some(HostViews {
            weak: two(0.1, 0.6),
            strong: two(0.3, 0.5),
            keys: vec!["u".into(), "v".into()],
        }),
    }
}

/// One image of each kind of [`batch`].
fn half(part: usize) -> TrainBatch {
    let TrainBatch { labeled, targets, labeled_ids, unlabeled, .. } = batch();
    let views = unlabeled.expect("views");
    let of = |images: &HostImages| images.part(part..part + 1);
    TrainBatch {
        iteration: 0,
        labeled: of(&labeled),
        targets: vec![targets[part].clone()],
        labeled_ids: vec![labeled_ids[part]],
        unlabeled: Some(HostViews {
            weak: of(&views.weak),
            strong: of(&views.strong),
            keys: vec![views.keys[part].clone()],
        }),
    }
}

/// Steps of SED on labeled and unlabeled images from the first on, without clipping.
fn config(normalizer: Normalizer, accumulation: usize) -> TrainConfig {
    let mut config = TrainConfig {
        method: Method::Sed,
        iterations: 8,
        evaluate_every: 4,
        batch_labeled: 2,
        batch_unlabeled: 2,
        accumulation,
        burn_in: 0,
        ramp_up: 0,
        clip_norm: None,
        ..TrainConfig::default()
    };
    // A least divisor that no part reaches.
    config.objective.reweight = ReweightConfig { normalizer, epsilon: 1e-6, ..ReweightConfig::default() };
    config
}

/// All gradients, one after another.
fn gradient(model: &RetinaNet, grads: &GradientsParams) -> Vec<f32> {
    struct Collect<'a>(&'a GradientsParams, Vec<f32>);
    impl ModuleVisitor for Collect<'_> {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            let grad = self.0.get::<D>(param.id).unwrap_or_else(|| panic!("no gradient of {:?}", param.id));
            self.1.extend(grad.into_data().iter::<f32>());
        }
    }
    let mut collect = Collect(grads, Vec::new());
    model.visit(&mut collect);
    collect.1
}

/// The gradient of a step that starts as `detector`, and its scalar `name`.
fn step(
    detector: &RetinaNet,
    config: &TrainConfig,
    batch: TrainBatch,
) -> (Vec<f32>, Arc<BTreeMap<String, f64>>) {
    let model = SemiSupervised::new(detector.clone(), config).unwrap();
    let output = TrainStep::step(&model, batch);
    (gradient(&model.student, &output.grads), output.item.scalars)
}

/// Sums of f32 in another order: some roundings of the largest entry apart.
fn assert_close(found: &[f32], expected: &[f32]) {
    let largest = expected.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    assert!(largest > 0.0 && found.len() == expected.len());
    for (index, (a, b)) in found.iter().zip(expected).enumerate() {
        assert!((a - b).abs() <= 2e-6 * largest, "entry {index}: {a} and {b}, the largest is {largest}");
    }
}

fn assert_near(found: f64, expected: f64, what: &str) {
    assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{what}: {found} and {expected}");
}

fn detector() -> RetinaNet {
    retinanet().init(&crate::device()).unwrap()
}

#[test]
fn parts_have_the_gradient_and_the_losses_of_the_whole_batch() {
    let detector = detector();
    let (whole, parts) = (config(Normalizer::AnchorCount, 1), config(Normalizer::AnchorCount, 2));
    let (expected, of_whole) = step(&detector, &whole, batch());
    let (found, of_parts) = step(&detector, &parts, batch());
    assert_close(&found, &expected);
    let scalars = ["loss", "gradient_norm", "head/class", "head/box", "head/teacher_foreground"];
    for name in scalars.into_iter().chain(["head/scale_class", "head/scale_box", "head/distill_box"]) {
        assert!(of_whole[name] != 0.0, "{name}");
        assert_near(of_parts[name], of_whole[name], name);
    }
}

#[test]
fn the_mean_is_clipped_and_not_the_parts() {
    let detector = detector();
    let free = config(Normalizer::AnchorCount, 2);
    let (gradient, scalar) = step(&detector, &free, batch());
    let norm = scalar["gradient_norm"];
    // Between the norm of the mean and the larger one of the parts: nothing is to be clipped.
    let larger = (0..2)
        .map(|part| step(&detector, &config(Normalizer::AnchorCount, 1), half(part)).1["gradient_norm"]);
    let larger = larger.fold(0.0, f64::max);
    assert!(larger > 1.01 * norm, "{larger} {norm}");
    let (unclipped, _) =
        step(&detector, &TrainConfig { clip_norm: Some(1.005 * norm), ..free.clone() }, batch());
    assert_eq!(unclipped, gradient);
    let (clipped, scalar) = step(&detector, &TrainConfig { clip_norm: Some(0.5 * norm), ..free }, batch());
    assert_eq!(scalar["gradient_norm"], norm);
    assert_close(&clipped, &gradient.iter().map(|value| 0.5 * value).collect::<Vec<_>>());
}

#[test]
fn a_normaliser_that_images_share_is_that_of_each_part() {
    let detector = detector();
    let each = [0, 1].map(|part| step(&detector, &config(Normalizer::TeacherForeground, 1), half(part)));
    let (found, scalar) = step(&detector, &config(Normalizer::TeacherForeground, 2), batch());
    let mean: Vec<f32> = each[0].0.iter().zip(&each[1].0).map(|(a, b)| (a + b) / 2.0).collect();
    assert_close(&found, &mean);
    let of_each = |name: &str| (each[0].1[name], each[1].1[name]);
    let (a, b) = of_each("head/distill_class");
    assert_near(scalar["head/distill_class"], (a + b) / 2.0, "a loss");
    let (a, b) = of_each("head/teacher_foreground");
    assert_near(scalar["head/teacher_foreground"], a + b, "a sum over anchors");
}

#[test]
fn a_part_that_is_not_finite_skips_the_step() {
    let config = config(Normalizer::AnchorCount, 2);
    let model = SemiSupervised::new(detector(), &config).unwrap();
    let mut bad = batch();
    let last = bad.labeled.pixels.len() - 1;
    bad.labeled.pixels[last] = f32::NAN;
    let output = TrainStep::step(&model, bad);
    assert!(output.grads.is_empty());
    assert!(!output.item.scalars["head/class"].is_finite());
    let mut optimizer = config.optimizer.init();
    let model = model.optimize(&mut optimizer, 0.01.into(), output.grads);
    assert_eq!((model.iteration(), model.skipped_steps()), (1, 1));
}

#[test]
fn a_batch_that_cannot_be_divided_is_refused() {
    let odd = TrainConfig { batch_labeled: 3, ..config(Normalizer::AnchorCount, 2) };
    let error = odd.validate().unwrap_err().to_string();
    assert!(error.starts_with("accumulation") && error.contains("batch_labeled, which is 3"), "{error}");
}

/// The metrics and the weights that a run of eight steps leaves; it stops once in the middle if `stops`.
fn run(detector: &CellDetector, folder: &Path, accumulation: usize, stops: bool) -> (String, Vec<f32>) {
    let fixture = Fixture::new();
    let config = config(Normalizer::TeacherForeground, accumulation);
    let device = Device::default();
    let once = |run: Run| train(detector.clone(), &fixture.data(2), &config, &device, &run);
    let steps = || Run::new("parts").in_folder(folder).checkpoint_every(3);
    if stops {
        let stop = Stop::default();
        let asks = stop.clone();
        let watch = TeacherWatch::new(move |_, _| asks.request());
        match once(steps().stopped_by(stop).watched_by(watch)) {
            Err(TrainError::Stopped { iteration }) => assert_eq!(iteration, 4),
            Err(error) => panic!("{error}"),
            Ok(_) => panic!("the run did not stop"),
        }
    }
    let outcome = once(steps().resumed()).unwrap();
    (fs::read_to_string(folder.join("metrics.csv")).unwrap(), weights(&outcome.teacher))
}

fn weights(detector: &CellDetector) -> Vec<f32> {
    struct Collect(Vec<f32>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().iter::<f32>());
        }
    }
    let mut collect = Collect(Vec::new());
    detector.visit(&mut collect);
    collect.0
}

#[test]
fn a_run_in_parts_goes_on_as_if_it_had_not_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let detector = CellDetector::new(2, &Device::default());
    let whole = run(&detector, &folder.path().join("whole"), 2, false);
    let stopped = run(&detector, &folder.path().join("stopped"), 2, true);
    assert!(whole == stopped, "{}\n{}", whole.0, stopped.0);
    // One row a step, not one a part; three evaluations' rows are not among them.
    let rows = whole.0.lines().count();
    let at_once = run(&detector, &folder.path().join("at_once"), 1, false);
    assert_eq!(rows, at_once.0.lines().count());
    assert_ne!(whole.1, at_once.1);
}
