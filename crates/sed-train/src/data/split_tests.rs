use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// An annotation file that lists `count` images with the ids 0, 3, 6, ….
fn listing(count: u64) -> (tempfile::TempDir, CocoIndex) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("train.json");
    let images: Vec<_> = (0..count)
        .map(|at| json!({"id": at * 3, "file_name": format!("{at}.png"), "width": 4, "height": 4}))
        .collect();
    let value = json!({"images": images, "categories": [{"id": 1, "name": "one"}], "annotations": []});
    fs::write(&file, value.to_string()).unwrap();
    let index = CocoIndex::read(&file).unwrap();
    (dir, index)
}

proptest! {
    #[test]
    fn both_parts_are_disjoint_and_together_all(
        ids in prop::collection::btree_set(any::<u64>(), 1..300),
        percent in 0.01f64..=100.,
        fold in 0u64..10,
    ) {
        let all: Vec<u64> = ids.iter().copied().collect();
        let (labeled, unlabeled) = draw_ids(all.clone(), percent, fold);
        prop_assert!(labeled.is_sorted() && unlabeled.is_sorted());
        prop_assert_eq!(labeled.len() + unlabeled.len(), all.len());
        // As many as in all and their union is all: none is repeated, none is in both.
        let union: BTreeSet<u64> = labeled.iter().chain(&unlabeled).copied().collect();
        prop_assert_eq!(union, ids);
        let expected = ((all.len() as f64 * percent / 100.).round() as usize).max(1);
        prop_assert_eq!(labeled.len(), expected);
    }

    #[test]
    fn the_same_draw_is_the_same(count in 1u64..200, percent in 0.01f64..=100., fold: u64) {
        let ids: Vec<u64> = (0..count).collect();
        prop_assert_eq!(draw_ids(ids.clone(), percent, fold), draw_ids(ids, percent, fold));
    }

    #[test]
    fn folds_differ(fold in 0u64..1000) {
        // Of 500 images 50 are drawn: two equal draws would be a chance of one in 10^69.
        let ids: Vec<u64> = (0..500).collect();
        prop_assert_ne!(draw_ids(ids.clone(), 10., fold).0, draw_ids(ids, 10., fold + 1).0);
    }
}

#[test]
fn ten_percent_is_a_tenth_to_the_nearest_image() {
    for (count, expected) in [(1, 1), (4, 1), (14, 1), (15, 2), (100, 10), (296, 30), (118_287, 11_829)] {
        let (labeled, _) = draw_ids((0..count).collect(), 10., 1);
        assert_eq!(labeled.len(), expected, "of {count}");
    }
    assert_eq!(draw_ids((0..7).collect(), 100., 1), ((0..7).collect(), vec![]));
}

/// How often each of ten ids is among the three drawn, over 3000 folds: 900 times each, give or
/// take. The standard deviation is sqrt(3000 · .3 · .7) = 25; five of them leave a chance of fewer
/// than one in 10^5 of failing, and the draw being fixed, it either always fails or never.
#[test]
fn each_image_is_drawn_equally_often() {
    let mut counts = [0i32; 10];
    for fold in 0..3000 {
        for id in draw_ids((0..10).collect(), 30., fold).0 {
            counts[id as usize] += 1;
        }
    }
    assert!(counts.iter().all(|count| (count - 900).abs() < 125), "{counts:?}");
}

/// These ids are what `(percent, fold)` means. A change of this list makes every manifest and
/// every published result of this program stand for other images: raise the version instead.
/// A second implementation of ChaCha8, written in another language, gave the same ids.
#[test]
fn a_draw_is_the_same_on_every_machine() {
    let (labeled, _) = draw_ids((0..200).map(|at| at * 3).collect(), 5., 1);
    assert_eq!(labeled, GOLDEN);
    let (labeled, _) = draw_ids((0..200).map(|at| at * 3).collect(), 5., 2);
    assert_eq!(labeled, GOLDEN_FOLD_2);
}

const GOLDEN: [u64; 10] = [60, 87, 255, 414, 456, 465, 543, 564, 582, 597];
const GOLDEN_FOLD_2: [u64; 10] = [18, 117, 180, 213, 234, 372, 408, 522, 570, 594];

#[test]
fn a_manifest_survives_saving_and_loading() {
    let (dir, index) = listing(40);
    let path = dir.path().join("split.json");
    let manifest = SplitManifest::draw(&index, 12.5, 3).unwrap();
    assert_eq!((manifest.labeled.len(), manifest.unlabeled.len()), (5, 35));
    manifest.save(&path).unwrap();
    assert_eq!(SplitManifest::load(&path, &index).unwrap(), manifest);
    // The file that was written aside is gone.
    let names: BTreeSet<_> =
        fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["split.json", "train.json"].map(Into::into).into());
}

