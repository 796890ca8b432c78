//! Convolutions with 3×3 kernels of stride 1 by the minimal filtering algorithm F(2×2, 3×3) of Winograd, in the form of
//! Lavin and Gray 2016: 16 multiplications for 2×2 outputs instead of 36.
//!
//! For each square `d` of 4×4 inputs (two neighbours share half) and each kernel `g`
//! `y = Aᵀ [ Σ_channels (G g Gᵀ) ∘ (Bᵀ d B) ] A`, with
//!
//! ```text
//!      | 1  0 −1  0 |       | 1  0  0 |
//! Bᵀ = | 0  1  1  0 |   G = | ½  ½  ½ |   Aᵀ = | 1  1  1  0 |
//!      | 0 −1  1  0 |       | ½ −½  ½ |        | 0  1 −1 −1 |
//!      | 0  1  0 −1 |       | 0  0  1 |
//! ```
//!
//! The sum over channels is a product of matrices for each of the 16 positions of a square. No coefficient exceeds 1, so the
//! rounding stays close to that of the direct sum.

mod transforms;

use crate::ops::flex::{MatrixMut, MatrixRef, multiply, run_tasks, with_scratch};

use super::{
    forward::{cut, parts},
    geometry::{Geometry, Tile, tiles},
};
use transforms::{channel_groups, lines_len};

/// Positions of a transformed square.
const POSITIONS: usize = 16;

/// Floats of a task's transformed inputs and sums.
const TASK_FLOATS: usize = 256 * 1024;

/// Squares of a task, however many channels there are: each task reads all transformed kernels again.
const TASK_SQUARES: usize = 64;

/// Fewest squares of a task where there are too few for all threads.
const MIN_SQUARES: usize = 16;

/// Floats of what the weight's gradient multiplies at once: to stay in the third-level cache.
const GRADIENT_FLOATS: usize = 512 * 1024;

/// Channels that a task transforms.
const GROUP: usize = 16;

/// Fewest channels, of the input and of the output, for which the products outweigh the transforms.
const MIN_CHANNELS: usize = 32;

/// Fewest output positions for which the transform of the kernels pays.
const MIN_OUTPUTS: usize = 512;

/// [`MIN_CHANNELS`] for the gradient of the weight, whose sums are read and written with each block.
const MIN_GRADIENT_CHANNELS: usize = 128;

/// [`MIN_OUTPUTS`] for the gradient of the weight.
const MIN_GRADIENT_OUTPUTS: usize = 1024;

/// Whether [`convolve`] is the faster way.
pub(super) fn suits(geometry: &Geometry) -> bool {
    exceeds(geometry, MIN_CHANNELS, MIN_OUTPUTS)
}

/// Whether [`weight_gradient`] is the faster way.
pub(super) fn suits_weight_gradient(geometry: &Geometry) -> bool {
    exceeds(geometry, MIN_GRADIENT_CHANNELS, MIN_GRADIENT_OUTPUTS)
}

fn exceeds(geometry: &Geometry, channels: usize, outputs: usize) -> bool {
    geometry.kernel == 3
        && geometry.stride == 1
        && geometry.in_channels.min(geometry.out_channels) >= channels
        && geometry.batch * geometry.out_plane() >= outputs
}

