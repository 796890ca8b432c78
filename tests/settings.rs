//! `--set key=value`, settings files and presets of the examples.

#[path = "../examples/common/mod.rs"]
mod common;

use std::fs;

use clap::Parser;
use common::{
    args::{Args, Backbone},
    models::{self, Model},
    session::checked_settings,
    settings::{Settings, dump, override_settings},
};
use sed::{
    models::{faster_rcnn::FasterRcnnConfig, retinanet::RetinaNetConfig},
    train::train::{OptimizerConfig, TrainConfig},
};
use serde::{Serialize, de::DeserializeOwned};

fn set(sets: &[&str]) -> anyhow::Result<TrainConfig> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    override_settings(&TrainConfig::default(), None, &sets)
}

#[test]
fn nested_values_texts_lists_and_tables_are_set() {
    let config = set(&[
        "burn_in=7",
        "teacher.decay=0.5",
        "method=supervised",
        "schedule.milestones=[0.25]",
        "optimizer={kind=\"sgd\",momentum=0.5,weight_decay=0.0}",
    ])
    .unwrap();
    assert_eq!((config.burn_in, config.teacher.decay), (7, 0.5));
    assert_eq!(config.schedule.milestones, [0.25]);
    assert_eq!(config.optimizer, OptimizerConfig::Sgd { momentum: 0.5, weight_decay: 0.0 });
}

/// The error of `--set` over the settings of your own data.
fn refused(set: &str) -> String {
    let args = args(&["--set", set]);
    format!("{:#}", checked_settings(&args, &models::retinanet_settings(&args).unwrap()).unwrap_err())
}

#[test]
fn an_unknown_key_is_refused_with_what_may_have_been_meant() {
    for (set, unknown, meant) in [
        ("train.teacher.deacy=0.9", "train.teacher.deacy", "train.teacher.decay"),
        ("train.techer.decay=0.9", "train.techer.decay", "train.teacher.decay"),
        ("teacher.decay=0.9", "teacher.decay", "train.teacher.decay"),
        ("train.decay=0.9", "train.decay", "train.teacher.decay"),
        ("burn_in=7", "burn_in", "train.burn_in"),
        ("train.burnin=7", "train.burnin", "train.burn_in"),
        // An alternative of several, and options that have no value.
        ("train.optimizer.beta_1=0.5", "train.optimizer.beta_1", "train.optimizer.beta1"),
        ("model.scale_level=[3]", "model.scale_level", "model.scale_levels"),
        (
            "model.backbone.body.stem_chanels=8",
            "model.backbone.body.stem_chanels",
            "model.backbone.body.stem_channels",
        ),
    ] {
        let expected = format!("--set {set}: unknown setting `{unknown}`; did you mean `{meant}`?");
        assert_eq!(refused(set), expected);
    }
    let text = refused("train.teacher.xyzzy=1");
    assert!(text.contains("unknown setting `train.teacher.xyzzy`; there are decay, "), "{text}");
}

#[test]
fn a_value_of_another_type_is_refused_with_the_one_expected() {
    for (set, expected) in [
        ("train.burn_in=x", "`train.burn_in`: expected a whole number, 0 or above, found string \"x\""),
        ("train.teacher.decay=true", "`train.teacher.decay`: expected a number, found boolean `true`"),
        ("train.teacher=1", "`train.teacher`: expected a table, found integer `1`"),
        ("model.p2_on_half=1", "`model.p2_on_half`: expected true or false, found integer `1`"),
        ("augment.scale=[1.0,\"a\"]", "`augment.scale[1]`: expected a number, found string \"a\""),
    ] {
        assert_eq!(refused(set), format!("--set {set}: {expected}"));
    }
    let text = refused("train.optimizer={kind=\"sgd\"}");
    assert!(text.contains("`train.optimizer`: missing field `momentum`"), "{text}");
    let text = refused("train.method=sedd");
    assert!(text.contains("`train.method`: unknown variant `sedd`"), "{text}");
    assert!(refused("train.burn_in").contains("KEY=VALUE"));
}

#[test]
fn a_mistake_in_a_file_names_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    let refused = |text: &str| {
        fs::write(&path, text).unwrap();
        let error = override_settings(&TrainConfig::default(), Some(&path), &["burn_in=6".into()]);
        format!("{:#}", error.unwrap_err()).replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(
        refused("[techer]\ndecay = 0.25\n"),
        "FILE: unknown setting `techer.decay`; did you mean `teacher.decay`?"
    );
    assert_eq!(
        refused("[teacher]\ndecay = \"much\"\n"),
        "FILE: `teacher.decay`: expected a number, found string \"much\""
    );
}

