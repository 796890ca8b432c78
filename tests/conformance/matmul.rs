//! Matrix products, of the second stage's layers.

use burn::nn::LinearConfig;

use super::{
    compare::{Results, Tolerance, with_exact},
    modules::{add_parameter_gradients, filled},
    place::Place,
};

fn check_linear(name: &str, rows: usize, inputs: usize, outputs: usize) {
    with_exact(name, Tolerance::Products, |place| {
        let layer = filled(LinearConfig::new(inputs, outputs).init(&place.device), place);
        let x = place.leaf([rows, inputs], 1);
        let y = layer.forward(x.clone());
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &x, &gradients);
        add_parameter_gradients(&mut results, &layer, &gradients);
        results
    });
}

/// 7 × 7 bins of 256 channels to 1024.
#[test]
fn linear_12544_1024() {
    let rows = if Place::tested().is("ndarray") { 2 } else { 5 };
    check_linear("linear_12544_1024", rows, 12544, 1024);
}

#[test]
fn linear_1024_1024() {
    check_linear("linear_1024_1024", 33, 1024, 1024);
}

#[test]
fn linear_1024_324() {
    check_linear("linear_1024_324", 33, 1024, 324);
}

/// 5 × 5 bins of 32 channels to 128, of the tiny preset, on as many regions as a step samples.
#[test]
fn linear_800_128() {
    check_linear("linear_800_128", 128, 800, 128);
}

#[test]
fn linear_128_4() {
    check_linear("linear_128_4", 128, 128, 4);
}

#[test]
fn batched_matmul() {
    with_exact("batched_matmul", Tolerance::Products, |place| {
        let (a, b) = (place.leaf([3, 17, 65], 1), place.leaf([3, 65, 31], 2));
        let y = a.clone().matmul(b.clone());
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("a", &a, &gradients);
        results.add_gradient("b", &b, &gradients);
        results
    });
}
