//! The generated dataset on disk.

use std::fs;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use image::ExtendedColorType;
use image::ImageEncoder;
use image::codecs::png::{CompressionType, FilterType, PngEncoder};
use sed_core::Targets;
use serde::Serialize;
use serde_json::{Value, json};

use super::config::SceneDocument;
use super::{Scene, SceneConfig, ShapeClass};
use crate::data::{HostRng, InvalidConfig, Purpose};

const CONFIG_FILE: &str = "scenes.json";

/// Where the parts of a generated dataset lie.
///
/// ```
/// use sed_train::data::{CocoIndex, DataPolicy, scenes::{SceneConfig, generate}};
///
/// # let dir = tempfile::tempdir()?;
/// let config = SceneConfig { image_size: 32, train_images: 3, val_images: 1, ..SceneConfig::default() };
/// let paths = generate(&config, &dir.path().join("scenes"))?;
/// assert!(paths.train_annotations.starts_with(&paths.root));
/// let index = CocoIndex::read(&paths.train_annotations)?;
/// let labels = index.labels(&index.image_ids(), DataPolicy::STRICT)?;
/// assert_eq!(index.labeled_set(&paths.train_images, &labels)?.len(), 3);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScenePaths {
    /// The folder of everything.
    pub root: PathBuf,
    /// Annotations of the training split, COCO JSON.
    pub train_annotations: PathBuf,
    /// Image folder of the training split.
    pub train_images: PathBuf,
    /// Annotations of the validation split, COCO JSON.
    pub val_annotations: PathBuf,
    /// Image folder of the validation split.
    pub val_images: PathBuf,
}

impl ScenePaths {
    fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            train_annotations: root.join("train.json"),
            train_images: root.join("train"),
            val_annotations: root.join("val.json"),
            val_images: root.join("val"),
        }
    }
}

