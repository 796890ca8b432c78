//! Patches as columns of a matrix, and back.

use std::ops::Range;

use super::geometry::{Geometry, Tile};

/// Output columns whose tap at kernel column `v` lies inside of the input.
fn inside(geometry: &Geometry, v: usize) -> Range<usize> {
    let Geometry { width, stride, padding, out_width, .. } = *geometry;
    let first = padding.saturating_sub(v).div_ceil(stride);
    let end = (width + padding).saturating_sub(v).div_ceil(stride);
    first.min(out_width)..end.min(out_width).max(first.min(out_width))
}

/// The input row under output row `row` at kernel row `u`, if it lies inside of the input.
fn input_row(geometry: &Geometry, row: usize, u: usize) -> Option<usize> {
    (row * geometry.stride + u).checked_sub(geometry.padding).filter(|&y| y < geometry.height)
}

/// Writes the patches of a tile, restricted to `channels`, to the columns of `matrix`, a
/// `[channels · k², columns]` matrix whose rows are ordered as `[channel, u, v]`.
pub(super) fn gather(
    matrix: &mut [f32],
    input: &[f32],
    geometry: &Geometry,
    tile: &Tile,
    channels: Range<usize>,
) {
    let columns = tile.columns(geometry);
    let k = geometry.kernel;
    // With stride 1 and as many output as input columns, the row for a tap is the plane, shifted.
    let same = geometry.stride == 1 && geometry.out_width == geometry.width;
    for (i, row) in matrix[..channels.len() * k * k * columns].chunks_exact_mut(columns).enumerate() {
        let (channel, u, v) = (channels.start + i / (k * k), i / k % k, i % k);
        for (image, row) in tile.images.clone().zip(row.chunks_exact_mut(tile.image_columns(geometry))) {
            let start = (image * geometry.in_channels + channel) * geometry.plane();
            let plane = &input[start..start + geometry.plane()];
            if same {
                gather_shifted(row, plane, geometry, tile.rows.start, u, v);
            } else {
                gather_rows(row, plane, geometry, tile.rows.start, u, v);
            }
        }
    }
}

/// The values at one tap for output rows from `first` on, for `stride` 1 and an output as wide as the input.
fn gather_shifted(row: &mut [f32], plane: &[f32], geometry: &Geometry, first: usize, u: usize, v: usize) {
    let Geometry { width, padding, .. } = *geometry;
    let shift = (first * width + u * width + v) as isize - (padding * width + padding) as isize;
    let low = (-shift).clamp(0, row.len() as isize) as usize;
    let high = (plane.len() as isize - shift).clamp(low as isize, row.len() as isize) as usize;
    row[..low].fill(0.0);
    if low < high {
        let start = (low as isize + shift) as usize;
        row[low..high].copy_from_slice(&plane[start..start + high - low]);
    }
    row[high..].fill(0.0);
    // Left and right of the input, the shift has brought in the neighbouring rows.
    let valid = inside(geometry, v);
    if valid.len() < width {
        for line in row.chunks_exact_mut(width) {
            line[..valid.start].fill(0.0);
            line[valid.end..].fill(0.0);
        }
    }
}

/// The values at one tap for output rows from `first` on.
fn gather_rows(row: &mut [f32], plane: &[f32], geometry: &Geometry, first: usize, u: usize, v: usize) {
    let Geometry { width, stride, padding, out_width, .. } = *geometry;
    let valid = inside(geometry, v);
    for (i, line) in row.chunks_exact_mut(out_width).enumerate() {
        let Some(y) = input_row(geometry, first + i, u).filter(|_| !valid.is_empty()) else {
            line.fill(0.0);
            continue;
        };
        line[..valid.start].fill(0.0);
        line[valid.end..].fill(0.0);
        let source = &plane[y * width + valid.start * stride + v - padding..(y + 1) * width];
        let line = &mut line[valid.clone()];
        if stride == 1 {
            line.copy_from_slice(&source[..line.len()]);
        } else {
            line.iter_mut().zip(source.iter().step_by(stride)).for_each(|(to, from)| *to = *from);
        }
    }
}

/// Adds the columns of `matrix`, laid out as by [`gather`], to the input elements that they stand for. `input`
/// holds `channels` of the tile's images, image by image.
pub(super) fn scatter_add(
    input: &mut [f32],
    matrix: &[f32],
    geometry: &Geometry,
    tile: &Tile,
    channels: usize,
) {
    let Geometry { width, stride, padding, out_width, kernel: k, .. } = *geometry;
    let columns = tile.columns(geometry);
    for (i, row) in matrix[..channels * k * k * columns].chunks_exact(columns).enumerate() {
        let (channel, u, v) = (i / (k * k), i / k % k, i % k);
        let valid = inside(geometry, v);
        if valid.is_empty() {
            continue;
        }
        for (image, row) in row.chunks_exact(tile.image_columns(geometry)).enumerate() {
            let start = (image * channels + channel) * geometry.plane();
            let plane = &mut input[start..start + geometry.plane()];
            for (j, line) in row.chunks_exact(out_width).enumerate() {
                let Some(y) = input_row(geometry, tile.rows.start + j, u) else { continue };
                let target = &mut plane[y * width + valid.start * stride + v - padding..(y + 1) * width];
                let target = target.iter_mut().step_by(stride);
                target.zip(&line[valid.clone()]).for_each(|(to, from)| *to += *from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::geometry::tiles;
    use super::*;

    /// ⟨gather(x), m⟩ = ⟨x, scatter(m)⟩: one is the transpose of the other. All values are small integers, so the
    /// sums are exact.
    #[test]
    fn scatter_is_the_transpose_of_gather() {
        for (side, kernel, stride, padding) in
            [(5, 3, 1, 1), (5, 3, 2, 1), (6, 1, 2, 0), (4, 3, 1, 0), (7, 7, 2, 3), (2, 3, 1, 2), (3, 5, 3, 4)]
        {
            let geometry = Geometry::new([2, 3, side, side + 1], [1, 3, kernel, kernel], stride, padding);
            let len = 2 * 3 * geometry.plane();
            let x: Vec<f32> = (0..len).map(|i| ((i * 7) % 11) as f32 - 5.0).collect();
            for limit in [1, 1000] {
                for tile in tiles(&geometry, limit) {
                    let size = geometry.depth() * tile.columns(&geometry);
                    let mut matrix = vec![f32::NAN; size];
                    gather(&mut matrix, &x, &geometry, &tile, 0..3);
                    let m: Vec<f32> = (0..size).map(|i| ((i * 5) % 13) as f32 - 6.0).collect();
                    let images = &x[tile.images.start * 3 * geometry.plane()..]
                        [..tile.images.len() * 3 * geometry.plane()];
                    let mut back = vec![0.0; images.len()];
                    scatter_add(&mut back, &m, &geometry, &tile, 3);
                    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
                    assert_eq!(dot(&matrix, &m), dot(images, &back), "{geometry:?} {tile:?}");
                }
            }
        }
    }
}
