//! Annotation files made by hand to break a reader, and mutations of good ones.

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use super::{CocoIndex, CocoLabels, DataError, DataPolicy, PolicyMode, SkipBound, UnlabeledSet};

const COCO: &str = r#"{"images":[{"id":1,"file_name":"a.png","width":40,"height":30},{"id":2,"file_name":"b.png","width":40,"height":30}],
"categories":[{"id":1,"name":"bolt"},{"id":5,"name":"nut"}],
"annotations":[{"id":1,"image_id":1,"category_id":5,"bbox":[1,2,10,10],"area":90.5,"iscrowd":0,"segmentation":[[1,2,3,4]]},
{"id":2,"image_id":2,"category_id":1,"bbox":[5,5,20,20]},{"id":3,"image_id":2,"category_id":1,"bbox":[0,0,9,9],"iscrowd":1}]}"#;

const VOC: &str = "<annotation><filename>a.png</filename><size><width>40</width><height>30</height><depth>3</depth></size>
<object><name>bolt</name><difficult>0</difficult>
<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>11</xmax><ymax>12</ymax></bndbox></object>
<object><name>nut</name><bndbox><xmin>5</xmin><ymin>5</ymin><xmax>24</xmax><ymax>24</ymax></bndbox></object></annotation>";

/// Everything that a training reads of labeled data.
fn read(path: &Path, policy: DataPolicy) -> Result<(CocoIndex, CocoLabels), DataError> {
    let index = CocoIndex::open(path, None, policy)?;
    let labels = index.labels(&index.image_ids(), policy)?;
    Ok((index, labels))
}

fn lenient(mode: PolicyMode) -> DataPolicy {
    DataPolicy::new(mode, SkipBound::Percent(100.))
}

/// The good file with one piece of its text replaced.
fn changed(text: &str, from: &str, to: &str) -> Vec<u8> {
    assert!(text.contains(from), "{from}");
    text.replacen(from, to, 1).into_bytes()
}

fn utf16(text: &str) -> Vec<u8> {
    [0xFEFF].into_iter().chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect()
}

