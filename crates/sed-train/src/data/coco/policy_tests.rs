//! What each policy does about the same problem.

use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::data::{PolicyMode, SkipBound, Unit};

/// One image of 40 × 30 pixels with `annotation` beside nine good ones.
fn file(annotation: &Value) -> (tempfile::TempDir, PathBuf) {
    let good = |id: u64| json!({"id": id, "image_id": 1, "category_id": 1, "bbox": [1, 1, 8, 8]});
    let mut annotations: Vec<Value> = (1..10).map(good).collect();
    annotations.push(annotation.clone());
    write(&json!({
        "images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 30}],
        "categories": [{"id": 1, "name": "bolt"}],
        "annotations": annotations,
    }))
}

fn write(value: &Value) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("train.json");
    fs::write(&path, value.to_string()).unwrap();
    (dir, path)
}

fn policy(mode: PolicyMode) -> DataPolicy {
    DataPolicy::new(mode, SkipBound::Count(1))
}

/// The tenth annotation with one field replaced, or without it.
fn changed(field: &str, value: Option<Value>) -> Value {
    let mut annotation = json!({"id": 10, "image_id": 1, "category_id": 1, "bbox": [20, 10, 4, 6]});
    match value {
        Some(value) => annotation[field] = value,
        None => _ = annotation.as_object_mut().unwrap().remove(field),
    }
    annotation
}

#[test]
fn strict_refuses_what_skip_leaves_out_and_repair_puts_right() {
    // A field, its value, the path that is named, and the box after a repair.
    let cases = [
        ("bbox", json!([24, 16, -4, -6]), ".bbox", Some([20., 10., 4., 6.])),
        ("bbox", json!([20, "10", 4, 6]), ".bbox[1]", Some([20., 10., 4., 6.])),
        ("area", json!(-3), ".area", Some([20., 10., 4., 6.])),
        ("id", json!("10"), ".id", Some([20., 10., 4., 6.])),
        ("category_id", json!(1.0), ".category_id", Some([20., 10., 4., 6.])),
        ("iscrowd", json!(false), ".iscrowd", Some([20., 10., 4., 6.])),
        ("bbox", json!([20, 10, 0, 6]), ".bbox", None),
        ("bbox", json!([20, 10, -4, 0]), ".bbox", None),
        ("bbox", json!([50, 10, 4, 6]), ".bbox", None),
        ("bbox", json!([20, 10, 4]), ".bbox", None),
        ("bbox", json!([20, "ten", 4, 6]), ".bbox[1]", None),
        ("id", json!(3), ".id", None),
        ("id", json!(1e19), ".id", None),
        ("image_id", json!(7), ".image_id", None),
        ("category_id", json!(7), ".category_id", None),
        ("iscrowd", json!(2), ".iscrowd", None),
    ];
    for (field, value, path, repaired) in cases {
        let (_dir, file) = file(&changed(field, Some(value.clone())));
        let index = CocoIndex::read(&file).unwrap();
        let labels = |mode| index.labels(&[1], policy(mode));
        let name = format!("{field}: {value}");

        let text = labels(PolicyMode::Strict).unwrap_err().to_string();
        assert!(text.starts_with(&file.display().to_string()), "{text}");

        let skipped = labels(PolicyMode::Skip).unwrap();
        assert_eq!(skipped.annotations().len(), 9, "{name}");
        let report = skipped.report();
        assert_eq!((report.annotations, report.skipped_annotations, report.repairs), (10, 1, 0), "{name}");
        let problem = &report.problems[0];
        assert_eq!(
            (problem.field.as_str(), problem.unit),
            (&*format!("annotations[9]{path}"), Unit::Annotation)
        );
        assert!(text.contains(&problem.reason), "{text:?} does not have {:?}", problem.reason);

        let mended = labels(PolicyMode::Repair).unwrap();
        let report = mended.report();
        match repaired {
            Some(bbox) => {
                let last = &mended.annotations()[9];
                assert_eq!((last.id, last.bbox, last.area, last.iscrowd), (10, bbox, 24., false), "{name}");
                assert_eq!((report.skipped_annotations, report.repairs), (0, 1), "{name}");
                assert_eq!(report.problems[0].action(PolicyMode::Repair), report.problems[0].repair.unwrap());
            }
            None => {
                assert_eq!(mended.annotations().len(), 9, "{name}");
                assert_eq!((report.skipped_annotations, report.repairs), (1, 0), "{name}");
                assert_eq!(report.problems[0].action(PolicyMode::Repair), "skip the annotation");
            }
        }
    }
}

#[test]
fn more_than_the_bound_is_refused_with_the_first_problem() {
    let (_dir, file) = file(&changed("bbox", None));
    let index = CocoIndex::read(&file).unwrap();
    let with = |bound| index.labels(&[1], DataPolicy::new(PolicyMode::Skip, bound));
    assert!(with(SkipBound::Count(1)).is_ok() && with(SkipBound::Percent(10.)).is_ok());
    assert_eq!(
        with(SkipBound::Count(0)).unwrap_err().to_string(),
        format!(
            "{0}: 1 of 10 annotations cannot be used, and 0 may be skipped; the first: {0}: at annotations[9]: \
             missing field `bbox`",
            file.display()
        )
    );
    assert!(with(SkipBound::Percent(9.9)).unwrap_err().to_string().contains("and 9.9% may be skipped"));
}

