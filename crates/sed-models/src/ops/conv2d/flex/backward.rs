//! The gradients of the convolution.
//!
//! Every sum has a fixed order that does not depend on the number of threads, so results repeat bit by bit.

use std::ops::Range;

use crate::ops::flex::{MatrixMut, MatrixRef, multiply, run_tasks, sum, with_scratch};

use super::{
    columns::{gather, scatter_add},
    forward::{MIN_COLUMNS, TILE_FLOATS, convolve, convolve_by_columns},
    geometry::{Geometry, Tile, split, tiles},
    winograd,
};

/// Patch elements that one task of the weight gradient takes.
const GROUP_DEPTH: usize = 144;

/// Partial sums of the weight gradient are made until there are about this many tasks.
const WEIGHT_TASKS: usize = 16;

/// Rows or columns that a transposition takes at once.
const BLOCK: usize = 16;

/// Elements of a gradient that one task cuts.
const CUT: usize = 1 << 16;

/// Ends the gradient where the output was cut at 0.
pub(super) fn cut(output_grad: &mut [f32], output: &[f32]) {
    let work = output_grad.len();
    let tasks = output_grad.chunks_mut(CUT).zip(output.chunks(CUT)).collect();
    run_tasks(tasks, work, |(gradient, output): (&mut [f32], &[f32])| {
        for (gradient, output) in gradient.iter_mut().zip(output) {
            *gradient = if *output > 0.0 { *gradient } else { 0.0 };
        }
    });
}

/// The gradient `[N, in, H, W]` of the input from that of the output.
pub(super) fn input_gradient(output_grad: &[f32], weight: &[f32], geometry: &Geometry) -> Vec<f32> {
    match geometry.transposed() {
        Some(transposed) if geometry.is_pointwise() => {
            let (out_channels, in_channels) = (geometry.out_channels, geometry.in_channels);
            let weight = MatrixRef::rows(weight, out_channels, in_channels, in_channels).transposed();
            convolve_by_columns(output_grad, weight, &[], false, &transposed)
        }
        Some(transposed) => convolve(output_grad, &flipped(weight, geometry), &[], false, &transposed),
        None => input_gradient_by_columns(output_grad, weight, geometry),
    }
}

/// `[out, in, k, k]` to `[in, out, k, k]` with both kernel axes reversed. Blocks of input channels keep the cache
/// lines that are written at hand.
fn flipped(weight: &[f32], geometry: &Geometry) -> Vec<f32> {
    let (taps, in_channels, out_channels) = (geometry.taps(), geometry.in_channels, geometry.out_channels);
    let mut result = vec![0.0; weight.len()];
    let row = out_channels * taps;
    let blocks = result.chunks_mut((BLOCK * row).max(1)).enumerate().collect();
    run_tasks(blocks, weight.len(), |(block, result): (usize, &mut [f32])| {
        for (out, kernels) in weight.chunks_exact(in_channels * taps).enumerate() {
            let kernels = kernels[block * BLOCK * taps..].chunks_exact(taps);
            for (row, kernel) in result.chunks_exact_mut(row).zip(kernels) {
                let target = &mut row[out * taps..][..taps];
                target.iter_mut().zip(kernel.iter().rev()).for_each(|(to, from)| *to = *from);
            }
        }
    });
    result
}

