//! What the data arguments of the examples make of files.

#[path = "../examples/common/mod.rs"]
mod common;

use std::{collections::BTreeMap, fs, path::Path};

use clap::Parser;
use common::{args::Args, data::Dataset, models};
use sed::train::data::DataPolicy;
use serde_json::{Value, json};

/// Training images 1 to 8, of which the odd ones have a box, a validation image, and two folders of three images and of one.
fn files(folder: &Path) {
    for path in ["val/9.png", "more/a.png", "more/b.png", "more/c.png", "other/d.png"]
        .map(String::from)
        .into_iter()
        .chain((1..=8).map(|id| format!("train/{id}.png")))
    {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        image::RgbImage::new(32, 32).save(path).unwrap();
    }
    let image = |id: u32| json!({"id": id, "file_name": format!("{id}.png"), "width": 32, "height": 32});
    let annotation = |id: u32| json!({"id": id, "image_id": id, "category_id": 1, "bbox": [4, 4, 20, 20]});
    for (name, ids) in [("train.json", 1..=8), ("val.json", 9..=9)] {
        let images: Vec<Value> = ids.clone().map(image).collect();
        let annotations: Vec<Value> = ids.filter(|id| id % 2 == 1).map(annotation).collect();
        let categories = json!([{"id": 1, "name": "screw"}]);
        let value = json!({"images": images, "annotations": annotations, "categories": categories});
        fs::write(folder.join(name), value.to_string()).unwrap();
    }
}

fn arguments(folder: &Path, more: &[&str]) -> Args {
    let at = |name: &str| folder.join(name).display().to_string();
    let mut all = vec!["training".to_string()];
    for (option, name) in [
        ("--train-annotations", "train.json"),
        ("--train-images", "train"),
        ("--val-annotations", "val.json"),
        ("--val-images", "val"),
    ] {
        all.extend([option.to_string(), at(name)]);
    }
    // What begins with @ is a file of the folder.
    all.extend(more.iter().map(|text| text.strip_prefix('@').map_or_else(|| text.to_string(), at)));
    Args::parse_from(all)
}

fn dataset(folder: &Path, more: &[&str]) -> anyhow::Result<Dataset> {
    Dataset::open(&arguments(folder, more), None, DataPolicy::STRICT)
}

/// Labeled and unlabeled images.
fn counts(folder: &Path, more: &[&str]) -> (usize, usize) {
    let counts = dataset(folder, more).unwrap().counts();
    (counts.labeled, counts.unlabeled)
}

#[test]
fn images_without_annotations_are_background_unless_they_are_said_to_be_unlabeled() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    assert_eq!(counts(folder.path(), &[]), (8, 0));
    assert_eq!(counts(folder.path(), &["--unlabeled-without-annotations"]), (4, 4));
    let half = ["--unlabeled-without-annotations", "--labeled-percent", "50"];
    assert_eq!(counts(folder.path(), &half), (2, 6));
}

#[test]
fn a_split_file_says_which_images_are_labeled() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    fs::write(folder.path().join("ids.txt"), "1\n3\n4\n").unwrap();
    assert_eq!(counts(folder.path(), &["--split", "@ids.txt"]), (3, 5));
    fs::write(folder.path().join("lists.json"), r#"{"1.0": {"1": [0, 3]}}"#).unwrap();
    let chosen =
        ["--split", "@lists.json", "--split-key", "1/1", "--split-numbers", "positions-with-objects"];
    assert_eq!(counts(folder.path(), &chosen), (2, 6));
    let unsaid = dataset(folder.path(), &chosen[..4]).err().unwrap().to_string();
    assert!(unsaid.contains("lists.json: such lists hold positions"), "{unsaid}");
}

/// How often images of the training files, of `more` and of `other` are drawn in a hundred steps of six.
fn draws(folder: &Path, weights: &[&str]) -> [usize; 3] {
    fs::write(folder.join("odd.txt"), "1\n3\n5\n7\n").unwrap();
    let sources = ["--split", "@odd.txt", "--unlabeled", "@more", "--unlabeled", "@other"];
    let args = arguments(folder, &[&sources, weights].concat());
    let dataset = Dataset::open(&args, None, DataPolicy::STRICT).unwrap();
    let mut settings = models::retinanet_settings(&args).unwrap();
    (settings.train.batch_labeled, settings.train.batch_unlabeled) = (1, 6);
    settings.augment.image_size = 32;
    settings.train = settings.train.with_iterations(100);
    settings.train.evaluate_every = 100;
    let data = dataset.loaders(&settings.train, &settings.augment, &settings.loader, 0).unwrap();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for batch in data.train.iter() {
        for key in batch.unwrap().unlabeled.unwrap().keys {
            *counts.entry(key).or_default() += 1;
        }
    }
    let of = |names: &[&str]| names.iter().filter_map(|name| counts.get(*name)).sum();
    let all: usize = counts.values().sum();
    let (more, other) = (of(&["a.png", "b.png", "c.png"]), of(&["d.png"]));
    [all - more - other, more, other]
}

#[test]
fn sources_are_drawn_from_by_their_weights_where_these_are_given() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    // Four, three and one image: of eight each is drawn equally often.
    assert_eq!(draws(folder.path(), &[]), [300, 225, 75]);
    assert_eq!(draws(folder.path(), &["--unlabeled-weights", "1,3,2"]), [100, 300, 200]);
}

#[test]
fn weights_that_do_not_fit_the_sources_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    files(folder.path());
    let refused = |more: &[&str]| dataset(folder.path(), more).err().unwrap().to_string();
    // All training images are labeled, so that the two folders are the sources.
    let sources = ["--unlabeled", "@more", "--unlabeled", "@other", "--unlabeled-weights"];
    let text = refused(&[&sources[..], &["1,2,3"]].concat());
    assert_eq!(
        text,
        "--unlabeled-weights: 3 numbers, but unlabeled images come from 2 sources (of 3, 1 images)"
    );
    assert!(dataset(folder.path(), &[&sources[..], &["1,2"]].concat()).is_ok());
    let weighted = dataset(folder.path(), &[&sources[..], &["1,2"]].concat()).unwrap().fingerprints();
    let plain = dataset(folder.path(), &sources[..4]).unwrap().fingerprints();
    assert_eq!(weighted["unlabeled_weights"].as_str(), Some("1,2"));
    assert!(!plain.contains_key("unlabeled_weights"));
}