/// Four images: one good, two with the same id, one of no size; and one with backslashes in its name.
fn images() -> Value {
    json!({
        "images": [
            {"id": 1, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "b.png", "width": 40, "height": 30},
            {"id": 2, "file_name": "c.png", "width": 40, "height": 30},
            {"id": 3, "file_name": "d.png", "width": 0, "height": 30},
            {"id": 4, "file_name": "sub\\e.png", "width": 40, "height": 30},
            {"id": 5, "file_name": "a.png", "width": 40, "height": 30},
            {"id": 6, "file_name": "../a.png", "width": 40, "height": 30},
        ],
        "categories": [{"id": 1, "name": "bolt"}],
        "annotations": (1..7).map(|id| json!({
            "id": id, "image_id": id, "category_id": 1, "bbox": [1, 1, 8, 8]
        })).collect::<Vec<_>>(),
    })
}

#[test]
fn images_are_left_out_with_their_annotations() {
    let (_dir, file) = write(&images());
    assert!(CocoIndex::read(&file).is_err());
    let open = |mode| CocoIndex::open(&file, None, DataPolicy::new(mode, SkipBound::Count(9))).unwrap();
    let skip = open(PolicyMode::Skip);
    assert_eq!(skip.image_ids(), [1]);
    assert_eq!((skip.report().images, skip.report().skipped_images, skip.report().repairs), (7, 6, 0));
    // Annotations of images that were left out are no problems of their own.
    let labels = skip.labels(&[1], DataPolicy::STRICT).unwrap();
    assert_eq!((labels.annotations().len(), labels.report().annotations), (1, 1));

    let repair = open(PolicyMode::Repair);
    assert_eq!(repair.image_ids(), [1, 4]);
    assert_eq!(repair.image(4).unwrap().file_name, "sub/e.png");
    assert_eq!((repair.report().skipped_images, repair.report().repairs), (5, 1));
    let too_many = CocoIndex::open(&file, None, DataPolicy::new(PolicyMode::Repair, SkipBound::Count(4)));
    assert!(matches!(too_many, Err(DataError::TooManySkipped { unit: "image", skipped: 5, total: 7, .. })));
}

#[test]
fn categories_are_refused_under_every_policy() {
    for (change, expected) in [
        (json!([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]), "categories: id 1 occurs more than once"),
        (json!([{"id": 1, "name": "a"}, {"id": 2}]), "at categories[1]: missing field `name`"),
    ] {
        let mut value = images();
        value["categories"] = change;
        let (_dir, file) = write(&value);
        let policy = DataPolicy::new(PolicyMode::Repair, SkipBound::Percent(100.));
        let text = CocoIndex::open(&file, None, policy).unwrap_err().to_string();
        assert!(text.contains(expected), "{text}");
    }
}

#[test]
fn image_files_that_cannot_be_used_are_left_out() {
    let mut value = images();
    let entry = |id: u64, name: &str| json!({"id": id, "file_name": name, "width": 4, "height": 3});
    value["images"] = json!([
        entry(1, "good.png"),
        entry(2, "missing.png"),
        entry(3, "text.png"),
        entry(4, "cut.png"),
        entry(5, "large.png"),
    ]);
    value["annotations"].as_array_mut().unwrap().truncate(5);
    let (dir, file) = write(&value);
    let save = |name: &str, width, height| {
        ::image::RgbImage::new(width, height).save(dir.path().join(name)).unwrap();
    };
    save("good.png", 4, 3);
    save("large.png", 5, 3);
    save("cut.png", 4, 3);
    let bytes = fs::read(dir.path().join("cut.png")).unwrap();
    fs::write(dir.path().join("cut.png"), &bytes[..bytes.len() - 6]).unwrap();
    fs::write(dir.path().join("text.png"), "text").unwrap();

    let index = CocoIndex::read(&file).unwrap();
    assert_eq!(index.clone().with_usable_files(dir.path(), DataPolicy::STRICT).unwrap(), index);
    let policy = DataPolicy::new(PolicyMode::Skip, SkipBound::Count(4));
    let usable = index.clone().with_usable_files(dir.path(), policy).unwrap();
    assert_eq!(usable.image_ids(), [1]);
    let reasons: Vec<_> = usable.report().problems.iter().map(|p| (p.image.unwrap(), &*p.reason)).collect();
    assert_eq!(reasons[1], (3, "content of no known image format; JPEG and PNG files are read"));
    assert_eq!(reasons[2], (4, "the image is truncated: its end marker is missing"));
    assert!(reasons[3].1.contains("is 5×3 pixels (width × height) but its annotations say 4×3"));
    let labels = usable.labels(&usable.image_ids(), DataPolicy::STRICT).unwrap();
    assert_eq!(usable.labeled_set(dir.path(), &labels).unwrap().len(), 1);
    let few = DataPolicy::new(PolicyMode::Skip, SkipBound::Count(3));
    let error = index.with_usable_files(dir.path(), few).unwrap_err();
    assert!(error.to_string().contains("missing.png: No such file"), "{error}");
}
