//! The runs of a comparison, and how they are carried out.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use anyhow::{Context, Result, bail};

use crate::result::RunResult;

/// One training.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunId {
    /// The name of its variant.
    pub variant: String,
    /// The draw of labels.
    pub fold: u64,
    /// The seed.
    pub seed: u64,
    /// Optimizer steps, where they are not those of the settings.
    pub iterations: Option<usize>,
}

impl RunId {
    /// Its folder in that of the comparison.
    pub fn folder(&self, comparison: &Path) -> PathBuf {
        let name = format!("fold{}-seed{}", self.fold, self.seed);
        match self.iterations {
            None => comparison.join(&self.variant).join(name),
            Some(_) => comparison.join(equal_time_name(&self.variant)).join(name),
        }
    }

    /// As [`parse`](Self::parse) reads it.
    fn to_argument(&self) -> String {
        let iterations = self.iterations.map_or(String::new(), |iterations| iterations.to_string());
        format!("{}:{}:{}:{iterations}", self.variant, self.fold, self.seed)
    }

    /// Reads `VARIANT:FOLD:SEED:ITERATIONS`, the last of which may be empty.
    pub fn parse(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(':').collect();
        let [variant, fold, seed, iterations] = parts[..] else { bail!("--only {text}: not a run") };
        let number = |part: &str| part.parse::<u64>().with_context(|| format!("--only {text}"));
        Ok(Self {
            variant: variant.to_string(),
            fold: number(fold)?,
            seed: number(seed)?,
            iterations: if iterations.is_empty() { None } else { Some(number(iterations)? as usize) },
        })
    }
}

/// The row of a variant that was trained for as long as the slowest.
pub fn equal_time_name(variant: &str) -> String {
    format!("{variant}-equal-time")
}

/// Carries out the runs that have no result yet, `jobs` at a time, each as a process of its own, and returns the results of
/// all that have one. A run that fails is reported, and the others go on.
///
/// A process has its own memory to measure, and one that dies takes no other with it.
pub fn carry_out(runs: &[RunId], comparison: &Path, jobs: usize) -> Result<Vec<RunResult>> {
    let results = Mutex::new(Vec::new());
    let failures = Mutex::new(Vec::new());
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                while let Some(run) = runs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    match carry_out_one(run, comparison, jobs) {
                        Ok(result) => lock(&results).push((run.clone(), result)),
                        Err(error) => {
                            eprintln!("{}: {error:#}", run.to_argument());
                            lock(&failures).push(run.to_argument());
                        }
                    }
                }
            });
        }
    });
    let failures = lock(&failures);
    if !failures.is_empty() {
        bail!(
            "{} of {} runs failed: {}; the others are kept",
            failures.len(),
            runs.len(),
            failures.join(", ")
        );
    }
    let mut results = std::mem::take(&mut *lock(&results));
    results.sort_by_key(|(run, _)| runs.iter().position(|other| other == run));
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn carry_out_one(run: &RunId, comparison: &Path, jobs: usize) -> Result<RunResult> {
    let folder = run.folder(comparison);
    if let Some(result) = RunResult::read(&folder)? {
        return Ok(result);
    }
    fs::create_dir_all(&folder).with_context(|| format!("{}", folder.display()))?;
    let path = folder.join("log.txt");
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&path)
        .with_context(|| format!("{}", path.display()))?;
    let mut command = Command::new(std::env::current_exe().context("the program's own path")?);
    command.args(std::env::args_os().skip(1)).arg("--only").arg(run.to_argument());
    command.arg("--comparison").arg(comparison);
    if jobs > 1 {
        command.env("RAYON_NUM_THREADS", "1");
    }
    let errors = log.try_clone().with_context(|| format!("{}", path.display()))?;
    let status =
        command.stdin(Stdio::null()).stdout(log).stderr(errors).status().context("starting a run")?;
    if !status.success() {
        bail!("{status}, see {}", path.display());
    }
    let result = RunResult::read(&folder)?;
    let result = result.with_context(|| format!("no result, see {}", path.display()))?;
    println!("{}", result.line());
    Ok(result)
}
