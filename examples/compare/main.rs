//! Compares methods on one dataset, over several draws of labels and seeds, at equal steps or equal time.
//!
//! ```text
//! cargo run --release --example compare
//! ```
//!
//! trains by all methods on a small generated dataset and prints a table. See `--help` for your own data, ablations and
//! variants of your own.

#[path = "../common/mod.rs"]
mod common;
mod one;
mod options;
mod plan;
mod result;
mod table;
mod variants;

use std::{fs, path::Path, process::ExitCode};

use anyhow::{Context, Result, bail};
use clap::Parser;
use common::{
    args::{Args, Backbone, DetectorName},
    models::{self, Model},
    session::Session,
    settings::Settings,
};
use options::Options;
use plan::{RunId, carry_out, equal_time_name};
use result::RunResult;
use sed::train::{data::ListedNumbers, report::write_atomic, train::Method};
use serde::Serialize;
use variants::{Variant, variants};

/// What the runs of a comparison have in common, kept to refuse a mixture.
const RECIPE_FILE: &str = "recipe.toml";

fn main() -> ExitCode {
    common::exit_code(|| run(Options::parse()))
}

fn run(mut options: Options) -> Result<()> {
    if is_plain(&options) {
        // The small version: short runs, and what a supervised run of the same time gives.
        options.args.iterations = Some(2000);
        options.equal_time = vec![Method::Supervised.name().into()];
        options.inference_scales = vec![1.0, 0.5];
    }
    let variants = variants(&options)?;
    options.check(&variants)?;
    match options.detector {
        DetectorName::Retinanet => dispatch(&options, &variants, models::retinanet_settings),
        DetectorName::FasterRcnn => dispatch(&options, &variants, models::faster_rcnn_settings),
    }
}

/// Whether nothing says what to compare on, or for how long.
fn is_plain(options: &Options) -> bool {
    let args = &options.args;
    let asked =
        args.train_annotations.is_some() || args.iterations.is_some() || args.smoke || args.config.is_some();
    !asked && options.ablation.is_empty() && options.variant.is_empty() && options.equal_time.is_empty()
}

fn dispatch<M: Model>(
    options: &Options,
    variants: &[Variant],
    settings: impl Fn(&Args) -> Result<Settings<M>>,
) -> Result<()> {
    let folder = options.comparison.clone().unwrap_or_else(|| common::run_dir(&options.args, "compare"));
    match &options.only {
        None => compare(options, variants, &folder, settings),
        Some(only) => {
            let id = RunId::parse(only)?;
            let variant = variants.iter().find(|variant| variant.name == id.variant);
            let variant = variant.with_context(|| format!("--only {only}: no such variant"))?;
            one::run(options, variant, &id, &folder, settings)
        }
    }
}

fn compare<M: Model>(
    options: &Options,
    variants: &[Variant],
    folder: &Path,
    settings: impl Fn(&Args) -> Result<Settings<M>>,
) -> Result<()> {
    // What cannot work is found before the first run: the data, and the settings of each variant.
    let mut recipe = None;
    let mut iterations = 0;
    let mut recipes: Vec<(Method, String)> = Vec::new();
    for variant in variants {
        let mut args = options.args.clone();
        (args.fold, args.seed) =
            options.repetitions().first().map_or((None, 0), |&(fold, seed)| (Some(fold), seed));
        if recipe.is_none() {
            let session = Session::open(&args, &settings(&args)?)?;
            println!("{}", session.dataset.describe());
            iterations = session.settings.train.iterations;
            recipe = Some(recipe_of(options, &session.settings)?);
        }
        args.set.extend(variant.sets.iter().cloned());
        let own = common::settings::override_settings(&settings(&args)?, args.config.as_deref(), &args.set)
            .with_context(|| format!("variant {}", variant.name))?;
        own.model.validate().with_context(|| format!("variant {}", variant.name))?;
        own.train.validate().with_context(|| format!("variant {}", variant.name))?;
        recipes.push((variant.method, recipe_of(options, &own)?));
    }
    let alike = alike(&recipes);
    let recipe = recipe.context("nothing to compare")?;
    keep_recipe(folder, &recipe)?;
    println!("run folder: {}", folder.display());

    let jobs = options.jobs.unwrap_or(if options.args.backbone() == Backbone::Tiny { 2 } else { 1 });
    let repetitions = options.repetitions();
    let run = |&(fold, seed): &(u64, u64), variant: &Variant| RunId {
        variant: variant.name.clone(),
        fold,
        seed,
        iterations: None,
    };
    // Repetition by repetition, so that a comparison that is stopped has all methods of the first ones.
    let trained: Vec<&Variant> =
        variants.iter().zip(&alike).filter(|(_, first)| first.is_none()).map(|(v, _)| v).collect();
    let runs: Vec<RunId> =
        repetitions.iter().flat_map(|repetition| trained.iter().map(move |v| run(repetition, v))).collect();
    let mut results = carry_out(&runs, folder, jobs)?;
    for (variant, first) in variants.iter().zip(&alike) {
        let Some(first) = first.map(|index| &variants[index].name) else { continue };
        println!("{}: the settings of {first}, not trained again", variant.name);
        let same = results.iter().filter(|run| run.variant == *first).cloned();
        let named = same.map(|run| RunResult { variant: variant.name.clone(), ..run });
        results.extend(named.collect::<Vec<_>>());
    }
    let longer = equal_time_runs(options, &results);
    results.extend(carry_out(&longer, folder, jobs)?);

    let mut names = Vec::new();
    for variant in variants {
        names.push(variant.name.clone());
        if options.equal_time.contains(&variant.name) {
            names.push(equal_time_name(&variant.name));
        }
    }
    let title = format!("AP, {iterations} steps");
    table::write(folder, &title, &names, &results, &recipe)
}

