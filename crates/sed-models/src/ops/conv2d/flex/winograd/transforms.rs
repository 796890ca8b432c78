//! The transforms of minimal filtering; the matrices are in the parent module.
//!
//! Squares lie side by side in a row, so that each step works on whole lines.

use std::ops::Range;

use super::{
    super::geometry::{Geometry, Tile},
    POSITIONS, squares,
};

/// Slices of one position of a square each, `[channels, squares]`.
pub(super) type Positions<'a> = Vec<&'a mut [f32]>;

/// The parts of `[16, channels, squares]` that belong to groups of `group` channels, with the groups.
pub(super) fn channel_groups(
    transformed: &mut [f32],
    channels: usize,
    group: usize,
    columns: usize,
) -> Vec<(Range<usize>, Positions<'_>)> {
    let ranges = (0..channels).step_by(group).map(|start| start..(start + group).min(channels));
    let mut groups: Vec<_> = ranges.map(|range| (range, Vec::with_capacity(POSITIONS))).collect();
    for position in transformed.chunks_exact_mut(channels * columns) {
        for ((_, parts), part) in groups.iter_mut().zip(position.chunks_mut(group * columns)) {
            parts.push(part);
        }
    }
    groups
}

/// Floats that the transforms need for lines.
pub(super) fn lines_len(geometry: &Geometry) -> usize {
    8 * line_len(&squares(geometry))
}

/// Input columns that a row of squares sees.
fn line_len(squares: &Geometry) -> usize {
    2 * squares.out_width + 2
}

/// `G g Gᵀ` of the kernels of one output channel, as `[16, in]`.
pub(super) fn kernels(target: &mut [f32], weight: &[f32]) {
    let channels = weight.len() / 9;
    for (channel, kernel) in weight.as_chunks::<9>().0.iter().enumerate() {
        let rows: [[f32; 4]; 3] =
            std::array::from_fn(|u| kernel_line([kernel[3 * u], kernel[3 * u + 1], kernel[3 * u + 2]]));
        for v in 0..4 {
            let column = kernel_line([rows[0][v], rows[1][v], rows[2][v]]);
            for (u, value) in column.into_iter().enumerate() {
                target[(4 * u + v) * channels + channel] = value;
            }
        }
    }
}

/// `G` times a column.
fn kernel_line([a, b, c]: [f32; 3]) -> [f32; 4] {
    let (ends, middle) = (0.5 * (a + c), 0.5 * b);
    [a, ends + middle, ends - middle, c]
}

/// `Gᵀ s G`: the gradient of a kernel from that of its transform.
pub(super) fn kernel_gradient(square: [f32; POSITIONS]) -> [f32; 9] {
    let columns: [[f32; 3]; 4] = std::array::from_fn(|v| {
        kernel_gradient_line([square[v], square[4 + v], square[8 + v], square[12 + v]])
    });
    let mut kernel = [0.0; 9];
    for (u, row) in kernel.as_chunks_mut::<3>().0.iter_mut().enumerate() {
        *row = kernel_gradient_line([columns[0][u], columns[1][u], columns[2][u], columns[3][u]]);
    }
    kernel
}

/// `Gᵀ` times a column.
fn kernel_gradient_line([a, b, c, d]: [f32; 4]) -> [f32; 3] {
    let ends = 0.5 * (b + c);
    [a + ends, 0.5 * (b - c), ends + d]
}

/// `Bᵀ d B` of each square of a block, for some channels.
pub(super) fn inputs(
    mut transformed: Positions,
    lines: &mut [f32],
    input: &[f32],
    channels: Range<usize>,
    geometry: &Geometry,
    block: &Tile,
) {
    let Geometry { width, padding, .. } = *geometry;
    let squares = squares(geometry);
    let (line, across) = (line_len(&squares), squares.out_width);
    let (lines, combined) = lines[..8 * line].split_at_mut(4 * line);
    // Zeros left and right of the input stay there.
    lines.fill(0.0);
    let mut start = 0;
    for channel in channels {
        for image in block.images.clone() {
            let plane = (image * geometry.in_channels + channel) * geometry.plane();
            let plane = &input[plane..plane + geometry.plane()];
            for row in block.rows.clone() {
                for (u, line) in lines.chunks_exact_mut(line).enumerate() {
                    let target = &mut line[padding..padding + width];
                    match (2 * row + u).checked_sub(padding).filter(|&y| y < geometry.height) {
                        Some(y) => target.copy_from_slice(&plane[y * width..][..width]),
                        None => target.fill(0.0),
                    }
                }
                combine_input_lines(lines, combined);
                let rows = transformed.as_chunks_mut::<4>().0.iter_mut();
                for (row, line) in rows.zip(combined.chunks_exact(line)) {
                    input_line(line, row.each_mut().map(|row| &mut row[start..start + across]));
                }
                start += across;
            }
        }
    }
}

/// `Bᵀ` times four lines.
fn combine_input_lines(lines: &[f32], combined: &mut [f32]) {
    let [a, b, c, d] = quarters(lines);
    let [first, second, third, fourth] = quarters_mut(combined);
    difference(first, a, c);
    second.iter_mut().zip(b.iter().zip(c)).for_each(|(to, (x, y))| *to = x + y);
    difference(third, c, b);
    difference(fourth, b, d);
}

