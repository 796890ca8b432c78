//! Where a run writes, and how it is stopped.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use burn::tensor::Device;
use sed_core::{Detections, Detector, ImageBatch};
use toml::Table;

/// A wish to stop, for all runs that share it: each ends after the step or validation batch that it is at, with a checkpoint.
///
/// ```
/// use sed_train::train::Stop;
///
/// let stop = Stop::default();
/// let shared = stop.clone();
/// shared.request();
/// assert!(stop.is_requested());
/// ```
#[derive(Debug, Clone, Default)]
pub struct Stop {
    requested: Arc<AtomicBool>,
}

impl Stop {
    /// A wish that is spoken by setting `flag`, as a handler of signals does.
    ///
    /// ```
    /// use std::sync::{Arc, atomic::{AtomicBool, Ordering}};
    ///
    /// use sed_train::train::Stop;
    ///
    /// let flag = Arc::new(AtomicBool::new(false));
    /// let stop = Stop::by_flag(flag.clone());
    /// flag.store(true, Ordering::SeqCst); // as a handler of signals does
    /// assert!(stop.is_requested());
    /// ```
    pub fn by_flag(flag: Arc<AtomicBool>) -> Self {
        Self { requested: flag }
    }

    /// Asks all runs that share this to stop.
    pub fn request(&self) {
        self.requested.store(true, Ordering::SeqCst);
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// Somebody who looks at what the teacher finds, before each evaluation.
///
/// ```
/// use std::sync::{Arc, Mutex};
///
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ImageBatch, ImageSize};
/// use sed_train::train::{Run, TeacherWatch, train};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
///
/// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
/// let device = Device::default();
/// let pixels = Tensor::<4>::zeros([1, 3, 32, 32], &device);
/// let images = ImageBatch { pixels, sizes: vec![ImageSize::new(32, 32)] };
/// let looks = Arc::new(Mutex::new(Vec::new()));
/// let seen = looks.clone();
/// let watch = TeacherWatch::new(move |steps, detect| {
///     seen.lock().unwrap().push((steps, detect(&images)[0].len()));
/// });
/// train(WholeImage::new(6, &device), &data, &config, &device, &Run::new("first").watched_by(watch))?;
/// assert_eq!(*looks.lock().unwrap(), [(2, 1), (4, 1)]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct TeacherWatch {
    look: Arc<Look>,
}

/// Steps taken, and what the teacher finds in images.
type Look = dyn Fn(usize, &dyn Fn(&ImageBatch) -> Vec<Detections>) + Send + Sync;

impl TeacherWatch {
    /// `look` is called with the number of steps taken and a function that gives the teacher's detections.
    pub fn new(
        look: impl Fn(usize, &dyn Fn(&ImageBatch) -> Vec<Detections>) + Send + Sync + 'static,
    ) -> Self {
        Self { look: Arc::new(look) }
    }

    pub(super) fn look<D: Detector>(&self, iteration: usize, teacher: &D) {
        (self.look)(iteration, &|images| teacher.detect(images));
    }
}

impl core::fmt::Debug for TeacherWatch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("TeacherWatch")
    }
}

/// What a run is called, where it writes, and whether it goes on with an earlier one.
///
/// ```
/// use burn::tensor::Device;
/// use sed_train::train::{Run, Stop, TrainError, train};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
/// # use setup::WholeImage;
/// # let dir = tempfile::tempdir()?;
/// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
///
/// // `data` and `config` are those of four steps; `WholeImage` stands for any `Detector`.
/// let device = Device::default();
/// let folder = dir.path().join("run");
/// let run = Run::new("first")
///     .in_folder(&folder)
///     .checkpoint_every(1)
///     .with_identity(toml::toml! { seed = 7 })
///     .with_concerns(vec!["the labels are few".into()]);
///
/// let stop = Stop::default();
/// stop.request(); // after the first step
/// let stopped = train(WholeImage::new(6, &device), &data, &config, &device, &run.clone().stopped_by(stop));
/// assert!(matches!(stopped, Err(TrainError::Stopped { iteration: 1 })));
///
/// let outcome = train(WholeImage::new(6, &device), &data, &config, &device, &run.resumed())?;
/// assert_eq!(outcome.log.unwrap().read()?.series("loss").len(), config.iterations);
/// assert_eq!(outcome.warnings[0].message, "the labels are few");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default)]
pub struct Run {
    pub(super) label: String,
    pub(super) folder: Option<PathBuf>,
    pub(super) resumes: bool,
    pub(super) checkpoint_every: Option<usize>,
    pub(super) identity: Table,
    pub(super) stop: Stop,
    pub(super) concerns: Vec<String>,
    pub(super) watch: Option<TeacherWatch>,
    pub(super) dashboard: bool,
    pub(super) further_devices: Vec<Device>,
}

