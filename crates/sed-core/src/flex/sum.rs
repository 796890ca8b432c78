//! Sums.

/// Elements that are summed in `f32`.
const CHUNK: usize = 4096;

/// `Σ f(value)`: chunks in eight interleaved `f32` sums, which the compiler can keep in vector registers, and the
/// chunks' sums in `f64`.
///
/// ```
/// let squares = sed_core::flex::sum(&[1.0, 2.0, 3.0], |value| value * value);
/// assert_eq!(squares, 14.0);
/// ```
pub fn sum(values: &[f32], f: impl Fn(f32) -> f32) -> f64 {
    values.chunks(CHUNK).map(|chunk| f64::from(chunk_sum(chunk, &f))).sum()
}

fn chunk_sum(values: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; 8];
    let chunks = values.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().map(|&value| f(value)).sum();
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += f(*value));
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn sums_every_element() {
        for len in [0, 1, 7, 8, 9, 4095, 4096, 4097, 10_000] {
            let values: Vec<f32> = (0..len).map(|i| i as f32).collect();
            // Integers below 2²⁴ within a chunk: nearly exact, up to the rounding of chunk sums beyond.
            let expected = (len * len) as f64 / 2.0 - len as f64 / 2.0;
            let error = (sum(&values, |value| value) - expected).abs();
            assert!(error <= 1e-6 * expected, "{len}: off by {error}");
        }
        assert_eq!(sum(&[1.0, -2.0, 3.0], |value| value * value), 14.0);
    }
}
