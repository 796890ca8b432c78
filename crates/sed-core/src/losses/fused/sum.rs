//! Sums.

/// `Σ values` in eight interleaved sums, which the compiler can keep in vector registers.
pub(super) fn sum(values: &[f32]) -> f32 {
    let chunks = values.chunks_exact(8);
    let rest: f32 = chunks.remainder().iter().sum();
    let mut lanes = [0.0; 8];
    for chunk in chunks {
        lanes.iter_mut().zip(chunk).for_each(|(lane, value)| *lane += *value);
    }
    lanes.iter().sum::<f32>() + rest
}

#[cfg(test)]
mod tests {
    use super::sum;

    #[test]
    fn sums_every_element() {
        for len in [0, 1, 7, 8, 9, 30] {
            let values: Vec<f32> = (1..=len).map(|i| i as f32).collect();
            assert_eq!(sum(&values), (len * (len + 1) / 2) as f32);
        }
    }
}
