//! Greedy non-maximum suppression.

use num_traits::Float;

use super::boxes;

/// The indices of the boxes that survive greedy non-maximum suppression, best score first.
///
/// Boxes `[x1, y1, x2, y2]` are visited by descending score, equal scores by ascending index; a box
/// is dropped if its IoU with a kept one exceeds `iou_threshold`. A NaN score counts as the lowest.
///
/// # Panics
///
/// If `scores` has not one entry a box.
///
/// ```
/// use sed_core::ops::nms;
///
/// let boxes = [[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 9.0], [20.0, 0.0, 30.0, 10.0]];
/// // The second has an IoU of 0.9 with the first.
/// assert_eq!(nms(&boxes, &[0.8_f32, 0.7, 0.9], 0.5), [2, 0]);
/// ```
pub fn nms<F: Float>(boxes: &[[F; 4]], scores: &[F], iou_threshold: F) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "nms: {} boxes but {} scores", boxes.len(), scores.len());
    suppress(boxes, &by_score(scores), iou_threshold)
}

/// [`nms`] within each class: boxes of different `labels` do not suppress each other.
///
/// The classes are treated one by one. Shifting each class to a place of its own and suppressing
/// once would cost the boxes precision, and with it change results.
///
/// # Panics
///
/// If `scores` or `labels` has not one entry a box.
///
/// ```
/// use sed_core::ops::batched_nms;
///
/// let boxes = [[0.0, 0.0, 10.0, 10.0]; 3];
/// assert_eq!(batched_nms(&boxes, &[0.5_f32, 0.9, 0.7], &[0, 1, 0], 0.5), [1, 2]);
/// ```
pub fn batched_nms<F: Float>(
    boxes: &[[F; 4]],
    scores: &[F],
    labels: &[usize],
    iou_threshold: F,
) -> Vec<usize> {
    assert_eq!(boxes.len(), scores.len(), "batched_nms: {} boxes but {} scores", boxes.len(), scores.len());
    assert_eq!(boxes.len(), labels.len(), "batched_nms: {} boxes but {} labels", boxes.len(), labels.len());
    let order = by_score(scores);
    let mut by_class = order.clone();
    // Stable: within a class the boxes stay ordered by score.
    by_class.sort_by_key(|&i| labels[i]);
    let mut is_kept = vec![false; boxes.len()];
    for class in by_class.chunk_by(|&i, &j| labels[i] == labels[j]) {
        suppress(boxes, class, iou_threshold).into_iter().for_each(|i| is_kept[i] = true);
    }
    order.into_iter().filter(|&i| is_kept[i]).collect()
}

/// All indices by descending score, equal scores by ascending index, NaN at the end.
fn by_score<F: Float>(scores: &[F]) -> Vec<usize> {
    let mut keys: Vec<(u64, usize)> = scores.iter().map(|&score| falling(score)).zip(0..).collect();
    keys.sort_unstable();
    keys.into_iter().map(|(_, index)| index).collect()
}

/// A number that falls as the score rises, the largest for NaN: whole numbers are sorted in a third of the time.
fn falling<F: Float>(score: F) -> u64 {
    const SIGN: u64 = 1 << 63;
    // Exact for f32; the sum turns −0 into 0.
    let score = score.to_f64().unwrap_or(f64::NAN) + 0.0;
    let bits = score.to_bits();
    match (score.is_nan(), bits & SIGN != 0) {
        (true, _) => u64::MAX,
        (_, true) => bits,
        (_, false) => !(bits | SIGN),
    }
}

fn suppress<F: Float>(boxes: &[[F; 4]], order: &[usize], iou_threshold: F) -> Vec<usize> {
    let mut kept = Kept::default();
    for &i in order {
        if !kept.overlaps(&boxes[i], iou_threshold) {
            kept.push(i, boxes[i]);
        }
    }
    kept.indices
}

/// Boxes that are compared at once.
const LANES: usize = 16;

/// The boxes that survive, in groups whose coordinates lie side by side: a few vector instructions tell of a whole
/// group that none of it overlaps.
struct Kept<F> {
    indices: Vec<usize>,
    /// `[x1, y1, x2, y2]` and the area of each box of a group.
    groups: Vec<[[F; LANES]; 5]>,
}

impl<F> Default for Kept<F> {
    fn default() -> Self {
        Self { indices: Vec::new(), groups: Vec::new() }
    }
}

