//! The sizes of a convolution and its division into tiles of output positions.

use std::ops::Range;

/// The sizes of a convolution.
#[derive(Clone, Copy, Debug)]
pub(super) struct Geometry {
    pub batch: usize,
    pub in_channels: usize,
    pub out_channels: usize,
    pub height: usize,
    pub width: usize,
    pub kernel: usize,
    pub stride: usize,
    pub padding: usize,
    pub out_height: usize,
    pub out_width: usize,
}

impl Geometry {
    /// From `[N, in, H, W]` and `[out, in, k, k]`, which the caller has checked.
    pub fn new(input: [usize; 4], weight: [usize; 4], stride: usize, padding: usize) -> Self {
        let [batch, in_channels, height, width] = input;
        let [out_channels, _, kernel, _] = weight;
        let out = |side: usize| (side + 2 * padding - kernel) / stride + 1;
        Self {
            batch,
            in_channels,
            out_channels,
            height,
            width,
            kernel,
            stride,
            padding,
            out_height: out(height),
            out_width: out(width),
        }
    }

    /// The convolution of stride 1 that takes the gradient of the output to that of the input, when there is one:
    /// its kernel is the flipped one with input and output channels swapped.
    pub fn transposed(&self) -> Option<Self> {
        (self.stride == 1 && self.padding < self.kernel).then(|| Self {
            in_channels: self.out_channels,
            out_channels: self.in_channels,
            height: self.out_height,
            width: self.out_width,
            padding: self.kernel - 1 - self.padding,
            out_height: self.height,
            out_width: self.width,
            ..*self
        })
    }

    pub fn input_shape(&self) -> [usize; 4] {
        [self.batch, self.in_channels, self.height, self.width]
    }

    pub fn weight_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels, self.kernel, self.kernel]
    }

    pub fn output_shape(&self) -> [usize; 4] {
        [self.batch, self.out_channels, self.out_height, self.out_width]
    }

    /// Elements of one channel of one image of the input.
    pub fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Elements of one channel of one image of the output.
    pub fn out_plane(&self) -> usize {
        self.out_height * self.out_width
    }

    /// Positions of the kernel.
    pub fn taps(&self) -> usize {
        self.kernel * self.kernel
    }

    /// Elements of a patch: what one output element sums over.
    pub fn depth(&self) -> usize {
        self.in_channels * self.taps()
    }

    /// Multiplications of the convolution.
    pub fn work(&self) -> usize {
        self.batch * self.out_plane() * self.depth() * self.out_channels
    }

    /// Whether the patches are the columns of the input itself.
    pub fn is_pointwise(&self) -> bool {
        self.kernel == 1 && self.stride == 1 && self.padding == 0
    }
}

/// A block of output positions: rows of one image, or all rows of several images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Tile {
    pub images: Range<usize>,
    pub rows: Range<usize>,
}

impl Tile {
    /// Output positions of the tile.
    pub fn columns(&self, geometry: &Geometry) -> usize {
        self.images.len() * self.image_columns(geometry)
    }

    /// Output positions of the tile in each of its images.
    pub fn image_columns(&self, geometry: &Geometry) -> usize {
        self.rows.len() * geometry.out_width
    }
}

/// All output positions, image by image and from top to bottom, in tiles of about equal size of at most `columns`
/// positions (but at least one row).
pub(super) fn tiles(geometry: &Geometry, columns: usize) -> Vec<Tile> {
    let (batch, height) = (geometry.batch, geometry.out_height);
    if batch == 0 {
        return Vec::new();
    }
    if geometry.out_plane() <= columns {
        return split(batch, columns / geometry.out_plane())
            .map(|images| Tile { images, rows: 0..height })
            .collect();
    }
    (0..batch)
        .flat_map(|n| {
            split(height, columns / geometry.out_width).map(move |rows| Tile { images: n..n + 1, rows })
        })
        .collect()
}

/// `0..len` in the fewest parts of at most `limit` (at least 1), as even as they come.
pub(super) fn split(len: usize, limit: usize) -> impl Iterator<Item = Range<usize>> {
    let parts = len.div_ceil(limit.max(1));
    (0..parts).map(move |i| i * len / parts..(i + 1) * len / parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_cover_each_position_once() {
        for (batch, side, columns) in [(1, 9, 20), (3, 4, 40), (5, 4, 16), (2, 8, 3), (4, 1, 1), (7, 2, 1000)]
        {
            let geometry = Geometry::new([batch, 1, side, side], [1, 1, 3, 3], 1, 1);
            let mut seen = vec![0; batch * side];
            for tile in tiles(&geometry, columns) {
                assert!(tile.columns(&geometry) <= columns.max(side));
                assert!(tile.images.len() == 1 || tile.rows == (0..side));
                for n in tile.images.clone() {
                    tile.rows.clone().for_each(|row| seen[n * side + row] += 1);
                }
            }
            assert!(seen.iter().all(|&count| count == 1), "{batch} {side} {columns}: {seen:?}");
        }
    }

    #[test]
    fn parts_are_even() {
        let lengths: Vec<_> = split(10, 4).map(|range| range.len()).collect();
        assert_eq!(lengths, [3, 3, 4]);
        assert_eq!(split(0, 4).count(), 0);
    }
}
