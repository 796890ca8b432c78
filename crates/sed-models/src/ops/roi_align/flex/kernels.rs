//! The loops over memory.
//!
//! A task has some channels of an image. It copies them so that they lie side by side, [`LANES`] floats an element:
//! a tap is then one cache line and a few vector instructions, whatever the box. Gradients go the same way backwards,
//! and so no two tasks write to the same plane. Every sum has a fixed order that does not depend on the number of
//! threads.

use std::ops::Range;

use crate::ops::{
    flex::{run_tasks, with_scratch},
    roi_align::taps::Taps,
};

/// Channels of a task.
const LANES: usize = 16;

/// One element of a map, or one bin, in all channels of a task.
type Element = [f32; LANES];

/// Elements that are brought to another order at once: whole cache lines of each channel are read, and what is
/// written stays in the first-level cache.
const BLOCK: usize = 64;

/// The boxes of one image.
#[derive(Clone, Default)]
struct ImageBoxes {
    boxes: Vec<usize>,
    /// The rows that their taps touch.
    rows: Range<usize>,
}

fn by_image(taps: &Taps, images: usize) -> Vec<ImageBoxes> {
    let mut result = vec![ImageBoxes::default(); images];
    for (k, image) in taps.images.iter().enumerate() {
        let entry = &mut result[*image];
        entry.boxes.push(k);
        for tap in (k * taps.bins..(k + 1) * taps.bins).flat_map(|bin| taps.rows.bin(bin)) {
            let rows = &entry.rows;
            entry.rows = if rows.is_empty() {
                tap.index..tap.index + 1
            } else {
                rows.start.min(tap.index)..rows.end.max(tap.index + 1)
            };
        }
    }
    result
}

/// Multiplications of either pass, for [`run_tasks`].
fn work([n, c, h, w]: [usize; 4], taps: &Taps) -> usize {
    let pairs = taps.rows.most() * taps.columns.most();
    c * (n * h * w + taps.images.len() * taps.bins * taps.bins * pairs)
}

/// The output `[K, C, S, S]` for features of this shape.
pub(super) fn forward(features: &[f32], shape: [usize; 4], taps: &Taps) -> Vec<f32> {
    let [n, c, h, w] = shape;
    let area = taps.bins * taps.bins;
    let mut output = vec![0.0; taps.images.len() * c * area];
    if output.is_empty() || features.is_empty() {
        return output;
    }
    let images = by_image(taps, n);
    let groups = c.div_ceil(LANES);
    let mut parts: Vec<Vec<&mut [f32]>> = (0..n * groups).map(|_| Vec::new()).collect();
    for (image, block) in taps.images.iter().zip(output.chunks_exact_mut(c * area)) {
        for (group, part) in block.chunks_mut(LANES * area).enumerate() {
            parts[image * groups + group].push(part);
        }
    }
    let tasks = parts.into_iter().enumerate().filter(|(_, parts)| !parts.is_empty()).collect();
    run_tasks(tasks, work(shape, taps), |(index, parts)| {
        let (image, group) = (index / groups, index % groups);
        let ImageBoxes { boxes, rows } = &images[image];
        let channels = group * LANES..c.min((group + 1) * LANES);
        let planes = &features[(image * c + channels.start) * h * w..(image * c + channels.end) * h * w];
        let elements = rows.len() * w;
        with_scratch((elements + area) * LANES, |scratch| {
            let (map, bins) = scratch.as_chunks_mut::<LANES>().0.split_at_mut(elements);
            interleave(planes, h * w, rows.start * w, map);
            for (k, part) in boxes.iter().zip(parts) {
                pool(map, w, rows.start, taps, *k, bins);
                separate(bins, part, area, 0);
            }
        });
    });
    output
}

/// The gradient of features of this shape from that of the output.
pub(super) fn backward(output_grad: &[f32], shape: [usize; 4], taps: &Taps) -> Vec<f32> {
    let [n, c, h, w] = shape;
    let area = taps.bins * taps.bins;
    let mut gradient = vec![0.0; n * c * h * w];
    if output_grad.is_empty() || gradient.is_empty() {
        return gradient;
    }
    let images = by_image(taps, n);
    let tasks = gradient
        .chunks_exact_mut(c * h * w)
        .zip(&images)
        .filter(|(_, image)| !image.boxes.is_empty())
        .flat_map(|(planes, image)| {
            planes.chunks_mut(LANES * h * w).enumerate().map(move |(group, planes)| (image, group, planes))
        })
        .collect();
    run_tasks(tasks, work(shape, taps), |(ImageBoxes { boxes, rows }, group, planes)| {
        let channels = planes.len() / (h * w);
        let elements = rows.len() * w;
        with_scratch((elements + area) * LANES, |scratch| {
            let (map, bins) = scratch.as_chunks_mut::<LANES>().0.split_at_mut(elements);
            map.fill([0.0; LANES]);
            for k in boxes {
                let part = &output_grad[(k * c + group * LANES) * area..][..channels * area];
                interleave(part, area, 0, bins);
                spread(map, w, rows.start, taps, *k, bins);
            }
            separate(map, planes, h * w, rows.start * w);
        });
    });
    gradient
}