/// For any stride: the gradients of all patches, added up where patches overlap. A task has several images, or a
/// part of the channels of one, so no two write to the same element.
fn input_gradient_by_columns(output_grad: &[f32], weight: &[f32], geometry: &Geometry) -> Vec<f32> {
    let (taps, plane, in_channels) = (geometry.taps(), geometry.plane(), geometry.in_channels);
    let mut gradient = vec![0.0; geometry.batch * in_channels * plane];
    // Small maps: a task is a tile, which has whole images. Large maps: an image and a group of channels.
    let whole_columns = (TILE_FLOATS / geometry.depth().max(1)).max(MIN_COLUMNS);
    let whole = geometry.out_plane() <= whole_columns;
    let groups: Vec<Range<usize>> =
        split(in_channels, if whole { in_channels } else { GROUP_DEPTH / taps }).collect();
    // No more than an image: a group of channels of two images is not one piece of memory.
    let columns =
        if whole { whole_columns } else { (TILE_FLOATS / GROUP_DEPTH.max(taps)).min(geometry.out_plane()) };
    let tiles = tiles(geometry, columns);

    let mut tasks: Vec<(&[Tile], Range<usize>, &mut [f32])> = Vec::new();
    let mut rest = gradient.as_mut_slice();
    for tiles in tiles.chunk_by(|a, b| a.images == b.images) {
        for channels in &groups {
            let len = tiles[0].images.len() * channels.len() * plane;
            let (head, tail) = rest.split_at_mut(len);
            tasks.push((tiles, channels.clone(), head));
            rest = tail;
        }
    }
    run_tasks(tasks, geometry.work(), |(tiles, channels, gradient)| {
        for tile in tiles {
            let columns = tile.columns(geometry);
            let rows = channels.len() * taps;
            with_scratch((rows + geometry.out_channels) * columns, |scratch| {
                let (patches, buffer) = scratch.split_at_mut(rows * columns);
                let output_grad = gather_output(output_grad, buffer, geometry, tile);
                let depth = geometry.depth();
                let weight =
                    MatrixRef::rows(&weight[channels.start * taps..], geometry.out_channels, rows, depth);
                let dst = MatrixMut::dense(&mut *patches, rows, columns);
                multiply(dst, weight.transposed(), output_grad, false);
                scatter_add(gradient, patches, geometry, tile, channels.len());
            });
        }
    });
    gradient
}

/// A tile of the output's gradient as a `[out, columns]` matrix, copied to `buffer`.
fn gather_output<'a>(
    output: &[f32],
    buffer: &'a mut [f32],
    geometry: &Geometry,
    tile: &Tile,
) -> MatrixRef<'a> {
    let (channels, plane) = (geometry.out_channels, geometry.out_plane());
    let (columns, image_columns) = (tile.columns(geometry), tile.image_columns(geometry));
    let first = tile.rows.start * geometry.out_width;
    for (channel, row) in buffer.chunks_exact_mut(columns).enumerate() {
        for (image, part) in tile.images.clone().zip(row.chunks_exact_mut(image_columns)) {
            let start = (image * channels + channel) * plane + first;
            part.copy_from_slice(&output[start..start + image_columns]);
        }
    }
    MatrixRef::rows(buffer, channels, columns, columns)
}

/// The gradient `[out, in, k, k]` of the weight.
pub(super) fn weight_gradient(output_grad: &[f32], input: &[f32], geometry: &Geometry) -> Vec<f32> {
    if winograd::suits_weight_gradient(geometry) {
        winograd::weight_gradient(output_grad, input, geometry)
    } else {
        weight_gradient_by_columns(output_grad, input, geometry)
    }
}

/// By products with the matrix of patches, for any kernel and stride. A task has a group of input channels and a run of
/// tiles; the runs' partial sums are added at the end.
pub(super) fn weight_gradient_by_columns(
    output_grad: &[f32],
    input: &[f32],
    geometry: &Geometry,
) -> Vec<f32> {
    let (taps, depth, channels) = (geometry.taps(), geometry.depth(), geometry.out_channels);
    let groups: Vec<_> = split(geometry.in_channels, GROUP_DEPTH / taps).collect();
    let columns = TILE_FLOATS / (2 * GROUP_DEPTH.max(taps));
    let positions = geometry.batch * geometry.out_plane();
    let runs = WEIGHT_TASKS.div_ceil(groups.len().max(1));
    let tiles = tiles(geometry, columns.min(positions.div_ceil(runs)).max(MIN_COLUMNS));
    let runs: Vec<_> = split(tiles.len(), tiles.len().div_ceil(runs)).collect();

    // Each partial sum is [in, k, k, out]: the product is fastest when the output channels are adjacent.
    let mut sums = vec![0.0; runs.len().max(1) * depth * channels];
    let mut tasks = Vec::new();
    let mut rest = sums.as_mut_slice();
    for run in &runs {
        for group in &groups {
            let (head, tail) = rest.split_at_mut(group.len() * taps * channels);
            tasks.push((&tiles[run.clone()], group.clone(), head));
            rest = tail;
        }
    }
    run_tasks(tasks, geometry.work(), |(tiles, group, target)| {
        for (i, tile) in tiles.iter().enumerate() {
            add_weight_gradient(target, output_grad, input, geometry, tile, group.clone(), i > 0);
        }
    });

    let (first, others) = sums.split_at_mut(depth * channels);
    for other in others.chunks_exact((depth * channels).max(1)) {
        first.iter_mut().zip(other).for_each(|(a, b)| *a += *b);
    }
    transposed(first, channels)
}

