//! The weighted sums of the differences of two predictions by a sigmoid head.

use burn::tensor::{Tensor, TensorData};

use super::{
    BLOCK, TASK, WORK,
    elementary::{sigmoid, sigmoid_and_softplus, softplus},
};
use crate::{
    flex::{primitive, run_tasks, sum, values},
    losses::{BoxNorm, surrogate::sum_with_gradient},
    reweight::{BoxWeights, Granularity, ReweightConfig, WeightedSums},
    structures::{Predictions, ViewPair},
};

/// How two predictions are compared, weighted and summed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PairTerm {
    /// Whether both sides learn, as in the scale consistency; else the first alone, as in the self-distillation.
    pub two_sided: bool,
    /// Temperature of the other side's classes.
    pub temperature: f64,
    /// The distance of boxes.
    pub box_norm: BoxNorm,
    /// The weights.
    pub reweight: ReweightConfig,
}

/// Elements in rows of some columns, one row an anchor.
#[derive(Clone, Copy)]
struct Rows<'a> {
    elements: &'a [f32],
    columns: usize,
}

impl<'a> Rows<'a> {
    /// Row by row, `rows` at a time.
    fn chunks(self, rows: usize) -> impl Iterator<Item = &'a [f32]> {
        self.elements.chunks(rows * self.columns)
    }
}

/// What a task adds up.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    class: f64,
    class_weight: f64,
    boxes: f64,
    box_weight: f64,
}

impl Sums {
    fn plus(self, other: Self) -> Self {
        Self {
            class: self.class + other.class,
            class_weight: self.class_weight + other.class_weight,
            boxes: self.boxes + other.boxes,
            box_weight: self.box_weight + other.box_weight,
        }
    }
}

