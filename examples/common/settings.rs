//! All settings of a run: presets, a TOML file, and `--set key=value` on top of them.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::{Context, Result, anyhow};
use sed::train::{
    data::{AugmentConfig, DataPolicy, scenes::SceneConfig},
    train::TrainConfig,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::setting_keys::{self, KeyError, ValueError, known_keys, suggestion, table_keys};

/// The value of `base` after the TOML `file`, if any, and then each `key=value` was laid over it.
///
/// A key is a path of table names, as `train.teacher.decay`. A key that does not exist, or a value of another type, is an
/// error that names the key and where it was given, so that a typing mistake never goes unnoticed.
pub fn override_settings<T: Serialize + DeserializeOwned>(
    base: &T,
    file: Option<&Path>,
    sets: &[String],
) -> Result<T> {
    let base = Table::try_from(base).context("the preset as TOML")?;
    let mut table = base.clone();
    let mut layers = Vec::new();
    if let Some(path) = file {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let over: Table = text.parse().with_context(|| format!("{}", path.display()))?;
        layers.push((path.display().to_string(), over));
    }
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| anyhow!("--set {set}: want KEY=VALUE"))?;
        layers.push((format!("--set {set}"), nested(key, parse_value(value.trim()))));
    }
    for (_, over) in &layers {
        merge(&mut table, over);
    }
    setting_keys::read(&table).map_err(|error| anyhow!(describe(&error, &layers, || known_keys::<T>(&base))))
}

/// One line on a key that cannot be read: the layer that it comes from, the key, and what may have been meant.
fn describe(
    KeyError { key, error }: &KeyError,
    layers: &[(String, Table)],
    known: impl Fn() -> BTreeSet<String>,
) -> String {
    let found = layers.iter().rev().find_map(|(name, over)| Some((name.as_str(), written(over, key)?)));
    let (source, written) = found.unwrap_or(("settings", key.clone()));
    match error {
        ValueError::UnknownKey { known: beside, .. } => {
            let hint = match suggestion(&written, &known()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("there are {}", beside.join(", ")),
            };
            format!("{source}: unknown setting `{written}`; {hint}")
        }
        error => format!("{source}: `{key}`: {error}"),
    }
}

/// The key as `table` has it: `key`, or the first one below it, since of `techer.decay` the first name is already unknown.
fn written(table: &Table, key: &str) -> Option<String> {
    let mut at = table;
    for (end, name) in key.split('.').enumerate().map(|(i, name)| (i + 1, name)) {
        let name = name.split('[').next().unwrap_or(name);
        match at.get(name)? {
            Value::Table(inner) => at = inner,
            _ if end == key.split('.').count() => return Some(key.to_string()),
            _ => return None,
        }
    }
    let mut key = key.to_string();
    while let Some((name, value)) = at.iter().next() {
        key = format!("{key}.{name}");
        let Value::Table(inner) = value else { break };
        at = inner;
    }
    Some(key)
}

/// The settings as TOML that [`override_settings`] reads, with a word on the options that have no value.
pub fn dump<T: Serialize + DeserializeOwned>(settings: &T) -> Result<String> {
    let table = Table::try_from(settings).context("the settings as TOML")?;
    let present = table_keys(&table);
    let all = known_keys::<T>(&table);
    // Fields of the entries of lists have no key of their own.
    let absent: Vec<&str> =
        all.difference(&present).filter(|key| !key.contains('[')).map(String::as_str).collect();
    let note = match absent.is_empty() {
        true => String::new(),
        false => format!("# Options without a value: {}\n", absent.join(", ")),
    };
    Ok(format!("{note}{}", toml::to_string_pretty(settings)?))
}

/// Lays `over` on `base`, table by table. A table with a `kind` is one of several alternatives, so
/// another kind replaces it whole.
fn merge(base: &mut Table, over: &Table) {
    for (key, value) in over {
        match (base.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !changes_kind(old, new) => merge(old, new),
            (_, value) => {
                base.insert(key.clone(), value.clone());
            }
        }
    }
}

fn changes_kind(old: &Table, new: &Table) -> bool {
    matches!((old.get("kind"), new.get("kind")), (Some(a), Some(b)) if a != b)
}

/// A table with one value, at the end of a path of names.
fn nested(key: &str, value: Value) -> Table {
    match key.split_once('.') {
        Some((head, rest)) => {
            Table::from_iter([(head.trim().to_string(), Value::Table(nested(rest, value)))])
        }
        None => Table::from_iter([(key.trim().to_string(), value)]),
    }
}

/// A TOML value, or the text itself where it is none: `--set method=sed` needs no quotes.
fn parse_value(text: &str) -> Value {
    let line = format!("value = {text}");
    match line.parse::<Table>() {
        Ok(mut table) => table.remove("value").unwrap_or_else(|| Value::String(text.to_string())),
        Err(_) => Value::String(text.to_string()),
    }
}

/// Everything that a run depends on, but for its data and its seed. `M` configures the detector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings<M> {
    /// The detector.
    pub model: M,
    /// The training.
    pub train: TrainConfig,
    /// Views of the images.
    pub augment: AugmentConfig,
    /// Annotations and images that cannot be used.
    #[serde(default)]
    pub data: DataPolicy,
    /// Reading of the images.
    pub loader: LoaderSettings,
    /// The generated dataset; absent for your own data.
    pub scenes: Option<SceneConfig>,
}

/// How the images of a run are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderSettings {
    /// Threads that decode and augment.
    pub threads: usize,
    /// Batches that wait ready at most.
    pub prefetch: usize,
    /// MiB of decoded images kept in memory.
    pub cache_mib: usize,
    /// Images a validation batch.
    pub validation_batch: usize,
    /// Unlabeled images in tar files that are read together and mixed.
    #[serde(default = "default_shuffle_buffer")]
    pub shuffle_buffer: usize,
}

fn default_shuffle_buffer() -> usize {
    LoaderSettings::default().shuffle_buffer
}

impl Default for LoaderSettings {
    fn default() -> Self {
        Self { threads: 2, prefetch: 4, cache_mib: 256, validation_batch: 8, shuffle_buffer: 1000 }
    }
}