/// As [`super::forward::convolve`], for a 3×3 kernel of stride 1.
pub(super) fn convolve(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
) -> Vec<f32> {
    let (depth, rows) = (geometry.in_channels, geometry.out_channels);
    // [out, 16, in]
    let mut kernels = vec![0.0; rows * POSITIONS * depth];
    let tasks = kernels.chunks_exact_mut(POSITIONS * depth).zip(weight.chunks_exact(9 * depth)).collect();
    run_tasks(tasks, weight.len() * POSITIONS, |(target, weight): (&mut [f32], &[f32])| {
        transforms::kernels(target, weight);
    });

    let squares = squares(geometry);
    let share = (geometry.batch * squares.out_plane()).div_ceil(rayon::current_num_threads());
    let limit = (TASK_FLOATS / (POSITIONS * (depth + rows))).max(TASK_SQUARES);
    let blocks = tiles(&squares, limit.min(share).max(MIN_SQUARES));
    let of_outputs: Vec<Tile> = blocks.iter().map(|block| outputs(block, geometry)).collect();
    let mut output = vec![0.0; geometry.batch * rows * geometry.out_plane()];
    let tasks = blocks.iter().zip(parts(&mut output, &of_outputs, geometry)).collect();
    run_tasks(tasks, geometry.work(), |(block, part): (&Tile, Vec<&mut [f32]>)| {
        let columns = block.columns(&squares);
        let (inputs, sums) = (depth * columns, rows * columns);
        with_scratch(POSITIONS * (inputs + sums) + lines_len(geometry), |scratch| {
            let (transformed, scratch) = scratch.split_at_mut(POSITIONS * inputs);
            let (products, lines) = scratch.split_at_mut(POSITIONS * sums);
            let positions = transformed.chunks_exact_mut(inputs).collect();
            transforms::inputs(positions, lines, input, 0..depth, geometry, block);
            for position in 0..POSITIONS {
                let kernels = MatrixRef::rows(&kernels[position * depth..], rows, depth, POSITIONS * depth);
                let inputs = MatrixRef::rows(&transformed[position * inputs..], depth, columns, columns);
                let dst = &mut products[position * sums..][..sums];
                multiply(MatrixMut::dense(dst, rows, columns), kernels, inputs, false);
            }
            transforms::sums(part, products, lines, geometry, block, |channel, value| {
                let value = value + bias.get(channel).copied().unwrap_or(0.0);
                if relu { cut(value) } else { value }
            });
        });
    });
    output
}

/// As [`super::backward::weight_gradient`], for a 3×3 kernel of stride 1: `Gᵀ [ Σ_squares (A y Aᵀ) ∘ (Bᵀ d B) ] G` with
/// the output's gradient `y`. Blocks follow one another, so the sum has a fixed order.
pub(super) fn weight_gradient(output_grad: &[f32], input: &[f32], geometry: &Geometry) -> Vec<f32> {
    let (depth, rows) = (geometry.in_channels, geometry.out_channels);
    let squares = squares(geometry);
    let blocks = tiles(&squares, GRADIENT_FLOATS / (POSITIONS * (depth + rows)));
    let most = blocks.iter().map(|block| block.columns(&squares)).max().unwrap_or(0);
    let mut transformed = vec![0.0; POSITIONS * (depth + rows) * most];
    // [16, in, out]: the product is fastest when the output channels are adjacent.
    let mut sums = vec![0.0; POSITIONS * depth * rows];
    for (i, block) in blocks.iter().enumerate() {
        let columns = block.columns(&squares);
        let (inputs, gradients) =
            transformed[..POSITIONS * (depth + rows) * columns].split_at_mut(POSITIONS * depth * columns);
        let of_inputs = channel_groups(inputs, depth, GROUP, columns).into_iter().map(|group| (true, group));
        let of_gradients =
            channel_groups(gradients, rows, GROUP, columns).into_iter().map(|group| (false, group));
        let work = POSITIONS * (depth + rows) * columns;
        run_tasks(of_inputs.chain(of_gradients).collect(), work, |(of_inputs, (channels, positions))| {
            with_scratch(lines_len(geometry), |lines| {
                if of_inputs {
                    transforms::inputs(positions, lines, input, channels, geometry, block);
                } else {
                    transforms::gradients(positions, lines, output_grad, channels, geometry, block);
                }
            });
        });
        let tasks = sums.chunks_exact_mut(depth * rows).enumerate().collect();
        run_tasks(tasks, geometry.work(), |(position, sums): (usize, &mut [f32])| {
            let inputs = MatrixRef::rows(&inputs[position * depth * columns..], depth, columns, columns);
            let gradients = MatrixRef::rows(&gradients[position * rows * columns..], rows, columns, columns);
            let dst = MatrixMut { data: sums, rows, columns: depth, row_stride: 1, column_stride: rows };
            multiply(dst, gradients, inputs.transposed(), i > 0);
        });
    }

    let mut gradient = vec![0.0; rows * depth * 9];
    let tasks = gradient.chunks_mut((GROUP * depth * 9).max(1)).enumerate().collect();
    run_tasks(tasks, sums.len(), |(group, target): (usize, &mut [f32])| {
        for channel in 0..depth {
            for (i, kernels) in target.chunks_exact_mut(depth * 9).enumerate() {
                let out = group * GROUP + i;
                let square = std::array::from_fn(|position| sums[(position * depth + channel) * rows + out]);
                kernels[channel * 9..][..9].copy_from_slice(&transforms::kernel_gradient(square));
            }
        }
    });
    gradient
}

