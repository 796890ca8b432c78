//! Focal loss of anchors with at most one class each.

use super::{BLOCK, TASK, WORK, elementary::sigmoid_and_softplus};
use crate::{
    flex::{run_tasks, sum},
    losses::SigmoidFocalLoss,
};

/// `Σ_i w_i Σ_c FL(z_ic, [c = class_i])` and its gradient to the logits. A class outside of `0..columns` stands for
/// background.
pub(crate) fn focal_sum(
    loss: &SigmoidFocalLoss,
    logits: &[f32],
    columns: usize,
    classes: &[i64],
    weights: &[f32],
) -> (f64, Vec<f32>) {
    // One loop for each power, so that the common ones stay products.
    match loss.gamma {
        0.0 => with_power(loss, logits, columns, classes, weights, |_| 1.0),
        1.0 => with_power(loss, logits, columns, classes, weights, |q| q),
        2.0 => with_power(loss, logits, columns, classes, weights, |q| q * q),
        gamma => with_power(loss, logits, columns, classes, weights, move |q| q.powf(gamma as f32)),
    }
}

/// Some rows, and where their results go.
struct Task<'a> {
    logits: &'a [f32],
    classes: &'a [i64],
    weights: &'a [f32],
    gradient: &'a mut [f32],
    value: &'a mut f64,
}

fn with_power(
    loss: &SigmoidFocalLoss,
    logits: &[f32],
    columns: usize,
    classes: &[i64],
    weights: &[f32],
    power: impl Fn(f32) -> f32 + Sync,
) -> (f64, Vec<f32>) {
    let (alpha, gamma) = (loss.alpha as f32, loss.gamma as f32);
    // Value and gradient of an element whose margin against its target is −m; the gradient is to m.
    let element = |m: f32, alpha: f32| {
        let (q, cross_entropy) = sigmoid_and_softplus(m);
        let weight = alpha * power(q);
        (weight * cross_entropy, weight * (gamma * (1.0 - q) * cross_entropy + q))
    };
    let mut gradient = vec![0.0; logits.len()];
    let columns = columns.max(1);
    let rows = (TASK / columns).max(1);
    let mut values = vec![0.0; classes.len().div_ceil(rows)];
    let inputs = logits.chunks(rows * columns).zip(classes.chunks(rows)).zip(weights.chunks(rows));
    let outputs = gradient.chunks_mut(rows * columns).zip(&mut values);
    let tasks = inputs
        .zip(outputs)
        .map(|(((logits, classes), weights), (gradient, value))| Task {
            logits,
            classes,
            weights,
            gradient,
            value,
        })
        .collect();
    run_tasks(tasks, logits.len() * WORK, |task: Task| {
        let block = (BLOCK / columns).max(1);
        let mut losses = vec![0.0; block * columns];
        let rows = task.classes.chunks(block).zip(task.weights.chunks(block));
        let elements = task.logits.chunks(block * columns).zip(task.gradient.chunks_mut(block * columns));
        for ((classes, weights), (logits, gradient)) in rows.zip(elements) {
            let losses = &mut losses[..logits.len()];
            // As if all were background.
            each(logits, losses, gradient, |z| element(z, 1.0 - alpha));
            for (row, (&class, &weight)) in classes.iter().zip(weights).enumerate() {
                let row = row * columns..(row + 1) * columns;
                if let Some(class) = usize::try_from(class).ok().filter(|class| *class < columns) {
                    let (value, slope) = element(-logits[row.start + class], alpha);
                    (losses[row.start + class], gradient[row.start + class]) = (value, -slope);
                }
                gradient[row.clone()].iter_mut().for_each(|slope| *slope *= weight);
                *task.value += f64::from(weight) * sum(&losses[row], |loss| loss);
            }
        }
    });
    (values.iter().sum(), gradient)
}

/// Writes the value and the slope of each logit. A function of its own: as its arguments the three slices are known
/// not to overlap, without which the compiler makes no vectors of the loop.
#[inline(never)]
fn each(logits: &[f32], losses: &mut [f32], slopes: &mut [f32], element: impl Fn(f32) -> (f32, f32)) {
    for ((&z, loss), slope) in logits.iter().zip(losses).zip(slopes) {
        (*loss, *slope) = element(z);
    }
}
