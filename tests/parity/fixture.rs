//! Reading references and comparing with them.

use burn::tensor::{Device, Tensor, TensorData};
use serde_json::Value;

use crate::formula::uniform;

/// A place in a fixture.
pub struct Fixture {
    value: Value,
    path: String,
}

impl Fixture {
    /// `tests/fixtures/TOPIC.json`.
    pub fn load(topic: &str) -> Self {
        let path = format!("{}/tests/fixtures/{topic}.json", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
        let value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"));
        Self { value, path: topic.to_owned() }
    }

    /// The entry of an object.
    pub fn at(&self, key: &str) -> Self {
        let value = self.value.get(key).unwrap_or_else(|| panic!("{}: no {key}", self.path));
        Self { value: value.clone(), path: format!("{}.{key}", self.path) }
    }

    /// Whether an object has an entry.
    pub fn has(&self, key: &str) -> bool {
        self.value.get(key).is_some()
    }

    /// The entries of an object, with their keys.
    pub fn entries(&self) -> Vec<(String, Self)> {
        let object = self.value.as_object().unwrap_or_else(|| panic!("{}: no object", self.path));
        object.keys().map(|key| (key.clone(), self.at(key))).collect()
    }

    /// The elements of a list.
    pub fn list(&self) -> Vec<Self> {
        let list = self.value.as_array().unwrap_or_else(|| panic!("{}: no list", self.path));
        let at =
            |(i, value): (usize, &Value)| Self { value: value.clone(), path: format!("{}[{i}]", self.path) };
        list.iter().enumerate().map(at).collect()
    }

    /// The value as any type that it deserializes to.
    pub fn get<T: serde::de::DeserializeOwned>(&self) -> T {
        T::deserialize(&self.value).unwrap_or_else(|error| panic!("{}: {error}", self.path))
    }

    /// All numbers in nested lists, in order.
    pub fn numbers(&self) -> Vec<f64> {
        fn collect(value: &Value, into: &mut Vec<f64>) {
            match value {
                Value::Array(list) => list.iter().for_each(|value| collect(value, into)),
                _ => into.push(value.as_f64().expect("a number")),
            }
        }
        let mut numbers = Vec::new();
        collect(&self.value, &mut numbers);
        numbers
    }

    /// The numbers as a tensor; the shape is that of the nested lists.
    pub fn tensor<const D: usize>(&self, device: &Device) -> Tensor<D> {
        let mut shape = [0; D];
        let mut value = &self.value;
        for side in &mut shape {
            *side = value.as_array().unwrap_or_else(|| panic!("{}: no tensor of rank {D}", self.path)).len();
            value = &value[0];
        }
        let numbers: Vec<f32> = self.numbers().into_iter().map(|v| v as f32).collect();
        Tensor::from_data(TensorData::new(numbers, shape), device)
    }

    /// Asserts `|found − reference| ≤ tolerance · max |reference|`, entry by entry.
    #[track_caller]
    pub fn close(&self, found: &[f32], tolerance: f64) {
        let reference = self.numbers();
        assert_eq!(found.len(), reference.len(), "{}: the number of entries", self.path);
        let scale = reference.iter().fold(0.0, |scale: f64, v| scale.max(v.abs()));
        let differences = found.iter().zip(&reference).map(|(a, b)| (f64::from(*a) - b).abs());
        let largest = differences.fold(0.0, worst);
        self.judge("", largest, scale, tolerance);
    }

    /// [`close`](Self::close) for a tensor, of any shape.
    #[track_caller]
    pub fn close_tensor<const D: usize>(&self, found: &Tensor<D>, tolerance: f64) {
        self.close(&values(found), tolerance);
    }

    /// Compares `found` with a probe: its shape, some entries (relative to the largest), its norm and
    /// its scalar product with the formula's values of `NAME/probe` (relative to the norm).
    #[track_caller]
    pub fn close_probe(&self, name: &str, found: &[f32], shape: &[usize], tolerance: f64) {
        assert_eq!(self.at("shape").get::<Vec<usize>>(), shape, "{}: the shape", self.path);
        let samples = self.at("samples").numbers();
        let picked = (0..samples.len()).map(|i| f64::from(found[i * found.len() / samples.len()]));
        let entries = picked.zip(&samples).map(|(a, b)| (a - b).abs()).fold(0.0, worst);
        self.judge(" entries", entries, self.at("max").get(), tolerance);
        let reference: f64 = self.at("norm").get();
        let norm = found.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        self.judge(" norm", (norm - reference).abs(), reference, tolerance);
        let weights = uniform(&format!("{name}/probe"), found.len(), -1.0, 1.0);
        let dot: f64 = found.iter().zip(weights).map(|(a, w)| f64::from(*a) * f64::from(w)).sum();
        self.judge(" product", (dot - self.at("dot").get::<f64>()).abs(), reference, tolerance);
    }

    /// [`close_probe`](Self::close_probe) for a tensor.
    #[track_caller]
    pub fn close_probe_tensor<const D: usize>(&self, name: &str, found: &Tensor<D>, tolerance: f64) {
        self.close_probe(name, &values(found), &found.dims(), tolerance);
    }

    #[track_caller]
    fn judge(&self, what: &str, difference: f64, scale: f64, tolerance: f64) {
        // Where all references are 0 the difference itself counts.
        let relative = if scale > 0.0 { difference / scale } else { difference };
        println!("{}{what}: off by {relative:.1e} of {tolerance:.0e}", self.path);
        assert!(
            relative <= tolerance,
            "{}{what}: off by {difference} of {scale}, tolerance {tolerance}",
            self.path
        );
    }
}

/// The larger of the two, and a NaN for good.
fn worst(a: f64, b: f64) -> f64 {
    if a.is_nan() || b <= a { a } else { b }
}

/// The values of a tensor on the host.
pub fn values<const D: usize>(tensor: &Tensor<D>) -> Vec<f32> {
    tensor.to_data().try_to_vec().expect("values of float tensors are f32")
}
