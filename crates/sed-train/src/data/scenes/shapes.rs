//! Outlines of the objects and of the clutter.

use std::f32::consts::{PI, TAU};

use crate::data::HostRng;

/// A class of object: its shape.
///
/// ```
/// use sed_train::data::scenes::ShapeClass;
///
/// let names = ShapeClass::ALL.map(ShapeClass::name);
/// assert_eq!(names, ["disc", "ring", "triangle", "square", "star", "cross"]);
/// assert_eq!(ShapeClass::ALL[ShapeClass::Star as usize], ShapeClass::Star);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShapeClass {
    /// A filled circle.
    Disc,
    /// A circle with a round hole.
    Ring,
    /// An equilateral triangle.
    Triangle,
    /// A square.
    Square,
    /// A star of five points.
    Star,
    /// Two crossed bars.
    Cross,
}

impl ShapeClass {
    /// All classes, in the order of their dense ids.
    pub const ALL: [Self; 6] =
        [Self::Disc, Self::Ring, Self::Triangle, Self::Square, Self::Star, Self::Cross];

    /// The name in the annotations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Disc => "disc",
            Self::Ring => "ring",
            Self::Triangle => "triangle",
            Self::Square => "square",
            Self::Star => "star",
            Self::Cross => "cross",
        }
    }

    /// The outline in its own coordinates, about the origin.
    pub(super) fn outline(self) -> Outline {
        match self {
            Self::Disc => Outline { contours: vec![regular(CIRCLE, 1.0)] },
            Self::Ring => Outline { contours: vec![regular(CIRCLE, 1.0), regular(CIRCLE, 0.55)] },
            Self::Triangle => Outline { contours: vec![regular(3, 1.0)] },
            Self::Square => Outline { contours: vec![regular(4, 1.0)] },
            Self::Star => {
                let point = |i: usize| on_circle(if i.is_multiple_of(2) { 1.0 } else { 0.42 }, i, 10);
                Outline { contours: vec![(0..10).map(point).collect()] }
            }
            Self::Cross => {
                let (a, b) = (1.0, 0.3);
                let corners = [
                    [b, b],
                    [b, a],
                    [-b, a],
                    [-b, b],
                    [-a, b],
                    [-a, -b],
                    [-b, -b],
                    [-b, -a],
                    [b, -a],
                    [b, -b],
                    [a, -b],
                    [a, b],
                ];
                Outline { contours: vec![corners.to_vec()] }
            }
        }
    }
}

/// Corners of the polygon that stands for a circle: within 0.1 % of the radius.
const CIRCLE: usize = 72;

fn on_circle(radius: f32, i: usize, n: usize) -> [f32; 2] {
    let (sin, cos) = (TAU * i as f32 / n as f32).sin_cos();
    [radius * cos, radius * sin]
}

fn regular(corners: usize, radius: f32) -> Vec<[f32; 2]> {
    (0..corners).map(|i| on_circle(radius, i, corners)).collect()
}

/// A plane figure: the points inside an odd number of its contours. The first contour holds all
/// others.
#[derive(Debug, Clone)]
pub(super) struct Outline {
    pub contours: Vec<Vec<[f32; 2]>>,
}

impl Outline {
    /// Stretched by `aspect` (width over height, area kept), turned, scaled so that the longer side
    /// of its bounds is `size`, and moved so that the middle of its bounds is `center`.
    pub fn placed(mut self, aspect: f32, angle: f32, size: f32, center: [f32; 2]) -> Self {
        let stretch = aspect.sqrt();
        let (sin, cos) = angle.sin_cos();
        self.map(|[x, y]| {
            let (x, y) = (x * stretch, y / stretch);
            [x * cos - y * sin, x * sin + y * cos]
        });
        let [x1, y1, x2, y2] = self.bounds();
        let factor = size / (x2 - x1).max(y2 - y1);
        let [mx, my] = [(x1 + x2) / 2.0, (y1 + y2) / 2.0];
        self.map(|[x, y]| [(x - mx) * factor + center[0], (y - my) * factor + center[1]]);
        self
    }

    fn map(&mut self, f: impl Fn([f32; 2]) -> [f32; 2]) {
        self.contours.iter_mut().flatten().for_each(|point| *point = f(*point));
    }

    /// The smallest box around the figure.
    pub fn bounds(&self) -> [f32; 4] {
        bounds(&self.contours[0])
    }

    /// The smallest box around the part of the figure within `0..size` on both axes, if there is one.
    pub fn bounds_within(&self, size: f32) -> Option<[f32; 4]> {
        let mut points = self.contours[0].clone();
        for (axis, limit, sign) in [(0, 0.0, 1.0), (0, size, -1.0), (1, 0.0, 1.0), (1, size, -1.0)] {
            points = clip_half_plane(&points, axis, limit, sign);
        }
        let [x1, y1, x2, y2] = bounds(&points);
        (x2 > x1 && y2 > y1).then_some([x1, y1, x2, y2])
    }
}

