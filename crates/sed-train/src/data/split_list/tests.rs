use serde_json::json;

use super::*;
use crate::data::DataPolicy;

/// Images 10, 20, …, 60 in two folders; 30 has a crowd region alone, 50 nothing.
fn index(folder: &Path) -> CocoIndex {
    let images: Vec<_> = (1..=6)
        .map(|at| {
            let file_name = format!("{}/img{at}.jpg", if at < 4 { "a" } else { "b" });
            json!({"id": at * 10, "file_name": file_name, "width": 4, "height": 4})
        })
        .collect();
    let annotations: Vec<_> = [10, 20, 30, 40, 60]
        .map(|image| {
            let iscrowd = u8::from(image == 30);
            json!({"id": image, "image_id": image, "category_id": 1, "bbox": [0, 0, 2, 2], "iscrowd": iscrowd})
        })
        .into();
    let value =
        json!({"images": images, "categories": [{"id": 1, "name": "one"}], "annotations": annotations});
    let file = folder.join("train.json");
    fs::write(&file, value.to_string()).unwrap();
    CocoIndex::read(&file).unwrap()
}

/// What `import` makes of a file of this name and content.
fn import(
    name: &str,
    content: &str,
    key: Option<&str>,
    numbers: Option<ListedNumbers>,
) -> Result<SplitManifest, String> {
    let dir = tempfile::tempdir().unwrap();
    let index = index(dir.path());
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    let result = SplitManifest::import(&path, key, numbers, &index);
    if let Ok(manifest) = &result {
        // Whatever is imported is a manifest as any other.
        let saved = dir.path().join("split.json");
        manifest.save(&saved).unwrap();
        assert_eq!(SplitManifest::load(&saved, &index).unwrap(), *manifest);
    }
    result.map_err(|error| {
        let text = error.to_string().replace(&index.path().display().to_string(), "ANNOTATIONS");
        text.replace(&path.display().to_string(), "LIST")
    })
}

fn labeled(name: &str, content: &str, key: Option<&str>, numbers: Option<ListedNumbers>) -> Vec<u64> {
    import(name, content, key, numbers).unwrap().labeled
}

const BY_KEY: &str = r#"{"1.0": {"1": [0, 3], "2": [10]}, "10.0": {"1": [2]}}"#;

#[test]
fn lists_by_percent_and_fold_need_to_be_told_what_they_count() {
    use ListedNumbers::{ImageIds, Positions, PositionsWithObjects};
    let of = |key, numbers| import("COCO_supervision.txt", BY_KEY, Some(key), numbers);
    // Sorted: 10 20 30 40 50 60; with objects: 10 20 40 60.
    let split = of("1.0/1", Some(Positions)).unwrap();
    assert_eq!((split.labeled, split.unlabeled), (vec![10, 40], vec![20, 30, 50, 60]));
    assert_eq!(of("1.0/1", Some(PositionsWithObjects)).unwrap().labeled, [10, 60]);
    assert_eq!(of("10/1", Some(PositionsWithObjects)).unwrap().labeled, [40]);
    let ids = of("1/2", Some(ImageIds)).unwrap();
    assert_eq!((ids.labeled, ids.fold), (vec![10], 2));
    assert_eq!(ids.percent, 100. / 6.);

    let text = of("1.0/1", None).unwrap_err();
    assert!(text.starts_with("LIST: such lists hold positions"), "{text}");
    assert!(text.ends_with("image-ids, positions, positions-with-objects"), "{text}");
    assert_eq!(
        of("5/1", Some(Positions)).unwrap_err(),
        "LIST: no list 5/1: choose one of 1.0/1, 1.0/2, 10.0/1"
    );
    let none = import("s.txt", BY_KEY, None, Some(Positions)).unwrap_err();
    assert_eq!(none, "LIST: several lists: choose one of 1.0/1, 1.0/2, 10.0/1");
    assert_eq!(
        of("1.0/1", Some(ImageIds)).unwrap_err(),
        "LIST: image id 0 is not in ANNOTATIONS; if the numbers are positions, say so"
    );
    assert_eq!(
        of("1.0/2", Some(PositionsWithObjects)).unwrap_err(),
        "LIST: position 10 is beyond the 4 images that are counted"
    );
}

