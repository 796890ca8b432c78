//! Trains a RetinaNet by Scale-Equivalent Distillation, and on the labels alone for comparison.
//!
//! ```text
//! cargo run --release --example retinanet_coco
//! ```
//!
//! draws a dataset, trains both ways on the same few labels and prints a table. See `--help` for
//! training on your own data.

mod common;

use std::process::ExitCode;

use clap::Parser;
use common::{
    args::{Args, Backbone},
    data::Dataset,
    report::Comparison,
    settings::{LoaderSettings, Settings, override_settings},
};
use sed::{
    core::{device::parse_device, objective::ObjectiveConfig},
    models::{
        backbone::ResNetConfig,
        retinanet::{RetinaNet, RetinaNetConfig},
        weights::{self, LoadOptions, WeightsError},
    },
    train::{
        data::{AugmentConfig, StrongConfig, scenes::SceneConfig},
        report::RunFolder,
        train::{self, OptimizerConfig, ScheduleConfig, TeacherConfig, TrainConfig},
    },
};

fn main() -> ExitCode {
    common::exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> anyhow::Result<()> {
    let device = parse_device(&args.device)?;
    let settings: Settings<RetinaNetConfig> =
        override_settings(&preset(args)?, args.config.as_deref(), &args.set)?;
    settings.model.validate_for_views()?;
    settings.train.validate()?;
    settings.augment.validate()?;

    let dataset = Dataset::open(args, settings.scenes.as_ref())?;
    let mut settings = settings;
    settings.model.num_classes = dataset.num_classes();
    // Weights that do not fit are found before anything is written.
    load_weights(settings.model.init(&device)?, args)?;
    let folder = RunFolder::create(common::run_dir(args, "retinanet"), &settings)?;
    println!("{}", dataset.describe());
    println!("run folder: {}", folder.path().display());
    dataset.write_manifest(&folder)?;

    let mut comparison = Comparison::new(&folder);
    for method in common::methods(args) {
        // The same seed gives both methods the same first weights.
        device.seed(args.seed);
        let detector = load_weights(settings.model.init(&device)?, args)?;
        let config = TrainConfig { method, ..settings.train.clone() };
        let data = dataset.loaders(&config, &settings.augment, &settings.loader, args.seed)?;
        let path = comparison.start(method)?;
        let outcome = train::train(detector, &data, &config, &device, common::label(method), Some(&path))?;

        weights::save_safetensors(&outcome.student, &path.join("student.safetensors"))?;
        weights::save_safetensors(&outcome.teacher, &path.join("teacher.safetensors"))?;
        comparison.draw_predictions(&path, &outcome.teacher, &dataset, &settings.augment, &device)?;
        comparison.add(method, &outcome)?;
    }
    comparison.finish()?;
    Ok(())
}

/// The settings that the arguments ask for, before a TOML file and `--set` change them.
fn preset(args: &Args) -> anyhow::Result<Settings<RetinaNetConfig>> {
    let user = args.user_data()?.is_some();
    let mut settings = Settings {
        model: model(args.backbone, 1),
        train: small_schedule(),
        augment: AugmentConfig {
            image_size: if user { 256 } else { 64 },
            strong: StrongConfig::small_images(),
            ..AugmentConfig::default()
        },
        loader: LoaderSettings::default(),
        scenes: (!user).then(SceneConfig::default),
    };
    if !user {
        // The hue of an object hints at its class there: the augmentation must not hide it.
        settings.augment.strong.hue = 0.04;
        settings.augment.strong.grey_probability = 0.05;
        // Tuned on these scenes; on harder data with a poorer teacher they lose, see docs/results.md.
        settings.train.burn_in = 1000;
        settings.train.objective.scale_weight = 2.0;
        settings.train.objective.distill_weight = 8.0;
        settings.train.objective.temperature = 0.5;
    }
    if args.backbone != Backbone::Tiny {
        // Deeper networks start from ImageNet weights and train at the published schedule.
        settings.train = TrainConfig { batch_labeled: 4, batch_unlabeled: 4, ..TrainConfig::default() };
        settings.augment = AugmentConfig { image_size: 512, ..AugmentConfig::default() };
    }
    if args.smoke {
        settings.train = settings.train.with_iterations(8);
        settings.scenes = Some(SceneConfig { train_images: 40, val_images: 8, ..SceneConfig::default() });
    }
    if let Some(iterations) = args.iterations {
        settings.train = settings.train.with_iterations(iterations);
    }
    let train = &mut settings.train;
    train.batch_labeled = args.batch_labeled.unwrap_or(train.batch_labeled);
    train.batch_unlabeled = args.batch_unlabeled.unwrap_or(train.batch_unlabeled);
    settings.augment.image_size = args.image_size.unwrap_or(settings.augment.image_size);
    Ok(settings)
}

fn model(backbone: Backbone, classes: usize) -> RetinaNetConfig {
    let depth = match backbone {
        Backbone::Tiny => return RetinaNetConfig::tiny(classes),
        Backbone::Resnet18 => 18,
        Backbone::Resnet34 => 34,
        Backbone::Resnet50 => 50,
        Backbone::Resnet101 => 101,
    };
    let mut config = RetinaNetConfig::resnet50(classes);
    config.backbone.body = ResNetConfig::new(depth);
    config
}

/// A schedule for small images and networks trained from scratch: minutes on two cores.
fn small_schedule() -> TrainConfig {
    TrainConfig {
        iterations: 5000,
        evaluate_every: 1000,
        batch_labeled: 4,
        batch_unlabeled: 4,
        // On hard data the teacher is poor for long, and a short burn-in lost, see docs/results.md.
        burn_in: 2500,
        ramp_up: 200,
        optimizer: OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 1e-4 },
        schedule: ScheduleConfig {
            learning_rate: 2e-3,
            warmup_iterations: 100,
            milestones: vec![0.85],
            ..ScheduleConfig::default()
        },
        // The longer the run, the slower the teacher may be.
        teacher: TeacherConfig { decay: 0.99, ..TeacherConfig::default() },
        objective: ObjectiveConfig {
            scale_weight: 0.5,
            distill_weight: 2.0,
            // More costs AP75 where boxes are good, see docs/results.md.
            box_weight: 0.1,
            ..ObjectiveConfig::default()
        },
        ..TrainConfig::default()
    }
}

/// Starts from the file of `--weights`: a whole detector, a detector of other classes, or a
/// backbone, whichever its keys fit.
fn load_weights(mut detector: RetinaNet, args: &Args) -> anyhow::Result<RetinaNet> {
    let Some(file) = &args.weights else { return Ok(detector) };
    let mut backbone = detector.backbone.body.clone();
    let report = match weights::load(&mut backbone, file, &LoadOptions::default()) {
        Ok(report) => {
            detector.backbone.body = backbone;
            report
        }
        Err(WeightsError::NothingMatched { .. }) => {
            let whole = weights::load(&mut detector, file, &LoadOptions::default());
            let other_classes = LoadOptions::skipping(["head.classification_head.cls_logits."]);
            whole.or_else(|_| weights::load(&mut detector, file, &other_classes))?
        }
        Err(error) => return Err(error.into()),
    };
    println!("{}: {} tensors loaded, {} left out", file.display(), report.loaded.len(), report.skipped.len());
    Ok(detector)
}
