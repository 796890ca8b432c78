//! The flow of a training example, the same for every detector.

use std::{panic::resume_unwind, thread};

use anyhow::Result;
use sed::train::{checkpoint::RunLock, report::RunFolder, train::Method};

use super::{
    args::{Args, Backbone, DetectorName},
    models::Model,
    report::Comparison,
    run_dir,
    run_file::{RunFile, Task},
    session::{Session, checked_settings},
    settings::{Settings, dump},
    signals,
};

/// What is trained by without `--method`.
const DEFAULT_METHODS: [Method; 2] = [Method::Supervised, Method::Sed];

/// Trains by each method that the arguments ask for, from the same weights on the same images, and leaves a
/// run folder with all results; or does what else the `task` is.
pub fn compare<M: Model>(
    detector: DetectorName,
    args: &Args,
    preset: &Settings<M>,
    task: Task,
) -> Result<()> {
    if task == Task::DumpConfig {
        print!("{}", dump(&checked_settings(args, preset)?)?);
        return Ok(());
    }
    let stop = signals::stop()?;
    let session = Session::open(args, preset)?;
    let dataset = &session.dataset;
    let methods = args.methods(&DEFAULT_METHODS);
    println!("{}", dataset.describe());
    for plan in session.plans(args, &methods, task == Task::DryRun)? {
        println!("\n{plan}");
    }
    if task == Task::DryRun {
        return Ok(());
    }
    let resumes = task == Task::Resume;
    let path = run_dir(args, detector.name());
    let _lock = RunLock::acquire(&path)?;
    let folder = if resumes {
        RunFolder::open(path)?
    } else {
        let folder = RunFolder::reserve(path)?;
        let (arguments, categories) = (args.for_the_record()?, dataset.categories.clone());
        RunFile { detector, methods: methods.clone(), arguments, categories }.write(&folder)?;
        dataset.write_manifest(&folder)?;
        folder.begin(&session.settings)?;
        folder
    };
    println!("run folder: {}", folder.path().display());

    let mut comparison = Comparison::new(&folder);
    let mut runs = Vec::new();
    for method in methods {
        let run = session.run(args, method)?;
        let path = comparison.start(method)?;
        let stop = stop.clone();
        let watch = session.watch(method)?;
        runs.push(move || -> Result<_> {
            let snapshots = watch.as_ref().map(|(_, snapshots)| snapshots.clone()).unwrap_or_default();
            let outcome = run.train(method.name(), &path, resumes, stop, watch)?;
            Ok((method, path, outcome, snapshots))
        });
    }
    // One small network leaves a core idle; large ones would have to share the memory.
    for run in in_order(runs, args.backbone() == Backbone::Tiny && !args.on_dashboard()) {
        let (method, path, outcome, snapshots) = run?;
        comparison.inspect(method, &path, &outcome, &session, snapshots.take()?)?;
        comparison.add(method, &outcome)?;
    }
    comparison.finish(detector.name(), dataset)
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
