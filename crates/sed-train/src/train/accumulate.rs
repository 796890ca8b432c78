//! The losses and the gradient of a step, its images in one part or in several.

use std::borrow::Cow;

use burn::{
    optim::{GradientsAccumulator, GradientsParams},
    tensor::{Device, Tensor},
};
use sed_core::{Detector, objective::total_loss};

use super::unsupervised::{StageTerms, Unsupervised, is_summed};
use crate::data::{HostViews, TrainBatch};

/// What the passes of a step give.
pub(super) struct Passes {
    /// Each loss and each watched number by name, the total `"loss"` first.
    pub scalars: Vec<(String, f64)>,
    /// The names of the unsupervised terms among them.
    pub unsupervised: Vec<String>,
    /// The gradient of the total.
    pub grads: GradientsParams,
}

/// The networks of a step, and what it makes of unlabeled images.
pub(super) struct Networks<'a, D> {
    pub student: &'a D,
    pub teacher: &'a D,
    pub unsupervised: &'a Unsupervised,
    /// The student's device, with autodiff.
    pub device: Device,
    /// The same without.
    pub plain: Device,
}

impl<D: Detector> Networks<'_, D> {
    /// Takes `batch` in `parts` parts of equally many images, each forward and backward by itself, so that
    /// only one part's graph is in memory:
    ///
    /// ```text
    /// L = 1/k Σ_j L_j,   g = 1/k Σ_j ∂L_j,   L_j the total loss of part j alone
    /// ```
    ///
    /// `weight` is that of the unsupervised losses; at 0 unlabeled images are not looked at. Numbers to watch
    /// that count or sum over anchors are those of the whole batch, all others means.
    ///
    /// # Panics
    ///
    /// If `parts` does not divide the number of labeled images, or that of the unlabeled ones looked at.
    pub fn passes(&self, batch: &TrainBatch, parts: usize, weight: f64) -> Passes {
        let mut grads = GradientsAccumulator::new();
        let mut whole: Option<(Terms, Vec<f64>)> = None;
        for part in 0..parts {
            let part = match parts {
                1 => Cow::Borrowed(batch),
                _ => Cow::Owned(part_of(batch, part, parts, weight > 0.0)),
            };
            let (total, terms) = self.losses(&part, weight);
            let values = read(&terms);
            let loss = if parts == 1 { total } else { total / parts as f64 };
            grads.accumulate(self.student, GradientsParams::from_grads(loss.backward(), self.student));
            match &mut whole {
                None => whole = Some((terms, values)),
                Some((_, sums)) => sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value),
            }
        }
        let (terms, sums) = whole.expect("a step has a part");
        let scalars = terms.tensors.iter().zip(sums).map(|((name, _), sum)| {
            let summed = is_summed(name.rsplit('/').next().unwrap_or(name));
            (name.clone(), if summed { sum } else { sum / parts as f64 })
        });
        Passes { scalars: scalars.collect(), unsupervised: terms.unsupervised, grads: grads.grads() }
    }

    /// The total loss, and all terms.
    fn losses(&self, batch: &TrainBatch, weight: f64) -> (Tensor<1>, Terms) {
        let labeled = batch.labeled.to_batch(&self.device);
        let supervised = self.student.supervised_losses(&labeled, &batch.targets);
        let unlabeled = batch.unlabeled.as_ref().filter(|_| weight > 0.0);
        let unsupervised = match unlabeled {
            Some(views) => {
                let (weak, strong) = (views.weak.to_batch(&self.plain), views.strong.to_batch(&self.device));
                self.unsupervised.losses(self.student, self.teacher, weak, strong)
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
        (total, Terms { tensors, unsupervised: names })
    }
}

/// The losses of a part, without gradients.
struct Terms {
    tensors: Vec<(String, Tensor<1>)>,
    /// The names of the unsupervised ones.
    unsupervised: Vec<String>,
}

/// All values by one read: each read stalls a GPU.
fn read(terms: &Terms) -> Vec<f64> {
    let tensors = terms.tensors.iter().map(|(_, term)| term.clone()).collect();
    let values = Tensor::cat(tensors, 0).into_data().convert::<f64>();
    values.iter::<f64>().collect()
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
