//! Sigmoid and softplus in forms that the compiler turns into vector instructions.
//!
//! Both need `e^x` for `x ≤ 0` alone. The library's functions are calls, one element each.

/// `e^x` for `x ≤ 0`, to 2 units in the last place; below −87 it stays at `e^−87`. NaN gives NaN.
///
/// `x = n·ln 2 + r` with `|r| ≤ ln 2 / 2`: `2^n` is written into the exponent, `e^r` is its series.
#[inline(always)]
fn exp_of_negative(x: f32) -> f32 {
    /// Added to a small number it leaves the number rounded in the low bits.
    const ROUND: f32 = 12_582_912.0;
    /// `ln 2` in two parts, the first short enough that its products with an exponent are exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    #[allow(clippy::manual_clamp, reason = "max would turn NaN into a number")]
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let tail = 1.0 / 720.0 + r * (1.0 / 5040.0);
    let tail = 1.0 / 24.0 + r * (1.0 / 120.0 + r * tail);
    let series = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * tail)));
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    series * f32::from_bits(exponent << 23)
}

/// `ln(1 + e)` for `0 ≤ e ≤ 1`, to 3 units in the last place.
///
/// With `s = e / (2 + e) ≤ 1/3` it is `2·artanh(s)`, whose series has odd powers only.
#[inline(always)]
fn ln_1p(e: f32) -> f32 {
    let s = e / (2.0 + e);
    let q = s * s;
    let tail = 1.0 / 9.0 + q * (1.0 / 11.0 + q * (1.0 / 13.0));
    2.0 * s * (1.0 + q * (1.0 / 3.0 + q * (1.0 / 5.0 + q * (1.0 / 7.0 + q * tail))))
}

/// `(σ(z), softplus(z))`, with `softplus(z) = ln(1 + e^z) = −ln σ(−z)`.
#[inline(always)]
pub(super) fn sigmoid_and_softplus(z: f32) -> (f32, f32) {
    let e = exp_of_negative(-z.abs());
    let positive = z > 0.0;
    let numerator = if positive { 1.0 } else { e };
    let linear = if positive { z } else { 0.0 };
    (numerator / (1.0 + e), linear + ln_1p(e))
}

/// `σ(z)`.
#[inline(always)]
pub(super) fn sigmoid(z: f32) -> f32 {
    let e = exp_of_negative(-z.abs());
    let numerator = if z > 0.0 { 1.0 } else { e };
    numerator / (1.0 + e)
}

/// `softplus(z)`.
#[inline(always)]
pub(super) fn softplus(z: f32) -> f32 {
    sigmoid_and_softplus(z).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_agree_with_those_in_double_precision() {
        for i in -200_000..=200_000 {
            let z = i as f32 * 4e-4;
            let exact = f64::from(z);
            let e = (-exact.abs()).exp();
            let probability = if exact > 0.0 { 1.0 / (1.0 + e) } else { e / (1.0 + e) };
            let log = exact.max(0.0) + e.ln_1p();
            // Some units in the last place, 6e-8 each.
            for (found, exact) in [(sigmoid(z), probability), (softplus(z), log)] {
                let error = (f64::from(found) - exact).abs() / exact;
                assert!(error < 4e-7, "at {z}: {found}, {exact}");
            }
        }
    }

    #[test]
    fn extremes_are_finite_and_nan_stays() {
        assert_eq!(sigmoid(1e4), 1.0);
        assert_eq!(softplus(1e4), 1e4);
        assert!(sigmoid(-1e4) < 1e-37 && softplus(-1e4) < 1e-37);
        assert_eq!((sigmoid(0.0), softplus(0.0)), (0.5, std::f32::consts::LN_2));
        assert!(sigmoid(f32::NAN).is_nan() && softplus(f32::NAN).is_nan());
    }
}
