use std::fs;

use serde_json::{Value, json};

use super::*;
use crate::data::{CocoIndex, DataPolicy, PolicyMode, UnlabeledSet};

/// A folder with images of 4 × 3 pixels and an annotation file.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    fn new(value: &Value, images: &[(&str, u8)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a.json"), value.to_string()).unwrap();
        fs::create_dir(dir.path().join("images")).unwrap();
        for (name, shade) in images {
            let image = image::RgbImage::from_pixel(4, 3, image::Rgb([*shade; 3]));
            image.save(dir.path().join("images").join(name)).unwrap();
        }
        Self { dir }
    }

    fn annotations(&self) -> std::path::PathBuf {
        self.dir.path().join("a.json")
    }

    fn images(&self) -> std::path::PathBuf {
        self.dir.path().join("images")
    }

    fn check(&self) -> CheckReport {
        let (annotations, images) = (self.annotations(), self.images());
        let train = Source::Labeled { annotations: &annotations, images: &images };
        check(&Parts { train: Some(train), ..Parts::default() }, &|_, _| ())
    }
}

fn valid() -> Value {
    json!({
        "images": [{"id": 1, "file_name": "a.png", "width": 4, "height": 3},
                   {"id": 2, "file_name": "b.png", "width": 4, "height": 3}],
        "categories": [{"id": 1, "name": "bolt"}, {"id": 2, "name": "nut"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 2, 2], "area": 10000},
                        {"id": 2, "image_id": 1, "category_id": 1, "bbox": [2, 0, 4, 3]},
                        {"id": 3, "image_id": 1, "category_id": 1, "bbox": [0, 0, 4, 3], "iscrowd": 1}],
    })
}

#[test]
fn a_good_dataset_is_counted() {
    let fixture = Fixture::new(&valid(), &[("a.png", 1), ("b.png", 2)]);
    let report = fixture.check();
    assert!(!report.is_refused() && report.num_problems() == 0);
    let part = &report.parts[0];
    let counts = (part.images, part.background, part.objects, part.crowds, part.clipped);
    assert_eq!(counts, (2, 1, 2, 1, 1));
    assert_eq!(part.empty_classes().collect::<Vec<_>>(), ["nut"]);
    assert_eq!(part.classes[0], ClassCount { name: "bolt".into(), objects: 2 });
    // Areas of 10000 and of 4 · 3 pixels.
    assert_eq!((part.sizes.small, part.sizes.medium, part.sizes.large), (1, 0, 1));
    assert_eq!(part.sizes.range, Some([12_f64.sqrt(), 100., 100.]));
}

/// `is_refused` is what a strict reading of the same files does.
#[test]
fn a_report_refuses_exactly_what_strict_refuses() {
    let changes: [(&str, Value); 6] = [
        ("/images/0/width", json!(4)),
        ("/images/0/width", json!(5)),
        ("/images/1/file_name", json!("c.png")),
        ("/annotations/0/bbox/2", json!(-1)),
        ("/annotations/0/category_id", json!(7)),
        ("/annotations", json!(7)),
    ];
    let mut refused = Vec::new();
    for (pointer, value) in changes {
        let mut file = valid();
        *file.pointer_mut(pointer).unwrap() = value;
        let fixture = Fixture::new(&file, &[("a.png", 1), ("b.png", 2)]);
        let strict = || -> Result<(), crate::data::DataError> {
            let index = CocoIndex::read(fixture.annotations())?;
            let labels = index.labels(&index.image_ids(), DataPolicy::STRICT)?;
            for sample in index.labeled_set(fixture.images(), &labels)?.samples {
                crate::data::image::decode_listed(&sample.path, sample.id, sample.size)?;
            }
            Ok(())
        };
        let report = fixture.check();
        assert_eq!(report.is_refused(), strict().is_err(), "{pointer}");
        refused.push(report.is_refused());
    }
    assert_eq!(refused, [false, true, true, true, true, true]);
}

#[test]
fn problems_say_what_each_policy_does() {
    let mut file = valid();
    file["annotations"][0]["bbox"] = json!([3, 3, -2, -2]);
    let fixture = Fixture::new(&file, &[("a.png", 1), ("b.png", 2)]);
    fs::write(fixture.images().join("b.png"), "text").unwrap();
    let report = fixture.check();
    assert_eq!((report.num_problems(), report.parts[0].images), (2, 1));
    let actions: Vec<_> = report.parts[0]
        .report
        .problems
        .iter()
        .map(|problem| PolicyMode::ALL.map(|mode| problem.action(mode)))
        .collect();
    assert_eq!(
        actions,
        [
            ["refuse", "skip the image", "skip the image"],
            ["refuse", "skip the annotation", "swap the corners"]
        ]
    );
}

#[test]
fn what_is_shared_with_the_validation_is_found() {
    let train = Fixture::new(&valid(), &[("a.png", 1), ("b.png", 2)]);
    let mut other = valid();
    other["images"][1]["file_name"] = json!("c.png");
    other["categories"][1]["name"] = json!("screw");
    // a.png has the name of a training image, c.png the content of another.
    let val = Fixture::new(&other, &[("a.png", 9), ("c.png", 2)]);
    let more = Fixture::new(&valid(), &[("x.png", 9), ("y.png", 8)]);
    let (annotations, images) = (train.annotations(), train.images());
    let (val_annotations, val_images, more) = (val.annotations(), val.images(), more.images());
    let report = check(
        &Parts {
            train: Some(Source::Labeled { annotations: &annotations, images: &images }),
            unlabeled: vec![Source::Unlabeled(&more)],
            validation: Some(Source::Labeled { annotations: &val_annotations, images: &val_images }),
        },
        &|_, _| (),
    );
    let [first, second] = report.overlaps.as_slice() else { panic!("{:?}", report.overlaps) };
    assert_eq!((first.part, first.same_content, first.same_name), ("train", 1, 1));
    assert_eq!(first.pairs, [(images.join("b.png"), val_images.join("c.png"))]);
    assert_eq!((second.part, second.same_content, second.same_name), ("unlabeled", 1, 0));
    assert_eq!(report.only_in_train, ["2 nut"]);
    assert_eq!(report.only_in_validation, ["2 screw"]);
    assert!(report.is_refused());
    assert_eq!(
        report.parts.iter().map(|part| part.name).collect::<Vec<_>>(),
        ["train", "unlabeled", "validation"]
    );
}

#[test]
fn a_part_that_cannot_be_read_is_fatal_and_progress_counts_images() {
    let fixture = Fixture::new(&json!(7), &[("a.png", 1)]);
    let report = fixture.check();
    assert!(report.is_refused());
    assert!(report.parts[0].fatal.as_ref().unwrap().contains("a.json: at .: invalid type: integer `7`"));

    let images = fixture.images();
    assert_eq!(UnlabeledSet::open(&images).unwrap().len(), 1);
    let told = std::sync::Mutex::new(Vec::new());
    let parts = Parts { unlabeled: vec![Source::Unlabeled(&images)], ..Parts::default() };
    let report = check(&parts, &|done, total| told.lock().unwrap().push((done, total)));
    assert!(!report.is_refused());
    assert_eq!(told.into_inner().unwrap(), [(1, 1)]);
}