impl<F: Float> Kept<F> {
    fn push(&mut self, index: usize, [x1, y1, x2, y2]: [F; 4]) {
        let of = [x1, y1, x2, y2, boxes::area(&[x1, y1, x2, y2])];
        let lane = self.indices.len() % LANES;
        if lane == 0 {
            // Beyond the last box: copies of it, which change nothing.
            self.groups.push(of.map(|value| [value; LANES]));
        }
        if let Some(group) = self.groups.last_mut() {
            group.iter_mut().zip(of).for_each(|(side, value)| side[lane..].fill(value));
        }
        self.indices.push(index);
    }

    fn overlaps(&self, of: &[F; 4], iou_threshold: F) -> bool {
        // Below 0 boxes that lie apart count as overlapping too. NaN is not ordered, which the short way relies on.
        let no_short_way = iou_threshold < F::zero() || of.iter().any(|value| value.is_nan());
        // A product is compared where the IoU is a quotient: by far more than both round, by far less than matters.
        let bound = iou_threshold * (F::one() - F::epsilon().sqrt());
        let area = boxes::area(of);
        self.groups.iter().any(|group| {
            (no_short_way || may_overlap(group, of, area, bound)) && overlaps(group, of, iou_threshold)
        })
    }
}

/// Whether the IoU of a box, of the given area, and one of a group exceeds a bound, which is not negative. Without divisions and
/// without a way out before the end, so that the lanes stay vectors.
fn may_overlap<F: Float>([x1, y1, x2, y2, areas]: &[[F; LANES]; 5], of: &[F; 4], area: F, bound: F) -> bool {
    // `Float::min` and `max` say more about NaN than one instruction can.
    let min = |a: F, b: F| if a < b { a } else { b };
    let max = |a: F, b: F| if a > b { a } else { b };
    let mut exceeds = false;
    for k in 0..LANES {
        let width = max(min(x2[k], of[2]) - max(x1[k], of[0]), F::zero());
        let height = max(min(y2[k], of[3]) - max(y1[k], of[1]), F::zero());
        let shared = width * height;
        exceeds |= shared > bound * (areas[k] + area - shared);
    }
    exceeds
}

