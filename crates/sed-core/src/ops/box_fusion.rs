//! Detections of several passes over one image made into one list.

use super::boxes;
use crate::structures::Detections;

/// Weighted box fusion of the detections of several passes over one image, all in the same pixels.
///
/// Boxes of one class, best first, join the cluster whose fused box they overlap most, from an IoU of `iou_threshold` on,
/// or found a new one. The fused box of a cluster is the mean of its boxes weighted by their scores; its score is their mean
/// score times `min(boxes, passes) / passes`, so that an object which one pass of two found alone counts half. Unlike
/// suppression it uses all boxes. (Solovyev, Wang, Gabruseva, *Weighted boxes fusion*, 2021.)
///
/// Classes are never mixed; the result is sorted, best first.
///
/// ```
/// use sed_core::{Detections, ops::fuse_boxes};
///
/// let pass = |x2: f32, score: f32| Detections {
///     boxes: vec![[0.0, 0.0, x2, 4.0]],
///     scores: vec![score],
///     labels: vec![1],
/// };
/// let fused = fuse_boxes(&[pass(4.0, 0.75), pass(6.0, 0.25)], 0.55);
/// // (0.75·4 + 0.25·6) / 1, and the mean of the scores.
/// assert_eq!((fused.boxes[0][2], fused.scores[0]), (4.5, 0.5));
/// ```
///
/// # Panics
///
/// If there is no pass.
pub fn fuse_boxes(passes: &[Detections], iou_threshold: f32) -> Detections {
    assert!(!passes.is_empty(), "fuse_boxes: no pass");
    let mut all: Vec<Found> = passes.iter().flat_map(Found::list).collect();
    all.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut clusters: Vec<Cluster> = Vec::new();
    for found in all {
        let overlap = |cluster: &Cluster| boxes::iou(&cluster.fused, &found.corners);
        let best = clusters
            .iter_mut()
            .filter(|cluster| cluster.label == found.label && overlap(cluster) >= iou_threshold)
            .max_by(|a, b| overlap(a).total_cmp(&overlap(b)));
        match best {
            Some(cluster) => cluster.add(&found),
            None => clusters.push(Cluster::of(&found)),
        }
    }
    let mut fused: Vec<(f32, Cluster)> =
        clusters.into_iter().map(|cluster| (cluster.score(passes.len()), cluster)).collect();
    fused.sort_by(|a, b| b.0.total_cmp(&a.0));
    Detections {
        boxes: fused.iter().map(|(_, cluster)| cluster.fused).collect(),
        scores: fused.iter().map(|(score, _)| *score).collect(),
        labels: fused.iter().map(|(_, cluster)| cluster.label).collect(),
    }
}

/// One box of one pass.
struct Found {
    corners: [f32; 4],
    score: f32,
    label: usize,
}

impl Found {
    fn list(pass: &Detections) -> Vec<Self> {
        let entry = |i: usize| Self { corners: pass.boxes[i], score: pass.scores[i], label: pass.labels[i] };
        (0..pass.len()).map(entry).collect()
    }
}

/// Boxes taken for one object.
struct Cluster {
    label: usize,
    fused: [f32; 4],
    /// Σ score · corner.
    weighted: [f32; 4],
    score_sum: f32,
    count: usize,
}

impl Cluster {
    fn of(found: &Found) -> Self {
        let weighted = found.corners.map(|corner| corner * found.score);
        Self { label: found.label, fused: found.corners, weighted, score_sum: found.score, count: 1 }
    }

    fn add(&mut self, found: &Found) {
        self.weighted = std::array::from_fn(|k| self.weighted[k] + found.corners[k] * found.score);
        self.score_sum += found.score;
        self.count += 1;
        // Boxes of score 0 say nothing of where the object lies.
        if self.score_sum > 0.0 {
            self.fused = self.weighted.map(|corner| corner / self.score_sum);
        }
    }

    fn score(&self, passes: usize) -> f32 {
        self.score_sum / self.count as f32 * self.count.min(passes) as f32 / passes as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::assert_close;

    fn pass(entries: &[([f32; 4], f32, usize)]) -> Detections {
        Detections {
            boxes: entries.iter().map(|entry| entry.0).collect(),
            scores: entries.iter().map(|entry| entry.1).collect(),
            labels: entries.iter().map(|entry| entry.2).collect(),
        }
    }

    #[test]
    fn a_single_pass_of_separate_objects_stays_as_it_is() {
        let found = pass(&[([0., 0., 4., 4.], 0.9, 0), ([8., 8., 12., 12.], 0.5, 1)]);
        assert_eq!(fuse_boxes(std::slice::from_ref(&found), 0.55), found);
    }

    #[test]
    fn equal_passes_give_the_same_result_as_one() {
        let found = pass(&[([0., 0., 4., 4.], 0.5, 0), ([8., 8., 12., 12.], 0.25, 1)]);
        assert_eq!(fuse_boxes(&[found.clone(), found.clone()], 0.55), found);
    }

    #[test]
    fn an_object_of_one_pass_of_two_counts_half() {
        let first = pass(&[([0., 0., 4., 4.], 0.8, 0)]);
        let second = pass(&[([20., 0., 24., 4.], 0.6, 0)]);
        let fused = fuse_boxes(&[first, second], 0.55);
        assert_eq!(fused.scores, [0.4, 0.3]);
    }

    #[test]
    fn classes_are_not_mixed_and_the_largest_overlap_wins() {
        let first =
            pass(&[([0., 0., 10., 10.], 0.9, 0), ([4., 0., 14., 10.], 0.8, 0), ([0., 0., 10., 10.], 0.7, 1)]);
        // IoU 8/12 with the second, 7/13 with the first.
        let second = pass(&[([3., 0., 13., 10.], 0.8, 0)]);
        let fused = fuse_boxes(&[first, second], 0.5);
        let expected = [[3.5, 0., 13.5, 10.], [0., 0., 10., 10.], [0., 0., 10., 10.]];
        // Sums of two rounded products.
        assert_close(fused.boxes.as_flattened(), expected.as_flattened(), 1e-6);
        assert_eq!((fused.labels, fused.scores), (vec![0, 0, 1], vec![0.8, 0.45, 0.35]));
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(fuse_boxes(&[Detections::default(), Detections::default()], 0.5).is_empty());
    }
}