/// What breaks a COCO file, and what its error names.
fn coco_files() -> Vec<(Vec<u8>, &'static str)> {
    let with = |from: &str, to: &str| changed(COCO, from, to);
    let nested = |open: &str, depth: usize| format!("{{\"images\":{}", open.repeat(depth)).into_bytes();
    vec![
        (vec![], "at .: EOF while parsing a value at line 1"),
        (vec![0; 64], "at .: expected value at line 1 column 1"),
        ([b"\xEF\xBB\xBF", COCO.as_bytes()].concat(), "at .: expected value at line 1 column 1"),
        (utf16(COCO), "at .: expected value at line 1 column 1"),
        (b"null".to_vec(), "at .: invalid type: null, expected an object"),
        (b"[]".to_vec(), "at .: invalid type: sequence, expected an object"),
        (b"\"images\"".to_vec(), "at .: invalid type: string \"images\""),
        (b"{}".to_vec(), "`images` is missing or empty"),
        (COCO.as_bytes()[..150].to_vec(), "EOF while parsing"),
        (COCO.as_bytes()[..COCO.len() - 1].to_vec(), "EOF while parsing"),
        ([COCO.as_bytes(), b"{}"].concat(), "at .: trailing characters"),
        (with("\"a.png\"", "\"a\\u00.png\""), "at images[0]"),
        (with("\"a.png\"", "\"a\u{1}.png\""), "control character"),
        (
            changed(COCO, "a.png", "a#.png").iter().map(|&b| if b == b'#' { 0xFF } else { b }).collect(),
            "at images[0]",
        ),
        (nested("[", 100_000), "at images[0]"),
        (nested("{\"a\":", 100_000), "at images"),
        (
            with("\"images\":[", "\"images\":[7,"),
            "at images[0]: invalid type: integer `7`, expected an object",
        ),
        (with("\"images\":[", "\"images\":[[],"), "at images[0]: invalid type: sequence"),
        (with("\"images\":[", "\"images\":null,\"x\":["), "at images: invalid type: null"),
        (with("\"images\":[", "\"images\":[],\"x\":["), "`images` is missing or empty"),
        (with("\"categories\":", "\"images\":[],\"categories\":"), "duplicate field `images`"),
        (with("\"id\":1,\"file", "\"file"), "at images[0]: missing field `id`"),
        (with("\"id\":1,\"file", "\"id\":1,\"id\":1,\"file"), "at images[0]: duplicate field `id`"),
        (with("\"id\":1,\"file", "\"id\":-1,\"file"), "at images[0].id: invalid value: integer `-1`"),
        (
            with("\"id\":1,\"file", "\"id\":18446744073709551616,\"file"),
            "at images[0].id: invalid type: floating point",
        ),
        (with("\"id\":1,\"file", "\"id\":1e999,\"file"), "at images[0].id: number out of range"),
        (with("\"id\":1,\"file", "\"id\":2,\"file"), "images: id 2 occurs more than once"),
        (with("\"width\":40", "\"width\":0"), "image 1: width 0 and height 30 must be positive"),
        (with("\"width\":40", "\"width\":-40"), "at images[0].width: invalid value: integer `-40`"),
        (with("\"width\":40", "\"width\":40.5"), "at images[0].width: invalid type: floating point `40.5`"),
        (with("\"width\":40", "\"width\":NaN"), "at images[0].width: expected value"),
        (with("\"height\":30", "\"height\":{}"), "at images[0].height: invalid type: map"),
        (with("\"file_name\":\"a.png\",", ""), "at images[0]: missing field `file_name`"),
        (with("\"a.png\"", "[\"a.png\"]"), "at images[0].file_name: invalid type: sequence"),
        (with("a.png", "b.png"), "file name \"b.png\" occurs more than once"),
        (with("a.png", ""), "file name \"\" does not stay inside"),
        (with("a.png", "../a.png"), "file name \"../a.png\" does not stay inside"),
        (with("a.png", "x/../../a.png"), "file name \"x/../../a.png\" does not stay inside"),
        (with("a.png", "/etc/passwd"), "file name \"/etc/passwd\" does not stay inside"),
        (with("a.png", "C:/a.png"), "file name \"C:/a.png\" does not stay inside"),
        (with("a.png", "..\\\\a.png"), "file name \"../a.png\" does not stay inside"),
        (with("a.png", "x\\\\a.png"), "file name \"x\\\\a.png\" does not stay inside"),
        (with("a.png", "a\\u0000.png"), "does not stay inside"),
        (with("\"categories\":[", "\"categories\":[],\"x\":["), "`categories` is missing or empty"),
        (with("\"id\":5,", "\"id\":1,"), "categories: id 1 occurs more than once"),
        (with("\"name\":\"nut\"", "\"name\":null"), "at categories[1].name: invalid type: null"),
        (with("\"annotations\":", "\"labels\":"), "at .: missing field `annotations`"),
        (with("\"annotations\":[", "\"annotations\":[],\"x\":["), "no boxes on the 2 images"),
        (with("\"annotations\":[", "\"annotations\":{},\"x\":["), "at annotations: invalid type: map"),
        (with("\"image_id\":1", "\"image_id\":9"), "annotation 1: image_id 9 is not in `images`"),
        (with("\"image_id\":1", "\"image_id\":[1]"), "at annotations[0].image_id: invalid type: sequence"),
        (
            with("\"category_id\":5", "\"category_id\":4"),
            "annotation 1: category_id 4 is not in `categories`",
        ),
        (with("\"id\":2,\"image_id\"", "\"id\":1,\"image_id\""), "annotations: id 1 occurs more than once"),
        (with("[1,2,10,10]", "[1,2,10]"), "at annotations[0].bbox: invalid length 3"),
        (with("[1,2,10,10]", "[1,2,[],10]"), "at annotations[0].bbox[2]: invalid type: sequence"),
        (with("[1,2,10,10]", "\"1 2 10 10\""), "at annotations[0].bbox: invalid type: string"),
        (with("[1,2,10,10]", "[1,2,-10,10]"), "annotation 1 (image 1): bbox"),
        (with("[1,2,10,10]", "[1,2,1e400,10]"), "at annotations[0].bbox[2]: number out of range"),
        (with("[1,2,10,10]", "[1e308,2,1e308,10]"), "annotation 1 (image 1): bbox"),
        (with("\"area\":90.5", "\"area\":-1e300"), "annotation 1: area -1"),
        (with("\"iscrowd\":0", "\"iscrowd\":2"), "at annotations[0].iscrowd: invalid value"),
    ]
}

