use std::fs;
use std::path::PathBuf;

use serde_json::{Value, json};

use super::*;
use crate::data::BoxProblem;
use crate::test_data::shared_data;

/// A folder with an annotation file and two image files.
struct Fixture {
    dir: tempfile::TempDir,
    file: PathBuf,
}

impl Fixture {
    fn text(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("train.json");
        fs::write(&file, text).unwrap();
        for name in ["a.png", "b.png"] {
            fs::write(dir.path().join(name), []).unwrap();
        }
        Self { dir, file }
    }

    fn new(value: &Value) -> Self {
        Self::text(&value.to_string())
    }

    fn read(&self) -> Result<CocoIndex, DataError> {
        CocoIndex::read(&self.file)
    }

    fn labels(&self, ids: &[u64]) -> Result<CocoLabels, DataError> {
        self.read()?.labels(ids, DataPolicy::STRICT)
    }

    /// The text of an error that must start with the file's name, without it.
    fn message<T: std::fmt::Debug>(&self, result: Result<T, DataError>) -> String {
        let text = result.unwrap_err().to_string();
        let file = self.file.display().to_string();
        text.strip_prefix(&format!("{file}: ")).unwrap_or_else(|| panic!("no file in {text:?}")).to_owned()
    }
}

/// Two images of 40 × 30 pixels, listed out of order, two categories with a gap between their ids.
fn valid() -> Value {
    json!({
        "info": {"year": 2024},
        "images": [
            {"id": 20, "file_name": "b.png", "width": 40, "height": 30, "license": 1},
            {"id": 10, "file_name": "a.png", "width": 40, "height": 30},
        ],
        "annotations": [
            {"id": 1, "image_id": 10, "category_id": 90, "bbox": [1.5, 2, 10, 20], "area": 150.5, "iscrowd": 0,
             "segmentation": [[1.5, 2, 11.5, 2, 11.5, 22]]},
            {"id": 2, "image_id": 20, "category_id": 3, "bbox": [0, 0, 5, 5]},
            {"id": 3, "image_id": 10, "category_id": 3, "bbox": [-4, 20, 8, 20], "iscrowd": 1,
             "segmentation": {"counts": [1, 2], "size": [30, 40]}},
            {"id": 4, "image_id": 10, "category_id": 3, "bbox": [35, 25, 10, 10], "area": null},
        ],
        "categories": [{"id": 90, "name": "nut", "supercategory": "part"}, {"id": 3, "name": "bolt"}],
    })
}

fn with(change: impl FnOnce(&mut Value)) -> Fixture {
    let mut value = valid();
    change(&mut value);
    Fixture::new(&value)
}

#[test]
fn index_is_sorted_and_classes_are_dense() {
    let index = Fixture::new(&valid()).read().unwrap();
    assert_eq!(index.image_ids(), [10, 20]);
    assert_eq!(index.image(10).unwrap().file_name, "a.png");
    assert_eq!(index.image(20).unwrap().size, ImageSize::new(30, 40));
    assert_eq!(index.image(11), None);
    let names: Vec<_> = index.categories().iter().map(|category| (category.id, &*category.name)).collect();
    assert_eq!(names, [(3, "bolt"), (90, "nut")]);
}

#[test]
fn boxes_are_clipped_and_crowds_kept_apart() {
    let fixture = Fixture::new(&valid());
    let index = fixture.read().unwrap();
    let labels = index.labels(&[20, 10], DataPolicy::STRICT).unwrap();
    let set = index.labeled_set(fixture.dir.path(), &labels).unwrap();

    assert_eq!((set.len(), set.num_objects(), set.is_empty()), (2, 3, false));
    assert_eq!(set.categories, index.categories());
    let first = &set.samples[0];
    assert_eq!((first.id, first.size), (10, ImageSize::new(30, 40)));
    assert_eq!(first.path, fixture.dir.path().join("a.png"));
    // [1.5, 2] + [10, 20]; [35, 25] + [10, 10] ends at the border of 40 × 30.
    assert_eq!(first.targets.boxes, [[1.5, 2., 11.5, 22.], [35., 25., 40., 30.]]);
    assert_eq!(first.targets.labels, [1, 0]);
    // The crowd starts at -4 and ends at 4, and from 20 to 40 of 30 rows.
    assert_eq!(first.targets.crowds, [[0., 20., 4., 30.]]);
    assert_eq!(set.samples[1].targets.boxes, [[0., 0., 5., 5.]]);
}

