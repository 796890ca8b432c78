//! The loops over memory. A group of an image is a contiguous block, which one task reads from memory once; its
//! further passes find it in the cache. Every sum has a fixed order that does not depend on the number of threads.

use crate::ops::flex::{run_tasks, sum};

/// How `[N, C, H, W]` falls into groups.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    channels: usize,
    /// Channels of a group.
    group_channels: usize,
    /// Elements of a channel of an image.
    plane: usize,
    /// Whether a ReLU follows.
    rectify: bool,
}

impl Layout {
    pub fn new([_, channels, height, width]: [usize; 4], groups: usize, rectify: bool) -> Self {
        Self { channels, group_channels: channels / groups, plane: height * width, rectify }
    }

    /// Elements of a group of an image.
    fn block(&self) -> usize {
        self.group_channels * self.plane
    }

    /// The channels of the block of this index, in the order of memory.
    fn first_channel(&self, block: usize) -> usize {
        block * self.group_channels % self.channels
    }
}

/// Mean and 1 / √(variance + eps) of a group of an image.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Statistics {
    mean: f32,
    scale: f32,
}

/// The work of one element, in multiplications, for [`run_tasks`].
const WORK: usize = 8;

/// The output and the statistics of each group of each image.
pub(super) fn forward(
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    layout: &Layout,
    eps: f64,
) -> (Vec<f32>, Vec<Statistics>) {
    let block = layout.block();
    let mut output = vec![0.0; x.len()];
    if x.is_empty() {
        return (output, Vec::new());
    }
    let mut statistics = vec![Statistics::default(); x.len() / block];
    let blocks = x.chunks_exact(block).zip(output.chunks_exact_mut(block)).zip(&mut statistics);
    run_tasks(blocks.enumerate().collect(), x.len() * WORK, |(index, ((x, output), statistics))| {
        *statistics = measure(x, eps);
        let first = layout.first_channel(index);
        let channels = x.chunks_exact(layout.plane).zip(output.chunks_exact_mut(layout.plane));
        for (channel, (x, output)) in (first..).zip(channels) {
            let Statistics { mean, scale } = *statistics;
            let (factor, offset) = (scale * gamma[channel], beta[channel]);
            let normalized = output.iter_mut().zip(x);
            if layout.rectify {
                normalized.for_each(|(to, x)| *to = rectified((x - mean) * factor + offset));
            } else {
                normalized.for_each(|(to, x)| *to = (x - mean) * factor + offset);
            }
        }
    });
    (output, statistics)
}

/// `max(0, value)` that lets NaN through, so that a bad input is seen in the loss; `f32::max` would hide it.
fn rectified(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}

fn measure(x: &[f32], eps: f64) -> Statistics {
    let count = x.len() as f64;
    let mean = sum(x, |x| x) / count;
    let mean = mean as f32;
    let variance = sum(x, |x| (x - mean) * (x - mean)) / count;
    Statistics { mean, scale: (1.0 / (variance + eps).sqrt()) as f32 }
}

/// Gradients of the three inputs; that of x is empty unless asked for.
pub(super) struct Gradients {
    pub x: Vec<f32>,
    pub gamma: Vec<f32>,
    pub beta: Vec<f32>,
}

/// What the gradients of gamma and beta get from one channel of one image: Σ dy·x̂ and Σ dy.
type ChannelSums = [f32; 2];

