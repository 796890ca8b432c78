//! Every method of the trainer on every detector.

use burn::train::TrainStep;
use sed::{
    core::{Detector, pseudo_labels::PseudoLabels},
    models::retinanet::RetinaNet,
    train::train::{
        AverageFrom, Method, OptimizerConfig, RivalsConfig, SemiSupervised, TeacherConfig, TrainConfig,
    },
};

use super::{batch, device, faster_rcnn, object, retinanet_that_sees};

/// The terms that a method adds to each stage, and the numbers that it watches.
fn expected(method: Method) -> &'static [&'static str] {
    match method {
        Method::Supervised => &[],
        Method::PseudoLabel => &["pseudo_box", "pseudo_class", "pseudo_objects"],
        Method::MultiView => {
            &["pseudo_box", "pseudo_box_half", "pseudo_class", "pseudo_class_half", "pseudo_objects"]
        }
        Method::SoftLabel | Method::Sed => {
            &["distill_box", "distill_class", "scale_box", "scale_class", "teacher_foreground"]
        }
        Method::DenseTeacher => &["dense_box", "dense_class", "dense_score"],
        Method::Csd => &["flip_anchors", "flip_box", "flip_class"],
    }
}

fn config(method: Method) -> TrainConfig {
    let mut config = TrainConfig {
        method,
        iterations: 2,
        evaluate_every: 2,
        batch_labeled: 1,
        batch_unlabeled: 1,
        burn_in: 0,
        ramp_up: 0,
        optimizer: OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 },
        teacher: TeacherConfig { average_from: AverageFrom::Start, ..TeacherConfig::default() },
        ..TrainConfig::default()
    };
    // As for detections, see `retinanet_that_sees`.
    for labels in [&mut config.rivals.pseudo_label, &mut config.rivals.multi_view] {
        *labels = PseudoLabels { threshold: 0.0, ..*labels };
    }
    config
}

fn trains<D: Detector>(detector: D, method: Method) {
    let stages = detector.stages();
    let config = config(method);
    let mut optimizer = config.optimizer.init();
    let mut model = SemiSupervised::new(detector, &config).unwrap();
    for iteration in 0..2 {
        let output = TrainStep::step(&model, batch(iteration, object(), method.is_semi_supervised()));
        let scalars = output.item.scalars.clone();
        for stage in stages {
            let mut names: Vec<&str> =
                scalars.keys().filter_map(|name| name.strip_prefix(stage)?.strip_prefix('/')).collect();
            names.retain(|name| !["class", "box"].contains(name));
            assert_eq!(names, expected(method), "{method}");
            for name in names {
                let value = scalars[&format!("{stage}/{name}")];
                assert!(value.is_finite() && value >= 0.0, "{method}: {stage}/{name} {value}");
            }
        }
        let supervised: f64 =
            stages.iter().flat_map(|s| ["class", "box"].map(|t| scalars[&format!("{s}/{t}")])).sum();
        if matches!(method, Method::PseudoLabel | Method::MultiView | Method::DenseTeacher | Method::Sed) {
            assert!(scalars["loss"] > supervised, "{method} adds nothing");
        }
        model = model.optimize(&mut optimizer, 0.001.into(), output.grads);
    }
    assert_eq!(model.iteration(), 2, "{method}: a step failed");
}

#[test]
fn a_retinanet_trains_by_each_method() {
    for method in Method::ALL {
        trains(retinanet_that_sees().init(&device()).unwrap(), method);
    }
}

#[test]
fn a_faster_rcnn_trains_by_each_method() {
    let mut config = faster_rcnn();
    config.roi.postprocess.score_threshold = 0.0;
    for method in Method::ALL {
        trains(config.init(&device()).unwrap(), method);
    }
}

/// The unsupervised part of a step's loss, by method and options.
fn unsupervised_loss(detector: &RetinaNet, method: Method, change: impl FnOnce(&mut RivalsConfig)) -> f64 {
    let mut config = config(method);
    change(&mut config.rivals);
    let model = SemiSupervised::new(detector.clone(), &config).unwrap();
    let scalars = TrainStep::step(&model, batch(0, object(), true)).item.scalars;
    scalars["loss"] - scalars["head/class"] - scalars["head/box"]
}

#[test]
fn the_options_of_the_rivals_act() {
    // One detector for all: tests that run beside this one draw from the same random numbers.
    let detector = retinanet_that_sees().init(&device()).unwrap();
    let assert_doubles = |loss: &dyn Fn(f64) -> f64| {
        let (one, two) = (loss(1.0), loss(2.0));
        assert!((two / one - 2.0).abs() < 1e-3, "{one} and {two}");
    };
    assert_doubles(&|w| unsupervised_loss(&detector, Method::PseudoLabel, |r| r.pseudo_label.weight = w));
    assert_doubles(&|w| unsupervised_loss(&detector, Method::MultiView, |r| r.multi_view.weight = w));
    assert_doubles(&|w| unsupervised_loss(&detector, Method::SoftLabel, |r| r.soft_label_weight = w));
    assert_doubles(&|w| unsupervised_loss(&detector, Method::DenseTeacher, |r| r.dense_teacher.weight = w));

    let pseudo = |change: fn(&mut PseudoLabels)| {
        unsupervised_loss(&detector, Method::PseudoLabel, |rivals| change(&mut rivals.pseudo_label))
    };
    let base = pseudo(|_| ());
    assert!(pseudo(|labels| labels.learn_boxes = true) > base, "boxes add to the loss");
    // Without a pseudo-label all anchors are background.
    assert_ne!(pseudo(|labels| labels.threshold = 1.0), base);
}
