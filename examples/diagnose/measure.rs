//! One pass of a detector over the images.

use std::collections::HashMap;

use anyhow::{Result, anyhow, bail, ensure};
use burn::{data::dataloader::DataLoader, tensor::Device};
use sed::{
    core::{ImageBatch, Views},
    train::{
        data::{EvalLoader, EvalLoaderConfig, LabeledSample},
        diagnostics::{
            PseudoLabelCurve, PseudoLabelMatches, RecallBySize, ScoreDifferenceSummary, ScoreDifferences,
        },
        eval::ImageDetections,
    },
};
use serde::Serialize;

use crate::{images::Images, paired_anchors::PairedAnchors};

/// Bins of the score difference.
const DIFFERENCE_BINS: usize = 20;

/// From these IoUs on a pseudo-label is right; the paper's.
const IOUS: [f64; 2] = [0.5, 0.9];

/// What is measured of one set of weights.
#[derive(Debug, Serialize)]
pub struct ModelDiagnosis {
    /// `before` or `after`.
    pub weights: &'static str,
    /// Anchors against the score difference between an image and its half-size view.
    pub score_difference: ScoreDifferenceSummary,
    /// Precision and recall against the threshold, at IoU .5 and .9.
    pub pseudo_labels: Vec<PseudoLabelCurve>,
    /// The same at the one threshold that was asked for.
    pub at_threshold: Vec<PseudoLabelCurve>,
    /// Recall by size at IoU .5.
    pub recall_by_size: RecallBySize,
}

/// How [`measure`] measures.
pub struct Measure<'a> {
    /// Side of the square that images are fitted into, as in validation.
    pub image_size: usize,
    /// The least score of a pseudo-label, where there is one threshold only.
    pub threshold: f32,
    /// Where to compute.
    pub device: &'a Device,
}

/// Measures the detector with the weights called `name` on all images.
pub fn measure<D: PairedAnchors>(
    name: &'static str,
    detector: &D,
    images: &Images,
    config: &Measure<'_>,
) -> Result<ModelDiagnosis> {
    let (image_size, divisor) = (config.image_size, detector.size_divisor());
    ensure!(
        image_size.is_multiple_of(divisor),
        "an image size of {image_size}: this detector needs a multiple of {divisor}"
    );
    let samples: HashMap<u64, &LabeledSample> =
        images.set.samples.iter().map(|sample| (sample.id, sample)).collect();
    let loader = EvalLoader::new(&images.set, EvalLoaderConfig { image_size, ..Default::default() })?;
    let mut differences = ScoreDifferences::new(DIFFERENCE_BINS);
    let mut detections = Vec::with_capacity(images.set.len());
    for batch in loader.iter() {
        let batch = batch.map_err(anyhow::Error::new)?;
        let pixels = batch.images.to_batch(config.device);
        for (i, found) in detector.detect(&pixels).iter().enumerate() {
            let detections_of_image = batch.to_original(i, found);
            detections.push(ImageDetections { image_id: batch.ids[i], detections: detections_of_image });
        }
        let anchors = detector.paired_anchors(pixels.padded_size());
        let scores = foreground_scores(detector, pixels)?;
        let [full, half] = scores.each_ref().map(|scores| scores.chunks_exact(anchors.len()));
        for (i, (full, half)) in full.zip(half).enumerate() {
            // Nothing is dropped that is seen at all: a training's limits are no matter here.
            let objects = batch.geometries[i].map_targets(&samples[&batch.ids[i]].targets, 0.0, 0.0);
            differences.add(&anchors, full, half, &objects);
        }
    }

    let matched: Vec<PseudoLabelMatches> = IOUS
        .iter()
        .map(|&iou| PseudoLabelMatches::new(&images.truth, &detections, iou))
        .collect::<Result<_, _>>()?;
    let thresholds: Vec<f32> = (1..20).map(|i| i as f32 / 20.0).collect();
    let curves = |thresholds: &[f32]| matched.iter().map(|labels| labels.curve(thresholds)).collect();
    Ok(ModelDiagnosis {
        weights: name,
        score_difference: differences.summary(),
        pseudo_labels: curves(&thresholds),
        at_threshold: curves(&[config.threshold]),
        recall_by_size: matched[0].recall_by_size(config.threshold),
    })
}

/// The foreground scores of the paired anchors on the images and on their half-size views, image by image.
fn foreground_scores<D: PairedAnchors>(detector: &D, images: ImageBatch) -> Result<[Vec<f32>; 2]> {
    // A teacher's view is not needed.
    let views = Views { half: Some(images.halved()), strong: images, weak: None, mirrored: None };
    let stages = detector.compare_views(detector, &views);
    let pair = stages.into_iter().next().and_then(|stage| Some((stage.activation, stage.scale?)));
    let Some((activation, pair)) = pair else { bail!("this detector compares no half-size view") };
    let scores = |logits| -> Result<Vec<f32>> {
        activation
            .foreground_score(logits)
            .into_data()
            .try_to_vec()
            .map_err(|error| anyhow!("scores: {error:?}"))
    };
    Ok([scores(pair.student.class_logits)?, scores(pair.other.class_logits)?])
}