#[test]
fn the_checksum_is_sha256_in_hexadecimal() {
    let (_dir, index) = listing(1);
    fs::write(index.path(), "abc").unwrap();
    // The example of FIPS 180-2, appendix B.1.
    assert_eq!(sha256(&index).unwrap(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn percentages_outside_the_range_are_refused() {
    let (_dir, index) = listing(10);
    for percent in [0., -1., 100.5, f64::NAN, f64::INFINITY] {
        let error = SplitManifest::draw(&index, percent, 1).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a split of {percent} percent: must be above 0 and at most 100")
        );
    }
}

#[test]
fn a_manifest_cannot_be_saved_where_there_is_no_folder() {
    let (dir, index) = listing(10);
    let path: PathBuf = dir.path().join("nowhere").join("split.json");
    let error = SplitManifest::draw(&index, 10., 1).unwrap().save(&path).unwrap_err();
    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
}

/// The error text, without the manifest's name, after a change to a saved manifest of ten images.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let (dir, index) = listing(10);
    let path = dir.path().join("split.json");
    let mut value = serde_json::to_value(SplitManifest::draw(&index, 20., 1).unwrap()).unwrap();
    value["labeled"] = json!([0, 3]);
    value["unlabeled"] = json!([6, 9, 12, 15, 18, 21, 24, 27]);
    change(&mut value);
    fs::write(&path, value.to_string()).unwrap();
    let text = SplitManifest::load(&path, &index).unwrap_err().to_string();
    let start = format!("{}: ", path.display());
    let text = text.strip_prefix(&start).unwrap_or_else(|| panic!("no file in {text:?}"));
    text.replace(&index.path().display().to_string(), "ANNOTATIONS")
}

#[test]
fn a_manifest_that_does_not_fit_is_refused() {
    let twice = |id: u64| format!("labeled, unlabeled: id {id} occurs more than once");
    assert_eq!(refused(|value| value["labeled"] = json!([0, 3, 6])), twice(6));
    assert_eq!(refused(|value| value["labeled"] = json!([0, 0, 3])), twice(0));
    assert_eq!(
        refused(|value| value["labeled"] = json!([0])),
        "image id 3 is in neither `labeled` nor `unlabeled`"
    );
    assert_eq!(refused(|value| value["labeled"] = json!([])), "labeled: the list is empty");
    assert_eq!(refused(|value| value["labeled"] = json!([0, 3, 4])), "image id 4 is not in ANNOTATIONS");
    assert_eq!(refused(|value| value["version"] = json!(2)), "version: 2 is not the supported 1");
    let text = refused(|value| value["annotations_sha256"] = json!("00"));
    assert!(text.starts_with("annotations_sha256: 00 is not that of ANNOTATIONS, "), "{text}");
    let text = refused(|value| value["labeled"][1] = json!("3"));
    assert!(text.starts_with("at labeled[1]: invalid type: string \"3\""), "{text}");
    let text = refused(|value| value["seed"] = json!(1));
    assert!(text.starts_with("at seed: unknown field `seed`"), "{text}");
}

#[test]
fn a_changed_annotation_file_is_noticed() {
    let (dir, index) = listing(10);
    let path = dir.path().join("split.json");
    SplitManifest::draw(&index, 20., 1).unwrap().save(&path).unwrap();
    fs::write(index.path(), fs::read_to_string(index.path()).unwrap() + "\n").unwrap();
    let error = SplitManifest::load(&path, &index).unwrap_err();
    assert!(matches!(error, DataError::ManifestChecksum { .. }), "{error}");
}

#[test]
fn images_without_annotations_may_be_unlabeled_by_themselves() {
    let (dir, index) = listing(40);
    let none = SplitManifest::draw_annotated(&index, 100., 1).unwrap_err();
    assert!(matches!(none, DataError::NoBoxes { images: 40, .. }), "{none}");
    // Every second image has a box; ids are multiples of three.
    let mut value: Value = serde_json::from_str(&fs::read_to_string(index.path()).unwrap()).unwrap();
    let annotation =
        |id: u64| json!({"id": id, "image_id": id * 6, "category_id": 1, "bbox": [0, 0, 2, 2], "area": 4});
    value["annotations"] = (0..20).map(annotation).collect();
    fs::write(index.path(), value.to_string()).unwrap();

    let all = SplitManifest::draw_annotated(&index, 100., 1).unwrap();
    assert_eq!(all.labeled, (0..20).map(|at| at * 6).collect::<Vec<_>>());
    assert_eq!(all.unlabeled, (0..20).map(|at| at * 6 + 3).collect::<Vec<_>>());
    let half = SplitManifest::draw_annotated(&index, 50., 1).unwrap();
    assert_eq!((half.labeled.len(), half.unlabeled.len()), (10, 30));
    assert!(half.labeled.iter().all(|id| id % 6 == 0));
    assert_ne!(half.labeled, SplitManifest::draw_annotated(&index, 50., 2).unwrap().labeled);
    let path = dir.path().join("split.json");
    half.save(&path).unwrap();
    assert_eq!(SplitManifest::load(&path, &index).unwrap(), half);
    // Taken as they are, images without annotations are background.
    assert_eq!(SplitManifest::draw(&index, 100., 1).unwrap().unlabeled, Vec::<u64>::new());
}