/// What breaks a VOC file, and what its error names.
fn voc_files() -> Vec<(Vec<u8>, &'static str)> {
    let with = |from: &str, to: &str| changed(VOC, from, to);
    let entities = "<!DOCTYPE annotation [<!ENTITY a \"b\"><!ENTITY c \"&a;&a;&a;\">]>";
    vec![
        (vec![], "not readable as XML"),
        (vec![0; 64], "not readable as XML"),
        (utf16(VOC), "not UTF-8 from byte 0 on"),
        (VOC.as_bytes()[..120].to_vec(), "not readable as XML"),
        (with("</object>", ""), "not readable as XML: expected 'object' tag, not 'annotation' at 4:"),
        (
            with("bolt", "bo&lt;lt&undefined;"),
            "not readable as XML: unknown entity reference 'undefined' at 2:",
        ),
        ([entities.as_bytes(), VOC.as_bytes()].concat(), "XML with DTD detected"),
        (VOC.replace("annotation>", "labels>").into_bytes(), "at .: the root element is `labels`"),
        (b"<annotation/>".to_vec(), "at .: missing element `filename`"),
        (with("a.png", ""), "at filename: no text at line 1 column 13"),
        (with("a.png", "../a.png"), "file name \"../a.png\" does not stay inside"),
        (with("a.png", "sub\\a.png"), "file name \"sub\\\\a.png\" does not stay inside"),
        (with("<size>", "<size/><size>"), "at size: occurs more than once"),
        (with("<width>40</width>", ""), "at size: missing element `width`"),
        (with("<width>40", "<width>0"), "at size/width: must be positive"),
        (with("<width>40", "<width>99999999999"), "at size/width: \"99999999999\" is no whole number"),
        (with("<height>30", "<height>-30"), "at size/height: \"-30\" is no whole number"),
        (with("<name>bolt</name>", ""), "at object[1]: missing element `name`"),
        (with("<difficult>0", "<difficult>yes"), "at object[1]/difficult: \"yes\" is not 0 or 1"),
        (with("<xmin>2</xmin>", ""), "at object[1]/bndbox: missing element `xmin`"),
        (with("<xmin>2", "<xmin>NaN"), "at object[1]/bndbox/xmin: \"NaN\" is no finite number at line 3"),
        (with("<xmin>2", "<xmin>inf"), "at object[1]/bndbox/xmin: \"inf\" is no finite number"),
        (with("<xmin>2", "<xmin>1e400"), "at object[1]/bndbox/xmin: \"1e400\" is no finite number"),
        (with("<xmin>2", "<xmin>20"), "at object[1]/bndbox: [20.0, 3.0, 11.0, 12.0]: width and height"),
        (with("<xmin>5</xmin>", "<xmin>24</xmin>"), "at object[2]/bndbox: [24.0, 5.0, 24.0, 24.0]: width"),
        (
            with("<xmin>5</xmin><ymin>5</ymin><xmax>24", "<xmin>41</xmin><ymin>5</ymin><xmax>54"),
            "it lies outside",
        ),
    ]
}

/// A folder with this content as the annotations of the format, and their path.
fn fixture(content: &[u8], format: Format) -> (tempfile::TempDir, std::path::PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (file, path) = match format {
        Format::Coco => (dir.path().join("train.json"), dir.path().join("train.json")),
        Format::Voc => (dir.path().join("a.xml"), dir.path().to_owned()),
    };
    fs::write(file, content).unwrap();
    (dir, path)
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Coco,
    Voc,
}

#[test]
fn the_files_that_are_broken_here_are_good() {
    for (text, format) in [(COCO, Format::Coco), (VOC, Format::Voc)] {
        let (_dir, path) = fixture(text.as_bytes(), format);
        for mode in PolicyMode::ALL {
            let (index, labels) = read(&path, DataPolicy::new(mode, SkipBound::Count(0))).unwrap();
            assert!(index.report().is_clean() && labels.report().is_clean());
        }
    }
}

#[test]
fn hand_made_files_give_an_error_that_names_the_place() {
    let coco = coco_files().into_iter().map(|(content, expected)| (content, expected, Format::Coco));
    let voc = voc_files().into_iter().map(|(content, expected)| (content, expected, Format::Voc));
    let all: Vec<_> = coco.chain(voc).collect();
    assert!(all.len() >= 60, "{}", all.len());
    for (content, expected, format) in all {
        let (dir, path) = fixture(&content, format);
        let error = read(&path, DataPolicy::STRICT).expect_err(expected).to_string();
        assert!(error.contains(expected), "{error:?} does not have {expected:?}");
        assert!(error.starts_with(&dir.path().display().to_string()), "{error}");
        for mode in [PolicyMode::Skip, PolicyMode::Repair] {
            check_lenient(&path, mode, &error);
        }
    }
}