impl Run {
    /// A run that writes nothing; `label` names it in its progress line.
    pub fn new(label: impl Into<String>) -> Self {
        Self { label: label.into(), ..Self::default() }
    }

    /// Metrics, warnings and checkpoints go into `folder`; see [`ScalarLog`](crate::report::ScalarLog) and
    /// [`checkpoint`](crate::checkpoint).
    #[must_use]
    pub fn in_folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// The run goes on from the newest whole checkpoint of its folder, or starts if there is none yet.
    #[must_use]
    pub fn resumed(self) -> Self {
        Self { resumes: true, ..self }
    }

    /// A checkpoint every `steps` steps, beside those before each evaluation.
    ///
    /// # Panics
    ///
    /// If `steps` is 0.
    #[must_use]
    pub fn checkpoint_every(self, steps: usize) -> Self {
        assert!(steps > 0, "checkpoint_every: 0 steps");
        Self { checkpoint_every: Some(steps), ..self }
    }

    /// Settings and fingerprints of data that must be the same when the run goes on; the training's own configuration is
    /// among them in any case, as `train`.
    #[must_use]
    pub fn with_identity(self, identity: Table) -> Self {
        Self { identity, ..self }
    }

    /// What is known to be wrong before the first step, as a [`Preflight`](super::Preflight) and
    /// [`validation_leaks`](crate::data::validation_leaks) find it: shown and kept with the run's other warnings.
    #[must_use]
    pub fn with_concerns(self, concerns: Vec<String>) -> Self {
        Self { concerns, ..self }
    }

    /// Before each evaluation `watch` looks at the teacher; a run that goes on does not repeat what was before.
    #[must_use]
    pub fn watched_by(self, watch: TeacherWatch) -> Self {
        Self { watch: Some(watch), ..self }
    }

    /// Parts of each step ([`TrainConfig::accumulation`](super::TrainConfig::accumulation)) are computed on these devices as
    /// well, at the same time: part `j` on device `j mod R`, the training's own being device 0 of `R`. Each step
    /// copies student and teacher to every further device and adds the gradients up on the first one in the order of the parts, so
    /// the number of devices does not change the result where all compute alike. Running statistics of trained batch norms are those of the first device's
    /// parts.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_train::train::{Run, TrainError, train};
    /// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/training.rs")); }
    /// # use setup::WholeImage;
    /// # let dir = tempfile::tempdir()?;
    /// # let setup::Training { config, data, .. } = setup::training(dir.path())?;
    ///
    /// // A step in one part cannot be shared.
    /// let device = Device::default();
    /// let run = Run::new("shared").spread_over([Device::default()]);
    /// let refused = train(WholeImage::new(6, &device), &data, &config, &device, &run);
    /// assert!(matches!(refused, Err(TrainError::Config { field, .. }) if field == "accumulation"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn spread_over(self, further: impl IntoIterator<Item = Device>) -> Self {
        let further_devices = further.into_iter().map(Device::without_autodiff).collect();
        Self { further_devices, ..self }
    }

    /// Progress is shown by Burn's dashboard instead of a line, where the standard output is a terminal; its key to stop
    /// ends the run with a checkpoint. One run at a time can have it.
    #[cfg(feature = "dashboard")]
    #[must_use]
    pub fn on_dashboard(self) -> Self {
        Self { dashboard: true, ..self }
    }

    /// The run ends early when `stop` asks for it.
    #[must_use]
    pub fn stopped_by(self, stop: Stop) -> Self {
        Self { stop, ..self }
    }
}
