use image::RgbImage;
use sed_core::Detections;

use super::*;
use crate::{
    eval::{CocoEvaluator, GroundTruthBox},
    report::{Figure, ModelReport, RunReport},
};

/// Image `i` of 1 to 4 has one object of class "a" at `[0, 0, 10, 10]`; image 4 has one of `<script>`, a class as a file
/// may name it, at `[50, 0, 90, 40]`. No image has an object of class "none".
fn truth() -> GroundTruth {
    let object = |image_id, label, bbox: [f64; 4]| GroundTruthBox {
        image_id,
        label,
        bbox,
        area: bbox[2] * bbox[3],
        iscrowd: false,
    };
    let mut boxes: Vec<_> = (1..=4).map(|id| object(id, 0, [0., 0., 10., 10.])).collect();
    boxes.push(object(4, 1, [50., 0., 40., 40.]));
    let names = ["a", "<script>alert(1)</script>", "none"];
    let categories = names.iter().zip(1..).map(|(name, id)| Category { id, name: (*name).into() });
    GroundTruth { image_ids: vec![1, 2, 3, 4], categories: categories.collect(), boxes }
}

/// Right in images 1 and 4; right with an error beside it in 2; nothing in 3.
fn detections() -> Vec<ImageDetections> {
    let on = [0., 0., 10., 10.];
    let away = [0., 50., 10., 60.];
    let found = |image_id, boxes: &[[f32; 4]], scores: &[f32]| ImageDetections {
        image_id,
        detections: Detections {
            boxes: boxes.to_vec(),
            scores: scores.to_vec(),
            labels: vec![0; boxes.len()],
        },
    };
    vec![found(1, &[on], &[0.8]), found(2, &[on, away], &[0.7, 0.65]), found(4, &[on, away], &[0.62, 0.1])]
}

fn report() -> EvaluationReport {
    EvaluationReport::new(&truth(), &detections(), &CocoEvaluator).unwrap()
}

#[test]
fn the_threshold_has_the_highest_f1() {
    // At .15 to .6 three of four are right: 2·3 / (4 + 5); at .05 one more is wrong, at .65 one less is right.
    assert_eq!(report().threshold, 0.15);
    let nothing = EvaluationReport::new(&truth(), &[], &CocoEvaluator).unwrap();
    assert_eq!(nothing.threshold, 0.5);
}

#[test]
fn best_and_worst_images_by_f1() {
    let report = report();
    let ids = |images: Vec<ImageScore>| images.iter().map(|image| image.image_id).collect::<Vec<_>>();
    // F1: 1; 2/3; 0; 2/3, of which the first comes first.
    assert_eq!(ids(report.best(9)), [1, 2, 4]);
    assert_eq!(ids(report.best(1)), [1]);
    assert_eq!(ids(report.worst(9)), [3, 2, 4]);
}

#[test]
fn warnings_name_classes_without_objects_and_without_finds() {
    let warnings = report().warnings("sed, teacher");
    assert_eq!(warnings.len(), 2);
    assert!(warnings[0].contains("none") && !warnings[0].contains("alert"), "{warnings:?}");
    assert!(warnings[1].starts_with("sed, teacher") && warnings[1].contains("alert(1)"), "{warnings:?}");
}

#[test]
fn many_classes_have_a_list_instead_of_a_matrix() {
    let html = |classes: usize| {
        let mut truth = truth();
        truth.categories = (1..=classes as u64).map(|id| Category { id, name: format!("c{id}") }).collect();
        let report = EvaluationReport::new(&truth, &detections(), &CocoEvaluator).unwrap();
        let mut page = HtmlPage::new("t");
        report.write(&mut page).unwrap();
        page.finish()
    };
    assert!(html(30).contains("class=\"matrix\""));
    let list = html(31);
    assert!(!list.contains("class=\"matrix\"") && list.contains("<td>background</td><td>c1</td>"));
    // Eleven classes with objects would be two charts; of two there is one.
    assert_eq!(list.matches("<svg").count(), 1);
}

#[test]
fn the_page_of_a_run_has_all_parts_and_no_foreign_markup() {
    let figure = |caption: &str| Figure { caption: caption.into(), picture: RgbImage::new(8, 8) };
    let mut results = ResultTable::new(["run", "AP"]);
    results.push([Cell::from("sed, teacher"), Cell::number(31.25, 1)]);
    let series = Series { name: "sed".into(), points: vec![(1.0, 2.0), (2.0, 1.0)] };
    let report = RunReport {
        title: "retinanet".into(),
        facts: vec!["4 images".into()],
        warnings: report().warnings("sed, teacher"),
        results,
        curves: vec![Chart {
            title: "loss".into(),
            x_label: "iteration".into(),
            x: None,
            y: None,
            series: vec![series],
        }],
        models: vec![ModelReport {
            name: "sed, teacher".into(),
            evaluation: report(),
            best: vec![figure("image 1")],
            worst: vec![figure("image 3 <script>")],
            pseudo_labels: Vec::new(),
        }],
        config: "name = \"<script>\"".into(),
    };
    let html = report.to_html().unwrap();
    assert!(!html.contains("<script"), "names are escaped");
    for part in [
        "31.2",
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "Precision against recall (AP50)",
        "a (69.1)",
        "class=\"matrix\"",
        "<td class=\"right\" style=\"--share:42%\">3</td>",
        "small, up to 32² px",
        "Best validation images",
        "image 3 &lt;script&gt;",
        "name = &quot;&lt;script&gt;&quot;",
    ] {
        assert!(html.contains(part), "{part}");
    }
    assert!(!html.contains("Pseudo-labels"), "empty parts are left out");
    // Of the two curves and the chart of the loss.
    assert_eq!(html.matches("<svg").count(), 2);
}
