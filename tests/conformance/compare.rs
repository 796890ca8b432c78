//! The comparison of two runs of one operation.

use burn::tensor::{Gradients, Tensor};

use super::place::Place;

/// How far an entry may be off, as a part of the tensor's largest entry.
#[derive(Clone, Copy)]
pub enum Tolerance {
    /// Sums of products. In `f32` a sum of n products of like size is off by some `√n · 6e-8`: below 1e-5 for the
    /// longest here, 100,000. Tensor cores of CUDA and ROCm may round the factors to the 10 bits of TF32, 5e-4
    /// each, of which a sum keeps the relative size. A product left out or taken twice is 1 of n, and gradients of
    /// n products of random sign are of size √n: that is 3e-3 of a sum of 100,000.
    Products,
    /// A few roundings of each entry, with exponentials and logarithms that GPUs compute to some 1e-6.
    Elementwise,
    /// Many layers one after the other, each with its rounding, and ReLUs and boxes that turn on or off near zero.
    Network,
    /// Exact: entries are moved, not changed.
    Moved,
}

impl Tolerance {
    fn value(self, place: &Place) -> f64 {
        let tensor_cores = ["cuda", "rocm", "hip"].iter().any(|name| place.is(name));
        match self {
            Self::Products if tensor_cores => 2e-3,
            Self::Products => 2e-5,
            Self::Elementwise => 1e-5,
            Self::Network if tensor_cores => 2e-2,
            Self::Network => 1e-3,
            Self::Moved => 0.0,
        }
    }
}

/// Named tensors, read back to the host.
#[derive(Default)]
pub struct Results(Vec<(String, Vec<usize>, Vec<f64>)>);

impl Results {
    /// Adds the values of a tensor.
    pub fn add<const D: usize>(&mut self, name: impl Into<String>, tensor: Tensor<D>) {
        let shape = tensor.dims().to_vec();
        self.0.push((name.into(), shape, tensor.into_data().iter::<f64>().collect()));
    }

    /// Adds the gradient of a leaf.
    pub fn add_gradient<const D: usize>(&mut self, name: &str, leaf: &Tensor<D>, gradients: &Gradients) {
        let gradient = leaf.grad(gradients).unwrap_or_else(|| panic!("{name} got no gradient"));
        self.add(format!("gradient of {name}"), gradient);
    }

    /// Adds numbers computed on the host.
    pub fn add_numbers(&mut self, name: impl Into<String>, numbers: Vec<f64>) {
        self.0.push((name.into(), vec![numbers.len()], numbers));
    }
}

/// Runs `work` on the tested device and in `f64`, and compares all its results.
#[track_caller]
pub fn with_exact(name: &str, tolerance: Tolerance, work: impl Fn(&Place) -> Results) {
    between(name, tolerance, work(&Place::tested()), work(&Place::exact()));
}

/// Runs `work` on the tested device and on a CPU in `f32`, and compares all its results.
#[track_caller]
pub fn with_other(name: &str, tolerance: Tolerance, work: impl Fn(&Place) -> Results) {
    between(name, tolerance, work(&Place::tested()), work(&Place::other()));
}

/// Compares what the tested device gave with what is right, and names all tensors that are off.
///
/// A tensor of which every entry is tiny beside the largest of all results of its kind (a gradient that is zero but
/// for rounding) is measured by a thousandth of that largest.
#[track_caller]
pub fn between(name: &str, tolerance: Tolerance, found: Results, right: Results) {
    let tolerance = tolerance.value(&Place::tested());
    let largest = |values: &[f64]| values.iter().fold(0.0f64, |max, v| max.max(v.abs()));
    let is_gradient = |name: &str| name.starts_with("gradient");
    let floor = |gradients: bool| {
        let of_kind = right.0.iter().filter(|(name, ..)| is_gradient(name) == gradients);
        of_kind.map(|(_, _, values)| largest(values)).fold(0.0, f64::max) * 1e-3
    };
    let floors = [floor(false), floor(true)];
    assert_eq!(found.0.len(), right.0.len(), "{name}: another number of results");
    let (mut worst, mut wrong) = ((0.0, ""), Vec::new());
    for ((what, shape, found), (other, expected_shape, expected)) in found.0.iter().zip(&right.0) {
        assert_eq!((what, shape), (other, expected_shape), "{name}: other results");
        let scale = largest(expected).max(floors[usize::from(is_gradient(what))]).max(f64::MIN_POSITIVE);
        // A NaN on one side only is infinitely far; `max` would drop it.
        let off = |(f, e): (&f64, &f64)| match (f.is_nan(), e.is_nan()) {
            (true, true) => 0.0,
            (false, false) => (f - e).abs() / scale,
            _ => f64::INFINITY,
        };
        let error = found.iter().zip(expected).map(off).fold(0.0, f64::max);
        if error >= worst.0 {
            worst = (error, what);
        }
        if error > tolerance {
            let many = found.iter().zip(expected).filter(|&pair| off(pair) > tolerance).count();
            wrong.push(format!("{what} {shape:?} off by {error:.1e}, {many} of {} entries", found.len()));
        }
    }
    println!("conformance {name}: {:.1e} ({})", worst.0, worst.1);
    let allowed = format!("more than {tolerance:.0e} of the largest entry");
    assert!(wrong.is_empty(), "{name}: {allowed}:\n  {}", wrong.join("\n  "));
}
