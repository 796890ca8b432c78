//! One training after another on the same images: what the examples that train share.

use std::path::Path;

use anyhow::{Context, Result};
use burn::tensor::Device;
use sed::{
    core::device::parse_device,
    models::weights::{self, LoadOptions, WeightsError},
    train::{
        data::scenes::SceneConfig,
        train::{self, Method, Preflight, Stop, TeacherWatch, TrainConfig, TrainData, TrainOutcome},
    },
};
use toml::{Table, Value};

use super::{
    args::Args,
    data::Dataset,
    dry_run,
    models::Model,
    settings::{Settings, override_settings},
    watch::{self, Snapshots},
};

/// Settings, images and device of one or several trainings.
pub struct Session<M> {
    /// All settings, the number of classes included.
    pub settings: Settings<M>,
    /// The images.
    pub dataset: Dataset,
    /// Where to compute.
    pub device: Device,
    /// Where parts of each step are computed as well.
    further_devices: Vec<Device>,
}

/// A training that is ready to start.
pub struct Run<M: Model> {
    detector: M::Detector,
    data: TrainData,
    config: TrainConfig,
    device: Device,
    identity: Table,
    checkpoint_every: Option<usize>,
    concerns: Vec<String>,
    on_dashboard: bool,
    further_devices: Vec<Device>,
}

/// The settings of the arguments over those of a preset, each option within its range. Where nothing is said of parts, a step has one for each
/// device.
pub fn checked_settings<M: Model>(args: &Args, preset: &Settings<M>) -> Result<Settings<M>> {
    let mut settings = override_settings(preset, args.config.as_deref(), &args.set)?;
    let devices = args.device_names().len();
    if settings.train.accumulation == 1 {
        settings.train.accumulation = devices;
    }
    settings.model.validate()?;
    settings.train.validate()?;
    settings.augment.validate()?;
    Ok(settings)
}

impl<M: Model> Session<M> {
    /// Reads everything that the arguments name, and refuses what does not fit, before anything is written.
    pub fn open(args: &Args, preset: &Settings<M>) -> Result<Self> {
        let names = args.device_names();
        let mut devices = names.into_iter().map(parse_device).collect::<Result<Vec<_>, _>>()?;
        let device = devices.remove(0);
        let mut settings = checked_settings(args, preset)?;
        let scenes: Option<&SceneConfig> = settings.scenes.as_ref();
        let dataset = Dataset::open(args, scenes, settings.data)?;
        settings.model.set_classes(dataset.num_classes());
        load_weights::<M>(settings.model.init(&device)?, args)?;
        Ok(Self { settings, dataset, device, further_devices: devices })
    }

    /// A training by `method`; the same seed gives each method the same first weights and images.
    pub fn run(&self, args: &Args, method: Method) -> Result<Run<M>> {
        self.device.seed(args.seed);
        let detector = load_weights::<M>(self.settings.model.init(&self.device)?, args)?;
        let config = TrainConfig { method, ..self.settings.train.clone() };
        let data = self.dataset.loaders(&config, &self.settings.augment, &self.settings.loader, args.seed)?;
        let identity = self.identity(args)?;
        let checkpoint_every = args.checkpoint_every.map(|steps| steps as usize);
        let mut concerns = Preflight::new(&config, &self.dataset.counts()).warnings;
        concerns.extend(self.dataset.leaks());
        let device = self.device.clone();
        let (on_dashboard, further_devices) = (args.on_dashboard(), self.further_devices.clone());
        Ok(Run {
            detector,
            data,
            config,
            device,
            identity,
            checkpoint_every,
            concerns,
            on_dashboard,
            further_devices,
        })
    }

