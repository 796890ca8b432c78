//! Arithmetic of boxes `[x1, y1, x2, y2]` in continuous pixels.
//!
//! A box of width 1 has `x2 − x1 = 1`. A box whose `x2 ≤ x1` or `y2 ≤ y1` is empty: its area is 0
//! and it intersects nothing.

use num_traits::Float;

/// The area in square pixels, 0 for an empty box.
///
/// ```
/// assert_eq!(sed_core::ops::boxes::area(&[1.0_f32, 2.0, 4.0, 4.0]), 6.0);
/// ```
pub fn area<F: Float>(b: &[F; 4]) -> F {
    (b[2] - b[0]).max(F::zero()) * (b[3] - b[1]).max(F::zero())
}

/// The area that two boxes share, in square pixels.
///
/// ```
/// let shared = sed_core::ops::boxes::intersection(&[0.0_f32, 0.0, 4.0, 4.0], &[1.0, 2.0, 9.0, 9.0]);
/// // 3 wide, 2 high.
/// assert_eq!(shared, 6.0);
/// ```
pub fn intersection<F: Float>(a: &[F; 4], b: &[F; 4]) -> F {
    area(&[a[0].max(b[0]), a[1].max(b[1]), a[2].min(b[2]), a[3].min(b[3])])
}

/// The intersection over the union, in `[0, 1]`; 0 if both boxes are empty.
///
/// ```
/// // They share 1×1 of 4 + 4 − 1 = 7.
/// let iou = sed_core::ops::boxes::iou(&[0.0_f64, 0.0, 2.0, 2.0], &[1.0, 1.0, 3.0, 3.0]);
/// assert_eq!(iou, 1.0 / 7.0);
/// ```
pub fn iou<F: Float>(a: &[F; 4], b: &[F; 4]) -> F {
    let shared = intersection(a, b);
    ratio(shared, area(a) + area(b) - shared)
}

/// The generalised IoU, in `[−1, 1]`: `IoU − (|E| − |A ∪ B|) / |E|`, with `E` the smallest box
/// around both.
///
/// Unlike the IoU it tells how far apart two boxes are that share nothing. Its second term is 0
/// where `E` has no area. (Rezatofighi et al., *Generalized Intersection over Union*, CVPR 2019.)
///
/// ```
/// // No overlap, a union of 2 in an enclosing box of 1×3.
/// let giou = sed_core::ops::boxes::giou(&[0.0_f64, 0.0, 1.0, 1.0], &[2.0, 0.0, 3.0, 1.0]);
/// assert_eq!(giou, -1.0 / 3.0);
/// ```
pub fn giou<F: Float>(a: &[F; 4], b: &[F; 4]) -> F {
    let shared = intersection(a, b);
    let union = area(a) + area(b) - shared;
    let enclosing = area(&[a[0].min(b[0]), a[1].min(b[1]), a[2].max(b[2]), a[3].max(b[3])]);
    ratio(shared, union) - ratio(enclosing - union, enclosing)
}

/// The part of a box inside an image of `height × width` pixels; empty if it lies outside.
///
/// ```
/// let clipped = sed_core::ops::boxes::clip(&[-5.0_f32, 2.0, 30.0, 8.0], 10.0, 20.0);
/// assert_eq!(clipped, [0.0, 2.0, 20.0, 8.0]);
/// ```
pub fn clip<F: Float>(b: &[F; 4], height: F, width: F) -> [F; 4] {
    let inside = |value: F, limit: F| value.max(F::zero()).min(limit);
    [inside(b[0], width), inside(b[1], height), inside(b[2], width), inside(b[3], height)]
}

/// The box in an image that was resized by `factor`.
///
/// ```
/// assert_eq!(sed_core::ops::boxes::scale(&[2.0_f32, 4.0, 6.0, 8.0], 0.5), [1.0, 2.0, 3.0, 4.0]);
/// ```
pub fn scale<F: Float>(b: &[F; 4], factor: F) -> [F; 4] {
    b.map(|value| value * factor)
}