pub(super) fn backward(
    output_grad: &[f32],
    x: &[f32],
    gamma: &[f32],
    beta: &[f32],
    statistics: &[Statistics],
    layout: &Layout,
    with_x: bool,
) -> Gradients {
    let (block, channels) = (layout.block(), layout.channels);
    let mut gradients = Gradients { x: Vec::new(), gamma: vec![0.0; channels], beta: vec![0.0; channels] };
    if x.is_empty() {
        return gradients;
    }
    let mut sums: Vec<ChannelSums> = vec![[0.0; 2]; x.len() / layout.plane];
    gradients.x = vec![0.0; if with_x { x.len() } else { 0 }];
    let mut x_grads = gradients.x.chunks_exact_mut(block);
    let blocks = sums
        .chunks_exact_mut(layout.group_channels)
        .enumerate()
        .map(|(index, sums)| (index, sums, x_grads.next()))
        .collect();
    run_tasks(blocks, x.len() * WORK, |(index, sums, x_grad)| {
        let range = index * block..(index + 1) * block;
        let first = layout.first_channel(index);
        let parameters = first..first + layout.group_channels;
        let block = Block {
            x: &x[range.clone()],
            output_grad: &output_grad[range],
            gamma: &gamma[parameters.clone()],
            beta: &beta[parameters],
            statistics: statistics[index],
            layout,
        };
        block.channel_sums(sums);
        if let Some(x_grad) = x_grad {
            block.input_gradient(sums, x_grad);
        }
    });
    for (i, [gamma, beta]) in sums.into_iter().enumerate() {
        gradients.gamma[i % channels] += gamma;
        gradients.beta[i % channels] += beta;
    }
    gradients
}

/// A group of an image in the backward pass.
struct Block<'a> {
    x: &'a [f32],
    output_grad: &'a [f32],
    gamma: &'a [f32],
    beta: &'a [f32],
    statistics: Statistics,
    layout: &'a Layout,
}

impl Block<'_> {
    /// x and the output's gradient, channel by channel.
    fn channels(&self) -> impl Iterator<Item = (&[f32], &[f32])> {
        let plane = self.layout.plane;
        self.x.chunks_exact(plane).zip(self.output_grad.chunks_exact(plane))
    }

    /// The least x̂·gamma at which the gradient passes the ReLU.
    fn threshold(&self, channel: usize) -> f32 {
        if self.layout.rectify { -self.beta[channel] } else { f32::NEG_INFINITY }
    }

    fn channel_sums(&self, sums: &mut [ChannelSums]) {
        let Statistics { mean, scale } = self.statistics;
        for (channel, (sums, (x, dy))) in sums.iter_mut().zip(self.channels()).enumerate() {
            let (factor, threshold) = (scale * self.gamma[channel], self.threshold(channel));
            // Eight interleaved partial sums, which the compiler can keep in vector registers.
            let mut lanes = [[0.0; 8]; 2];
            let ((xs, x_rest), (dys, dy_rest)) = (x.as_chunks::<8>(), dy.as_chunks::<8>());
            for (xs, dys) in xs.iter().zip(dys) {
                for lane in 0..8 {
                    let centred = xs[lane] - mean;
                    let dy = passed(dys[lane], centred * factor, threshold);
                    lanes[0][lane] += dy * centred;
                    lanes[1][lane] += dy;
                }
            }
            for (&x, &dy) in x_rest.iter().zip(dy_rest) {
                let dy = passed(dy, (x - mean) * factor, threshold);
                lanes[0][0] += dy * (x - mean);
                lanes[1][0] += dy;
            }
            *sums = [lanes[0].iter().sum::<f32>() * scale, lanes[1].iter().sum()];
        }
    }

    /// `dx = (gamma·dy − mean(gamma·dy) − x̂·mean(gamma·dy·x̂)) / √(σ² + eps)`.
    fn input_gradient(&self, sums: &[ChannelSums], x_grad: &mut [f32]) {
        let Statistics { mean, scale } = self.statistics;
        let count = self.x.len() as f32;
        let weighted =
            |i: usize| sums.iter().zip(self.gamma).map(|(sums, gamma)| sums[i] * gamma).sum::<f32>();
        let (slope, constant) = (scale * scale * weighted(0) / count, scale * weighted(1) / count);
        let planes = x_grad.chunks_exact_mut(self.layout.plane).zip(self.channels());
        for (channel, (x_grad, (x, dy))) in planes.enumerate() {
            let (factor, threshold) = (scale * self.gamma[channel], self.threshold(channel));
            for ((to, &x), &dy) in x_grad.iter_mut().zip(x).zip(dy) {
                let dy = passed(dy, (x - mean) * factor, threshold);
                *to = factor * dy - constant - (x - mean) * slope;
            }
        }
    }
}

/// The gradient that a ReLU lets through: all of it above the threshold, else none.
fn passed(dy: f32, value: f32, threshold: f32) -> f32 {
    if value > threshold { dy } else { 0.0 }
}
