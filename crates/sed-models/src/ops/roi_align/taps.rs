//! Where the bins of a box read.
//!
//! A bilinear sample is a product of one factor an axis, and so is whether it lies on the map; the samples of a bin
//! form a grid. So a bin is `Σ_a Σ_b rows[a].weight · columns[b].weight · map[rows[a].index, columns[b].index]`.

use super::RoiAlign;

/// The map that boxes are cut from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Map {
    pub height: usize,
    pub width: usize,
    /// Elements a pixel.
    pub scale: f64,
}

/// An element of an axis, and how much of a bin it makes up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Tap {
    pub index: usize,
    pub weight: f32,
}

/// The taps of the bins of one axis: those of the first box, from low to high, then those of the next.
#[derive(Debug, Default)]
pub(crate) struct AxisTaps {
    taps: Vec<Tap>,
    /// For each bin the end of its taps.
    ends: Vec<usize>,
}

/// The taps of all bins of some boxes.
#[derive(Debug)]
pub(crate) struct Taps {
    /// Bins of a box on each axis.
    pub bins: usize,
    /// For each box its image.
    pub images: Vec<usize>,
    pub rows: AxisTaps,
    pub columns: AxisTaps,
}

impl Taps {
    pub fn new(options: &RoiAlign, map: Map, boxes: &[[f32; 4]], images: &[usize]) -> Self {
        let (mut rows, mut columns) = (AxisTaps::default(), AxisTaps::default());
        for corners in boxes {
            // In f64: a position of 1000 in f32 would be off by 3e-5, and so would be its weights.
            let [x1, y1, x2, y2] = corners.map(|corner| f64::from(corner) * map.scale);
            columns.push_box(options, x1, x2, map.width);
            rows.push_box(options, y1, y2, map.height);
        }
        Self { bins: options.output_size, images: images.to_vec(), rows, columns }
    }
}

impl AxisTaps {
    /// Adds the bins of a box that reaches from `start` to `end` on an axis of `len` elements.
    fn push_box(&mut self, options: &RoiAlign, start: f64, end: f64, len: usize) {
        let RoiAlign { output_size, sampling_ratio, aligned } = *options;
        let start = if aligned { start - 0.5 } else { start };
        let end = if aligned { end - 0.5 } else { end };
        let extent = end - start;
        // `f64::max` would make a box of a NaN.
        let extent = if !aligned && extent < 1.0 { 1.0 } else { extent };
        let bin = extent / output_size as f64;
        for i in 0..output_size {
            let first = self.taps.len();
            // Rounded as torchvision rounds, since a sample may lie exactly on the border.
            for sample in 0..sampling_ratio {
                let position = start + i as f64 * bin + (sample as f64 + 0.5) * bin / sampling_ratio as f64;
                self.push_sample(first, position, len, 1.0 / sampling_ratio as f64);
            }
            self.ends.push(self.taps.len());
        }
    }

    /// Adds a sample to the bin whose taps begin at `first`.
    fn push_sample(&mut self, first: usize, position: f64, len: usize, weight: f64) {
        // False for NaN too.
        let inside = (-1.0..=len as f64).contains(&position);
        if !inside || len == 0 {
            return;
        }
        let position = position.clamp(0.0, (len - 1) as f64);
        let low = position as usize;
        let high_part = position - low as f64;
        for (index, part) in [(low, 1.0 - high_part), (low + 1, high_part)] {
            // No part of an element behind the last.
            if part > 0.0 {
                self.push(first, Tap { index, weight: (part * weight) as f32 });
            }
        }
    }

    /// Adds a tap, to the one of the same element if the bin has it already.
    fn push(&mut self, first: usize, tap: Tap) {
        match self.taps[first..].iter_mut().find(|known| known.index == tap.index) {
            Some(known) => known.weight += tap.weight,
            None => self.taps.push(tap),
        }
    }

    /// The taps of a bin; bin i of box k has the index `k·S + i`.
    pub fn bin(&self, bin: usize) -> &[Tap] {
        let start = if bin == 0 { 0 } else { self.ends[bin - 1] };
        &self.taps[start..self.ends[bin]]
    }

    /// The most taps that a bin has.
    pub fn most(&self) -> usize {
        (0..self.ends.len()).map(|bin| self.bin(bin).len()).max().unwrap_or(0)
    }
}