/// Some anchors of both sides, and where their results go.
struct Task<'a> {
    logits: [&'a [f32]; 2],
    deltas: [&'a [f32]; 2],
    class_gradient: &'a mut [f32],
    box_gradient: &'a mut [f32],
    sums: &'a mut Sums,
}

impl PairTerm {
    /// The sums over all anchors; `None` unless all tensors are `f32` tensors of flex with at least one element.
    pub(crate) fn weighted_sums(&self, pair: &ViewPair) -> Option<WeightedSums> {
        let ([n, a, c], [.., r]) = (pair.student.class_logits.dims(), pair.student.box_deltas.dims());
        if n * a * c * r == 0 {
            return None;
        }
        let sides = [&pair.student, &pair.other];
        let logits = both(sides.map(|side| primitive(&side.class_logits)))?;
        let deltas = both(sides.map(|side| primitive(&side.box_deltas)))?;
        let (sums, class_gradient, box_gradient) = self.rows(
            [&logits[0], &logits[1]].map(|side| Rows { elements: values(side), columns: c }),
            [&deltas[0], &deltas[1]].map(|side| Rows { elements: values(side), columns: r }),
        );
        let device = pair.student.class_logits.device();
        let number = |value: f64| Tensor::from_floats([value as f32], &device).inner();
        let gradient = |values, columns| Tensor::from_data(TensorData::new(values, [n, a, columns]), &device);
        let attached = |value, gradient: Tensor<3>, of: fn(&Predictions) -> Tensor<3>| {
            let sum = sum_with_gradient(number(value), of(&pair.student), gradient.clone(), 1.0);
            if self.two_sided { sum_with_gradient(sum, of(&pair.other), gradient, -1.0) } else { sum }
        };
        Some(WeightedSums {
            class: attached(sums.class, gradient(class_gradient, c), |side| side.class_logits.clone()),
            class_weight: number(sums.class_weight),
            boxes: attached(sums.boxes, gradient(box_gradient, r), |side| side.box_deltas.clone()),
            box_weight: number(sums.box_weight),
        })
    }

    /// The sums, and the gradients to the first side's logits and deltas; those to the other side's, where it
    /// learns, are their negatives.
    fn rows(&self, logits: [Rows; 2], deltas: [Rows; 2]) -> (Sums, Vec<f32>, Vec<f32>) {
        let mut class_gradient = vec![0.0; logits[0].elements.len()];
        let mut box_gradient = vec![0.0; deltas[0].elements.len()];
        let rows = (TASK / logits[0].columns).max(1);
        let mut sums = vec![Sums::default(); (logits[0].elements.len() / logits[0].columns).div_ceil(rows)];
        let inputs = logits[0].chunks(rows).zip(logits[1].chunks(rows));
        let inputs = inputs.zip(deltas[0].chunks(rows).zip(deltas[1].chunks(rows)));
        let outputs = class_gradient
            .chunks_mut(rows * logits[0].columns)
            .zip(box_gradient.chunks_mut(rows * deltas[0].columns))
            .zip(&mut sums);
        let tasks = inputs.zip(outputs).map(|(((a, b), (x, y)), ((class_gradient, box_gradient), sums))| {
            Task { logits: [a, b], deltas: [x, y], class_gradient, box_gradient, sums }
        });
        let columns = [logits[0].columns, deltas[0].columns];
        run_tasks(tasks.collect(), logits[0].elements.len() * WORK, |task| self.task(task, columns));
        (sums.into_iter().fold(Sums::default(), Sums::plus), class_gradient, box_gradient)
    }

    fn task(&self, task: Task, [c, r]: [usize; 2]) {
        let block = (BLOCK / c).max(1);
        let (mut losses, mut sharp) = (vec![0.0; block * c], vec![0.0; block * c]);
        let logits = task.logits[0].chunks(block * c).zip(task.logits[1].chunks(block * c));
        let deltas = task.deltas[0].chunks(block * r).zip(task.deltas[1].chunks(block * r));
        let gradients =
            task.class_gradient.chunks_mut(block * c).zip(task.box_gradient.chunks_mut(block * r));
        for (((student, other), (x, y)), (class_gradient, box_gradient)) in logits.zip(deltas).zip(gradients)
        {
            let losses = &mut losses[..student.len()];
            let other = if self.temperature == 1.0 {
                other
            } else {
                let sharp = &mut sharp[..other.len()];
                for (row, sharp) in other.chunks_exact(c).zip(sharp.chunks_exact_mut(c)) {
                    sharpen(row, self.temperature as f32, sharp);
                }
                sharp
            };
            self.divergences(student, other, losses, class_gradient);
            let rows = losses.chunks_exact(c).zip(class_gradient.chunks_exact_mut(c));
            let boxes = x.chunks_exact(r).zip(y.chunks_exact(r)).zip(box_gradient.chunks_exact_mut(r));
            for ((losses, class_gradient), ((x, y), box_gradient)) in rows.zip(boxes) {
                let anchor = self.weigh_classes(losses, class_gradient, task.sums);
                let weight = match self.reweight.boxes {
                    BoxWeights::Inconsistency => anchor,
                    BoxWeights::Uniform => 1.0,
                };
                let distance = self.distance(x, y, box_gradient);
                box_gradient.iter_mut().for_each(|slope| *slope *= weight);
                task.sums.boxes += f64::from(weight * distance);
                task.sums.box_weight += f64::from(weight);
            }
        }
    }

    /// The divergence of each anchor and class, and the difference of the probabilities, which is its gradient.
    fn divergences(&self, student: &[f32], other: &[f32], losses: &mut [f32], differences: &mut [f32]) {
        let inputs = student.iter().zip(other);
        let outputs = losses.iter_mut().zip(differences);
        if self.two_sided {
            for ((&a, &b), (loss, difference)) in inputs.zip(outputs) {
                *difference = sigmoid(a) - sigmoid(b);
                *loss = *difference * (a - b);
            }
        } else {
            for ((&a, &b), (loss, difference)) in inputs.zip(outputs) {
                // KL(other ‖ student) with both by their opposite where b > 0, as large terms would cancel.
                let side = if b > 0.0 { -1.0 } else { 1.0 };
                let (p, softplus_p) = sigmoid_and_softplus(-b.abs());
                let (q, softplus_q) = sigmoid_and_softplus(a * side);
                *difference = (q - p) * side;
                let divergence = p * (-b.abs() - a * side) + softplus_q - softplus_p;
                // Rounding can leave a nearly zero divergence slightly below zero.
                *loss = if divergence < 0.0 { 0.0 } else { divergence };
            }
        }
    }

    /// Adds an anchor's weighted losses and weights to the sums, weighs its gradient, which holds the
    /// differences of its probabilities, and gives the anchor's weight.
    fn weigh_classes(&self, losses: &[f32], gradient: &mut [f32], sums: &mut Sums) -> f32 {
        let highest = highest(gradient.iter().map(|difference| difference.abs()));
        let anchor = self.power(highest);
        match self.reweight.granularity {
            Granularity::PerAnchor => {
                gradient.iter_mut().for_each(|slope| *slope *= anchor);
                sums.class += f64::from(anchor) * sum(losses, |loss| loss);
                sums.class_weight += f64::from(anchor);
            }
            Granularity::PerClass => {
                for (slope, loss) in gradient.iter_mut().zip(losses) {
                    let weight = self.power(slope.abs());
                    *slope *= weight;
                    sums.class += f64::from(weight * loss);
                    sums.class_weight += f64::from(weight);
                }
            }
        }
        anchor
    }

    fn power(&self, difference: f32) -> f32 {
        match self.reweight.gamma {
            0.0 => 1.0,
            1.0 => difference,
            2.0 => difference * difference,
            gamma => difference.powf(gamma as f32),
        }
    }

    /// The distance of the boxes of an anchor; `gradient` becomes that to the first.
    fn distance(&self, a: &[f32], b: &[f32], gradient: &mut [f32]) -> f32 {
        gradient.iter_mut().zip(a.iter().zip(b)).for_each(|(d, (a, b))| *d = a - b);
        let squares = |gradient: &[f32]| gradient.iter().map(|d| d * d).sum::<f32>();
        match self.box_norm {
            BoxNorm::L2 { epsilon } => {
                let epsilon = epsilon as f32;
                let square = squares(gradient);
                let root = (square + epsilon * epsilon).sqrt();
                gradient.iter_mut().for_each(|d| *d /= root);
                square / (root + epsilon)
            }
            BoxNorm::SquaredL2 => {
                let square = squares(gradient);
                gradient.iter_mut().for_each(|d| *d *= 2.0);
                square
            }
            BoxNorm::SmoothL1 { beta: 0.0 } => {
                let distance = gradient.iter().map(|d| d.abs()).sum();
                gradient.iter_mut().for_each(|d| *d = if *d == 0.0 { 0.0 } else { d.signum() });
                distance
            }
            BoxNorm::SmoothL1 { beta } => {
                let beta = beta as f32;
                let mut distance = 0.0;
                for d in gradient {
                    let clipped = d.clamp(-beta, beta);
                    distance += (*d - clipped / 2.0) * clipped / beta;
                    *d = clipped / beta;
                }
                distance
            }
        }
    }
}

/// [`sharpen`](fn@crate::losses::sharpen) of one anchor's sigmoid logits.
fn sharpen(logits: &[f32], temperature: f32, sharp: &mut [f32]) {
    let highest = highest(logits.iter().copied());
    let log_s = -softplus(-highest);
    for (sharp, &z) in sharp.iter_mut().zip(logits) {
        let log_p = -softplus(-z);
        let log = (log_p - log_s) / temperature + log_s;
        // The logit of a probability that rounds to 1 is infinite; none rises above where it was.
        let logit = log - (1.0 - log.exp()).ln();
        *sharp = if z == highest || logit > z { z } else { logit };
    }
}

/// The sum of the highest probability of each anchor of sigmoid `logits` `[N, A, C]`, `[1]`; `None` as in
/// [`PairTerm::weighted_sums`].
pub(crate) fn foreground_sum(logits: &Tensor<3>) -> Option<Tensor<1>> {
    let [.., c] = logits.dims();
    let elements = primitive(logits).filter(|_| logits.shape().num_elements() > 0)?;
    let rows = Rows { elements: values(&elements), columns: c };
    let chunk = (TASK / c).max(1);
    let mut sums = vec![0.0; (rows.elements.len() / c).div_ceil(chunk)];
    let tasks = rows.chunks(chunk).zip(&mut sums).collect();
    run_tasks(tasks, rows.elements.len(), |(rows, sum): (&[f32], &mut f64)| {
        for row in rows.chunks_exact(c) {
            *sum += f64::from(sigmoid(highest(row.iter().copied())));
        }
    });
    Some(Tensor::from_floats([sums.iter().sum::<f64>() as f32], &logits.device()).inner())
}

/// The highest value; NaN if there is one.
fn highest(values: impl Iterator<Item = f32>) -> f32 {
    values.fold(
        f32::NEG_INFINITY,
        |highest, value| if value > highest || value.is_nan() { value } else { highest },
    )
}

fn both<T>([a, b]: [Option<T>; 2]) -> Option<[T; 2]> {
    Some([a?, b?])
}