#[test]
fn a_link_out_of_the_folder_and_a_folder_for_a_file_are_refused() {
    let (dir, path) = fixture(COCO.as_bytes(), Format::Coco);
    let root = dir.path().join("images");
    fs::create_dir_all(root.join("b.png")).unwrap();
    fs::write(dir.path().join("outside.png"), []).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("../outside.png", root.join("a.png")).unwrap();
    let index = CocoIndex::read(&path).unwrap();
    let error = |id| index.unlabeled_set(&root, &[id]).unwrap_err().to_string();
    #[cfg(unix)]
    for text in [
        error(1),
        UnlabeledSet::from_json(&path, &root).unwrap_err().to_string(),
        UnlabeledSet::from_folder(&root).unwrap_err().to_string(),
    ] {
        assert!(text.contains("a.png: leads out of the image folder"), "{text}");
    }
    assert!(error(2).ends_with("b.png: not a file"), "{}", error(2));
    assert!(CocoIndex::read(dir.path().join("images")).is_err(), "a folder is no JSON file");
}

/// Under a policy that skips, a file is refused whole, or what strict refuses is in the report.
fn check_lenient(path: &Path, mode: PolicyMode, strict: &str) {
    match read(path, lenient(mode)) {
        Ok((index, labels)) => {
            let mut problems = index.report().problems.iter().chain(&labels.report().problems);
            assert!(problems.any(|problem| strict.contains(&problem.reason)), "{mode:?} hides {strict}");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

/// One or two small damages of a text.
fn mutate(text: &[u8], rng: &mut ChaCha8Rng) -> Vec<u8> {
    const TOKENS: [&str; 16] = [
        "null",
        "-1",
        "1e400",
        "NaN",
        "[]",
        "{}",
        "\"\"",
        "18446744073709551616",
        "0",
        "true",
        "<a>",
        "</object>",
        "&x;",
        "\u{0}",
        "../",
        "\\u0000",
    ];
    let mut bytes = text.to_vec();
    for _ in 0..1 + rng.next_u32() % 2 {
        let mut below = |n: usize| rng.next_u64() as usize % n.max(1);
        let at = below(bytes.len());
        let end = (at + 1 + below(12)).min(bytes.len());
        match below(11) {
            0 | 1 => bytes[at] ^= 1 << below(8),
            2 | 3 => drop(bytes.drain(at..end)),
            4 | 5 => {
                let piece = bytes[at..end].to_vec();
                bytes.splice(at..at, piece);
            }
            6 | 7 => drop(bytes.splice(at..end, TOKENS[below(TOKENS.len())].bytes())),
            8 | 9 => {
                let (piece, to) = (bytes[at..end].to_vec(), below(bytes.len()));
                bytes.splice(to..to, piece);
            }
            _ => bytes.truncate(at.max(1)),
        }
        if bytes.is_empty() {
            break;
        }
    }
    bytes
}

/// 10,000 mutations, 5,000 of each format. None may panic; strict refuses exactly what the others report.
#[test]
fn mutations_end_in_data_or_a_typed_error() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("voc");
    fs::create_dir(&folder).unwrap();
    for (text, format) in [(COCO, Format::Coco), (VOC, Format::Voc)] {
        let (file, path) = match format {
            Format::Coco => (dir.path().join("train.json"), dir.path().join("train.json")),
            Format::Voc => (folder.join("a.xml"), folder.clone()),
        };
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let (mut refused, mut taken) = (0, 0);
        for number in 0..5000 {
            let bytes = mutate(text.as_bytes(), &mut rng);
            fs::write(&file, &bytes).unwrap();
            let outcome = |policy| {
                catch_unwind(|| read(&path, policy)).unwrap_or_else(|_| {
                    panic!("{format:?} {number}: a panic on {:?}", String::from_utf8_lossy(&bytes))
                })
            };
            let strict = outcome(DataPolicy::STRICT);
            match &strict {
                Ok(_) => taken += 1,
                Err(error) => {
                    refused += 1;
                    assert!(error.to_string().starts_with(&path.display().to_string()), "{error}");
                }
            }
            for mode in [PolicyMode::Skip, PolicyMode::Repair] {
                match outcome(lenient(mode)) {
                    Ok((index, labels)) => {
                        let clean = index.report().is_clean() && labels.report().is_clean();
                        assert_eq!(clean, strict.is_ok(), "{format:?} {number} {mode:?}: {strict:?}");
                    }
                    Err(error) => assert!(strict.is_err(), "{format:?} {number} {mode:?}: {error}"),
                }
            }
        }
        // Both happen often enough for the test to mean something.
        assert!(refused > 2000 && taken > 50, "{format:?}: {refused} refused, {taken} taken");
    }
}