/// Whether a box overlaps one of a group; without a way out before the end, so that the lanes stay vectors.
fn overlaps<F: Float>([x1, y1, x2, y2, _]: &[[F; LANES]; 5], of: &[F; 4], iou_threshold: F) -> bool {
    let mut overlaps = false;
    for k in 0..LANES {
        overlaps |= boxes::iou(&[x1[k], y1[k], x2[k], y2[k]], of) > iou_threshold;
    }
    overlaps
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition, word by word: of the boxes still in play take the best, drop its overlaps.
    fn brute_force(boxes: &[[f64; 4]], scores: &[f64], labels: &[usize], threshold: f64) -> Vec<usize> {
        let mut alive = vec![true; boxes.len()];
        let mut kept = Vec::new();
        loop {
            let mut best: Option<usize> = None;
            for i in 0..boxes.len() {
                if alive[i] && best.is_none_or(|b| scores[i] > scores[b]) {
                    best = Some(i);
                }
            }
            let Some(best) = best else { return kept };
            kept.push(best);
            for i in 0..boxes.len() {
                if i == best || labels[i] == labels[best] && boxes::iou(&boxes[i], &boxes[best]) > threshold {
                    alive[i] = false;
                }
            }
        }
    }

    type Case = (Vec<[f64; 4]>, Vec<f64>, Vec<usize>);

    /// Few coordinates and few scores, so that overlaps, equal boxes and ties are common.
    fn a_case() -> impl Strategy<Value = Case> {
        let item = (0..12_i32, 0..12_i32, 1..8_i32, 1..8_i32, 0..5_i32, 0..3_usize);
        prop::collection::vec(item, 0..40).prop_map(|items| {
            let boxes = items.iter().map(|&(x, y, w, h, ..)| [x, y, x + w, y + h].map(f64::from)).collect();
            let scores = items.iter().map(|item| f64::from(item.4) / 4.0).collect();
            (boxes, scores, items.iter().map(|item| item.5).collect())
        })
    }

    proptest! {
        #[test]
        fn equals_brute_force((boxes, scores, labels) in a_case(), threshold in 0.0..1.0_f64) {
            let one_class = vec![0; boxes.len()];
            prop_assert_eq!(nms(&boxes, &scores, threshold), brute_force(&boxes, &scores, &one_class, threshold));
            prop_assert_eq!(
                batched_nms(&boxes, &scores, &labels, threshold),
                brute_force(&boxes, &scores, &labels, threshold)
            );
        }

        #[test]
        fn a_second_pass_changes_nothing((boxes, scores, _) in a_case(), threshold in 0.0..1.0_f64) {
            let kept = nms(&boxes, &scores, threshold);
            let boxes: Vec<_> = kept.iter().map(|&i| boxes[i]).collect();
            let scores: Vec<_> = kept.iter().map(|&i| scores[i]).collect();
            prop_assert_eq!(nms(&boxes, &scores, threshold), (0..boxes.len()).collect::<Vec<_>>());
        }
    }

    #[test]
    fn an_overlap_equal_to_the_threshold_stays() {
        // 1×2 of 2×2: an IoU of exactly one half.
        let boxes = [[0.0_f32, 0.0, 2.0, 2.0], [0.0, 0.0, 1.0, 2.0]];
        assert_eq!(nms(&boxes, &[0.9, 0.8], 0.5), [0, 1]);
        assert_eq!(nms(&boxes, &[0.9, 0.8], 0.49), [0]);
    }

    /// Overlaps within a few roundings of the threshold, on either side of it.
    #[test]
    fn overlaps_next_to_the_threshold_are_decided_by_the_quotient() {
        let first = [0.0_f32, 0.0, 3.0, 7.0];
        for third in (0..40).map(|k| [0.1 * k as f32, 0.3, 3.0 + 0.1 * k as f32, 6.9]) {
            let iou = boxes::iou(&first, &third);
            for (threshold, kept) in [(iou.next_down(), 1), (iou, 2), (iou.next_up(), 2)] {
                assert_eq!(nms(&[first, third], &[0.9, 0.8], threshold).len(), kept, "{threshold}");
            }
        }
    }

    #[test]
    fn coordinates_that_are_nan_are_treated_as_the_iou_treats_them() {
        let numbers = [0.0, 1.0, 4.0, f64::NAN, f64::INFINITY];
        let all = (0..5_usize.pow(4)).map(|n| [n / 125, n / 25 % 5, n / 5 % 5, n % 5].map(|k| numbers[k]));
        let all: Vec<_> = all.collect();
        for first in &all {
            for second in &all {
                let kept = nms(&[*first, *second], &[0.9, 0.8], 0.3).len();
                let overlap = boxes::iou(first, second) > 0.3;
                assert_eq!(kept, 2 - usize::from(overlap), "{first:?} {second:?}");
            }
        }
    }

    #[test]
    fn ties_go_to_the_lower_index_and_nan_to_the_end() {
        let boxes = [[0.0_f32, 0.0, 1.0, 1.0]; 2];
        assert_eq!(nms(&boxes, &[0.5, 0.5], 0.5), [0]);
        assert_eq!(nms(&boxes, &[f32::NAN, -1.0], 0.5), [1]);
        assert_eq!(nms::<f32>(&[], &[], 0.5), [0; 0]);
    }

    #[test]
    fn scores_of_any_sign_and_size_are_ordered() {
        let scores =
            [0.0, -1.0, f64::INFINITY, -0.0, 1e-310, f64::NAN, -f64::INFINITY, 2.5, -1e-310, -f64::NAN, 0.5];
        assert_eq!(by_score(&scores), [2, 7, 10, 4, 0, 3, 8, 1, 6, 5, 9]);
        let scores = scores.map(|score| score as f32);
        // The two smallest are 0 there.
        assert_eq!(by_score(&scores), [2, 7, 10, 0, 3, 4, 8, 1, 6, 5, 9]);
    }

    #[test]
    fn far_from_the_origin_classes_do_not_disturb_each_other() {
        // Widths of a quarter pixel at 100,000 px: an offset per class in f32 would merge them.
        let boxes: Vec<[f32; 4]> =
            (0..8).map(|i| 100_000.0 + 0.25 * i as f32).map(|x| [x, 0.0, x + 0.25, 1.0]).collect();
        assert_eq!(batched_nms(&boxes, &[0.5; 8], &[79; 8], 0.1), (0..8).collect::<Vec<_>>());
    }

    #[test]
    #[should_panic(expected = "2 boxes but 1 scores")]
    fn lengths_must_agree() {
        nms(&[[0.0_f32; 4]; 2], &[0.5], 0.5);
    }
}