#[test]
fn area_is_the_files_or_else_that_of_the_box() {
    let labels = Fixture::new(&valid()).labels(&[10, 20]).unwrap();
    let areas: Vec<_> = labels.annotations().iter().map(|annotation| annotation.area).collect();
    assert_eq!(areas, [150.5, 25., 160., 100.]);
    assert_eq!(labels.annotations()[2].bbox, [-4., 20., 8., 20.], "not clipped");
}

#[test]
fn annotations_of_other_images_are_not_kept() {
    let fixture = Fixture::new(&valid());
    let labels = fixture.labels(&[20]).unwrap();
    assert_eq!(labels.image_ids(), [20]);
    assert_eq!(labels.annotations().iter().map(|annotation| annotation.id).collect::<Vec<_>>(), [2]);
    // Not even a look at the content of their boxes and categories.
    let fixture = with(|value| {
        value["annotations"][0]["bbox"] = json!([0, 0, 0, 0]);
        value["annotations"][0]["category_id"] = json!(4);
    });
    assert_eq!(fixture.labels(&[20]).unwrap(), labels);
}

#[test]
fn an_image_without_annotations_is_kept_as_background() {
    let fixture = with(|value| {
        value["annotations"].as_array_mut().unwrap().remove(1);
    });
    let index = fixture.read().unwrap();
    let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
    let set = index.labeled_set(fixture.dir.path(), &labels).unwrap();
    assert_eq!(set.samples[1].targets, Targets::default());
}

#[test]
fn categories_before_or_after_annotations_make_no_difference() {
    let value = valid();
    let parts = ["categories", "annotations", "images"].map(|field| format!("\"{field}\": {}", value[field]));
    let reversed = Fixture::text(&format!("{{{}}}", parts.join(",")));
    assert_eq!(reversed.labels(&[10, 20]).unwrap(), Fixture::new(&value).labels(&[10, 20]).unwrap());
}

#[test]
fn unlabeled_images_of_an_index_and_of_a_bare_list() {
    let fixture = Fixture::new(&valid());
    let root = fixture.dir.path();
    let rest = fixture.read().unwrap().unlabeled_set(root, &[20]).unwrap();
    assert_eq!(rest.images, [UnlabeledImage::file("b.png", root.join("b.png"))]);

    let bare = Fixture::new(&json!({"images": [{"file_name": "b.png"}, {"file_name": "./a.png"}]}));
    let set = UnlabeledSet::from_json(&bare.file, bare.dir.path()).unwrap();
    assert_eq!(set.images.iter().map(|image| &*image.key).collect::<Vec<_>>(), ["b.png", "./a.png"]);
    assert_eq!(set.len(), 2);
}

