//! The numbers that `scripts/fixtures/common.py` makes too, bit by bit.

use burn::tensor::{Device, Tensor, TensorData};

/// The 64-bit FNV-1a hash of a name.
fn fnv1a(name: &str) -> u64 {
    name.bytes()
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// `count` values in `[low, high)`, from SplitMix64 seeded by the name.
pub fn uniform(name: &str, count: usize, low: f64, high: f64) -> Vec<f32> {
    let seed = fnv1a(name);
    (1..=count as u64)
        .map(|i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            z ^= z >> 31;
            let unit = (z >> 40) as f64 / (1u64 << 24) as f64;
            (low + (high - low) * unit) as f32
        })
        .collect()
}

/// [`uniform`] as a tensor.
pub fn tensor<const D: usize>(
    name: &str,
    shape: [usize; D],
    low: f64,
    high: f64,
    device: &Device,
) -> Tensor<D> {
    Tensor::from_data(TensorData::new(uniform(name, shape.iter().product(), low, high), shape), device)
}

/// `Σ tᵢ·uᵢ` with `u` drawn by the formula: a scalar whose gradient to each entry is another value.
pub fn project<const D: usize>(name: &str, t: Tensor<D>) -> Tensor<1> {
    let upstream = tensor(name, t.dims(), -1.0, 1.0, &t.device());
    (t * upstream).sum()
}

#[test]
fn the_formula_gives_the_values_of_the_script() {
    // From python: common.uniform("parity", (4,), -1.0, 1.0).
    assert_eq!(uniform("parity", 4, -1.0, 1.0), [0.78863764, -0.65744686, -0.9270587, 0.44895196]);
}
