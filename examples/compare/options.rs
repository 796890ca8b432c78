//! The command line.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;

use crate::{
    common::args::{Args, DetectorName},
    variants::{Ablation, Variant},
};

/// Trains by several methods on several draws of labels and seeds, and puts the results into one table.
///
/// A run that has finished is not repeated: the same command with the same --run-dir goes on where it was stopped. Without
/// arguments it compares all methods on a small generated dataset.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Data, settings and methods, as in the training examples.
    #[command(flatten)]
    pub args: Args,
    /// The detector.
    #[arg(long, value_enum, default_value_t = DetectorName::Retinanet)]
    pub detector: DetectorName,
    /// Draws of labels, separated by commas; without it each seed draws its own.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "fold")]
    pub folds: Vec<u64>,
    /// Seeds of weights, order and augmentation, separated by commas.
    #[arg(long, value_name = "LIST", value_delimiter = ',', conflicts_with = "seed", default_value = "1")]
    pub seeds: Vec<u64>,
    /// Variants of SED in place of the methods; may be given several times.
    #[arg(long, value_enum, value_name = "GROUP")]
    pub ablation: Vec<Ablation>,
    /// A method with settings of its own, as `strong=sed:train.objective.distill_weight=8,train.teacher.decay=0.995`. May be
    /// given several times.
    #[arg(long, value_name = "NAME=METHOD:KEY=VALUE,…")]
    pub variant: Vec<Variant>,
    /// Methods or variants, separated by commas, that are trained a second time, for as long as the slowest of all takes.
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub equal_time: Vec<String>,
    /// Also evaluate each teacher at these scales of the image, its boxes fused, as `1,0.5`.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub inference_scales: Vec<f64>,
    /// Runs at the same time, one thread each where there are several; by default two of small networks, else one.
    #[arg(long, value_name = "N")]
    pub jobs: Option<usize>,
    /// The comparison's folder, by the program itself.
    #[arg(long, hide = true, value_name = "DIR", requires = "only")]
    pub comparison: Option<PathBuf>,
    /// One run of the comparison, by the program itself.
    #[arg(long, hide = true, value_name = "VARIANT:FOLD:SEED:ITERATIONS")]
    pub only: Option<String>,
}

impl Options {
    /// Draw and seed of each repetition, each once.
    pub fn repetitions(&self) -> Vec<(u64, u64)> {
        let seeds = self.seeds.iter().copied();
        let all: Vec<(u64, u64)> = match self.folds.is_empty() {
            true => seeds.map(|seed| (seed, seed)).collect(),
            false => {
                self.folds.iter().flat_map(|&fold| seeds.clone().map(move |seed| (fold, seed))).collect()
            }
        };
        let first = |(i, one): &(usize, &(u64, u64))| !all[..*i].contains(one);
        all.iter().enumerate().filter(first).map(|(_, one)| *one).collect()
    }

    /// Refuses what only several options together get wrong.
    pub fn check(&self, variants: &[Variant]) -> Result<()> {
        if let Some(scale) = self.inference_scales.iter().find(|scale| !(scale.is_finite() && **scale > 0.0))
        {
            bail!("--inference-scales {scale}: a scale is a positive number");
        }
        if let Some(name) = self.equal_time.iter().find(|name| !variants.iter().any(|v| v.name == **name)) {
            let names: Vec<&str> = variants.iter().map(|variant| variant.name.as_str()).collect();
            bail!("--equal-time {name}: the comparison has {}", names.join(", "));
        }
        if self.jobs == Some(0) {
            bail!("--jobs 0: at least one run at a time is needed");
        }
        Ok(())
    }
}