/// Why scenes could not be generated.
///
/// ```
/// use sed_train::data::scenes::{SceneConfig, SceneError, generate};
///
/// # let dir = tempfile::tempdir()?;
/// std::fs::write(dir.path().join("thesis.txt"), "not to be overwritten")?;
/// let error = generate(&SceneConfig::default(), dir.path()).unwrap_err();
/// assert!(matches!(error, SceneError::Occupied { .. }));
///
/// let error = generate(&SceneConfig { image_size: 0, ..SceneConfig::default() }, dir.path()).unwrap_err();
/// assert_eq!(error.to_string(), "scenes: image_size = 0: must be within 16 and 4096");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, thiserror::Error)]
pub enum SceneError {
    /// A field of the configuration is out of range.
    #[error("scenes: {0}")]
    Config(#[from] InvalidConfig),
    /// A file or folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The folder holds something else: other scenes, or files of another kind.
    #[error("{}: the folder is not empty and does not hold these scenes; name another", dir.display())]
    Occupied {
        /// The folder.
        dir: PathBuf,
    },
}

fn io_error(path: &Path) -> impl Fn(io::Error) -> SceneError {
    |source| SceneError::Io { path: path.to_owned(), source }
}

/// Writes the scenes of a configuration into the folder `dir`: PNG images, `train.json` and
/// `val.json` as COCO annotations, and the configuration.
///
/// The same configuration gives the same files. A folder that already holds them is left as it is.
/// Files are written into a folder beside `dir`, which is renamed at the end, so `dir` never holds
/// a part of the scenes. All cores are used.
///
/// # Errors
///
/// An invalid configuration, a folder with other content, or a file that cannot be written.
///
/// ```
/// use sed_train::data::scenes::{SceneConfig, generate};
///
/// # let dir = tempfile::tempdir()?;
/// let config = SceneConfig { image_size: 32, train_images: 2, val_images: 1, ..SceneConfig::default() };
/// let paths = generate(&config, &dir.path().join("scenes"))?;
/// let written = paths.train_annotations.metadata()?.modified()?;
///
/// assert_eq!(generate(&config, &paths.root)?, paths); // they are there already
/// assert_eq!(paths.train_annotations.metadata()?.modified()?, written);
/// assert_eq!(std::fs::read_dir(&paths.train_images)?.count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn generate(config: &SceneConfig, dir: &Path) -> Result<ScenePaths, SceneError> {
    config.validate()?;
    if holds(config, dir) {
        return Ok(ScenePaths::new(dir));
    }
    let occupied = || SceneError::Occupied { dir: dir.to_owned() };
    match fs::read_dir(dir) {
        Ok(mut entries) => {
            if entries.next().is_some() {
                return Err(occupied());
            }
            fs::remove_dir(dir).map_err(io_error(dir))?;
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(io_error(dir)(error)),
    }
    let name = dir.file_name().ok_or_else(occupied)?.to_string_lossy();
    // The process id keeps two runs that start together apart.
    let partial = dir.with_file_name(format!(".{name}.partial-{}", std::process::id()));
    let written = write_all(config, &partial).and_then(|()| match fs::rename(&partial, dir) {
        // Another process was faster.
        Err(_) if holds(config, dir) => Ok(()),
        result => result.map_err(io_error(dir)),
    });
    if partial.exists() {
        // The first error is the one worth reporting.
        let _ = fs::remove_dir_all(&partial);
    }
    written.map(|()| ScenePaths::new(dir))
}

fn holds(config: &SceneConfig, dir: &Path) -> bool {
    let text = fs::read_to_string(dir.join(CONFIG_FILE)).unwrap_or_default();
    serde_json::from_str::<SceneDocument>(&text).is_ok_and(|found| found == SceneDocument::new(config))
}

fn write_all(config: &SceneConfig, root: &Path) -> Result<(), SceneError> {
    let paths = ScenePaths::new(root);
    for (purpose, count, images, annotations) in [
        (Purpose::TrainScene, config.train_images, &paths.train_images, &paths.train_annotations),
        (Purpose::ValScene, config.val_images, &paths.val_images, &paths.val_annotations),
    ] {
        fs::create_dir_all(images).map_err(io_error(images))?;
        let targets = write_images(config, purpose, count, images)?;
        write_json(annotations, &coco(config, &targets))?;
    }
    write_json(&root.join(CONFIG_FILE), &SceneDocument::new(config))
}

/// Draws and writes the images of a split and returns their objects.
fn write_images(
    config: &SceneConfig,
    purpose: Purpose,
    count: usize,
    folder: &Path,
) -> Result<Vec<Targets>, SceneError> {
    let mut targets = vec![Targets::default(); count];
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let share = count.div_ceil(threads);
    std::thread::scope(|scope| {
        let workers: Vec<_> = targets
            .chunks_mut(share)
            .enumerate()
            .map(|(chunk, targets)| {
                scope.spawn(move || {
                    for (i, targets) in targets.iter_mut().enumerate() {
                        let index = chunk * share + i;
                        let mut rng = HostRng::new(config.seed, purpose, index as u64, 0);
                        let scene = Scene::draw(config, &mut rng);
                        let path = folder.join(file_name(index));
                        fs::write(&path, png(&scene)).map_err(io_error(&path))?;
                        *targets = scene.targets;
                    }
                    Ok::<(), SceneError>(())
                })
            })
            .collect();
        workers
            .into_iter()
            .try_for_each(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    Ok(targets)
}

fn png(scene: &Scene) -> Vec<u8> {
    let mut bytes = Vec::new();
    let (width, height) = scene.image.dimensions();
    PngEncoder::new_with_quality(&mut bytes, CompressionType::Fast, FilterType::Adaptive)
        .write_image(scene.image.as_raw(), width, height, ExtendedColorType::Rgb8)
        .expect("an RGB image of valid size is written to memory");
    bytes
}

fn file_name(index: usize) -> String {
    format!("{index:06}.png")
}

/// The annotations; ids count from 1. `area` is that of the box.
fn coco(config: &SceneConfig, targets: &[Targets]) -> Value {
    let mut annotations = Vec::new();
    for (index, targets) in targets.iter().enumerate() {
        for (corners, label) in targets.boxes.iter().zip(&targets.labels) {
            let [x1, y1, x2, y2] = corners.map(f64::from);
            annotations.push(json!({
                "id": annotations.len() + 1,
                "image_id": index + 1,
                "category_id": label + 1,
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": (x2 - x1) * (y2 - y1),
                "iscrowd": 0,
            }));
        }
    }
    let images: Vec<Value> = (0..targets.len())
        .map(|index| {
            json!({
                "id": index + 1,
                "file_name": file_name(index),
                "width": config.image_size,
                "height": config.image_size,
            })
        })
        .collect();
    let categories: Vec<Value> = ShapeClass::ALL
        .iter()
        .enumerate()
        .map(|(label, class)| json!({ "id": label + 1, "name": class.name() }))
        .collect();
    json!({ "images": images, "annotations": annotations, "categories": categories })
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), SceneError> {
    let write = || {
        let mut file = BufWriter::new(fs::File::create(path)?);
        serde_json::to_writer(&mut file, value)?;
        file.flush()
    };
    write().map_err(io_error(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{CocoIndex, DataPolicy};

    fn small() -> SceneConfig {
        SceneConfig {
            image_size: 64,
            train_images: 5,
            val_images: 2,
            object_size: [6.0, 40.0],
            ..Default::default()
        }
    }

    fn contents(root: &Path) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        for entry in fs::read_dir(root).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                files.extend(contents(&entry));
            } else {
                files.push((entry.file_name().unwrap().into(), fs::read(&entry).unwrap()));
            }
        }
        files.sort();
        files
    }

    #[test]
    fn the_same_configuration_writes_the_same_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (folder.path().join("a"), folder.path().join("b"));
        generate(&small(), &a).unwrap();
        generate(&small(), &b).unwrap();
        assert_eq!(contents(&a), contents(&b));
        assert_eq!(contents(&a).len(), 5 + 2 + 3);
        generate(&SceneConfig { seed: 1, ..small() }, &folder.path().join("c")).unwrap();
        assert_ne!(contents(&a), contents(&folder.path().join("c")));
        // Nothing is left aside.
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 3);
    }

    #[test]
    fn existing_scenes_are_reused_and_other_content_is_never_touched() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("scenes");
        let paths = generate(&small(), &dir).unwrap();
        // A changed file shows whether it is written again.
        fs::write(paths.val_images.join("000000.png"), b"changed").unwrap();
        assert_eq!(generate(&small(), &dir).unwrap(), paths);
        assert_eq!(fs::read(paths.val_images.join("000000.png")).unwrap(), b"changed");
        let other = SceneConfig { seed: 9, ..small() };
        assert!(matches!(generate(&other, &dir), Err(SceneError::Occupied { .. })));
        assert_eq!(fs::read(paths.val_images.join("000000.png")).unwrap(), b"changed");
    }

