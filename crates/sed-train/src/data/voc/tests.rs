use std::collections::BTreeMap;

use super::*;
use crate::data::{PolicyMode, SkipBound};
use crate::test_data::shared_data;

fn xml(name: &str, objects: &str) -> String {
    format!(
        "<annotation>\n<filename>{name}</filename>\n<size><width>40</width><height>30</height></size>\n{objects}\n</annotation>"
    )
}

fn object(name: &str, [x1, y1, x2, y2]: [&str; 4], difficult: &str) -> String {
    format!(
        "<object><name>{name}</name>{difficult}\n<bndbox><xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax></bndbox></object>"
    )
}

fn folder(files: &[(&str, String)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    dir
}

fn two_images() -> [(&'static str, String); 2] {
    let first = object("nut", ["2", "3", "11", "12"], "")
        + &object("bolt", ["1", "1", "50", "30"], "<difficult>1</difficult>");
    // The parts of a person have boxes of their own, which are not objects.
    let part = "<part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox></part>";
    let second = object("ant", ["1.5", "1", "40", "30"], "<difficult>0</difficult>")
        .replace("</object>", &format!("{part}</object>"));
    [("Annotations/b.xml", xml("b.png", &first)), ("Annotations/a.xml", xml("a.png", &second))]
}

fn open(path: &Path) -> CocoIndex {
    CocoIndex::open(path, None, DataPolicy::STRICT).unwrap()
}

#[test]
fn boxes_count_from_one_and_difficult_objects_are_crowds() {
    let dir = folder(&two_images());
    let index = open(dir.path());
    let files: Vec<_> = index.images().iter().map(|image| (image.id, &*image.file_name)).collect();
    assert_eq!(files, [(1, "a.png"), (2, "b.png")]);
    assert_eq!(index.image(1).unwrap().size, ImageSize::new(30, 40));
    let names: Vec<_> = index.categories().iter().map(|category| (category.id, &*category.name)).collect();
    assert_eq!(names, [(1, "ant"), (2, "bolt"), (3, "nut")]);

    let labels = index.labels(&[1, 2], DataPolicy::STRICT).unwrap();
    let found: Vec<_> =
        labels.annotations().iter().map(|a| (a.image_id, a.label, a.bbox, a.iscrowd)).collect();
    assert_eq!(
        found,
        [
            (1, 0, [0.5, 0., 39.5, 30.], false),
            (2, 2, [1., 2., 10., 10.], false),
            (2, 1, [0., 0., 50., 30.], true),
        ]
    );
    assert_eq!(labels.annotations()[2].clipped, [0., 0., 40., 30.]);
    assert_eq!(labels.annotations()[1].area, 100.);
    let ids: Vec<_> = labels.annotations().iter().map(|annotation| annotation.id).collect();
    assert_eq!(ids, [(1 << 24) + 1, (2 << 24) + 1, (2 << 24) + 2]);
    // The objects of other images are not read.
    assert_eq!(index.labels(&[2], DataPolicy::STRICT).unwrap().annotations(), &labels.annotations()[1..]);
}

#[test]
fn a_list_names_some_of_the_files_and_classes_can_be_given() {
    let dir = folder(&two_images());
    let list = dir.path().join("ImageSets/Main/train.txt");
    fs::create_dir_all(list.parent().unwrap()).unwrap();
    fs::write(&list, "b  -1\n\n").unwrap();
    let index = open(&list);
    assert_eq!((index.images().len(), &*index.images()[0].file_name), (1, "b.png"));
    assert_eq!(index.categories().len(), 2);

    let classes: Vec<_> =
        [(7, "nut"), (9, "bolt")].map(|(id, name)| Category { id, name: name.to_owned() }).into();
    let given = CocoIndex::open(&list, Some(&classes), DataPolicy::STRICT).unwrap();
    assert_eq!(given.categories(), classes);
    let labels = given.labels(&[1], DataPolicy::STRICT).unwrap();
    assert_eq!(labels.annotations().iter().map(|a| a.label).collect::<Vec<_>>(), [0, 1]);

    let error = CocoIndex::open(dir.path(), Some(&classes), DataPolicy::STRICT)
        .unwrap()
        .labels(&[1, 2], DataPolicy::STRICT)
        .unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("a.xml: at object[1]/name: \"ant\" is none of the 2 classes at line 4 column 9"),
        "{error}"
    );
    fs::write(&list, "../b").unwrap();
    let error = CocoIndex::open(&list, None, DataPolicy::STRICT).unwrap_err();
    assert!(matches!(error, DataError::UnsafeFileName { .. }), "{error}");
}

#[test]
fn policies_act_on_objects_and_images() {
    let [b, (_, a)] = two_images();
    let swapped = object("nut", ["11", "12", "2", "3"], "");
    let point = object("nut", ["5", "5", "5", "9"], "");
    let files = [
        b,
        ("Annotations/a.xml", a.replace("</annotation>", &format!("{swapped}{point}</annotation>"))),
        ("Annotations/c.xml", xml("c.png", "").replace("<width>40</width>", "")),
    ];
    let dir = folder(&files);
    let policy = |mode| DataPolicy::new(mode, SkipBound::Count(2));
    let error = CocoIndex::open(dir.path(), None, policy(PolicyMode::Strict)).unwrap_err();
    assert!(
        error.to_string().ends_with("c.xml: at size: missing element `width` at line 3 column 1"),
        "{error}"
    );

    let index = CocoIndex::open(dir.path(), None, policy(PolicyMode::Skip)).unwrap();
    assert_eq!((index.image_ids(), index.report().skipped_images), (vec![1, 2], 1));
    let labels = |mode| index.labels(&[1], policy(mode));
    let error = labels(PolicyMode::Strict).unwrap_err();
    assert!(
        error.to_string().contains("a.xml: at object[2]/bndbox: [11.0, 12.0, 2.0, 3.0]: width and"),
        "{error}"
    );
    let skipped = labels(PolicyMode::Skip).unwrap();
    assert_eq!((skipped.annotations().len(), skipped.report().skipped_annotations), (1, 2));
    let repaired = labels(PolicyMode::Repair).unwrap();
    assert_eq!(repaired.annotations()[1].bbox, [1., 2., 10., 10.]);
    assert_eq!((repaired.report().skipped_annotations, repaired.report().repairs), (1, 1));
    assert_eq!(repaired.report().problems[1].field, "object[3]/bndbox");
}

#[test]
fn entities_and_deep_nesting_are_refused() {
    let bomb =
        "<!DOCTYPE a [<!ENTITY x \"ha\"><!ENTITY y \"&x;&x;\">]><annotation>&y;</annotation>".to_owned();
    // Should a parser recurse, this would end the process.
    let deep = "<a>".repeat(400_000);
    let closed = format!("<annotation>{}{}</annotation>", "<a>".repeat(200_000), "</a>".repeat(200_000));
    let many = format!("<annotation>{}</annotation>", "<a/>".repeat(MAX_NODES as usize));
    for (text, expected) in [
        (bomb, "XML with DTD detected"),
        (deep, "not readable as XML"),
        (closed, "a.xml: "),
        (many, "nodes limit reached"),
    ] {
        let dir = folder(&[("a.xml", text)]);
        let text = CocoIndex::open(dir.path(), None, DataPolicy::STRICT).unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains("a.xml: "), "{text}");
    }
}

