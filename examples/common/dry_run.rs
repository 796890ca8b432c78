//! What a training would cost, from a few of its steps.

use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use burn::train::{InferenceStep, TrainStep};
use sed::{
    core::Detector,
    train::{
        report::ResidentMemory,
        train::{Method, SemiSupervised, StepCost, TrainConfig, TrainData},
    },
};

/// Steps before the clock runs: the first ones allocate, and compile on a GPU.
const WARM_UP: usize = 1;
/// Steps that are timed.
const TIMED: usize = 2;

/// The seconds of a step and of an evaluation, and the memory, of a training that is not made.
pub fn measure<D: Detector>(detector: &D, data: &TrainData, config: &TrainConfig) -> Result<StepCost> {
    let supervised = TrainConfig { method: Method::Supervised, ..config.clone() };
    let supervised_seconds = step(detector, data, &supervised)?;
    let unsupervised_seconds = match config.method {
        Method::Supervised => supervised_seconds,
        _ => step(detector, data, &TrainConfig { burn_in: 0, ..config.clone() })?,
    };
    let model = SemiSupervised::new(detector.clone(), config)?;
    let mut batches = data.valid.iter();
    let batch = batches.next().context("no validation images")?.map_err(|error| anyhow!("{error}"))?;
    let images = batch.ids.len();
    let started = Instant::now();
    InferenceStep::step(&model, batch);
    let seconds = started.elapsed().as_secs_f64();
    Ok(StepCost {
        supervised_seconds,
        unsupervised_seconds,
        evaluation_seconds: seconds * data.truth.image_ids.len() as f64 / images.max(1) as f64,
        memory: ResidentMemory::of_this_process().map(|memory| memory.peak),
    })
}

/// The mean seconds of a step.
fn step<D: Detector>(detector: &D, data: &TrainData, config: &TrainConfig) -> Result<f64> {
    let mut optimizer = config.optimizer.init();
    // From a record: a clone would share running statistics with the detector that is to be trained.
    let copy = detector.clone().load_record(detector.valid().into_record());
    let mut model = SemiSupervised::new(copy, config)?;
    let mut started = Instant::now();
    let mut made = 0;
    // The rate does not matter: the weights are thrown away.
    let rate = config.schedule.learning_rate;
    for (index, batch) in data.train.iter().take(WARM_UP + TIMED).enumerate() {
        if index == WARM_UP {
            (started, made) = (Instant::now(), 0);
        }
        let output = TrainStep::step(&model, batch.map_err(|error| anyhow!("{error}"))?);
        model = model.optimize(&mut optimizer, rate.into(), output.grads);
        made += 1;
    }
    data.train.resume_at(0, false);
    Ok(started.elapsed().as_secs_f64() / f64::from(made.max(1)))
}
