//! The losses and the gradient of a step, its images in one part or in several, on one device or on several.

use std::{borrow::Cow, panic::resume_unwind, thread};

use burn::{
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, ExecutionError, Tensor},
};
use sed_core::{Detector, objective::total_loss};

use super::Precision;
use super::unsupervised::{StageTerms, Unsupervised, is_summed};
use crate::data::{HostViews, TrainBatch};

/// What the passes of a step give.
pub(super) struct Passes {
    /// Each loss and each watched number by name, the total `"loss"` first.
    pub scalars: Vec<(String, f64)>,
    /// The names of the unsupervised terms among them.
    pub unsupervised: Vec<String>,
    /// The gradient of the total, on the first device.
    pub grads: GradientsParams,
}

/// How the images of a step are taken.
pub(super) struct Division<'a> {
    /// Parts of equally many images.
    pub parts: usize,
    /// The weight of the unsupervised losses; at 0 unlabeled images are not looked at.
    pub weight: f64,
    /// What is made of unlabeled images.
    pub unsupervised: &'a Unsupervised,
    /// The type in which the networks compute.
    pub precision: Precision,
}

/// Student and teacher on a device.
pub(super) struct Replica<D> {
    pub student: D,
    pub teacher: D,
    /// The device, with autodiff.
    pub device: Device,
    /// The same without.
    pub plain: Device,
}

/// Takes `batch` in parts, each forward and backward by itself, so that only one part's graph is in the memory of a device:
///
/// ```text
/// L = 1/k Σ_j L_j,   g = 1/k Σ_j ∂L_j,   L_j the total loss of part j alone
/// ```
///
/// Part `j` goes to replica `j mod R`, and the sums run in the order of the parts, so that the result does not depend on `R`
/// where all devices compute alike. Numbers to watch that count or sum over anchors are those of the whole batch, all others means.
///
/// # Errors
///
/// If a device does not give its losses, as one of another machine that cannot be reached any more.
///
/// # Panics
///
/// If the number of parts does not divide the number of labeled images, or that of the unlabeled ones looked at; if there is no replica, or their
/// number does not divide that of the parts.
pub(super) fn passes<D: Detector>(
    mut replicas: Vec<Replica<D>>,
    batch: &TrainBatch,
    division: &Division,
) -> Result<Passes, DeviceLost> {
    let (parts, side_by_side) = (division.parts, replicas.len());
    assert!(
        side_by_side > 0 && parts.is_multiple_of(side_by_side),
        "accumulation: {parts} parts on {side_by_side} devices"
    );
    let mut grads = GradientsAccumulator::new();
    let mut whole: Option<(Terms, Vec<f64>)> = None;
    for first in (0..parts).step_by(side_by_side) {
        for part in round(&mut replicas, batch, division, first)? {
            let main = &replicas[0];
            grads.accumulate(&main.student, part.grads);
            match &mut whole {
                None => whole = Some((part.terms, part.values)),
                Some((_, sums)) => sums.iter_mut().zip(part.values).for_each(|(sum, value)| *sum += value),
            }
        }
    }
    let (terms, sums) = whole.expect("a step has a part");
    let scalars = terms.names.into_iter().zip(sums).map(|(name, sum)| {
        let summed = is_summed(name.rsplit('/').next().unwrap_or(&name));
        let value = if summed { sum } else { sum / parts as f64 };
        (name, value)
    });
    Ok(Passes { scalars: scalars.collect(), unsupervised: terms.unsupervised, grads: grads.grads() })
}

/// Parts `first`, `first + 1`, …, one on each replica at the same time, their gradients on the first one's device.
fn round<D: Detector>(
    replicas: &mut [Replica<D>],
    batch: &TrainBatch,
    division: &Division,
    first: usize,
) -> Result<Vec<Part>, DeviceLost> {
    let Some((main, others)) = replicas.split_first_mut() else { return Ok(Vec::new()) };
    thread::scope(|scope| {
        let started: Vec<_> = others
            .iter_mut()
            .zip(first + 1..)
            .map(|(replica, part)| scope.spawn(move || replica.part(batch, division, part)))
            .collect();
        let mut parts = vec![main.part(batch, division, first)?];
        for thread in started {
            let part = thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
            parts.push(Part { grads: part.grads.to_device(&main.plain, &main.student), ..part });
        }
        Ok(parts)
    })
}

/// A device that did not give its losses, or the norm of their gradient.
pub(super) struct DeviceLost {
    /// As Burn names it.
    pub device: String,
    pub reason: String,
}

impl DeviceLost {
    pub fn new(device: &Device, error: &ExecutionError) -> Self {
        Self { device: format!("{device:?}"), reason: error.to_string() }
    }
}

