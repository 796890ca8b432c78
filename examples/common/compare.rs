//! The flow of a training example, the same for every detector.

use std::{panic::resume_unwind, thread};

use anyhow::Result;
use sed::train::{report::RunFolder, train::Method};

use super::{
    args::{Args, Backbone},
    models::Model,
    report::Comparison,
    run_dir,
    session::Session,
    settings::Settings,
};

/// What is trained by without `--method`.
const DEFAULT_METHODS: [Method; 2] = [Method::Supervised, Method::Sed];

/// Trains by each method that the arguments ask for, from the same weights on the same images, and leaves a
/// run folder with all results; `name` is that of the folder.
pub fn compare<M: Model>(name: &str, args: &Args, preset: &Settings<M>) -> Result<()> {
    let session = Session::open(args, preset)?;
    let dataset = &session.dataset;
    let folder = RunFolder::create(run_dir(args, name), &session.settings)?;
    println!("{}", dataset.describe());
    println!("run folder: {}", folder.path().display());
    dataset.write_manifest(&folder)?;

    let mut comparison = Comparison::new(&folder);
    let mut runs = Vec::new();
    for method in args.methods(&DEFAULT_METHODS) {
        let run = session.run(args, method)?;
        let path = comparison.start(method)?;
        runs.push(move || -> Result<_> {
            let outcome = run.train(method.name(), &path)?;
            Ok((method, path, outcome))
        });
    }
    // One small network leaves a core idle; large ones would have to share the memory.
    for run in in_order(runs, args.backbone == Backbone::Tiny) {
        let (method, path, outcome) = run?;
        comparison.inspect(method, &path, &outcome, dataset, &session.settings.augment, &session.device)?;
        comparison.add(method, &outcome)?;
    }
    comparison.finish(name, dataset)
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
