//! Weights by the formula into modules, and gradients out of them, under torchvision's names.

use std::{collections::BTreeMap, io::Write};

use burn::{
    module::{Module, ModuleMapper, Param},
    store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge},
    tensor::{Gradients, Tensor},
};
use sed::models::weights::{LoadOptions, load};
use serde_json::json;

use crate::{fixture::Fixture, formula::uniform};

/// Fills `module` with `parameters` of a fixture: key → shape and range.
///
/// The values go through a safetensors file with torchvision's keys, so a key that the loader does
/// not know, misses or reads in another shape fails here.
pub fn fill<M: Module>(module: &mut M, prefix: &str, parameters: &Fixture) {
    let mut header = serde_json::Map::new();
    let mut body = Vec::new();
    for (key, parameter) in parameters.entries() {
        let shape: Vec<usize> = parameter.at("shape").get();
        let (low, high) = (parameter.at("low").get(), parameter.at("high").get());
        let start = body.len();
        for value in uniform(&format!("{prefix}/{key}"), shape.iter().product(), low, high) {
            body.extend(value.to_le_bytes());
        }
        header.insert(key, json!({"dtype": "F32", "shape": shape, "data_offsets": [start, body.len()]}));
    }
    let header = serde_json::to_vec(&header).expect("a map of plain values");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("weights.safetensors");
    let mut file = std::fs::File::create(&path).expect("a new file");
    for part in [&(header.len() as u64).to_le_bytes()[..], &header, &body] {
        file.write_all(part).expect("room for the weights");
    }
    drop(file);
    if let Err(error) = load(module, &path, &LoadOptions::default()) {
        panic!("{error}");
    }
}

/// All tensors of a module by torchvision's names: shape and values.
pub fn state<M: Module>(module: &M) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let read = |tensor: burn::store::burn_pack::Tensor| {
        let name = tensor.name.clone();
        let data = bridge::into_data(tensor).expect("a tensor in memory");
        let shape = data.shape().to_vec();
        (name, (shape, data.try_to_vec::<f32>().expect("float parameters are f32")))
    };
    tensors.into_iter().map(read).collect()
}

/// Puts the gradient in the place of each parameter that has one.
struct ToGradients<'a> {
    gradients: &'a Gradients,
    found: usize,
}

impl ModuleMapper for ToGradients<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(gradient) = param.val().grad(self.gradients) else { return param };
        self.found += 1;
        param.map(|_| gradient)
    }
}

/// Asserts that `module` has the gradients of the fixture, and compares each.
///
/// Where the fixture has a gradient of 0 everywhere, none at all is as good.
#[track_caller]
pub fn close_gradients<M: Module>(
    module: M,
    gradients: &Gradients,
    prefix: &str,
    expected: &Fixture,
    tolerance: f64,
) {
    let expected = expected.entries();
    let zero = |probe: &Fixture| probe.at("norm").get::<f64>() == 0.0;
    let needed = expected.iter().filter(|(_, probe)| !zero(probe)).count();
    let before = state(&module);
    let mut mapper = ToGradients { gradients, found: 0 };
    let found = state(&module.map(&mut mapper));
    assert!(
        (needed..=expected.len()).contains(&mapper.found),
        "{prefix}: gradients of {} parameters, expected {needed} to {}",
        mapper.found,
        expected.len()
    );
    for (key, probe) in expected {
        let (shape, values) = found.get(&key).unwrap_or_else(|| panic!("{prefix}: no parameter {key}"));
        if !(zero(&probe) && *values == before[&key].1) {
            probe.close_probe(&format!("{prefix}/{key}/gradient"), values, shape, tolerance);
        }
    }
}
