//! The colours of objects.

use super::texture::Color;
use crate::data::HostRng;

/// Colours drawn before the one that stands out most is taken.
const TRIES: usize = 8;

/// A saturated colour whose hue lies within `spread` (a share of the colour circle, to either side)
/// of that of class `label` among `classes`. Of several draws, the first whose largest channel
/// difference from `background` lies within `contrast`, or else reaches it best.
pub(super) fn object_color(
    rng: &mut HostRng,
    label: usize,
    classes: usize,
    spread: f32,
    background: Color,
    contrast: [f32; 2],
) -> Color {
    let mut best = ([0.0; 3], f32::INFINITY);
    for _ in 0..TRIES {
        let hue = label as f32 / classes as f32 + rng.uniform([-spread, spread]);
        let color = hsv(hue, rng.uniform([0.5, 1.0]), rng.uniform([0.4, 1.0]));
        let difference = (0..3).map(|c| (color[c] - background[c]).abs()).fold(0.0, f32::max);
        let missed = (contrast[0] - difference).max(difference - contrast[1]).max(0.0);
        if missed < best.1 {
            best = (color, missed);
        }
        if missed == 0.0 {
            break;
        }
    }
    best.0
}

/// `color` with its distance from grey multiplied by `factor`.
pub(super) fn desaturated(color: Color, factor: f32) -> Color {
    let grey = color.iter().sum::<f32>() / 3.0;
    color.map(|channel| grey + factor * (channel - grey))
}

/// RGB of hue (turns of the colour circle, red at 0), saturation and value.
fn hsv(hue: f32, saturation: f32, value: f32) -> Color {
    [5.0f32, 3.0, 1.0].map(|offset| {
        let k = (offset + 6.0 * hue).rem_euclid(6.0);
        value * (1.0 - saturation * k.min(4.0 - k).clamp(0.0, 1.0))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    fn rng() -> HostRng {
        HostRng::new(0, Purpose::TrainScene, 0, 0)
    }

    #[test]
    fn hues_of_the_circle() {
        assert_eq!(hsv(0.0, 1.0, 1.0), [1.0, 0.0, 0.0]);
        // A third of a turn in f32 misses green by rounding.
        let green = hsv(1.0 / 3.0, 1.0, 0.5);
        assert!(green[0] < 1e-6 && (green[1] - 0.5).abs() < 1e-6 && green[2] < 1e-6, "{green:?}");
        assert_eq!(hsv(0.7, 0.0, 0.25), [0.25; 3]);
    }

    #[test]
    fn without_spread_each_class_has_its_own_hue() {
        for (label, strongest) in [(0, 0), (1, 1), (2, 2)] {
            let color = object_color(&mut rng(), label, 3, 0.0, [0.5; 3], [0.0, 1.0]);
            let max = color.iter().copied().fold(0.0, f32::max);
            assert_eq!(color[strongest], max);
        }
    }

    #[test]
    fn half_a_turn_of_spread_hides_the_class() {
        let mut rng = rng();
        let strongest: Vec<usize> = (0..300)
            .map(|_| object_color(&mut rng, 0, 3, 0.5, [0.5; 3], [0.0, 1.0]))
            .map(|color| (0..3).max_by(|&a, &b| color[a].total_cmp(&color[b])).unwrap())
            .collect();
        // A third each, 100 ± 8 of 300; five deviations.
        for channel in 0..3 {
            let count = strongest.iter().filter(|&&s| s == channel).count();
            assert!((60..140).contains(&count), "channel {channel}: {count}");
        }
    }

    #[test]
    fn the_contrast_is_kept_where_it_can_be() {
        let mut rng = rng();
        for _ in 0..100 {
            let color = object_color(&mut rng, 1, 6, 0.1, [0.9; 3], [0.3, 1.0]);
            let difference = color.iter().map(|channel| (channel - 0.9).abs()).fold(0.0, f32::max);
            assert!(difference >= 0.3, "{color:?}");
        }
    }

    #[test]
    fn desaturation_ends_in_grey() {
        assert_eq!(desaturated([1.0, 0.5, 0.0], 0.0), [0.5; 3]);
        assert_eq!(desaturated([1.0, 0.5, 0.0], 1.0), [1.0, 0.5, 0.0]);
    }
}
