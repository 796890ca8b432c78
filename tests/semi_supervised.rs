//! The semi-supervised step on a real detector: burn-in, teacher, losses, and steps that fail.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::ModuleOptimizer,
    tensor::{Device, Tensor},
    train::TrainStep,
};
use sed::{
    core::{ImageSize, Targets},
    models::{
        backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig},
        layers::norm::NormKind,
        retinanet::{HeadConfig, RetinaNet, RetinaNetConfig},
    },
    train::{
        data::{HostImages, HostViews, TrainBatch},
        train::{AverageFrom, Method, OptimizerConfig, SemiSupervised, TeacherConfig, TrainConfig},
    },
};

const SIDE: usize = 64;

/// A detector as small as it gets: ndarray has to train it.
fn detector() -> RetinaNet {
    let device = Device::default();
    device.seed(3);
    let tiny = RetinaNetConfig::tiny(2);
    let norm = NormKind::Group { groups: 2 };
    RetinaNetConfig {
        backbone: ResNetFpnConfig {
            body: ResNetConfig { base_width: 4, norm, ..tiny.backbone.body },
            fpn: FpnConfig { out_channels: 4, ..tiny.backbone.fpn },
        },
        head: HeadConfig { num_convs: 1, channels: 4, norm, ..tiny.head },
        ..tiny
    }
    .init(&device)
    .expect("the parts fit together")
}

fn images(shade: f32) -> HostImages {
    let pixel = |i: usize| ((i % 7) as f32 / 7.0 + shade).min(1.0);
    let size = ImageSize::new(SIDE, SIDE);
    let mut images = HostImages::new(size);
    images.pixels = (0..3 * SIDE * SIDE).map(pixel).collect();
    images.sizes.push(size);
    images
}

fn batch(iteration: usize) -> TrainBatch {
    TrainBatch {
        iteration,
        labeled: images(0.0),
        targets: vec![Targets { boxes: vec![[8.0, 8.0, 40.0, 40.0]], labels: vec![1], crowds: Vec::new() }],
        labeled_ids: vec![7],
        unlabeled: Some(HostViews { weak: images(0.1), strong: images(0.3), keys: vec!["u".into()] }),
    }
}

fn config() -> TrainConfig {
    TrainConfig {
        method: Method::Sed,
        iterations: 4,
        evaluate_every: 4,
        batch_labeled: 1,
        batch_unlabeled: 1,
        burn_in: 2,
        ramp_up: 0,
        optimizer: OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 },
        teacher: TeacherConfig {
            decay: 0.5,
            ramp: false,
            average_from: AverageFrom::BurnIn,
            ..TeacherConfig::default()
        },
        ..TrainConfig::default()
    }
}

/// All weights, one after another.
fn weights<M: Module>(module: &M) -> Vec<f32> {
    struct Collect(Vec<f32>);
    impl ModuleVisitor for Collect {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(param.val().into_data().iter::<f32>());
        }
    }
    let mut collect = Collect(Vec::new());
    module.visit(&mut collect);
    collect.0
}

type Model = SemiSupervised<RetinaNet>;

/// One step; returns the model and the names of the losses that were computed.
fn step(model: Model, optimizer: &mut ModuleOptimizer, batch: TrainBatch) -> (Model, Vec<String>) {
    let output = TrainStep::step(&model, batch);
    let names = output.item.scalars.keys().cloned().collect();
    (model.optimize(optimizer, 0.01.into(), output.grads), names)
}

#[test]
fn the_teacher_is_a_copy_until_the_end_of_burn_in_and_an_average_after_it() {
    let mut optimizer = config().optimizer.init();
    let mut model = SemiSupervised::new(detector(), &config()).unwrap();
    let first = weights(&model.student);
    for iteration in 0..2 {
        let (next, losses) = step(model, &mut optimizer, batch(iteration));
        model = next;
        assert!(!losses.iter().any(|name| name.contains("distill")), "{losses:?}");
        assert_eq!(weights(&model.student), weights(&model.teacher), "after step {iteration}");
    }
    assert_ne!(weights(&model.student), first, "the student learns");

    let teacher = weights(&model.teacher);
    let (model, losses) = step(model, &mut optimizer, batch(2));
    for term in ["head/distill_class", "head/distill_box", "head/scale_class", "head/scale_box"] {
        assert!(losses.iter().any(|name| name == term), "{term} in {losses:?}");
    }
    assert_halfway(&teacher, &model);
    assert_eq!(model.iteration(), 3);
}