#[test]
fn a_missing_file_is_named() {
    let fixture = Fixture::new(&valid());
    fs::remove_file(&fixture.file).unwrap();
    let result = fixture.read();
    assert!(
        matches!(&result, Err(DataError::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound)
    );
    fixture.message(result);
}

#[test]
fn malformed_json_is_named_with_line_and_column() {
    let fixture = Fixture::text("{\"images\": [\n  {\"id\": 1,, }]}");
    assert_eq!(fixture.message(fixture.read()), "at images[0].?: key must be a string at line 2 column 12");
    let fixture = Fixture::text(&valid().to_string()[..60]);
    let text = fixture.message(fixture.read());
    assert!(text.contains("EOF while parsing"), "{text}");
    let fixture = Fixture::text(&format!("{} {{}}", valid()));
    let text = fixture.message(fixture.read());
    assert!(text.starts_with("at .: trailing characters"), "{text}");
    let fixture = Fixture::text("");
    let text = fixture.message(fixture.read());
    assert!(text.starts_with("at .: EOF while parsing a value"), "{text}");
}

#[test]
fn a_missing_or_mistyped_field_is_named_by_its_path() {
    let cases: [(&str, Value, &str); 4] = [
        ("/images/1/width", json!("wide"), "at images[1].width: invalid type: string \"wide\", expected u64"),
        ("/images/0/height", json!(-3), "at images[0].height: invalid value: integer `-3`, expected u64"),
        (
            "/categories/1/name",
            json!(7),
            "at categories[1].name: invalid type: integer `7`, expected a string",
        ),
        ("/images/1", json!({"id": 10}), "at images[1]: missing field `file_name`"),
    ];
    for (pointer, bad, expected) in cases {
        let fixture = with(|value| *value.pointer_mut(pointer).unwrap() = bad);
        let text = fixture.message(fixture.read());
        assert!(text.starts_with(expected), "{text}");
    }
    let cases: [(&str, Value, &str); 6] = [
        ("/annotations/3/bbox/2", json!("10"), "at annotations[3].bbox[2]: invalid type: string \"10\""),
        ("/annotations/3/bbox/2", Value::Null, "at annotations[3].bbox[2]: invalid type: null"),
        ("/annotations/3/bbox", json!([1, 2, 3]), "at annotations[3].bbox: invalid length 3"),
        ("/annotations/3/bbox", json!([1, 2, 3, 4, 5]), "at annotations[3].bbox"),
        (
            "/annotations/2/iscrowd",
            json!(2),
            "at annotations[2].iscrowd: invalid value: integer `2`, expected 0 or 1",
        ),
        ("/annotations", json!({}), "at annotations: invalid type: map, expected a list of annotations"),
    ];
    for (pointer, bad, expected) in cases {
        let fixture = with(|value| *value.pointer_mut(pointer).unwrap() = bad);
        let text = fixture.message(fixture.labels(&[10, 20]));
        assert!(text.starts_with(expected), "{text}");
    }
    let fixture = with(|value| {
        value.as_object_mut().unwrap().remove("annotations");
    });
    let text = fixture.message(fixture.labels(&[10]));
    assert!(text.starts_with("at .: missing field `annotations`"), "{text}");
}

#[test]
fn nan_and_infinite_coordinates_are_named_by_their_path() {
    for (number, reason) in [("NaN", "expected"), ("Infinity", "expected"), ("1e999", "number out of range")]
    {
        let text = valid().to_string().replacen("[35,25,10,10]", &format!("[35,{number},10,10]"), 1);
        assert!(text.contains(number));
        let fixture = Fixture::text(&text);
        // The index skips annotations, and the parser refuses such text even then.
        let text = fixture.message(fixture.read().and_then(|index| index.labels(&[10], DataPolicy::STRICT)));
        assert!(text.starts_with("at annotations[3].bbox[1]: ") && text.contains(reason), "{number}: {text}");
    }
}

#[test]
fn unknown_ids_are_named_with_their_annotation() {
    let fixture = with(|value| value["annotations"][1]["category_id"] = json!(4));
    assert_eq!(fixture.message(fixture.labels(&[20])), "annotation 2: category_id 4 is not in `categories`");
    // An image id that does not exist is an error even if the annotation would be dropped.
    let fixture = with(|value| value["annotations"][1]["image_id"] = json!(21));
    assert_eq!(fixture.message(fixture.labels(&[10])), "annotation 2: image_id 21 is not in `images`");
    let fixture = Fixture::new(&valid());
    let expected = "image id 11 was asked for but is not in `images`";
    assert_eq!(fixture.message(fixture.labels(&[11])), expected);
    let index = fixture.read().unwrap();
    assert_eq!(fixture.message(index.unlabeled_set(fixture.dir.path(), &[11])), expected);
}

#[test]
fn duplicate_ids_and_names_are_named() {
    let fixture = with(|value| value["images"][0]["id"] = json!(10));
    assert_eq!(fixture.message(fixture.read()), "images: id 10 occurs more than once");
    let fixture = with(|value| value["categories"][0]["id"] = json!(3));
    assert_eq!(fixture.message(fixture.read()), "categories: id 3 occurs more than once");
    let fixture = with(|value| value["annotations"][3]["id"] = json!(2));
    assert_eq!(fixture.message(fixture.labels(&[10])), "annotations: id 2 occurs more than once");
    let fixture = with(|value| value["images"][0]["file_name"] = json!("a.png"));
    let expected = "images: file name \"a.png\" occurs more than once";
    assert_eq!(fixture.message(fixture.read()), expected);
    assert_eq!(fixture.message(UnlabeledSet::from_json(&fixture.file, fixture.dir.path())), expected);
    let fixture = Fixture::new(&valid());
    assert_eq!(
        fixture.message(fixture.labels(&[10, 10])),
        "the images asked for: id 10 occurs more than once"
    );
}

#[test]
fn boxes_without_area_in_the_image_are_named() {
    let outside = BoxProblem::Outside { width: 40, height: 30 };
    let cases = [
        ([1., 1., 0., 5.], BoxProblem::ZeroSize),
        ([1., 1., 5., -1.], BoxProblem::ZeroSize),
        // 1e-9 is lost beside 39 in single precision, 1e-30 in double precision as well.
        ([39., 1., 1e-9, 5.], BoxProblem::ZeroSize),
        ([39., 1., 1e-30, 5.], BoxProblem::ZeroSize),
        ([40., 1., 5., 5.], outside),
        ([-5., 1., 5., 5.], outside),
        ([1., 30., 5., 5.], outside),
        ([1e300, 1., 1e300, 5.], outside),
    ];
    for (bbox, expected) in cases {
        let fixture = with(|value| value["annotations"][3]["bbox"] = json!(bbox));
        let error = fixture.labels(&[10]).unwrap_err();
        assert!(matches!(error, DataError::InvalidBox { problem, .. } if problem == expected), "{error}");
        let text = fixture.message(fixture.labels(&[10]));
        assert_eq!(text, format!("annotation 4 (image 10): bbox {bbox:?}: {expected}"));
    }
    assert_eq!(outside.to_string(), "it lies outside the image of 40×30 pixels (width × height)");
    assert_eq!(BoxProblem::ZeroSize.to_string(), "width and height must be positive");
}

#[test]
fn a_negative_area_is_named() {
    let fixture = with(|value| value["annotations"][3]["area"] = json!(-1.5));
    assert_eq!(fixture.message(fixture.labels(&[10])), "annotation 4: area -1.5 is negative");
}

#[test]
fn a_file_with_nothing_to_learn_from_is_an_error() {
    let fixture = with(|value| value["annotations"] = json!([]));
    assert_eq!(fixture.message(fixture.labels(&[10, 20])), "no boxes on the 2 images asked for");
    let only_crowds = with(|value| {
        for annotation in value["annotations"].as_array_mut().unwrap() {
            annotation["iscrowd"] = json!(1);
        }
    });
    assert_eq!(only_crowds.message(only_crowds.labels(&[10])), "no boxes on the 1 images asked for");
    let fixture = with(|value| value["images"] = json!([]));
    assert_eq!(fixture.message(fixture.read()), "`images` is missing or empty");
    assert_eq!(
        fixture.message(UnlabeledSet::from_json(&fixture.file, fixture.dir.path())),
        "`images` is missing or empty"
    );
    let fixture = with(|value| value["categories"] = json!([]));
    assert_eq!(fixture.message(fixture.read()), "`categories` is missing or empty");
    let fixture = with(|value| value["images"][0]["width"] = json!(0));
    assert_eq!(fixture.message(fixture.read()), "image 20: width 0 and height 30 must be positive");
}

#[test]
fn file_names_cannot_leave_the_image_folder() {
    for name in ["../a.png", "x/../../a.png", "/etc/passwd", "", "a\0.png"] {
        let fixture = with(|value| value["images"][0]["file_name"] = json!(name));
        let expected = format!("file name {name:?} does not stay inside the image folder");
        assert_eq!(fixture.message(fixture.read()), expected);
        assert_eq!(fixture.message(UnlabeledSet::from_json(&fixture.file, fixture.dir.path())), expected);
    }
    assert!(with(|value| value["images"][0]["file_name"] = json!("sub/b.png")).read().is_ok());
}

#[test]
fn a_missing_image_file_is_named_before_any_training() {
    let fixture = Fixture::new(&valid());
    let root = fixture.dir.path();
    let missing = root.join("b.png");
    fs::remove_file(&missing).unwrap();
    let index = fixture.read().unwrap();
    let labels = index.labels(&[10, 20], DataPolicy::STRICT).unwrap();
    for error in [
        index.labeled_set(root, &labels).unwrap_err(),
        index.unlabeled_set(root, &[20]).unwrap_err(),
        UnlabeledSet::from_json(&fixture.file, root).unwrap_err(),
    ] {
        assert!(matches!(&error, DataError::Io { path, .. } if *path == missing), "{error}");
    }
    // A folder of that name is no image either.
    fs::create_dir(&missing).unwrap();
    let text = index.unlabeled_set(root, &[20]).unwrap_err().to_string();
    assert_eq!(text, format!("{}: not a file", missing.display()));
}

/// Images, objects and crowds of real files, counted by a few lines of another language.
#[test]
fn real_files_are_read_whole() {
    for (file, root, images, objects, crowds) in REAL_FILES {
        let folder = file.split('/').next().unwrap();
        let Some(folder) = shared_data(folder) else { continue };
        let data = folder.parent().unwrap();
        let index = CocoIndex::read(data.join(file)).unwrap();
        let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
        let set = index.labeled_set(data.join(root), &labels).unwrap();
        let found: usize = set.samples.iter().map(|sample| sample.targets.crowds.len()).sum();
        assert_eq!((set.len(), set.num_objects(), found), (images, objects, crowds), "{file}");
    }
}

const REAL_FILES: [(&str, &str, usize, usize, usize); 4] = [
    ("deeppcb/annotations/instances_train.json", "deeppcb/images", 1000, 6873, 0),
    ("cards6/annotations/instances_train.json", "cards6/train", 296, 527, 0),
    ("coco_subset/annotations/instances_train2017.json", "coco_subset/train2017", 337, 2810, 28),
    ("voc2012_100/coco_format/instances_v2.json", "voc2012_100/images", 100, 273, 0),
];
