//! The convolution itself.

use crate::ops::flex::{MatrixMut, MatrixRef, multiply, run_tasks, with_scratch};

use super::{
    columns::gather,
    geometry::{Geometry, Tile, tiles},
    winograd,
};

/// Floats of the patches of a tile: they and the result are to stay in a core's second-level cache.
pub(super) const TILE_FLOATS: usize = 128 * 1024;

/// Fewest positions of a tile: each tile reads the whole weight again.
pub(super) const MIN_COLUMNS: usize = 64;

/// The output `[N, out, H', W']` for an input, a weight and a bias (of no elements: none), all row-major; with
/// `relu` cut at 0.
pub(super) fn convolve(
    input: &[f32],
    weight: &[f32],
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
) -> Vec<f32> {
    if winograd::suits(geometry) {
        winograd::convolve(input, weight, bias, relu, geometry)
    } else {
        let (channels, depth) = (geometry.out_channels, geometry.depth());
        convolve_by_columns(input, MatrixRef::rows(weight, channels, depth, depth), bias, relu, geometry)
    }
}

/// By products of the weight `[out, in·k·k]` with the matrix of patches, for any kernel and stride.
pub(super) fn convolve_by_columns(
    input: &[f32],
    weight: MatrixRef,
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
) -> Vec<f32> {
    let positions = geometry.batch * geometry.out_plane();
    let depth = geometry.depth();
    // Two tiles for each thread even out how long they take.
    let share = positions.div_ceil(2 * rayon::current_num_threads());
    let columns = (TILE_FLOATS / depth.max(1)).min(share).max(MIN_COLUMNS);
    let tiles = tiles(geometry, columns);
    let mut output = vec![0.0; positions * geometry.out_channels];
    let tasks = tiles.iter().zip(parts(&mut output, &tiles, geometry)).collect();
    run_tasks(tasks, geometry.work(), |(tile, part)| {
        convolve_tile(part, input, weight, bias, relu, geometry, tile)
    });
    output
}

/// For each tile the slices of the output that it fills, ordered by image and channel.
pub(super) fn parts<'a>(
    output: &'a mut [f32],
    tiles: &[Tile],
    geometry: &Geometry,
) -> Vec<Vec<&'a mut [f32]>> {
    let channels = geometry.out_channels;
    let mut parts: Vec<Vec<_>> =
        tiles.iter().map(|tile| Vec::with_capacity(tile.images.len() * channels)).collect();
    // The tiles that hold rows of the current image: one, or a run of them.
    let mut run = 0..0;
    for (plane_index, plane) in output.chunks_exact_mut(geometry.out_plane()).enumerate() {
        let image = plane_index / channels;
        while run.is_empty() || !tiles[run.start].images.contains(&image) {
            let start = run.end;
            let images = &tiles[start].images;
            run = start..start + tiles[start..].iter().take_while(|tile| tile.images == *images).count();
        }
        let mut rest = plane;
        for index in run.clone() {
            let (head, tail) = rest.split_at_mut(tiles[index].image_columns(geometry));
            parts[index].push(head);
            rest = tail;
        }
    }
    parts
}

fn convolve_tile(
    part: Vec<&mut [f32]>,
    input: &[f32],
    weight: MatrixRef,
    bias: &[f32],
    relu: bool,
    geometry: &Geometry,
    tile: &Tile,
) {
    let (depth, channels) = (geometry.depth(), geometry.out_channels);
    let columns = tile.columns(geometry);
    let in_place = geometry.is_pointwise() && tile.images.len() == 1;
    let patches_len = if in_place { 0 } else { depth * columns };
    with_scratch(patches_len + channels * columns, |scratch| {
        let (patches, result) = scratch.split_at_mut(patches_len);
        let patches = if in_place {
            let start = tile.images.start * depth * geometry.plane() + tile.rows.start * geometry.width;
            MatrixRef::rows(&input[start..], depth, columns, geometry.plane())
        } else {
            gather(patches, input, geometry, tile, 0..geometry.in_channels);
            MatrixRef::rows(patches, depth, columns, columns)
        };
        let dst = MatrixMut::dense(&mut *result, channels, columns);
        multiply(dst, weight, patches, false);

        let image_columns = tile.image_columns(geometry);
        for (i, target) in part.into_iter().enumerate() {
            let (image, channel) = (i / channels, i % channels);
            let source = &result[channel * columns + image * image_columns..][..image_columns];
            let elements = target.iter_mut().zip(source);
            match (bias.get(channel), relu) {
                (Some(&bias), false) => elements.for_each(|(to, from)| *to = from + bias),
                (None, false) => target.copy_from_slice(source),
                (bias, true) => {
                    let bias = bias.copied().unwrap_or(0.0);
                    elements.for_each(|(to, from)| *to = cut(from + bias));
                }
            }
        }
    });
}

/// 0 for what is below; NaN stays.
pub(super) fn cut(value: f32) -> f32 {
    if value < 0.0 { 0.0 } else { value }
}
