//! Where an operation runs, in which precision, and on which numbers.

use std::sync::OnceLock;

use burn::tensor::{DType, Device, Gradients, Int, Tensor, TensorData};
use sed::core::device::{default_device, parse_device};

/// A device with gradients and the type of the numbers on it.
#[derive(Clone)]
pub struct Place {
    pub device: Device,
    pub dtype: DType,
}

impl Place {
    /// The device of `BURN_DEVICE`.
    pub fn tested() -> Self {
        static DEVICE: OnceLock<Device> = OnceLock::new();
        let open = || default_device().unwrap_or_else(|error| panic!("{error}"));
        Self { device: DEVICE.get_or_init(open).clone().autodiff(), dtype: DType::F32 }
    }

    /// flex in `f64`.
    pub fn exact() -> Self {
        Self { device: cpu("flex"), dtype: DType::F64 }
    }

    /// A CPU in `f32`, by another backend than the tested one.
    pub fn other() -> Self {
        let name = if Self::tested().is("flex") { "ndarray" } else { "flex" };
        Self { device: cpu(name), dtype: DType::F32 }
    }

    /// Whether the backend is the one of this name, in small letters.
    pub fn is(&self, backend: &str) -> bool {
        format!("{:?}", self.device).to_lowercase().contains(backend)
    }

    /// Values in `[-1, 1)` that look random, the same on every device and in every precision.
    pub fn values<const D: usize>(&self, shape: [usize; D], seed: u32) -> Tensor<D> {
        self.tensor(pseudo_random(shape.iter().product(), seed), shape)
    }

    /// [`values`](Self::values) as a leaf of the graph.
    pub fn leaf<const D: usize>(&self, shape: [usize; D], seed: u32) -> Tensor<D> {
        self.values(shape, seed).require_grad()
    }

    pub fn tensor<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Tensor<D> {
        Tensor::from_data(TensorData::new(values, shape), (&self.device, self.dtype))
    }

    pub fn indices<const D: usize>(&self, values: Vec<i64>, shape: [usize; D]) -> Tensor<D, Int> {
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    /// The gradients of `Σ g·y` with values `g` in `[-1, 1)`, so that each entry of `y` counts differently.
    pub fn backward<const D: usize>(&self, y: Tensor<D>) -> Gradients {
        let weights = self.values(y.dims(), 0x5EED);
        (y * weights).sum().backward()
    }
}

fn cpu(name: &str) -> Device {
    parse_device(name).unwrap_or_else(|error| panic!("the reference: {error}")).autodiff()
}

/// Values in `[-1, 1)`: a multiplicative hash of the position.
pub fn pseudo_random(count: usize, seed: u32) -> Vec<f32> {
    (0..count as u32)
        .map(|i| {
            let hash = (i + 1).wrapping_mul(2_654_435_761) ^ seed.wrapping_mul(0x9E37_79B9);
            let hash = (hash ^ (hash >> 15)).wrapping_mul(0x85EB_CA6B);
            let hash = (hash ^ (hash >> 13)).wrapping_mul(0xC2B2_AE35);
            ((hash ^ (hash >> 16)) >> 8) as f32 / (1u32 << 23) as f32 - 1.0
        })
        .collect()
}
