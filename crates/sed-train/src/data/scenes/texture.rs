//! Colours that vary over the plane.

use crate::data::HostRng;

/// RGB, not yet clamped to `[0, 1]`.
pub(super) type Color = [f32; 3];

/// A way to vary a colour over the plane, between −1 and 1.
#[derive(Debug, Clone)]
enum Pattern {
    Plain,
    /// `cos(k·p + phase)`.
    Waves {
        k: [f32; 2],
        phase: f32,
    },
    /// The sign of a product of two waves.
    Checks {
        k: [f32; 2],
        phase: f32,
    },
    /// A linear slope with −1 and 1 at `reach` pixels from the center.
    Slope {
        direction: [f32; 2],
        center: [f32; 2],
        reach: f32,
    },
    /// Smooth noise over a grid of random values `cell` pixels apart.
    Clouds {
        cell: f32,
        values: Vec<f32>,
    },
}

/// Values in the table of [`Pattern::Clouds`]: a power of two, so that a cell's index wraps by a mask.
const CLOUD_VALUES: usize = 256;

/// A base colour and patterns added to it.
#[derive(Debug, Clone)]
pub(super) struct Texture {
    pub base: Color,
    layers: Vec<(Pattern, Color)>,
}

impl Texture {
    /// One random pattern of a random amplitude within `amplitude`, for a figure `size` pixels
    /// large about `center`.
    pub fn of_figure(
        rng: &mut HostRng,
        base: Color,
        amplitude: [f32; 2],
        size: f32,
        center: [f32; 2],
    ) -> Self {
        let period = size * rng.uniform([0.15, 0.5]);
        let pattern = match rng.below(5) {
            0 => Pattern::Plain,
            1 => waves(rng, period),
            2 => checks(rng, period),
            3 => {
                let direction = direction(rng);
                Pattern::Slope { direction, center, reach: size / 2.0 }
            }
            _ => clouds(rng, period),
        };
        let tint = tint(rng, amplitude);
        Self { base, layers: vec![(pattern, tint)] }
    }

    /// Clouds of three sizes and at times a regular pattern, each of an amplitude within
    /// `amplitude`, for an image `size` pixels large.
    pub fn of_background(rng: &mut HostRng, base: Color, amplitude: [f32; 2], size: f32) -> Self {
        let mut layers = Vec::new();
        for share in [0.5, 0.2, 0.07] {
            let pattern = clouds(rng, size * share);
            layers.push((pattern, tint(rng, amplitude)));
        }
        let period = size * rng.log_uniform([0.03, 0.25]);
        let regular = match rng.below(3) {
            0 => Pattern::Plain,
            1 => waves(rng, period),
            _ => checks(rng, period),
        };
        layers.push((regular, tint(rng, amplitude)));
        Self { base, layers }
    }

    /// The colour at a point in pixels.
    pub fn at(&self, x: f32, y: f32) -> Color {
        let mut color = self.base;
        for (pattern, tint) in &self.layers {
            let value = pattern.at(x, y);
            for (channel, tint) in color.iter_mut().zip(tint) {
                *channel += value * tint;
            }
        }
        color
    }
}

impl Pattern {
    fn at(&self, x: f32, y: f32) -> f32 {
        match self {
            Self::Plain => 0.0,
            Self::Waves { k, phase } => (k[0] * x + k[1] * y + phase).cos(),
            Self::Checks { k, phase } => {
                let (a, b) = (k[0] * x + k[1] * y + phase, k[0] * y - k[1] * x + phase);
                (a.cos() * b.cos()).signum()
            }
            Self::Slope { direction, center, reach } => {
                let along = direction[0] * (x - center[0]) + direction[1] * (y - center[1]);
                (along / reach).clamp(-1.0, 1.0)
            }
            Self::Clouds { cell, values } => {
                let (u, v) = (x / cell, y / cell);
                let (i, j) = (u.floor(), v.floor());
                let (fu, fv) = (smooth(u - i), smooth(v - j));
                let value = |di: i32, dj: i32| {
                    // A fixed jumble of the two indices; neighbours fall on unrelated table entries.
                    let hash =
                        (i as i32 + di).wrapping_mul(73_856_093) ^ (j as i32 + dj).wrapping_mul(19_349_663);
                    let hash = hash as u32;
                    values[((hash ^ (hash >> 15)) as usize) & (CLOUD_VALUES - 1)]
                };
                let top = value(0, 0) + (value(1, 0) - value(0, 0)) * fu;
                let bottom = value(0, 1) + (value(1, 1) - value(0, 1)) * fu;
                top + (bottom - top) * fv
            }
        }
    }
}

