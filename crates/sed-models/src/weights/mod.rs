//! Loading and saving state dicts with torchvision's names.
//!
//! [`load`] fills any module whose paths are the file's keys: a [`ResNet`](crate::backbone::ResNet)
//! from a classifier's file, a whole detector from a detector's. Files are safetensors or
//! PyTorch's; old spellings of keys are known. Left out on purpose: the counters
//! `num_batches_tracked` of PyTorch's batch norm, and what [`LoadOptions::skip`] names, by default
//! the classifier `fc` of an ImageNet network. Every other difference between file and module is
//! an error that lists all keys concerned, and then the module is not touched.

mod error;
mod keys;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::{
    module::Module,
    store::{
        ApplyError, BurnToPyTorchAdapter, ModuleSnapshot, ModuleStore, PyTorchToBurnAdapter, PytorchStore,
        SafetensorsStore, bridge, burn_pack::Tensor as StoredTensor,
    },
};

pub use error::{Mismatch, Misshaped, WeightsError};

/// What to leave out when loading.
///
/// ```
/// use sed_models::weights::LoadOptions;
///
/// // A checkpoint of torchvision's training scripts.
/// let options = LoadOptions { top_level_key: Some("model".to_owned()), ..LoadOptions::default() };
/// assert_eq!(options.skip, ["fc."]);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadOptions {
    /// Beginnings of keys, in today's spelling, that are neither read from the file nor expected
    /// there; such parameters of the module keep their values. For a detector of other classes:
    /// `head.classification_head.cls_logits.`. By default `fc.`, the classifier of an ImageNet network.
    pub skip: Vec<String>,
    /// The entry of a PyTorch file under which the state dict lies, such as `model` in checkpoints of
    /// torchvision's training scripts; by default the file is the state dict.
    pub top_level_key: Option<String>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self { skip: vec!["fc.".to_owned()], top_level_key: None }
    }
}

impl LoadOptions {
    /// The default options, leaving out `prefixes` as well.
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::{
    ///     retinanet::RetinaNetConfig,
    ///     weights::{LoadOptions, load, save_safetensors},
    /// };
    ///
    /// let folder = tempfile::tempdir()?;
    /// let (path, device) = (folder.path().join("three_classes.safetensors"), Device::default());
    /// save_safetensors(&RetinaNetConfig::tiny(3).init(&device)?, &path)?;
    ///
    /// // All but the layer whose size depends on the classes.
    /// let mut model = RetinaNetConfig::tiny(5).init(&device)?;
    /// let options = LoadOptions::skipping(["head.classification_head.cls_logits."]);
    /// let report = load(&mut model, &path, &options)?;
    /// assert_eq!((report.kept.len(), report.skipped.len()), (2, 2));
    /// assert!(report.kept.contains(&"head.classification_head.cls_logits.bias".to_owned()));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn skipping<'a>(prefixes: impl IntoIterator<Item = &'a str>) -> Self {
        let mut options = Self::default();
        options.skip.extend(prefixes.into_iter().map(str::to_owned));
        options
    }

    fn skips(&self, key: &str) -> bool {
        self.skip.iter().any(|prefix| key.starts_with(prefix.as_str()))
    }
}

/// What [`load`] did. Keys are in today's spelling.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::{
///     ops::conv2d::Conv2dConfig,
///     weights::{LoadOptions, LoadReport, load, save_safetensors},
/// };
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("convolution.safetensors");
/// let mut conv = Conv2dConfig::new(3, 4, 1).init(&Device::default());
/// save_safetensors(&conv, &path)?;
/// let LoadReport { mut loaded, skipped, kept } = load(&mut conv, &path, &LoadOptions::default())?;
/// loaded.sort();
/// assert_eq!(loaded, ["bias", "weight"]);
/// assert!(skipped.is_empty() && kept.is_empty());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LoadReport {
    /// Keys that were loaded.
    pub loaded: Vec<String>,
    /// Keys of the file that were left out on purpose.
    pub skipped: Vec<String>,
    /// Keys of the module that keep their values on purpose.
    pub kept: Vec<String>,
}