/// What a part of a batch gives.
struct Part {
    terms: Terms,
    values: Vec<f64>,
    grads: GradientsParams,
}

/// The losses of a part, by name.
struct Terms {
    names: Vec<String>,
    /// The names of the unsupervised ones.
    unsupervised: Vec<String>,
}

impl<D: Detector> Replica<D> {
    fn part(&self, batch: &TrainBatch, division: &Division, part: usize) -> Result<Part, DeviceLost> {
        let parts = division.parts;
        let part = match parts {
            1 => Cow::Borrowed(batch),
            _ => Cow::Owned(part_of(batch, part, parts, division.weight > 0.0)),
        };
        let (total, named, unsupervised) = self.losses(&part, division);
        let (names, terms): (Vec<_>, Vec<_>) = named.into_iter().unzip();
        let values = read(terms).map_err(|error| DeviceLost::new(&self.plain, &error))?;
        let loss = if parts == 1 { total } else { total / parts as f64 };
        let grads = GradientsParams::from_grads(loss.backward(), &self.student);
        Ok(Part { terms: Terms { names, unsupervised }, values, grads })
    }

    /// The total loss; all terms by name, without gradients; and the names of the unsupervised ones.
    fn losses(
        &self,
        batch: &TrainBatch,
        division: &Division,
    ) -> (Tensor<1>, Vec<(String, Tensor<1>)>, Vec<String>) {
        let weight = division.weight;
        let labeled = batch.labeled.to_batch(&self.device);
        let student = division.precision.of(&self.student);
        let supervised = student.supervised_losses(&labeled, &batch.targets);
        let unlabeled = batch.unlabeled.as_ref().filter(|_| weight > 0.0);
        let unsupervised = match unlabeled {
            Some(views) => {
                let (weak, strong) = (views.weak.to_batch(&self.plain), views.strong.to_batch(&self.device));
                let teacher = division.precision.of(&self.teacher);
                division.unsupervised.losses(&student, &teacher, weak, strong)
            }
            None => Vec::new(),
        };
        let unsupervised: Vec<_> = unsupervised.into_iter().map(|loss| loss.scaled(weight)).collect();
        let n_unlabeled = unlabeled.map_or(0, |views| views.keys.len());
        let on_unlabeled = unsupervised.iter().map(|stage| stage.total());
        let total = total_loss(&supervised, on_unlabeled, n_unlabeled, batch.targets.len());

        let of_stage = |stage: &StageTerms| -> Vec<String> {
            stage.terms.iter().map(|(name, _)| format!("{}/{name}", stage.stage)).collect()
        };
        let names = unsupervised.iter().flat_map(of_stage).collect();
        let mut tensors = vec![("loss".to_string(), total.clone().detach())];
        let mut record = |name: String, term: &Tensor<1>| tensors.push((name, term.clone().detach()));
        for loss in &supervised {
            record(format!("{}/class", loss.stage), &loss.classification);
            record(format!("{}/box", loss.stage), &loss.box_regression);
        }
        for stage in &unsupervised {
            for (name, value) in stage.watched.iter().chain(&stage.terms) {
                record(format!("{}/{name}", stage.stage), value);
            }
        }
        (total, tensors, names)
    }
}

/// All values by one read: each read stalls a GPU.
fn read(terms: Vec<Tensor<1>>) -> Result<Vec<f64>, ExecutionError> {
    let values = Tensor::cat(terms, 0).try_into_data()?.convert::<f64>();
    Ok(values.iter::<f64>().collect())
}

/// Part `part` of `parts` of a batch, with its unlabeled images if they are looked at.
fn part_of(batch: &TrainBatch, part: usize, parts: usize, unlabeled: bool) -> TrainBatch {
    let range = |what: &str, images: usize| {
        assert!(images.is_multiple_of(parts), "accumulation: {images} {what} images in {parts} parts");
        let size = images / parts;
        part * size..(part + 1) * size
    };
    let labeled = range("labeled", batch.targets.len());
    let views = batch.unlabeled.as_ref().filter(|_| unlabeled).map(|views| {
        let range = range("unlabeled", views.keys.len());
        HostViews {
            weak: views.weak.part(range.clone()),
            strong: views.strong.part(range.clone()),
            keys: views.keys[range].to_vec(),
        }
    });
    TrainBatch {
        iteration: batch.iteration,
        labeled: batch.labeled.part(labeled.clone()),
        targets: batch.targets[labeled.clone()].to_vec(),
        labeled_ids: batch.labeled_ids[labeled].to_vec(),
        unlabeled: views,
    }
}
