//! The flow of a training example, the same for every detector.

use std::{panic::resume_unwind, thread};

use anyhow::{Context, Result};
use burn::tensor::Device;
use sed::{
    core::{Detector, device::parse_device},
    models::{
        backbone::ResNet,
        weights::{self, LoadOptions, WeightsError},
    },
    train::{
        report::RunFolder,
        train::{self, TrainConfig},
    },
};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    args::{Args, Backbone},
    data::Dataset,
    label, methods,
    report::Comparison,
    run_dir,
    settings::{Settings, override_settings},
};

/// What an example needs of a detector's configuration.
pub trait Model: Serialize + DeserializeOwned {
    /// The detector.
    type Detector: Detector;

    /// Beginnings of the keys of weights whose shapes depend on the classes.
    const CLASS_LAYERS: &[&str];

    /// Sets the number of classes.
    fn set_classes(&mut self, classes: usize);

    /// Whether all options fit, and views of two sizes compare.
    fn validate(&self) -> Result<()>;

    /// The detector, with random weights.
    fn init(&self, device: &Device) -> Result<Self::Detector>;

    /// The residual network under a detector, whose ImageNet weights it may start from.
    fn body(detector: &mut Self::Detector) -> &mut ResNet;
}

/// Trains by each method that the arguments ask for, from the same weights on the same images, and leaves a
/// run folder with all results; `name` is that of the folder.
pub fn compare<M: Model>(name: &str, args: &Args, preset: &Settings<M>) -> Result<()> {
    let device = parse_device(&args.device)?;
    let mut settings = override_settings(preset, args.config.as_deref(), &args.set)?;
    settings.model.validate()?;
    settings.train.validate()?;
    settings.augment.validate()?;

    let dataset = Dataset::open(args, settings.scenes.as_ref())?;
    settings.model.set_classes(dataset.num_classes());
    // Weights that do not fit are found before anything is written.
    load_weights::<M>(settings.model.init(&device)?, args)?;
    let folder = RunFolder::create(run_dir(args, name), &settings)?;
    println!("{}", dataset.describe());
    println!("run folder: {}", folder.path().display());
    dataset.write_manifest(&folder)?;

    let mut comparison = Comparison::new(&folder);
    let mut runs = Vec::new();
    for method in methods(args) {
        // The same seed gives both methods the same first weights.
        device.seed(args.seed);
        let detector = load_weights::<M>(settings.model.init(&device)?, args)?;
        let config = TrainConfig { method, ..settings.train.clone() };
        let data = dataset.loaders(&config, &settings.augment, &settings.loader, args.seed)?;
        let path = comparison.start(method)?;
        let device = device.clone();
        runs.push(move || -> Result<_> {
            let outcome = train::train(detector, &data, &config, &device, label(method), Some(&path))?;
            Ok((method, path, outcome))
        });
    }
    // One small network leaves a core idle; large ones would have to share the memory.
    for run in in_order(runs, args.backbone == Backbone::Tiny) {
        let (method, path, outcome) = run?;
        weights::save_safetensors(&outcome.student, &path.join("student.safetensors"))?;
        weights::save_safetensors(&outcome.teacher, &path.join("teacher.safetensors"))?;
        comparison.draw_predictions(&path, &outcome.teacher, &dataset, &settings.augment, &device)?;
        comparison.add(method, &outcome)?;
    }
    comparison.finish()
}

/// The results of `runs`, in their order; with `side_by_side` on a thread each.
fn in_order<T: Send>(runs: Vec<impl FnOnce() -> T + Send>, side_by_side: bool) -> Vec<T> {
    if !side_by_side {
        return runs.into_iter().map(|run| run()).collect();
    }
    thread::scope(|scope| {
        let handles: Vec<_> = runs.into_iter().map(|run| scope.spawn(run)).collect();
        let joined = handles.into_iter().map(|handle| handle.join());
        joined.map(|result| result.unwrap_or_else(|panic| resume_unwind(panic))).collect()
    })
}

/// Starts from the file of `--weights`: a whole detector, a detector of other classes, or a
/// backbone, whichever its keys fit.
fn load_weights<M: Model>(mut detector: M::Detector, args: &Args) -> Result<M::Detector> {
    let Some(file) = &args.weights else { return Ok(detector) };
    let mut body = M::body(&mut detector).clone();
    let report = match weights::load(&mut body, file, &LoadOptions::default()) {
        Ok(report) => {
            *M::body(&mut detector) = body;
            report
        }
        Err(WeightsError::NothingMatched { .. }) => {
            let whole = weights::load(&mut detector, file, &LoadOptions::default());
            let other_classes = LoadOptions::skipping(M::CLASS_LAYERS.iter().copied());
            whole
                .or_else(|_| weights::load(&mut detector, file, &other_classes))
                .context("--weights: neither a whole detector nor one of other classes")?
        }
        Err(error) => return Err(error.into()),
    };
    println!("{}: {} tensors loaded, {} left out", file.display(), report.loaded.len(), report.skipped.len());
    Ok(detector)
}
