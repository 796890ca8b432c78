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
    report::{Figure, PseudoLabelSnapshot, PseudoLabelWatch, WatchConfig, WatchError, write_atomic},
    train::TeacherWatch,
};
use serde::{Deserialize, Serialize};

use super::data::Dataset;

/// Unlabeled images on which pseudo-labels are counted; true objects of such images measure them, where there are some.
pub const WATCHED: usize = 48;
/// Those of them that are drawn, each time.
const PICTURES: usize = 3;
/// The least score of a pseudo-label.
const THRESHOLD: f32 = 0.5;

/// What was seen of the teacher so far. It lies in a folder: a long run has many pictures, and one that is resumed goes on with them.
#[derive(Debug, Clone, Default)]
pub struct Snapshots(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    folder: PathBuf,
    failure: Option<anyhow::Error>,
}

/// The file of a snapshot, beside those of its pictures.
#[derive(Serialize, Deserialize)]
struct Kept {
    #[serde(flatten)]
    snapshot: PseudoLabelSnapshot,
    captions: Vec<String>,
}

impl Snapshots {
    /// The folder, which is made with the first snapshot.
    pub fn keep_in(&self, folder: PathBuf) {
        self.lock().folder = folder;
    }

    /// All of them in the order of their iterations, or the first error.
    pub fn take(&self) -> Result<Vec<PseudoLabelSnapshot>> {
        let mut seen = self.lock();
        if let Some(error) = seen.failure.take() {
            return Err(error);
        }
        if !seen.folder.exists() {
            return Ok(Vec::new());
        }
        let entries = fs::read_dir(&seen.folder).with_context(|| format!("{}", seen.folder.display()))?;
        let mut files: Vec<PathBuf> =
            entries.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>()?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        let mut snapshots: Vec<PseudoLabelSnapshot> =
            files.iter().map(|path| read(path, &seen.folder)).collect::<Result<_>>()?;
        snapshots.sort_by_key(|snapshot| snapshot.iteration);
        Ok(snapshots)
    }

    fn add(&self, snapshot: Result<PseudoLabelSnapshot, WatchError>) {
        let mut seen = self.lock();
        let written =
            snapshot.map_err(anyhow::Error::from).and_then(|snapshot| write(snapshot, &seen.folder));
        if let Err(error) = written {
            seen.failure.get_or_insert(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

fn write(mut snapshot: PseudoLabelSnapshot, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    let mut captions = Vec::new();
    for (index, figure) in snapshot.pictures.drain(..).enumerate() {
        figure.picture.save(picture_file(folder, snapshot.iteration, index))?;
        captions.push(figure.caption);
    }
    let file = folder.join(format!("{:09}.json", snapshot.iteration));
    Ok(write_atomic(&file, serde_json::to_vec_pretty(&Kept { snapshot, captions })?)?)
}

fn read(file: &Path, folder: &Path) -> Result<PseudoLabelSnapshot> {
    let at = || format!("{}", file.display());
    let Kept { mut snapshot, captions } =
        serde_json::from_slice(&fs::read(file).with_context(at)?).with_context(at)?;
    for (index, caption) in captions.into_iter().enumerate() {
        let path = picture_file(folder, snapshot.iteration, index);
        let picture = ::image::open(&path).with_context(|| format!("{}", path.display()))?.to_rgb8();
        snapshot.pictures.push(Figure { caption, picture });
    }
    Ok(snapshot)
}

fn picture_file(folder: &Path, iteration: usize, index: usize) -> PathBuf {
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