/// `3t² − 2t³`, flat at 0 and at 1.
fn smooth(t: f32) -> f32 {
    t * t * (3.0 - 2.0 * t)
}

fn direction(rng: &mut HostRng) -> [f32; 2] {
    let (sin, cos) = rng.uniform([0.0, std::f32::consts::TAU]).sin_cos();
    [cos, sin]
}

fn wave_vector(rng: &mut HostRng, period: f32) -> [f32; 2] {
    // A period under two pixels would alias.
    direction(rng).map(|d| d * std::f32::consts::TAU / period.max(2.0))
}

fn waves(rng: &mut HostRng, period: f32) -> Pattern {
    Pattern::Waves { k: wave_vector(rng, period), phase: rng.uniform([0.0, 6.0]) }
}

fn checks(rng: &mut HostRng, period: f32) -> Pattern {
    Pattern::Checks { k: wave_vector(rng, period), phase: rng.uniform([0.0, 6.0]) }
}

fn clouds(rng: &mut HostRng, cell: f32) -> Pattern {
    let values = (0..CLOUD_VALUES).map(|_| rng.uniform([-1.0, 1.0])).collect();
    Pattern::Clouds { cell: cell.max(1.0), values }
}

/// A vector in colour space, mostly along grey, of a length within `amplitude` a channel.
fn tint(rng: &mut HostRng, amplitude: [f32; 2]) -> Color {
    let strength = rng.uniform(amplitude);
    let sign = if rng.chance(0.5) { 1.0 } else { -1.0 };
    [0; 3].map(|_| sign * strength * rng.uniform([0.4, 1.0]))
}

/// A colour anywhere in the cube `[0.15, 0.85]³`, away from its faces so that textures show.
pub(super) fn random_color(rng: &mut HostRng) -> Color {
    [0; 3].map(|_| rng.uniform([0.15, 0.85]))
}

/// A colour whose largest channel difference to `other` is within `contrast`, in a random direction.
pub(super) fn contrasting_color(rng: &mut HostRng, other: Color, contrast: [f32; 2]) -> Color {
    let amount = rng.uniform(contrast);
    let direction = [0; 3].map(|_| rng.uniform([-1.0, 1.0]));
    let longest = direction.iter().fold(1e-3_f32, |m, d| m.max(d.abs()));
    let mut color = other;
    for (channel, d) in color.iter_mut().zip(direction) {
        let step = d / longest * amount;
        // Turn back at the faces of the colour cube, where clamping would eat the contrast.
        let turned = if (0.0..=1.0).contains(&(*channel + step)) { *channel + step } else { *channel - step };
        *channel = turned.clamp(0.0, 1.0);
    }
    color
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Purpose;

    fn rng() -> HostRng {
        HostRng::new(3, Purpose::TrainScene, 0, 0)
    }

    #[test]
    fn zero_amplitude_is_the_base_colour() {
        let mut rng = rng();
        for _ in 0..10 {
            let figure = Texture::of_figure(&mut rng, [0.1, 0.2, 0.3], [0.0, 0.0], 20.0, [50.0, 50.0]);
            let background = Texture::of_background(&mut rng, [0.1, 0.2, 0.3], [0.0, 0.0], 128.0);
            assert_eq!(figure.at(51.0, 43.0), [0.1, 0.2, 0.3]);
            assert_eq!(background.at(51.0, 43.0), [0.1, 0.2, 0.3]);
        }
    }

    #[test]
    fn patterns_stay_between_minus_one_and_one_and_vary() {
        let mut rng = rng();
        for pattern in [waves(&mut rng, 8.0), checks(&mut rng, 8.0), clouds(&mut rng, 8.0)] {
            let values: Vec<f32> = (0..400).map(|i| pattern.at((i % 20) as f32, (i / 20) as f32)).collect();
            assert!(values.iter().all(|v| (-1.0..=1.0).contains(v)), "{pattern:?}");
            let mean = values.iter().sum::<f32>() / 400.0;
            assert!(values.iter().any(|v| (v - mean).abs() > 0.3), "{pattern:?}");
        }
    }

    #[test]
    fn contrast_is_kept_at_dark_and_bright_backgrounds() {
        let mut rng = rng();
        for other in [[0.0; 3], [1.0; 3], [0.2, 0.5, 0.8]] {
            for _ in 0..50 {
                let color = contrasting_color(&mut rng, other, [0.3, 0.5]);
                let difference = color.iter().zip(other).fold(0.0_f32, |m, (a, b)| m.max((a - b).abs()));
                // Rounding of a sum near 1 in f32.
                assert!((0.3 - 1e-6..=0.5 + 1e-6).contains(&difference), "{difference}");
            }
        }
    }
}
