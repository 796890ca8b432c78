//! Helpers of the unit tests.

use burn::tensor::{Device, Gradients, Tensor};

/// The device named by `BURN_DEVICE`, with gradients.
pub fn device() -> Device {
    Device::default().autodiff()
}

pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec().unwrap()
}

pub fn gradient<const D: usize>(tensor: &Tensor<D>, gradients: &Gradients) -> Vec<f32> {
    values(&tensor.grad(gradients).expect("a gradient"))
}

/// `|a − b| ≤ tolerance · max(1, |b|)`, element by element.
#[track_caller]
pub fn assert_close(a: &[f32], b: &[f32], tolerance: f32) {
    assert_eq!(a.len(), b.len(), "{a:?} and {b:?}");
    for (i, (x, y)) in a.iter().zip(b).enumerate() {
        assert!((x - y).abs() <= tolerance * y.abs().max(1.0), "entry {i}: {x} and {y} of {a:?} and {b:?}");
    }
}

/// Logits in about ±4, the same on every run: a multiplicative hash of the position.
pub fn pseudo_logits<const D: usize>(shape: [usize; D], seed: u32, device: &Device) -> Tensor<D> {
    let count = shape.iter().product::<usize>() as u32;
    let data: Vec<f32> = (0..count)
        .map(|i| {
            let hash = (i + 1).wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(0x9E37_79B9);
            let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EB_CA6B);
            ((hash >> 8) as f32 / (1 << 24) as f32 - 0.5) * 8.0
        })
        .collect();
    Tensor::<1>::from_floats(data.as_slice(), device).reshape(shape)
}
