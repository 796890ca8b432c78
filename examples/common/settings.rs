//! All settings of a run: presets, a TOML file, and `--set key=value` on top of them.

use std::{fs, path::Path};

use anyhow::{Context, Result, anyhow, bail};
use sed::train::{
    data::{AugmentConfig, DataPolicy, scenes::SceneConfig},
    train::TrainConfig,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

/// The value of `base` after the TOML `file`, if any, and then each `key=value` was laid over it.
///
/// A key is a path of table names, as `train.teacher.decay`. A key that does not exist is an
/// error, so that a typing mistake never goes unnoticed.
pub fn override_settings<T: Serialize + DeserializeOwned>(
    base: &T,
    file: Option<&Path>,
    sets: &[String],
) -> Result<T> {
    let mut table = Table::try_from(base).context("the preset as TOML")?;
    if let Some(path) = file {
        let text = fs::read_to_string(path).with_context(|| format!("{}", path.display()))?;
        let over: Table = text.parse().with_context(|| format!("{}", path.display()))?;
        merge(&mut table, over);
    }
    for set in sets {
        let (key, value) = set.split_once('=').ok_or_else(|| anyhow!("--set {set}: want KEY=VALUE"))?;
        assign(&mut table, key.trim(), parse_value(value.trim())).with_context(|| format!("--set {set}"))?;
    }
    let text = toml::to_string(&table)?;
    toml::from_str(&text).map_err(|error| anyhow!("settings: {}", error.message()))
}

/// Lays `over` on `base`, table by table. A table with a `kind` is one of several alternatives, so
/// another kind replaces it whole.
fn merge(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(old)), Value::Table(new)) if !changes_kind(old, &new) => merge(old, new),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

fn changes_kind(old: &Table, new: &Table) -> bool {
    matches!((old.get("kind"), new.get("kind")), (Some(a), Some(b)) if a != b)
}

fn assign(table: &mut Table, key: &str, value: Value) -> Result<()> {
    match key.split_once('.') {
        Some((head, rest)) => match table.get_mut(head) {
            Some(Value::Table(inner)) => assign(inner, rest, value),
            Some(_) => bail!("{head} is a value, not a table"),
            None => bail!("unknown setting {head}; there are {}", names(table)),
        },
        None => {
            // An absent optional value has no entry to check against: the typed parse refuses
            // keys that do not exist.
            table.insert(key.to_string(), value);
            Ok(())
        }
    }
}

fn names(table: &Table) -> String {
    table.keys().cloned().collect::<Vec<_>>().join(", ")
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
}

impl Default for LoaderSettings {
    fn default() -> Self {
        Self { threads: 2, prefetch: 4, cache_mib: 256, validation_batch: 8 }
    }
}