#[test]
fn a_coco_file_of_the_labeled_images_counts_by_id_and_name() {
    let file = |name: &str| {
        json!({"images": [{"id": 60, "file_name": name}, {"id": 20, "file_name": "img2.jpg", "height": 4}],
            "annotations": [{"id": 1}], "categories": []})
        .to_string()
    };
    let name = "instances_train2017.3@10.json";
    let split = import(name, &file("b/img6.jpg"), None, None).unwrap();
    assert_eq!((split.labeled, split.fold), (vec![20, 60], 3));
    assert_eq!(
        import(name, &file("b/img5.jpg"), None, None).unwrap_err(),
        "LIST: image id 60 is \"b/img5.jpg\" but \"b/img6.jpg\" in ANNOTATIONS"
    );
    let positions = import(name, &file("b/img6.jpg"), None, Some(ListedNumbers::Positions)).unwrap_err();
    assert_eq!(positions, "LIST: the file has image ids or file names, no positions");
    assert!(import(name, r#"{"images": []}"#, None, None).unwrap_err().ends_with("the list is empty"));
}

#[test]
fn texts_and_json_lists_hold_ids_or_names() {
    assert_eq!(labeled("ids.txt", "60\n\n 20\r\n", None, None), [20, 60]);
    assert_eq!(labeled("ids.json", "[60, 20]", None, None), [20, 60]);
    assert_eq!(labeled("at.txt", "0\n4\n", None, Some(ListedNumbers::Positions)), [10, 50]);
    assert_eq!(labeled("names.txt", "a/img1.jpg\nimg5.jpg\nimg6\nb\\img4.jpg", None, None), [10, 40, 50, 60]);
    assert_eq!(labeled("names.json", r#"["img2.jpg"]"#, None, None), [20]);
    for (text, expected) in [
        ("10\n70\n", "LIST: image id 70 is not in ANNOTATIONS; if the numbers are positions, say so"),
        ("img9.jpg", "LIST: \"img9.jpg\" is the name of 0 images in ANNOTATIONS"),
        ("10\nimg1.jpg", "LIST: image id 10 is listed more than once"),
        ("\n", "LIST: the list is empty"),
        ("-1", "LIST: \"-1\" is the name of 0 images in ANNOTATIONS"),
    ] {
        assert_eq!(import("list.txt", text, None, None).unwrap_err(), expected);
    }
    let key = import("list.txt", "10", Some("1/1"), None).unwrap_err();
    assert_eq!(key, "LIST: the file is a single list, there is none named 1/1");
    let broken = import("list.json", "{\"1.0\": [1]}", None, None).unwrap_err();
    assert!(broken.starts_with("LIST: at 1.0"), "{broken}");
}

#[test]
fn a_manifest_is_read_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let index = index(dir.path());
    let path = dir.path().join("split.json");
    let manifest = SplitManifest::draw(&index, 50., 7).unwrap();
    manifest.save(&path).unwrap();
    assert_eq!(SplitManifest::import(&path, None, None, &index).unwrap(), manifest);
}

#[test]
fn images_of_voc_files_are_told_by_name_even_where_it_is_a_number() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["000002", "000005", "000007"] {
        let size = "<size><width>4</width><height>4</height></size>";
        let bndbox = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>3</xmax><ymax>3</ymax></bndbox>";
        let object = format!("<object><name>cat</name>{bndbox}</object>");
        let text = format!("<annotation><filename>{name}.jpg</filename>{size}{object}</annotation>");
        fs::write(dir.path().join(format!("{name}.xml")), text).unwrap();
    }
    let index = CocoIndex::open(dir.path(), None, DataPolicy::STRICT).unwrap();
    let path = dir.path().join("labeled.txt");
    fs::write(&path, "000002\n000007\n").unwrap();
    let split = SplitManifest::import(&path, None, None, &index).unwrap();
    // Ids are the positions of the files from 1.
    assert_eq!((split.labeled, split.unlabeled), (vec![1, 3], vec![2]));
}