/// A matrix of `columns` columns, row-major, to its columns one after the other. By small squares: columns whose distance is a power
/// of two share few places of a cache, so each line is written whole at once.
fn transposed(matrix: &[f32], columns: usize) -> Vec<f32> {
    let rows = matrix.len() / columns.max(1);
    let mut result = vec![0.0; matrix.len()];
    let blocks = result.chunks_mut((BLOCK * rows).max(1)).enumerate().collect();
    run_tasks(blocks, matrix.len(), |(block, result): (usize, &mut [f32])| {
        for (square, lines) in matrix.chunks(BLOCK * columns).enumerate() {
            let mut values = [[0.0; BLOCK]; BLOCK];
            let count = lines.len() / columns;
            for (row, line) in lines.chunks_exact(columns).enumerate() {
                let line = &line[block * BLOCK..];
                values.iter_mut().zip(line).for_each(|(column, value)| column[row] = *value);
            }
            for (column, values) in result.chunks_exact_mut(rows).zip(&values) {
                column[square * BLOCK..][..count].copy_from_slice(&values[..count]);
            }
        }
    });
    result
}

/// The part of the weight gradient from one tile and a group of input channels, written to or added to `target`.
fn add_weight_gradient(
    target: &mut [f32],
    output_grad: &[f32],
    input: &[f32],
    geometry: &Geometry,
    tile: &Tile,
    group: Range<usize>,
    accumulate: bool,
) {
    let channels = geometry.out_channels;
    let columns = tile.columns(geometry);
    let rows = group.len() * geometry.taps();
    let in_place = geometry.is_pointwise() && tile.images.len() == 1;
    let patches_len = if in_place { 0 } else { rows * columns };
    with_scratch(patches_len + channels * columns, |scratch| {
        let (patches, buffer) = scratch.split_at_mut(patches_len);
        let output_grad = gather_output(output_grad, buffer, geometry, tile);
        let patches = if in_place {
            let image = tile.images.start * geometry.in_channels + group.start;
            let start = image * geometry.plane() + tile.rows.start * geometry.width;
            MatrixRef::rows(&input[start..], rows, columns, geometry.plane())
        } else {
            gather(patches, input, geometry, tile, group.clone());
            MatrixRef::rows(patches, rows, columns, columns)
        };
        let dst =
            MatrixMut { data: target, rows: channels, columns: rows, row_stride: 1, column_stride: channels };
        multiply(dst, output_grad, patches.transposed(), accumulate);
    });
}

/// The gradient `[out]` of the bias: the sum of the output's gradient over images and positions.
pub(super) fn bias_gradient(output_grad: &[f32], geometry: &Geometry) -> Vec<f32> {
    let mut gradient = vec![0.0; geometry.out_channels];
    for (i, plane) in output_grad.chunks_exact(geometry.out_plane()).enumerate() {
        gradient[i % geometry.out_channels] += sum(plane, |value| value) as f32;
    }
    gradient
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        for (input, out, kernel, stride) in [
            ([3, 16, 24, 24], 24, 3, 1),
            ([3, 40, 25, 24], 33, 3, 1),
            ([2, 130, 24, 25], 128, 3, 1),
            ([3, 40, 17, 17], 8, 3, 2),
            ([5, 64, 4, 4], 48, 3, 1),
            ([2, 3, 40, 40], 16, 7, 2),
            ([4, 48, 20, 20], 40, 1, 1),
        ] {
            let geometry = Geometry::new(input, [out, input[1], kernel, kernel], stride, kernel / 2);
            let values = |len: usize, period: usize| -> Vec<f32> {
                (0..len).map(|i| (i * 7919 % period) as f32 / period as f32 - 0.4).collect()
            };
            let x = values(input.iter().product(), 1009);
            let w = values(geometry.weight_shape().iter().product(), 1013);
            let g = values(geometry.output_shape().iter().product(), 1019);
            let run = |threads| {
                let pool =
                    rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
                pool.install(|| {
                    let output = convolve(&x, &w, &[], false, &geometry);
                    (output, input_gradient(&g, &w, &geometry), weight_gradient(&g, &x, &geometry))
                })
            };
            let (one, several) = (run(1), run(5));
            assert!(one.0 == several.0, "output of {geometry:?}");
            assert!(one.1 == several.1, "input gradient of {geometry:?}");
            assert!(one.2 == several.2, "weight gradient of {geometry:?}");
        }
    }
}
