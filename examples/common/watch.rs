//! The teacher's pseudo-labels during a training, for its report.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use anyhow::{Context, Result};
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

/// What was seen of the teacher so far; the pictures wait in a folder, as a long run has many.
#[derive(Debug, Clone, Default)]
pub struct Snapshots(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    folder: PathBuf,
    snapshots: Vec<Result<PseudoLabelSnapshot>>,
}

impl Snapshots {
    /// The folder of the pictures, which is made with the first one.
    pub fn keep_pictures_in(&self, folder: PathBuf) {
        self.lock().folder = folder;
    }

    /// All of them, or the first error.
    pub fn take(&self) -> Result<Vec<PseudoLabelSnapshot>> {
        let mut seen = self.lock();
        let folder = seen.folder.clone();
        let with_pictures = |snapshot: Result<PseudoLabelSnapshot>| {
            let mut snapshot = snapshot?;
            for (index, figure) in snapshot.pictures.iter_mut().enumerate() {
                figure.picture = ::image::open(file(&folder, snapshot.iteration, index))?.to_rgb8();
            }
            Ok(snapshot)
        };
        seen.snapshots.drain(..).map(with_pictures).collect()
    }

    fn add(&self, snapshot: Result<PseudoLabelSnapshot, WatchError>) {
        let mut seen = self.lock();
        let folder = seen.folder.clone();
        let put_away = |mut snapshot: PseudoLabelSnapshot| {
            fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
            for (index, figure) in snapshot.pictures.iter_mut().enumerate() {
                std::mem::take(&mut figure.picture).save(file(&folder, snapshot.iteration, index))?;
            }
            Ok(snapshot)
        };
        seen.snapshots.push(snapshot.map_err(anyhow::Error::from).and_then(put_away));
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// The file of a picture.
fn file(folder: &Path, iteration: usize, index: usize) -> PathBuf {
    folder.join(format!("{iteration:09}-{index}.png"))
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
        written.add(watch.look(iteration, &device, detect));
    });
    Ok(Some((look, snapshots)))
}