/// Fills `module` from a state dict at `path` (`.safetensors`, `.pth`, `.pt`).
///
/// Values are converted to the precision of the module; whether a parameter trains stays as it was.
/// Running statistics of [`NormKind::Batch`](crate::layers::norm::NormKind::Batch) are shared among
/// clones, so load before cloning.
///
/// # Errors
///
/// If the file cannot be read, if file and module differ in a key or a shape that
/// [`LoadOptions::skip`] does not name, if nothing matches, or if a value is not a finite number.
/// The module is then as it was.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::{
///     backbone::ResNetConfig,
///     weights::{LoadOptions, load, save_safetensors},
/// };
///
/// let folder = tempfile::tempdir()?;
/// let path = folder.path().join("backbone.safetensors");
/// let config = ResNetConfig { base_width: 2, ..ResNetConfig::new(18) };
/// let device = Device::default();
/// save_safetensors(&config.init(&device)?, &path)?;
///
/// let mut net = config.init(&device)?;
/// let report = load(&mut net, &path, &LoadOptions::default())?;
/// assert!(report.loaded.contains(&"layer1.0.bn1.running_mean".to_owned()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load<M: Module>(
    module: &mut M,
    path: &Path,
    options: &LoadOptions,
) -> Result<LoadReport, WeightsError> {
    let mut report = LoadReport::default();
    let mut stored = BTreeMap::new();
    for (key, tensor) in read(path, options)? {
        let key = keys::current(&key);
        if keys::is_counter(&key) || options.skips(&key) {
            report.skipped.push(key);
        } else if stored.insert(key.clone(), tensor).is_some() {
            return Err(WeightsError::DuplicateKey { path: path.to_owned(), key });
        }
    }

    let mut own = Vec::new();
    for tensor in module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true) {
        if options.skips(&tensor.name) {
            report.kept.push(tensor.name);
        } else {
            own.push(tensor);
        }
    }
    let tensors = matched(path, &own, stored)?;
    report.loaded = tensors.iter().map(|tensor| tensor.name.clone()).collect();

    let result = module.apply(tensors, None, Some(Box::new(PyTorchToBurnAdapter)), true);
    // All was compared before, so what is left is a tensor that the device does not take.
    match result.errors.into_iter().next() {
        Some(error) => {
            let reason = error.to_string();
            let (ApplyError::ShapeMismatch { path: key, .. }
            | ApplyError::DTypeMismatch { path: key, .. }
            | ApplyError::AdapterError { path: key, .. }
            | ApplyError::LoadError { path: key, .. }) = error;
            Err(WeightsError::Values { path: path.to_owned(), key, reason })
        }
        None => Ok(report),
    }
}

/// The tensors of the file by their keys there.
fn read(path: &Path, options: &LoadOptions) -> Result<BTreeMap<String, StoredTensor>, WeightsError> {
    // The readers' own words for a missing file differ; the system's are plain.
    let open = |source| WeightsError::Open { path: path.to_owned(), source };
    // Opening a pipe would wait for its writer.
    if !std::fs::metadata(path).map_err(open)?.is_file() {
        return Err(open(std::io::Error::other("not a file")));
    }
    std::fs::File::open(path).map_err(open)?;
    let malformed =
        |format, reason: String| WeightsError::Malformed { path: path.to_owned(), format, reason };
    match path.extension().and_then(|ending| ending.to_str()) {
        Some("safetensors") => SafetensorsStore::from_file(path)
            .get_all_tensors()
            .cloned()
            .map_err(|error| malformed("safetensors", error.to_string())),
        Some("pth" | "pt") => {
            let mut store = PytorchStore::from_file(path);
            if let Some(key) = &options.top_level_key {
                store = store.with_top_level_key(key);
            }
            store
                .get_all_tensors()
                .cloned()
                .map_err(|error| malformed("a PyTorch state dict", error.to_string()))
        }
        _ => Err(WeightsError::UnknownFormat { path: path.to_owned() }),
    }
}