/// The teacher lies halfway between its weights before and the student's now.
fn assert_halfway(before: &[f32], model: &Model) {
    let averaged = before.iter().zip(weights(&model.student)).map(|(t, s)| 0.5 * t + 0.5 * s);
    for (found, expected) in weights(&model.teacher).into_iter().zip(averaged) {
        // One rounding of f32 apart at most.
        assert!((found - expected).abs() <= 1e-6 * expected.abs().max(1.0), "{found} and {expected}");
    }
}

#[test]
fn the_average_can_start_with_the_first_step() {
    let mut config = config();
    config.teacher.average_from = AverageFrom::Start;
    let mut optimizer = config.optimizer.init();
    let mut model = SemiSupervised::new(detector(), &config).unwrap();
    for iteration in 0..3 {
        let before = weights(&model.teacher);
        (model, _) = step(model, &mut optimizer, batch(iteration));
        assert_halfway(&before, &model);
        assert_ne!(weights(&model.student), weights(&model.teacher), "after step {iteration}");
    }
}

#[test]
fn the_supervised_method_ignores_unlabeled_images() {
    let config = TrainConfig { method: Method::Supervised, ..config() };
    let mut optimizer = config.optimizer.init();
    let mut model = SemiSupervised::new(detector(), &config).unwrap();
    for iteration in 0..4 {
        let (next, losses) = step(model, &mut optimizer, batch(iteration));
        model = next;
        assert!(!losses.iter().any(|name| name.contains("scale")), "{losses:?}");
    }
}

#[test]
fn checkpointing_computes_the_same_gradients() {
    let first = detector();
    let run = |gradient_checkpointing| {
        let config = TrainConfig { gradient_checkpointing, ..config() };
        let mut optimizer = config.optimizer.init();
        let mut model = SemiSupervised::new(first.clone(), &config).unwrap();
        for iteration in 0..3 {
            (model, _) = step(model, &mut optimizer, batch(iteration));
        }
        let weight = model.student.head.classification_head.cls_logits.weight.val();
        (weight.gradient_checkpointing_strategy(), weights(&model.student))
    };
    let (plain, checkpointed) = (run(false), run(true));
    assert_ne!(plain.0, checkpointed.0);
    for (a, b) in plain.1.iter().zip(&checkpointed.1) {
        // The same operations on the same numbers; sums may be taken in another order.
        assert!((a - b).abs() <= 1e-6 * a.abs().max(1.0), "{a} and {b}");
    }
}

/// The state of the optimizer, by the name of each of its entries.
fn optimizer_state(optimizer: &ModuleOptimizer) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    // Entries are written in the order of a hash map: the same one, as the optimizer is a clone.
    let path = folder.path().join("optimizer.bpk");
    optimizer.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    type Spoil = fn(&mut Model, &mut TrainBatch);
    let spoil: [(&str, Spoil); 4] = [
        ("a labeled image", |_, batch| batch.labeled.pixels[5] = f32::NAN),
        ("an unlabeled image", |_, batch| batch.unlabeled.as_mut().unwrap().strong.pixels[5] = f32::INFINITY),
        ("the teacher's output", |model, _| {
            let bias = &mut model.teacher.head.classification_head.cls_logits.bias;
            *bias = bias.take().map(|bias| bias.map(|bias| bias * f32::NAN));
        }),
        ("a box", |_, batch| batch.targets[0].boxes[0][2] = f32::NAN),
    ];
    let taught =
        Method::ALL.into_iter().filter(|method| *method != Method::Csd && method.is_semi_supervised());
    let cases = taught.flat_map(|method| spoil.map(|(what, spoil)| (method, what, spoil)));
    for (method, what, spoil) in cases {
        let what = format!("{method}: {what}");
        let config = TrainConfig { method, burn_in: 1, optimizer: momentum(), ..config() };
        let mut optimizer = config.optimizer.init();
        let model = SemiSupervised::new(detector(), &config).unwrap();
        let (mut model, _) = step(model, &mut optimizer, batch(0));
        let mut bad = batch(1);
        spoil(&mut model, &mut bad);
        let state = |model: &Model| {
            let bits = |weights: Vec<f32>| weights.into_iter().map(f32::to_bits).collect::<Vec<_>>();
            (bits(weights(&model.student)), bits(weights(&model.teacher)))
        };
        let before = (state(&model), optimizer_state(&optimizer));
        let output = TrainStep::step(&model, bad);
        assert!(!output.item.scalars["loss"].is_finite(), "{what}");
        assert!(output.grads.is_empty(), "{what}");
        let model = model.optimize(&mut optimizer, 0.01.into(), output.grads);
        assert_eq!((state(&model), optimizer_state(&optimizer)), before, "{what}");
        assert_eq!((model.iteration(), model.skipped_steps()), (2, 1), "{what}");
    }
}

fn momentum() -> OptimizerConfig {
    OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 }
}