    /// The plans of trainings as text, one for all methods that learn from unlabeled images and one for those that do not; with their
    /// cost if it is to be measured.
    pub fn plans(&self, args: &Args, methods: &[Method], measured: bool) -> Result<Vec<String>> {
        let mut plans = Vec::new();
        for semi_supervised in [false, true] {
            let of_kind = |method: &&Method| method.is_semi_supervised() == semi_supervised;
            let Some(&method) = methods.iter().rfind(of_kind) else { continue };
            let config = TrainConfig { method, ..self.settings.train.clone() };
            let mut plan = Preflight::new(&config, &self.dataset.counts())
                .on_devices(&config, 1 + self.further_devices.len());
            plan.warnings.extend(self.dataset.leaks());
            if measured {
                let run = self.run(args, method)?;
                plan = plan.with_cost(&config, &dry_run::measure(&run.detector, &run.data, &config)?);
            }
            plans.push(format!("{method}\n{}", plan.to_text()));
        }
        Ok(plans)
    }

    /// Somebody who looks at the pseudo-labels of a training by `method`, if there are any to look at.
    pub fn watch(&self, method: Method) -> Result<Option<(TeacherWatch, Snapshots)>> {
        match method.is_semi_supervised() {
            true => watch::watch(&self.dataset, &self.settings.augment, &self.device),
            false => Ok(None),
        }
    }

    /// What must be the same when a run goes on, beside the training's settings: all but how images are read.
    fn identity(&self, args: &Args) -> Result<Table> {
        let settings = &self.settings;
        let mut identity = Table::new();
        identity.insert("seed".into(), Value::try_from(args.seed)?);
        identity.insert("model".into(), Value::try_from(&settings.model)?);
        identity.insert("augment".into(), Value::try_from(&settings.augment)?);
        identity.insert("data".into(), Value::Table(self.dataset.fingerprints()));
        Ok(identity)
    }
}

impl<M: Model> Run<M> {
    /// Trains until the end or a `stop`, and leaves metrics, checkpoints and the weights of student and teacher in `folder`, where it goes on
    /// with what is there if it `resumes`.
    pub fn train(
        self,
        label: &str,
        folder: &Path,
        resumes: bool,
        stop: Stop,
        watch: Option<(TeacherWatch, Snapshots)>,
    ) -> Result<TrainOutcome<M::Detector>> {
        let run = train::Run::new(label).in_folder(folder).with_identity(self.identity);
        let mut run = run.stopped_by(stop).with_concerns(self.concerns).spread_over(self.further_devices);
        if let Some((watch, snapshots)) = watch {
            snapshots.keep_in(folder.join("pseudo_labels"));
            run = run.watched_by(watch);
        }
        if resumes {
            run = run.resumed();
        }
        #[cfg(feature = "dashboard")]
        if self.on_dashboard {
            run = run.on_dashboard();
        }
        if let Some(steps) = self.checkpoint_every {
            run = run.checkpoint_every(steps);
        }
        let outcome = train::train(self.detector, &self.data, &self.config, &self.device, &run)?;
        weights::save_safetensors(&outcome.student, &folder.join("student.safetensors"))?;
        weights::save_safetensors(&outcome.teacher, &folder.join("teacher.safetensors"))?;
        Ok(outcome)
    }
}

/// Starts from the file of `--weights`: a whole detector, a detector of other classes, or a
/// backbone, whichever its keys fit.
fn load_weights<M: Model>(mut detector: M::Detector, args: &Args) -> Result<M::Detector> {
    let Some(file) = &args.weights else { return Ok(detector) };
    let asked = || args.weights_skip.iter().map(String::as_str);
    let options = LoadOptions::skipping(asked());
    let mut body = M::body(&mut detector).clone();
    let report = match weights::load(&mut body, file, &options) {
        Ok(report) => {
            *M::body(&mut detector) = body;
            report
        }
        Err(WeightsError::NothingMatched { .. }) => {
            let whole = weights::load(&mut detector, file, &options);
            let other_classes = LoadOptions::skipping(M::CLASS_LAYERS.iter().copied().chain(asked()));
            whole
                .or_else(|_| weights::load(&mut detector, file, &other_classes))
                .context("--weights: neither a whole detector nor one of other classes")?
        }
        Err(error) => return Err(error.into()),
    };
    println!("{}: {} tensors loaded, {} left out", file.display(), report.loaded.len(), report.skipped.len());
    Ok(detector)
}