#[test]
fn a_file_lies_under_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    fs::write(&path, "burn_in = 5\n[teacher]\ndecay = 0.25\n").unwrap();
    let config = override_settings(&TrainConfig::default(), Some(&path), &["burn_in=6".into()]).unwrap();
    assert_eq!((config.burn_in, config.teacher.decay), (6, 0.25));
    let missing = override_settings(&TrainConfig::default(), Some(&folder.path().join("no.toml")), &[]);
    assert!(format!("{:#}", missing.unwrap_err()).contains("no.toml"));
}

fn args(arguments: &[&str]) -> Args {
    let own =
        ["training", "--train-annotations", "a.json", "--train-images", "a", "--val-annotations", "b.json"];
    Args::parse_from(own.iter().chain(&["--val-images", "b"]).chain(arguments))
}

/// Whether what `--dump-config` prints gives the same settings again, over its own preset and over every other one.
fn dumps_give_the_same_settings<M>(settings: impl Fn(&Args) -> anyhow::Result<Settings<M>>)
where
    M: Model + Clone + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned,
{
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump.toml");
    let sets =
        ["--set", "train.burn_in=7", "--set", "augment.strong.hue=0.3", "--set", "model.pad_multiple=128"];
    let mut all: Vec<Settings<M>> = Vec::new();
    for name in ["coco", "voc", "small", "cpu"] {
        for changes in [&[] as &[&str], &sets] {
            let args = args(&[&["--preset", name], changes].concat());
            all.push(checked_settings(&args, &settings(&args).unwrap()).unwrap());
        }
    }
    for dumped in &all {
        fs::write(&path, dump(dumped).unwrap()).unwrap();
        for base in all.iter().step_by(2) {
            assert_eq!(override_settings(base, Some(&path), &[]).unwrap(), *dumped);
        }
    }
}

#[test]
fn a_dump_gives_the_same_settings() {
    dumps_give_the_same_settings::<RetinaNetConfig>(models::retinanet_settings);
    dumps_give_the_same_settings::<FasterRcnnConfig>(models::faster_rcnn_settings);
    let args = args(&[]);
    let text = dump(&models::retinanet_settings(&args).unwrap()).unwrap();
    let note = text.lines().next().unwrap();
    assert!(note.starts_with("# Options without a value: ") && note.contains("model.scale_levels"), "{note}");
    assert!(text.contains("\n[train.teacher]\n") && text.contains("decay = 0.99\n"), "{text}");
}

#[test]
fn presets_are_what_their_help_says() {
    for (name, backbone, side, iterations, burn_in, batch, decay) in [
        ("coco", Backbone::Resnet50, 1024, 180_000, 2_000, 16, 0.9996),
        ("voc", Backbone::Resnet50, 768, 72_000, 12_000, 16, 0.999),
        ("small", Backbone::Tiny, 256, 5_000, 2_500, 4, 0.99),
        ("cpu", Backbone::Tiny, 128, 2_000, 1_000, 4, 0.99),
    ] {
        let args = args(&["--preset", name]);
        assert_eq!(args.backbone(), backbone, "{name}");
        let settings = checked_settings(&args, &models::retinanet_settings(&args).unwrap()).unwrap();
        let faster = checked_settings(&args, &models::faster_rcnn_settings(&args).unwrap()).unwrap();
        assert_eq!(settings.train, faster.train, "{name}");
        assert_eq!(settings.augment.image_size, side, "{name}");
        assert_eq!((settings.train.iterations, settings.train.burn_in), (iterations, burn_in), "{name}");
        assert_eq!((settings.train.batch_labeled, settings.train.batch_unlabeled), (batch, batch), "{name}");
        assert_eq!(settings.train.teacher.decay, decay, "{name}");
        let sgd = matches!(settings.train.optimizer, OptimizerConfig::Sgd { .. });
        assert_eq!(sgd, backbone == Backbone::Resnet50, "{name}");
    }
}

#[test]
fn without_a_preset_own_data_trains_as_with_the_small_one() {
    let settings = |arguments: &[&str]| models::retinanet_settings(&args(arguments)).unwrap();
    assert_eq!(settings(&[]), settings(&["--preset", "small"]));
    // The arguments change a preset, and a larger backbone alone is as it was.
    let changed = settings(&["--preset", "coco", "--iterations", "90000", "--image-size", "512"]);
    assert_eq!((changed.train.iterations, changed.train.burn_in), (90_000, 1_000));
    assert_eq!(changed.augment.image_size, 512);
    let deep = settings(&["--backbone", "resnet50"]);
    assert_eq!((deep.augment.image_size, deep.train.batch_labeled, deep.train.iterations), (512, 4, 180_000));
}