/// The stored tensors, read and converted, in the order of the module's own; all or an error.
fn matched(
    path: &Path,
    own: &[StoredTensor],
    mut stored: BTreeMap<String, StoredTensor>,
) -> Result<Vec<StoredTensor>, WeightsError> {
    let names: BTreeSet<&str> = own.iter().map(|tensor| tensor.name.as_str()).collect();
    if !stored.keys().any(|key| names.contains(key.as_str())) {
        return Err(WeightsError::NothingMatched {
            path: path.to_owned(),
            found: stored.into_keys().take(3).collect(),
            expected: own.iter().take(3).map(|tensor| tensor.name.clone()).collect(),
        });
    }
    let mut mismatch = Mismatch::default();
    let mut pairs = Vec::new();
    for target in own {
        match stored.remove(&target.name) {
            None => mismatch.missing.push(target.name.clone()),
            Some(found) if found.shape != target.shape => mismatch.misshaped.push(Misshaped {
                key: target.name.clone(),
                expected: target.shape.to_vec(),
                found: found.shape.to_vec(),
            }),
            Some(found) => pairs.push((target, found)),
        }
    }
    mismatch.extra = stored.into_keys().collect();
    if mismatch != Mismatch::default() {
        return Err(WeightsError::Mismatch { path: path.to_owned(), mismatch });
    }
    pairs.into_iter().map(|(target, found)| converted(path, target, found)).collect()
}

/// The values of `found` under the name and in the precision of `target`.
fn converted(path: &Path, target: &StoredTensor, found: StoredTensor) -> Result<StoredTensor, WeightsError> {
    let refuse =
        |reason: String| WeightsError::Values { path: path.to_owned(), key: target.name.clone(), reason };
    if !found.dtype.is_float() {
        return Err(refuse(format!("holds {:?}, not floats", found.dtype)));
    }
    let data = bridge::into_data(found).map_err(|error| refuse(error.to_string()))?;
    if data.iter::<f64>().any(|value| !value.is_finite()) {
        return Err(refuse("holds NaN or infinity".to_owned()));
    }
    Ok(bridge::from_data(data.convert_dtype(target.dtype), target.name.clone(), None))
}

/// Writes all parameters and running statistics of `module` to a safetensors file, under
/// torchvision's names.
///
/// The file is written aside and then renamed: at `path` there is either what was there before or
/// the whole new file; the same weights give the same bytes. torchvision's modules take it by `load_state_dict`; PyTorch fills in the
/// counters `num_batches_tracked`, which are not written.
///
/// # Errors
///
/// If the file cannot be written.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::{ops::conv2d::Conv2dConfig, weights::save_safetensors};
///
/// let folder = tempfile::tempdir()?;
/// let [first, second] = ["a.safetensors", "b.safetensors"].map(|name| folder.path().join(name));
/// let conv = Conv2dConfig::new(3, 4, 1).init(&Device::default());
/// save_safetensors(&conv, &first)?;
/// save_safetensors(&conv, &second)?;
/// assert_eq!(std::fs::read(first)?, std::fs::read(second)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn save_safetensors<M: Module>(module: &M, path: &Path) -> Result<(), WeightsError> {
    SafetensorsStore::from_file(path)
        .with_to_adapter(BurnToPyTorchAdapter)
        .skip_enum_variants(true)
        .overwrite(true)
        // Burn's own entries come in the order of a hash map: one entry makes the same weights the same file.
        .clear_metadata()
        .metadata("format", "pt")
        .collect_from(module)
        .map_err(|error| WeightsError::Write { path: path.to_owned(), reason: error.to_string() })
}
