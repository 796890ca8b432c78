//! What the benchmarks share. Everything random is made by a formula that `peers/` repeats.

// Each benchmark is a program of its own and uses a part.
#![allow(dead_code)]

pub mod boxes;
pub mod retinanet;

use std::{path::PathBuf, time::Duration};

use burn::tensor::{Device, Distribution, Gradients, Tensor, TensorData};
use criterion::{BenchmarkGroup, Criterion, SamplingMode, measurement::WallTime};

/// Few samples of operations that take milliseconds.
pub fn short<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .sampling_mode(SamplingMode::Flat)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1));
    group
}

/// Ten runs of operations that take about a second, after one to warm up.
pub fn long<'a>(criterion: &'a mut Criterion, name: &str) -> BenchmarkGroup<'a, WallTime> {
    let mut group = short(criterion, name);
    group.warm_up_time(Duration::from_millis(1));
    group
}

/// Normally distributed numbers.
pub fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// The same values as a new leaf of the graph.
pub fn leaf<const D: usize>(values: &Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(values.clone()).require_grad()
}

/// Backward from the sum of all elements.
pub fn backward<const D: usize>(output: Tensor<D>) -> Gradients {
    output.sum().backward()
}

/// A number in `[0, 1)` for each index: the index scrambled to 32 bits.
pub fn unit(index: u32) -> f32 {
    let mut h = index.wrapping_mul(0x9E37_79B1);
    h = (h ^ (h >> 15)).wrapping_mul(0x85EB_CA77);
    h = (h ^ (h >> 13)).wrapping_mul(0xC2B2_AE3D);
    // 24 bits, which a float holds exactly.
    ((h ^ (h >> 16)) >> 8) as f32 / (1 << 24) as f32
}

/// A tensor of [`unit`] numbers of the indices from `first` on, spread over `[low, high)`.
pub fn formula<const D: usize>(
    shape: [usize; D],
    first: u32,
    [low, high]: [f32; 2],
    device: &Device,
) -> Tensor<D> {
    let count = shape.iter().product::<usize>() as u32;
    let values: Vec<f32> = (first..first + count).map(|i| low + (high - low) * unit(i)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The folder of the files that both sides read: that of the variable `BENCH_DATA`, or one of the
/// system's temporary folders.
pub fn data_folder() -> PathBuf {
    std::env::var_os("BENCH_DATA").map_or_else(|| std::env::temp_dir().join("sed-bench-data"), PathBuf::from)
}