/// 100 photos whose boxes come as VOC and as COCO files; the latter did not move the first pixel to 0.
#[test]
fn voc_and_coco_files_of_the_same_boxes_agree() {
    let Some(data) = shared_data("voc2012_100") else { return };
    let voc = open(&data.join("pascalvoc_format"));
    let coco = CocoIndex::read(data.join("coco_format/instances_v2.json")).unwrap();
    let boxes = |index: &CocoIndex, shift: f64| {
        let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
        let mut boxes: BTreeMap<String, Vec<(String, [i64; 4])>> = BTreeMap::new();
        for annotation in labels.annotations() {
            let [x, y, width, height] = annotation.bbox;
            let corners = [x + shift, y + shift, x + width, y + height].map(|v| v.round() as i64);
            let name = index.categories()[annotation.label].name.clone();
            let file = index.image(annotation.image_id).unwrap().file_name.clone();
            boxes.entry(file).or_default().push((name, corners));
        }
        boxes.values_mut().for_each(|list| list.sort_unstable());
        boxes
    };
    let found = boxes(&voc, 1.);
    assert_eq!(found, boxes(&coco, 0.));
    assert_eq!(found.values().map(Vec::len).sum::<usize>(), 273);
    let labels = voc.labels(&voc.image_ids(), DataPolicy::STRICT).unwrap();
    assert_eq!(labels.annotations().iter().filter(|annotation| annotation.iscrowd).count(), 38);
    let set = voc.labeled_set(data.join("images"), &labels).unwrap();
    assert_eq!((set.len(), set.num_objects()), (100, 273 - 38));
}

/// Blood cells, counted in the data's own description; two boxes have no size.
#[test]
fn boxes_of_no_size_in_real_files_are_met_by_the_policy() {
    let Some(data) = shared_data("bccd") else { return };
    let index = open(&data.join("BCCD"));
    let names: Vec<_> = index.categories().iter().map(|category| &*category.name).collect();
    assert_eq!((index.images().len(), names), (364, vec!["Platelets", "RBC", "WBC"]));
    let error = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap_err().to_string();
    assert!(error.contains("BloodImage_00338.xml: at object["), "{error}");
    let policy = DataPolicy::new(PolicyMode::Repair, SkipBound::Count(2));
    let labels = index.labels(&index.image_ids(), policy).unwrap();
    let count = |label| labels.annotations().iter().filter(|annotation| annotation.label == label).count();
    assert_eq!([count(0), count(1), count(2)], [361, 4155 - 2, 372]);
    assert_eq!(labels.report().skipped_annotations, 2);
    let splits = ["train", "val", "test"]
        .map(|part| open(&data.join(format!("BCCD/ImageSets/Main/{part}.txt"))).images().len());
    assert_eq!(splits, [205, 87, 72]);
}