    #[test]
    fn an_empty_folder_is_filled_and_an_invalid_configuration_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("scenes");
        let invalid = SceneConfig { image_size: 1, ..small() };
        assert!(matches!(generate(&invalid, &dir), Err(SceneError::Config(_))));
        assert!(!dir.exists());
        fs::create_dir(&dir).unwrap();
        assert!(generate(&small(), &dir).unwrap().train_annotations.is_file());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, b"").unwrap();
        assert!(matches!(generate(&small(), &file.join("scenes")), Err(SceneError::Io { .. })));
        assert!(matches!(generate(&small(), &file), Err(SceneError::Io { .. })));
    }

    #[test]
    fn the_annotations_agree_with_the_scenes() {
        let folder = tempfile::tempdir().unwrap();
        let paths = generate(&small(), &folder.path().join("scenes")).unwrap();
        let text = fs::read_to_string(&paths.train_annotations).unwrap();
        let coco: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(coco["images"].as_array().unwrap().len(), 5);
        assert_eq!(coco["categories"][5], json!({ "id": 6, "name": "cross" }));
        let scene = Scene::draw(&small(), &mut HostRng::new(0, Purpose::TrainScene, 2, 0));
        let of_third: Vec<_> =
            coco["annotations"].as_array().unwrap().iter().filter(|a| a["image_id"] == 3).collect();
        assert_eq!(of_third.len(), scene.targets.len());
        let [x1, y1, x2, y2] = scene.targets.boxes[0].map(f64::from);
        for (found, expected) in
            of_third[0]["bbox"].as_array().unwrap().iter().zip([x1, y1, x2 - x1, y2 - y1])
        {
            // JSON numbers are read to within a unit in the last place of f64.
            assert!((found.as_f64().unwrap() - expected).abs() < 1e-12);
        }
        let image = image::open(paths.train_images.join("000002.png")).unwrap().into_rgb8();
        assert_eq!(image, scene.image);
    }

    #[test]
    fn the_scenes_are_read_back_as_a_labeled_set() {
        let folder = tempfile::tempdir().unwrap();
        let paths = generate(&small(), &folder.path().join("scenes")).unwrap();
        let index = CocoIndex::read(&paths.train_annotations).unwrap();
        let labels = index.labels(&index.image_ids(), DataPolicy::STRICT).unwrap();
        let set = index.labeled_set(&paths.train_images, &labels).unwrap();
        assert_eq!(set.len(), 5);
        for (i, sample) in set.samples.iter().enumerate() {
            let scene = Scene::draw(&small(), &mut HostRng::new(0, Purpose::TrainScene, i as u64, 0));
            assert_eq!(sample.targets.labels, scene.targets.labels);
            for (read, drawn) in sample.targets.boxes.iter().zip(&scene.targets.boxes) {
                // x + width in f64, rounded to f32: a unit in the last place of numbers up to 64.
                assert!(read.iter().zip(drawn).all(|(a, b)| (a - b).abs() < 1e-5), "{read:?} {drawn:?}");
            }
        }
    }
}
