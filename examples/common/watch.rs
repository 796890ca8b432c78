//! The teacher's pseudo-labels during a training, for its report.

use std::sync::{Arc, Mutex};

use anyhow::Result;
use burn::tensor::Device;
use sed::train::{
    data::AugmentConfig,
    report::{PseudoLabelSnapshot, PseudoLabelWatch, WatchConfig, WatchError},
    train::TeacherWatch,
};

use super::data::Dataset;

/// Unlabeled images on which pseudo-labels are counted; true objects of such images measure them, where there are some.
pub const WATCHED: usize = 48;
/// Those of them that are drawn, each time.
const PICTURES: usize = 3;
/// The least score of a pseudo-label.
const THRESHOLD: f32 = 0.5;

/// What was seen of the teacher so far.
#[derive(Debug, Clone, Default)]
pub struct Snapshots(Arc<Mutex<Vec<Result<PseudoLabelSnapshot, WatchError>>>>);

impl Snapshots {
    /// All of them, or the first error.
    pub fn take(&self) -> Result<Vec<PseudoLabelSnapshot>> {
        let mut seen = self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        Ok(seen.drain(..).collect::<Result<_, _>>()?)
    }
}

/// Somebody who looks at the teacher, and where they write; `None` without unlabeled images.
pub fn watch(
    dataset: &Dataset,
    augment: &AugmentConfig,
    device: &Device,
) -> Result<Option<(TeacherWatch, Snapshots)>> {
    let config = WatchConfig { image_size: augment.image_size, threshold: THRESHOLD, pictures: PICTURES };
    let unlabeled = dataset.some_unlabeled(WATCHED);
    if unlabeled.is_empty() {
        return Ok(None);
    }
    let watch = match &dataset.hidden {
        Some((set, truth)) => PseudoLabelWatch::of_hidden(set, truth.clone(), config)?,
        None => PseudoLabelWatch::of_unlabeled(&unlabeled, dataset.class_names(), config)?,
    };
    let snapshots = Snapshots::default();
    let (written, device) = (snapshots.clone(), device.clone().without_autodiff());
    let look = TeacherWatch::new(move |iteration, detect| {
        let snapshot = watch.look(iteration, &device, detect);
        written.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(snapshot);
    });
    Ok(Some((look, snapshots)))
}