/// The bins of a box from a map whose first row is `first_row`.
fn pool(map: &[Element], width: usize, first_row: usize, taps: &Taps, k: usize, bins: &mut [Element]) {
    for (i, bins) in bins.chunks_exact_mut(taps.bins).enumerate() {
        let rows = taps.rows.bin(k * taps.bins + i);
        for (j, bin) in bins.iter_mut().enumerate() {
            let columns = taps.columns.bin(k * taps.bins + j);
            let mut sum = [0.0; LANES];
            for row in rows {
                let line = &map[(row.index - first_row) * width..][..width];
                for column in columns {
                    add(&mut sum, row.weight * column.weight, &line[column.index]);
                }
            }
            *bin = sum;
        }
    }
}

/// Adds to a map the gradients of the bins of a box; the reverse of [`pool`].
fn spread(map: &mut [Element], width: usize, first_row: usize, taps: &Taps, k: usize, bins: &[Element]) {
    for (i, bins) in bins.chunks_exact(taps.bins).enumerate() {
        for row in taps.rows.bin(k * taps.bins + i) {
            let line = &mut map[(row.index - first_row) * width..][..width];
            for (j, bin) in bins.iter().enumerate() {
                for column in taps.columns.bin(k * taps.bins + j) {
                    add(&mut line[column.index], row.weight * column.weight, bin);
                }
            }
        }
    }
}

fn add(to: &mut Element, weight: f32, from: &Element) {
    to.iter_mut().zip(from).for_each(|(to, from)| *to += weight * from);
}

/// Elements from `start` on of planes of `plane` elements, side by side; lanes without a plane become 0.
fn interleave(planes: &[f32], plane: usize, start: usize, elements: &mut [Element]) {
    if planes.len() < LANES * plane {
        elements.fill([0.0; LANES]);
    }
    for (block, elements) in elements.chunks_mut(BLOCK).enumerate() {
        for (lane, plane) in planes.chunks_exact(plane).enumerate() {
            let source = &plane[start + block * BLOCK..];
            elements.iter_mut().zip(source).for_each(|(element, value)| element[lane] = *value);
        }
    }
}

/// The reverse of [`interleave`].
fn separate(elements: &[Element], planes: &mut [f32], plane: usize, start: usize) {
    for (block, elements) in elements.chunks(BLOCK).enumerate() {
        for (lane, plane) in planes.chunks_exact_mut(plane).enumerate() {
            let target = &mut plane[start + block * BLOCK..];
            elements.iter().zip(target).for_each(|(element, value)| *value = element[lane]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::roi_align::RoiAlign;

    #[test]
    fn results_do_not_depend_on_the_number_of_threads() {
        let values = |len: usize, period: usize| -> Vec<f32> {
            (0..len).map(|i| (i * 7919 % period) as f32 / period as f32 - 0.4).collect()
        };
        let shape = [3, 40, 20, 30];
        let boxes: Vec<[f32; 4]> = (0..30u8).map(f32::from).map(|k| [k - 4.0, k / 2.0, k + 5.0, k]).collect();
        let images: Vec<usize> = (0..30).map(|k| k * k % 2).collect();
        let taps = RoiAlign::default().taps(shape, &boxes, &images, 1.0);
        let features = values(shape.iter().product(), 1009);
        let output_grad = values(30 * 40 * 49, 1013);
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a thread pool");
            pool.install(|| (forward(&features, shape, &taps), backward(&output_grad, shape, &taps)))
        };
        let (one, several) = (run(1), run(5));
        assert!(one.0 == several.0 && one.1 == several.1);
        // Image 2 has no boxes.
        let plane = shape[1] * shape[2] * shape[3];
        assert!(one.1[..2 * plane].iter().any(|value| *value != 0.0));
        assert!(one.1[2 * plane..].iter().all(|value| *value == 0.0));
    }
}
