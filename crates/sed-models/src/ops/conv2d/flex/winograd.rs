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

use crate::ops::flex::{MatrixMut, MatrixRef, multiply, run_tasks, with_scratch};

use super::{
    forward::{cut, parts},
    geometry::{Geometry, Tile, tiles},
};

/// Positions of a transformed square.
const POSITIONS: usize = 16;

/// Floats of a task's transformed inputs and sums.
const TASK_FLOATS: usize = 256 * 1024;

/// Squares of a task, however many channels there are: each task reads all transformed kernels again.
const TASK_SQUARES: usize = 64;

/// Fewest squares of a task where there are too few for all threads.
const MIN_SQUARES: usize = 16;

/// Fewest channels, of the input and of the output, for which the products outweigh the transforms.
const MIN_CHANNELS: usize = 32;

/// Fewest output positions for which the transform of the kernels pays.
const MIN_OUTPUTS: usize = 512;

/// Whether this algorithm is the faster one.
pub(super) fn suits(geometry: &Geometry) -> bool {
    geometry.kernel == 3
        && geometry.stride == 1
        && geometry.in_channels.min(geometry.out_channels) >= MIN_CHANNELS
        && geometry.batch * geometry.out_plane() >= MIN_OUTPUTS
}

/// As [`super::forward::convolve`], for a 3×3 kernel of stride 1.
pub(super) fn convolve(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
) -> Vec<f32> {
    let kernels = transform_kernels(weight, geometry);
    let squares = squares(geometry);
    let per_square = POSITIONS * (geometry.in_channels + geometry.out_channels);
    let share = (geometry.batch * squares.out_plane()).div_ceil(rayon::current_num_threads());
    let blocks = tiles(&squares, (TASK_FLOATS / per_square).max(TASK_SQUARES).min(share).max(MIN_SQUARES));
    let of_outputs: Vec<Tile> = blocks.iter().map(|block| outputs(block, geometry)).collect();

    let mut output = vec![0.0; geometry.batch * geometry.out_channels * geometry.out_plane()];
    let tasks = blocks.iter().zip(parts(&mut output, &of_outputs, geometry)).collect();
    run_tasks(tasks, geometry.work(), |(block, part): (&Tile, Vec<&mut [f32]>)| {
        let columns = block.columns(&squares);
        let (inputs, products) = (geometry.in_channels * columns, geometry.out_channels * columns);
        let lines = 8 * line_len(&squares);
        with_scratch(POSITIONS * (inputs + products) + lines, |scratch| {
            let (transformed, scratch) = scratch.split_at_mut(POSITIONS * inputs);
            let (sums, lines) = scratch.split_at_mut(POSITIONS * products);
            transform_inputs(transformed, lines, input, geometry, block);
            for position in 0..POSITIONS {
                let (rows, depth) = (geometry.out_channels, geometry.in_channels);
                let kernels = MatrixRef::rows(&kernels[position * depth..], rows, depth, POSITIONS * depth);
                let inputs = MatrixRef::rows(&transformed[position * inputs..], depth, columns, columns);
                let dst = &mut sums[position * products..][..products];
                multiply(MatrixMut::dense(dst, rows, columns), kernels, inputs, false);
            }
            transform_sums(part, sums, lines, bias, relu, geometry, block);
        });
    });
    output
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

/// Input columns that a row of squares sees.
fn line_len(squares: &Geometry) -> usize {
    2 * squares.out_width + 2
}

/// `G g Gᵀ` of each kernel, as `[out, 16, in]`.
fn transform_kernels(weight: &[f32], geometry: &Geometry) -> Vec<f32> {
    let channels = geometry.in_channels;
    let mut kernels = vec![0.0; geometry.out_channels * POSITIONS * channels];
    let rows = kernels.chunks_exact_mut(POSITIONS * channels).zip(weight.chunks_exact(9 * channels));
    run_tasks(rows.collect(), weight.len() * POSITIONS, |(target, weight): (&mut [f32], &[f32])| {
        for (channel, kernel) in weight.as_chunks::<9>().0.iter().enumerate() {
            // Gᵀ from the right for each row, then G from the left for each column.
            let rows: [[f32; 4]; 3] = std::array::from_fn(|u| {
                transform_kernel_line([kernel[3 * u], kernel[3 * u + 1], kernel[3 * u + 2]])
            });
            for v in 0..4 {
                let column = transform_kernel_line([rows[0][v], rows[1][v], rows[2][v]]);
                for (u, value) in column.into_iter().enumerate() {
                    target[(4 * u + v) * channels + channel] = value;
                }
            }
        }
    });
    kernels
}

/// `G` times a column.
fn transform_kernel_line([a, b, c]: [f32; 3]) -> [f32; 4] {
    let (ends, middle) = (0.5 * (a + c), 0.5 * b);
    [a, ends + middle, ends - middle, c]
}

/// `Bᵀ d B` of each square of a block, as `[16, in, squares]`. `lines` holds eight lines of inputs.
fn transform_inputs(
    transformed: &mut [f32],
    lines: &mut [f32],
    input: &[f32],
    geometry: &Geometry,
    block: &Tile,
) {
    let Geometry { width, padding, .. } = *geometry;
    let squares = squares(geometry);
    let (line, across) = (line_len(&squares), squares.out_width);
    let columns = block.columns(&squares);
    let (lines, combined) = lines.split_at_mut(4 * line);
    // Zeros left and right of the input stay there.
    lines.fill(0.0);
    for channel in 0..geometry.in_channels {
        let mut start = channel * columns;
        for image in block.images.clone() {
            let plane =
                &input[(image * geometry.in_channels + channel) * geometry.plane()..][..geometry.plane()];
            for row in block.rows.clone() {
                for (u, line) in lines.chunks_exact_mut(line).enumerate() {
                    let target = &mut line[padding..padding + width];
                    match (2 * row + u).checked_sub(padding).filter(|&y| y < geometry.height) {
                        Some(y) => target.copy_from_slice(&plane[y * width..][..width]),
                        None => target.fill(0.0),
                    }
                }
                combine_lines(lines, combined);
                let position = geometry.in_channels * columns;
                let rows = transformed.chunks_exact_mut(4 * position);
                for (row, line) in rows.zip(combined.chunks_exact(line)) {
                    transform_line(line, quarters(row).map(|row| &mut row[start..start + across]));
                }
                start += across;
            }
        }
    }
}

/// Four equal parts.
fn quarters(slice: &mut [f32]) -> [&mut [f32]; 4] {
    let (first, second) = slice.split_at_mut(slice.len() / 2);
    let (a, b) = first.split_at_mut(first.len() / 2);
    let (c, d) = second.split_at_mut(second.len() / 2);
    [a, b, c, d]
}

/// `Bᵀ` times four lines of inputs.
fn combine_lines(lines: &[f32], combined: &mut [f32]) {
    let len = lines.len() / 4;
    let (a, rest) = lines.split_at(len);
    let (b, rest) = rest.split_at(len);
    let (c, d) = rest.split_at(len);
    let difference = |to: &mut [f32], x: &[f32], y: &[f32]| {
        to.iter_mut().zip(x.iter().zip(y)).for_each(|(to, (x, y))| *to = x - y);
    };
    let [first, second, third, fourth] = quarters(combined);
    difference(first, a, c);
    second.iter_mut().zip(b.iter().zip(c)).for_each(|(to, (x, y))| *to = x + y);
    difference(third, c, b);
    difference(fourth, b, d);
}

/// One row of `Bᵀ d B` for squares side by side, from a row of `Bᵀ d`.
fn transform_line(line: &[f32], [first, second, third, fourth]: [&mut [f32]; 4]) {
    let (pairs, _) = line.as_chunks::<2>();
    let neighbours = pairs.iter().zip(&pairs[1..]);
    let targets = first.iter_mut().zip(second).zip(third.iter_mut().zip(fourth));
    for (([a, b], [c, d]), ((first, second), (third, fourth))) in neighbours.zip(targets) {
        *first = a - c;
        *second = b + c;
        *third = c - b;
        *fourth = b - d;
    }
}

/// `Aᵀ m A` of the sums `m`, `[16, out, squares]`, with bias and cut at 0, to the block's part of the output. `lines` holds eight
/// lines of squares.
fn transform_sums(
    part: Vec<&mut [f32]>,
    sums: &[f32],
    lines: &mut [f32],
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
    block: &Tile,
) {
    let (channels, across) = (geometry.out_channels, geometry.out_width.div_ceil(2));
    let columns = block.rows.len() * across;
    let lines = &mut lines[..8 * across];
    for (i, target) in part.into_iter().enumerate() {
        let (image, channel) = (i / channels, i % channels);
        let bias = bias.get(channel).copied().unwrap_or(0.0);
        for (row, target) in target.chunks_mut(2 * geometry.out_width).enumerate() {
            let start = (channel * block.images.len() + image) * columns + row * across;
            for (v, pair) in lines.chunks_exact_mut(2 * across).enumerate() {
                let line = |u: usize| {
                    &sums[(4 * u + v) * channels * block.images.len() * columns + start..][..across]
                };
                combine_sums([line(0), line(1), line(2), line(3)], pair);
            }
            for (odd, target) in target.chunks_exact_mut(geometry.out_width).enumerate() {
                let line = |v: usize| &lines[(2 * v + odd) * across..][..across];
                write_line(target, [line(0), line(1), line(2), line(3)], bias, relu);
            }
        }
    }
}

/// The two rows of `Aᵀ m` for one column of the squares.
fn combine_sums([a, b, c, d]: [&[f32]; 4], pair: &mut [f32]) {
    let (upper, lower) = pair.split_at_mut(pair.len() / 2);
    let sums = a.iter().zip(b).zip(c.iter().zip(d));
    for ((upper, lower), ((a, b), (c, d))) in upper.iter_mut().zip(lower).zip(sums) {
        *upper = a + b + c;
        *lower = b - c - d;
    }
}

/// One row of outputs from a row of `Aᵀ m`; of the last square the first output alone where the width is odd.
fn write_line(target: &mut [f32], [a, b, c, d]: [&[f32]; 4], bias: f32, relu: bool) {
    let finish = |value: f32| if relu { cut(value + bias) } else { value + bias };
    let (pairs, odd) = target.as_chunks_mut::<2>();
    for (pair, ((a, b), (c, d))) in pairs.iter_mut().zip(a.iter().zip(b).zip(c.iter().zip(d))) {
        *pair = [finish(a + b + c), finish(b - c - d)];
    }
    if let ([last], [.., a], [.., b], [.., c]) = (odd, a, b, c) {
        *last = finish(a + b + c);
    }
}

#[cfg(test)]
mod tests {
    use super::super::forward::convolve_by_columns;
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
                let expected = convolve_by_columns(&input, &weight, &bias, relu, &geometry);
                assert!(convolve(&input, &weight, &bias, relu, &geometry) == expected, "{geometry:?} {relu}");
            }
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