/// A row of `Bᵀ d B` for squares side by side, from a row of `Bᵀ d`.
fn input_line(line: &[f32], [first, second, third, fourth]: [&mut [f32]; 4]) {
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

/// `A y Aᵀ` of the squares of the output's gradient, for some channels; beyond the output it is 0.
pub(super) fn gradients(
    mut transformed: Positions,
    lines: &mut [f32],
    output_grad: &[f32],
    channels: Range<usize>,
    geometry: &Geometry,
    block: &Tile,
) {
    let width = geometry.out_width;
    let across = squares(geometry).out_width;
    let (lines, combined) = lines[..12 * across].split_at_mut(4 * across);
    lines.fill(0.0);
    let mut start = 0;
    for channel in channels {
        for image in block.images.clone() {
            let plane = (image * geometry.out_channels + channel) * geometry.out_plane();
            let plane = &output_grad[plane..plane + geometry.out_plane()];
            for row in block.rows.clone() {
                let (upper, lower) = lines.split_at_mut(2 * across);
                upper[..width].copy_from_slice(&plane[2 * row * width..][..width]);
                match plane.get((2 * row + 1) * width..(2 * row + 2) * width) {
                    Some(line) => lower[..width].copy_from_slice(line),
                    None => lower.fill(0.0),
                }
                combine_gradient_lines(upper, lower, combined);
                let rows = transformed.as_chunks_mut::<4>().0.iter_mut();
                for (row, line) in rows.zip(combined.chunks_exact(2 * across)) {
                    gradient_line(line, row.each_mut().map(|row| &mut row[start..start + across]));
                }
                start += across;
            }
        }
    }
}

/// `A` times two lines.
fn combine_gradient_lines(upper: &[f32], lower: &[f32], combined: &mut [f32]) {
    let [first, second, third, fourth] = quarters_mut(combined);
    first.copy_from_slice(upper);
    second.iter_mut().zip(upper.iter().zip(lower)).for_each(|(to, (x, y))| *to = x + y);
    difference(third, upper, lower);
    fourth.iter_mut().zip(lower).for_each(|(to, x)| *to = -x);
}

/// A row of `A y Aᵀ` for squares side by side, from a row of `A y`.
fn gradient_line(line: &[f32], [first, second, third, fourth]: [&mut [f32]; 4]) {
    let (pairs, _) = line.as_chunks::<2>();
    let targets = first.iter_mut().zip(second).zip(third.iter_mut().zip(fourth));
    for ([a, b], ((first, second), (third, fourth))) in pairs.iter().zip(targets) {
        *first = *a;
        *second = a + b;
        *third = a - b;
        *fourth = -b;
    }
}

/// `Aᵀ m A` of the sums `m`, `[16, out, squares]`, to the block's part of the output, each value `finish`ed with its channel's bias.
pub(super) fn sums(
    part: Vec<&mut [f32]>,
    sums: &[f32],
    lines: &mut [f32],
    geometry: &Geometry,
    block: &Tile,
    finish: impl Fn(usize, f32) -> f32,
) {
    let (channels, across) = (geometry.out_channels, geometry.out_width.div_ceil(2));
    let images = block.images.len();
    let columns = block.rows.len() * across;
    let lines = &mut lines[..8 * across];
    for (i, target) in part.into_iter().enumerate() {
        let (image, channel) = (i / channels, i % channels);
        for (row, target) in target.chunks_mut(2 * geometry.out_width).enumerate() {
            let start = (channel * images + image) * columns + row * across;
            for (v, pair) in lines.chunks_exact_mut(2 * across).enumerate() {
                let line = |u: usize| &sums[(4 * u + v) * channels * images * columns + start..][..across];
                combine_sum_lines([line(0), line(1), line(2), line(3)], pair);
            }
            for (odd, target) in target.chunks_exact_mut(geometry.out_width).enumerate() {
                let line = |v: usize| &lines[(2 * v + odd) * across..][..across];
                output_line(target, [line(0), line(1), line(2), line(3)], |value| finish(channel, value));
            }
        }
    }
}

/// The two rows of `Aᵀ m` for one column of the squares.
fn combine_sum_lines([a, b, c, d]: [&[f32]; 4], pair: &mut [f32]) {
    let (upper, lower) = pair.split_at_mut(pair.len() / 2);
    let sums = a.iter().zip(b).zip(c.iter().zip(d));
    for ((upper, lower), ((a, b), (c, d))) in upper.iter_mut().zip(lower).zip(sums) {
        *upper = a + b + c;
        *lower = b - c - d;
    }
}

/// A row of outputs from a row of `Aᵀ m`; of the last square the first output alone where the width is odd.
fn output_line(target: &mut [f32], [a, b, c, d]: [&[f32]; 4], finish: impl Fn(f32) -> f32) {
    let (pairs, odd) = target.as_chunks_mut::<2>();
    for (pair, ((a, b), (c, d))) in pairs.iter_mut().zip(a.iter().zip(b).zip(c.iter().zip(d))) {
        *pair = [finish(a + b + c), finish(b - c - d)];
    }
    if let ([last], [.., a], [.., b], [.., c]) = (odd, a, b, c) {
        *last = finish(a + b + c);
    }
}

fn difference(to: &mut [f32], x: &[f32], y: &[f32]) {
    to.iter_mut().zip(x.iter().zip(y)).for_each(|(to, (x, y))| *to = x - y);
}

/// Four equal parts.
fn quarters(slice: &[f32]) -> [&[f32]; 4] {
    let (first, second) = slice.split_at(slice.len() / 2);
    let (a, b) = first.split_at(first.len() / 2);
    let (c, d) = second.split_at(second.len() / 2);
    [a, b, c, d]
}

/// Four equal parts.
fn quarters_mut(slice: &mut [f32]) -> [&mut [f32]; 4] {
    let (first, second) = slice.split_at_mut(slice.len() / 2);
    let (a, b) = first.split_at_mut(first.len() / 2);
    let (c, d) = second.split_at_mut(second.len() / 2);
    [a, b, c, d]
}