/// Whether all four numbers are finite, `x1 < x2` and `y1 < y2`.
///
/// ```
/// use sed_core::ops::boxes::is_valid;
///
/// assert!(is_valid(&[0.0_f32, 0.0, 2.0, 1.0]));
/// assert!(!is_valid(&[2.0_f32, 0.0, 2.0, 1.0]));
/// assert!(!is_valid(&[f32::NAN, 0.0, 2.0, 1.0]));
/// ```
pub fn is_valid<F: Float>(b: &[F; 4]) -> bool {
    b.iter().all(|value| value.is_finite()) && b[0] < b[2] && b[1] < b[3]
}

fn ratio<F: Float>(part: F, whole: F) -> F {
    if whole > F::zero() { part / whole } else { F::zero() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Boxes on a grid of eighths, whose areas are exact in `f64`.
    fn a_box() -> impl Strategy<Value = [f64; 4]> {
        (-400..400_i32, -400..400_i32, 1..400_i32, 1..400_i32)
            .prop_map(|(x, y, w, h)| [x, y, x + w, y + h].map(|v| f64::from(v) / 8.0))
    }

    proptest! {
        #[test]
        fn a_box_is_equal_to_itself(a in a_box()) {
            prop_assert_eq!(iou(&a, &a), 1.0);
            prop_assert_eq!(giou(&a, &a), 1.0);
            prop_assert_eq!(intersection(&a, &a), area(&a));
            prop_assert!(is_valid(&a));
        }

        #[test]
        fn order_does_not_matter(a in a_box(), b in a_box()) {
            prop_assert_eq!(iou(&a, &b), iou(&b, &a));
            prop_assert_eq!(giou(&a, &b), giou(&b, &a));
        }

        #[test]
        fn ranges_hold(a in a_box(), b in a_box()) {
            let (iou, giou) = (iou(&a, &b), giou(&a, &b));
            prop_assert!((0.0..=1.0).contains(&iou));
            prop_assert!((-1.0..=1.0).contains(&giou));
            prop_assert!(giou <= iou);
            prop_assert!(intersection(&a, &b) <= area(&a).min(area(&b)));
        }

        #[test]
        fn ratios_do_not_depend_on_place_or_size(a in a_box(), b in a_box(), shift in -64..64_i32) {
            let shift = f64::from(shift);
            // Powers of two and eighths: exact, so equal to the last bit.
            prop_assert_eq!(iou(&scale(&a, 4.0), &scale(&b, 4.0)), iou(&a, &b));
            prop_assert_eq!(giou(&a.map(|v| v + shift), &b.map(|v| v + shift)), giou(&a, &b));
            prop_assert_eq!(scale(&scale(&a, 0.5), 2.0), a);
        }

        #[test]
        fn clipping_is_the_intersection_with_the_image(a in a_box()) {
            let (height, width) = (20.0, 30.0);
            let clipped = clip(&a, height, width);
            prop_assert_eq!(area(&clipped), intersection(&a, &[0.0, 0.0, width, height]));
            prop_assert_eq!(clip(&clipped, height, width), clipped);
        }
    }

    #[test]
    fn empty_boxes_share_nothing() {
        let (empty, full) = ([3.0_f32, 3.0, 3.0, 5.0], [0.0, 0.0, 10.0, 10.0]);
        assert_eq!(area(&[5.0_f32, 5.0, 1.0, 1.0]), 0.0);
        assert_eq!(iou(&empty, &full), 0.0);
        assert_eq!(iou(&empty, &empty), 0.0);
        assert_eq!(giou(&empty, &empty), 0.0);
    }

    #[test]
    fn invalid_boxes_are_recognised() {
        for b in [
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 2.0, 1.0, 1.0],
            [f32::NAN, 0.0, 1.0, 1.0],
            [0.0, 0.0, f32::INFINITY, 1.0],
        ] {
            assert!(!is_valid(&b), "{b:?}");
        }
    }
}