/// The same convolution with squares of 2×2 outputs in place of outputs.
fn squares(geometry: &Geometry) -> Geometry {
    Geometry {
        out_height: geometry.out_height.div_ceil(2),
        out_width: geometry.out_width.div_ceil(2),
        ..*geometry
    }
}

/// The outputs of a block of squares.
fn outputs(block: &Tile, geometry: &Geometry) -> Tile {
    let rows = 2 * block.rows.start..(2 * block.rows.end).min(geometry.out_height);
    Tile { images: block.images.clone(), rows }
}

#[cfg(test)]
mod tests {
    use super::super::{backward::weight_gradient_by_columns, forward::convolve_by_columns};
    use super::*;

    /// Whole numbers: both are exact, the halves of the kernels too.
    #[test]
    fn it_is_the_direct_sum() {
        for (batch, channels, out, height, width, padding) in [
            (1, 1, 1, 2, 2, 1),
            (1, 2, 3, 5, 7, 1),
            (3, 4, 5, 8, 6, 0),
            (2, 3, 4, 9, 12, 2),
            (40, 2, 2, 4, 4, 1),
            (2, 33, 40, 31, 33, 1),
            (2, 1, 1, 1, 1, 1),
            (1, 1, 2, 3, 3, 0),
        ] {
            let geometry = Geometry::new([batch, channels, height, width], [out, channels, 3, 3], 1, padding);
            let values = |len: usize, period: usize| -> Vec<f32> {
                (0..len).map(|i| (i * 7919 % period) as f32 - (period / 2) as f32).collect()
            };
            let input = values(batch * channels * height * width, 17);
            let weight = values(out * channels * 9, 13);
            for (bias, relu) in [(Vec::new(), false), (values(out, 11), false), (values(out, 11), true)] {
                let matrix = MatrixRef::rows(&weight, out, geometry.depth(), geometry.depth());
                let expected = convolve_by_columns(&input, matrix, &bias, relu, &geometry);
                assert!(convolve(&input, &weight, &bias, relu, &geometry) == expected, "{geometry:?} {relu}");
            }
            let output_grad = values(batch * out * geometry.out_plane(), 7);
            let expected = weight_gradient_by_columns(&output_grad, &input, &geometry);
            assert!(weight_gradient(&output_grad, &input, &geometry) == expected, "{geometry:?}");
        }
    }

    /// Against sums in `f64`, relative to the largest output: a few roundings of `f32`, 6e-8 each.
    #[test]
    fn its_rounding_stays_small() {
        let geometry = Geometry::new([1, 128, 12, 14], [32, 128, 3, 3], 1, 1);
        let values = |len: usize, period: usize| -> Vec<f32> {
            (0..len).map(|i| (i * 7919 % period) as f32 / period as f32 - 0.5).collect()
        };
        let input = values(128 * geometry.plane(), 1009);
        let weight = values(32 * geometry.depth(), 1013);
        let exact = |channel: usize, row: usize, column: usize| -> f64 {
            let mut sum = 0.0;
            for (i, weight) in weight[channel * geometry.depth()..][..geometry.depth()].iter().enumerate() {
                let (y, x) = (row + i % 9 / 3, column + i % 3);
                if (1..=12).contains(&y) && (1..=14).contains(&x) {
                    let input = input[i / 9 * geometry.plane() + (y - 1) * geometry.width + x - 1];
                    sum += f64::from(*weight) * f64::from(input);
                }
            }
            sum
        };
        let output = convolve(&input, &weight, &[], false, &geometry);
        let largest = output.iter().fold(0.0_f32, |a, b| a.max(b.abs()));
        let error = output.iter().enumerate().map(|(i, value)| {
            let (channel, position) = (i / geometry.plane(), i % geometry.plane());
            (f64::from(*value) - exact(channel, position / geometry.width, position % geometry.width)).abs()
        });
        let error = error.fold(0.0, f64::max) / f64::from(largest);
        assert!(error < 2e-6, "{error}");
    }
}
