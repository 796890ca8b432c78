use burn::tensor::{DType, Device, TensorData};

use super::*;

/// Values in [-1, 1) that look random.
fn values<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn error<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f32 {
    assert_eq!(actual.dims(), expected.dims());
    (actual - expected).abs().max().into_scalar()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

/// Not aligned, as the default.
fn with(output_size: usize, sampling_ratio: usize) -> RoiAlign {
    RoiAlign { output_size, sampling_ratio, aligned: false }
}

const BOTH: [bool; 2] = [false, true];

/// `[1, 2, 20, 24]`: f(x, y) = 3x + 5y and f(x, y) = x − 2y.
fn ramps(device: &Device) -> Tensor<4> {
    let f = |c: usize, y: usize, x: usize| if c == 0 { 3 * x + 5 * y } else { x + 100 - 2 * y } as f32;
    let values: Vec<f32> = (0..2 * 20 * 24).map(|i| f(i / 480, i / 24 % 20, i % 24)).collect();
    Tensor::from_data(TensorData::new(values, [1, 2, 20, 24]), device)
}

#[test]
fn a_constant_map_gives_its_constant() {
    let device = Device::default();
    let features = Tensor::<4>::full([2, 3, 9, 11], 4.5, &device);
    let boxes = [[0.0, 0.0, 11.0, 9.0], [1.3, 2.7, 1.4, 2.8], [-0.5, -0.5, 3.0, 10.0]];
    for (ratio, aligned) in [1, 2, 3].into_iter().flat_map(|ratio| BOTH.map(|aligned| (ratio, aligned))) {
        let pooled =
            RoiAlign { aligned, ..with(4, ratio) }.forward(features.clone(), &boxes[..2], &[1, 0], 1.0);
        // Weights of up to 36 taps sum to 1 but for rounding.
        assert!(error(pooled, Tensor::full([2, 3, 4, 4], 4.5, &device)) < 5e-6);
        let pooled =
            RoiAlign { aligned, ..with(4, ratio) }.forward(features.clone(), &boxes, &[1, 0, 1], 1.0);
        let _ = pooled;
    }
}
