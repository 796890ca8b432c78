//! Normalisations.

use burn::{
    module::Module,
    nn::BatchNormConfig,
    tensor::{Tensor, activation::relu},
};
use sed::models::{
    layers::norm::{NormConfig, NormKind},
    ops::group_norm::{group_norm, group_norm_relu},
};

use super::{
    compare::{Results, Tolerance, with_exact},
    modules::{add_parameter_gradients, add_parameters, filled},
    place::Place,
};

/// Values near 0.5 of size 1: a mean that must be subtracted before squares are taken.
fn input(place: &Place, shape: [usize; 4]) -> (Tensor<4>, Tensor<4>) {
    let leaf = place.leaf(shape, 1);
    (leaf.clone(), leaf * 2.0 + 0.5)
}

fn check_norm(name: &str, kind: NormKind, shape: [usize; 4]) {
    with_exact(name, Tolerance::Products, |place| {
        let norm = filled(NormConfig::new(kind, shape[1]).init(&place.device), place);
        let (leaf, x) = input(place, shape);
        let y = norm.forward_relu(x);
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &leaf, &gradients);
        add_parameter_gradients(&mut results, &norm, &gradients);
        results
    });
}

#[test]
fn frozen_batch_norm() {
    check_norm("frozen_batch_norm", NormKind::FrozenBatch, [2, 64, 13, 12]);
}

#[test]
fn batch_norm_in_training() {
    check_norm("batch_norm_in_training", NormKind::Batch, [2, 64, 13, 12]);
}

#[test]
fn batch_norm_of_few_positions() {
    check_norm("batch_norm_of_few_positions", NormKind::Batch, [2, 512, 2, 3]);
}

/// Two passes: the second update starts from the first one's result.
#[test]
fn batch_norm_running_statistics() {
    with_exact("batch_norm_running_statistics", Tolerance::Products, |place| {
        let norm = filled(BatchNormConfig::new(16).init(&place.device), place);
        for seed in [1, 2] {
            norm.forward(place.values([3, 16, 7, 5], seed) * 2.0 + 0.5);
        }
        let mut results = Results::default();
        add_parameters(&mut results, &norm.valid());
        results
    });
}

#[test]
fn batch_norm_outside_training() {
    with_exact("batch_norm_outside_training", Tolerance::Products, |place| {
        let norm = filled(BatchNormConfig::new(16).init(&place.device), place).valid();
        let mut results = Results::default();
        results.add("output", norm.forward(place.values([2, 16, 7, 5], 1).inner()));
        results
    });
}

fn check_group_norm(name: &str, shape: [usize; 4], groups: usize, fused: bool) {
    with_exact(name, Tolerance::Products, |place| {
        let (leaf, x) = input(place, shape);
        let (gamma, beta) = (place.leaf([shape[1]], 2), place.leaf([shape[1]], 3));
        let y = if fused {
            group_norm_relu(x, gamma.clone(), beta.clone(), groups, 1e-5)
        } else {
            group_norm(x, gamma.clone(), beta.clone(), groups, 1e-5)
        };
        // A second ReLU changes nothing behind the first, and keeps both paths alike.
        let y = if fused { relu(y) } else { y };
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &leaf, &gradients);
        results.add_gradient("gamma", &gamma, &gradients);
        results.add_gradient("beta", &beta, &gradients);
        results
    });
}

#[test]
fn group_norm_of_a_small_map() {
    check_group_norm("group_norm_of_a_small_map", [2, 32, 3, 5], 8, false);
}

#[test]
fn group_norm_of_a_large_map() {
    check_group_norm("group_norm_of_a_large_map", [2, 16, 64, 64], 8, false);
}

#[test]
fn group_norm_with_relu() {
    check_group_norm("group_norm_with_relu", [2, 32, 16, 16], 8, true);
}

#[test]
fn group_norm_of_256_channels_with_relu() {
    check_group_norm("group_norm_of_256_channels_with_relu", [1, 256, 10, 9], 32, true);
}