/// For each variant the first before it that has the same method and settings: the groups of ablations share the default.
fn alike(recipes: &[(Method, String)]) -> Vec<Option<usize>> {
    let first = |(i, one): (usize, &(Method, String))| recipes[..i].iter().position(|other| other == one);
    recipes.iter().enumerate().map(first).collect()
}

/// The runs of `--equal-time`: as many steps as the variant makes in the time of the slowest of the same repetition.
fn equal_time_runs(options: &Options, results: &[RunResult]) -> Vec<RunId> {
    let mut runs = Vec::new();
    for (fold, seed) in options.repetitions() {
        let same: Vec<&RunResult> =
            results.iter().filter(|run| (run.fold, run.seed) == (fold, seed)).collect();
        let slowest = same.iter().map(|run| run.seconds).fold(0.0, f64::max);
        for run in same.iter().filter(|run| options.equal_time.contains(&run.variant)) {
            // Whole hundreds, so that the evaluations stay at whole parts of the run.
            let steps =
                (run.iterations as f64 * slowest / run.seconds / 100.0).round().max(1.0) as usize * 100;
            runs.push(RunId { variant: run.variant.clone(), fold, seed, iterations: Some(steps) });
        }
    }
    runs
}

/// What must not change between the runs of a comparison, as TOML.
fn recipe_of<M: Serialize>(options: &Options, settings: &Settings<M>) -> Result<String> {
    #[derive(Serialize)]
    struct Recipe<'a, M> {
        detector: String,
        device: &'a str,
        train_annotations: String,
        val_annotations: String,
        unlabeled: Vec<String>,
        labeled_percent: Option<f64>,
        unlabeled_weights: Option<&'a [u32]>,
        unlabeled_without_annotations: Option<bool>,
        split: Option<String>,
        weights: String,
        settings: &'a Settings<M>,
    }
    let args = &options.args;
    let shown =
        |path: &Option<std::path::PathBuf>| path.as_ref().map_or(String::new(), |p| p.display().to_string());
    let recipe = Recipe {
        detector: format!("{:?}", options.detector),
        device: &args.device,
        train_annotations: shown(&args.train_annotations),
        val_annotations: shown(&args.val_annotations),
        unlabeled: args.unlabeled.iter().map(|path| path.display().to_string()).collect(),
        labeled_percent: args.labeled_percent,
        // Absent where they are not used, so that a comparison of before they existed goes on.
        unlabeled_weights: (!args.unlabeled_weights.is_empty()).then_some(&args.unlabeled_weights),
        unlabeled_without_annotations: args.unlabeled_without_annotations.then_some(true),
        split: args.split.as_ref().map(|file| {
            let key = args.split_key.as_deref().unwrap_or_default();
            let numbers = args.split_numbers.map_or("", ListedNumbers::name);
            format!("{} {key} {numbers}", file.display())
        }),
        weights: shown(&args.weights),
        settings,
    };
    Ok(toml::to_string_pretty(&recipe)?)
}

/// Writes the recipe, or compares it with that of the runs which are there.
fn keep_recipe(folder: &Path, recipe: &str) -> Result<()> {
    let path = folder.join(RECIPE_FILE);
    if !path.exists() {
        return Ok(write_atomic(&path, recipe)?);
    }
    let kept = fs::read_to_string(&path).with_context(|| format!("{}", path.display()))?;
    if kept == recipe {
        return Ok(());
    }
    let differing = kept.lines().zip(recipe.lines()).find(|(old, new)| old != new);
    let (old, new) = differing.unwrap_or(("another number of settings", ""));
    bail!("{}: the runs there were made with {old:?}, not {new:?}; give another --run-dir", path.display())
}
