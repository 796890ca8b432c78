//! What the training examples train with, before a TOML file and `--set` change it.

use anyhow::Result;
use sed::{
    core::{objective::ObjectiveConfig, pseudo_labels::PseudoLabels},
    models::backbone::ResNetConfig,
    train::{
        data::{AugmentConfig, DataPolicy, StrongConfig, scenes::SceneConfig},
        train::{OptimizerConfig, RivalsConfig, ScheduleConfig, TeacherConfig, TrainConfig},
    },
};

use super::{
    args::{Args, Backbone, Preset},
    settings::{LoaderSettings, Settings},
};

/// What the generated scenes are trained with, where it differs from data of your own.
pub struct ScenesPreset {
    /// Supervised steps before the teacher teaches.
    pub burn_in: usize,
    /// Optimizer steps.
    pub iterations: usize,
}

/// The settings that the arguments ask for, around a `model` of as yet unknown classes.
pub fn settings<M>(args: &Args, model: M, scenes: ScenesPreset) -> Result<Settings<M>> {
    let user = args.user_data()?.is_some();
    let mut settings = Settings {
        model,
        train: small_schedule(),
        augment: AugmentConfig {
            image_size: if user { 256 } else { 64 },
            strong: StrongConfig::small_images(),
            ..AugmentConfig::default()
        },
        data: DataPolicy::default(),
        loader: LoaderSettings::default(),
        scenes: (!user).then(SceneConfig::default),
    };
    if !user {
        settings.train = settings.train.with_iterations(scenes.iterations);
        settings.train.burn_in = scenes.burn_in;
        // Not for photos: there it was tried with larger weights alone, and lost, see docs/results.md.
        settings.train.objective.temperature = 0.5;
    }
    if args.backbone() != Backbone::Tiny {
        // Deeper networks start from ImageNet weights and train at the published schedule.
        settings.train = TrainConfig { batch_labeled: 4, batch_unlabeled: 4, ..TrainConfig::default() };
        settings.augment = AugmentConfig { image_size: 512, ..AugmentConfig::default() };
    }
    if let Some(preset) = args.preset {
        (settings.train, settings.augment) = named(preset);
    }
    if !user && args.backbone() == Backbone::Tiny {
        // The hue of an object hints at its class there: the augmentation must not hide it.
        settings.augment.strong.hue = 0.04;
        settings.augment.strong.grey_probability = 0.05;
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
    settings.data.mode = args.data_policy.unwrap_or(settings.data.mode);
    settings.data.max_skipped = args.max_skipped.unwrap_or(settings.data.max_skipped);
    settings.augment.image_size = args.image_size.unwrap_or(settings.augment.image_size);
    Ok(settings)
}

/// Schedule and views of a named preset.
fn named(preset: Preset) -> (TrainConfig, AugmentConfig) {
    // Square views of this side; at a scale of 1 an image of 4:3 has a short side of three quarters of it.
    let published = |image_size| AugmentConfig { image_size, ..AugmentConfig::default() };
    let small = |image_size| AugmentConfig { strong: StrongConfig::small_images(), ..published(image_size) };
    match preset {
        // Unbiased Teacher and Dense Teacher take short sides from 640 to 800, here 576 to 960.
        Preset::Coco => (TrainConfig::default(), published(1024)),
        // The 72,000 steps of Consistent-Teacher on VOC; burn-in and decay in proportion as Unbiased Teacher's.
        Preset::Voc => {
            let teacher = TeacherConfig { decay: 0.999, ..TrainConfig::default().teacher };
            let (iterations, evaluate_every, burn_in) = (72_000, 4_000, 12_000);
            let train =
                TrainConfig { iterations, evaluate_every, burn_in, teacher, ..TrainConfig::default() };
            (train, published(768))
        }
        Preset::Small => (small_schedule(), small(256)),
        Preset::Cpu => (small_schedule().with_iterations(2000), small(128)),
    }
}

/// The residual network of `--backbone`; `None` for that of the tiny preset.
pub fn body(backbone: Backbone) -> Option<ResNetConfig> {
    let depth = match backbone {
        Backbone::Tiny => return None,
        Backbone::Resnet18 => 18,
        Backbone::Resnet34 => 34,
        Backbone::Resnet50 => 50,
        Backbone::Resnet101 => 101,
    };
    Some(ResNetConfig::new(depth))
}

/// The weights of the losses for small images and networks trained from scratch.
fn small_objective() -> ObjectiveConfig {
    ObjectiveConfig {
        scale_weight: 0.5,
        distill_weight: 2.0,
        // More costs AP75 where boxes are good, see docs/results.md.
        box_weight: 0.1,
        ..ObjectiveConfig::default()
    }
}

/// The rivals' options for small images and networks trained from scratch: weights as small in proportion as SED's,
/// which on the scenes gain where the published ones lose, see docs/results.md.
fn small_rivals() -> RivalsConfig {
    let labels = PseudoLabels { weight: 0.25, threshold: 0.5, ..PseudoLabels::unbiased_teacher() };
    let mut rivals = RivalsConfig { pseudo_label: labels, multi_view: labels, ..RivalsConfig::default() };
    rivals.dense_teacher.weight = 0.25;
    rivals
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
        objective: small_objective(),
        rivals: small_rivals(),
        ..TrainConfig::default()
    }
}