fn bounds(points: &[[f32; 2]]) -> [f32; 4] {
    let start = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
    points.iter().fold(start, |[x1, y1, x2, y2], &[x, y]| [x1.min(x), y1.min(y), x2.max(x), y2.max(y)])
}

/// The part of a polygon where `sign · (point[axis] − limit) ≥ 0` (Sutherland and Hodgman).
///
/// A concave polygon may fall apart; the pieces then stay joined by edges on the border, which do
/// not change the bounds.
fn clip_half_plane(points: &[[f32; 2]], axis: usize, limit: f32, sign: f32) -> Vec<[f32; 2]> {
    let mut kept = Vec::with_capacity(points.len() + 4);
    for (i, &b) in points.iter().enumerate() {
        let a = points[(i + points.len() - 1) % points.len()];
        let (da, db) = (sign * (a[axis] - limit), sign * (b[axis] - limit));
        if (da >= 0.0) != (db >= 0.0) {
            let t = da / (da - db);
            let mut crossing = [a[0] + (b[0] - a[0]) * t, a[1] + (b[1] - a[1]) * t];
            crossing[axis] = limit;
            kept.push(crossing);
        }
        if db >= 0.0 {
            kept.push(b);
        }
    }
    kept
}

/// An unlabeled figure, of none of the classes: a bar, an arc or a ragged blob.
pub(super) fn clutter_outline(rng: &mut HostRng) -> Outline {
    let contour = match rng.below(3) {
        0 => {
            let half_width = rng.uniform([0.03, 0.12]);
            vec![[-1.0, -half_width], [1.0, -half_width], [1.0, half_width], [-1.0, half_width]]
        }
        1 => {
            // At most 240 degrees, so that it is no ring.
            let (span, inner) = (rng.uniform([0.4 * PI, 1.3 * PI]), rng.uniform([0.7, 0.9]));
            let steps = 24;
            let arc = |radius: f32, i: usize| {
                let (sin, cos) = (span * i as f32 / steps as f32).sin_cos();
                [radius * cos, radius * sin]
            };
            (0..=steps).map(|i| arc(1.0, i)).chain((0..=steps).rev().map(|i| arc(inner, i))).collect()
        }
        _ => {
            // Not so ragged that it passes for a star.
            let corners = rng.between([6, 10]);
            let radii: Vec<f32> = (0..corners).map(|_| rng.uniform([0.55, 1.0])).collect();
            radii.iter().enumerate().map(|(i, &radius)| on_circle(radius, i, corners)).collect()
        }
    };
    Outline { contours: vec![contour] }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_placed_outline_has_its_size_and_center() {
        for class in ShapeClass::ALL {
            for angle in [0.0, 0.3, 2.0] {
                let [x1, y1, x2, y2] = class.outline().placed(1.2, angle, 40.0, [64.0, 50.0]).bounds();
                // Rounding of coordinates near 100 in f32.
                assert!(((x2 - x1).max(y2 - y1) - 40.0).abs() < 1e-3, "{}", class.name());
                assert!(((x1 + x2) / 2.0 - 64.0).abs() < 1e-3 && ((y1 + y2) / 2.0 - 50.0).abs() < 1e-3);
            }
        }
    }

    #[test]
    fn a_figure_cut_by_the_border_keeps_only_the_bounds_of_what_is_left() {
        // A diamond with corners (-10, 5), (10, 5), (0, -5), (0, 15): inside x ≥ 0 its corners are
        // (0, -5), (10, 5), (0, 15); y ≥ 0 cuts (0, 0), (5, 0).
        let diamond = Outline { contours: vec![vec![[10.0, 5.0], [0.0, 15.0], [-10.0, 5.0], [0.0, -5.0]]] };
        assert_eq!(diamond.bounds_within(100.0), Some([0.0, 0.0, 10.0, 15.0]));
        // The square from 0 to 4 lies within the diamond.
        assert_eq!(diamond.bounds_within(4.0), Some([0.0, 0.0, 4.0, 4.0]));
        let outside = ShapeClass::Disc.outline().placed(1.0, 0.0, 10.0, [-20.0, 5.0]);
        assert_eq!(outside.bounds_within(100.0), None);
    }

    #[test]
    fn the_tight_box_of_a_cut_disc_is_smaller_than_its_cut_box() {
        // Radius 10 about (-6, 50): at x = 0 the chord has half length √(100 − 36) = 8.
        let disc = ShapeClass::Disc.outline().placed(1.0, 0.0, 20.0, [-6.0, 50.0]);
        let [x1, y1, x2, y2] = disc.bounds_within(100.0).unwrap();
        for (found, expected) in [(x1, 0.0), (y1, 42.0), (x2, 4.0), (y2, 58.0)] {
            // The polygon lies within 0.1 % of the radius of the circle.
            assert!((found - expected).abs() < 0.02, "{found} {expected}");
        }
    }
}
