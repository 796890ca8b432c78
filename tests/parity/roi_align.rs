//! RoIAlign and its gradient.

use burn::tensor::{Device, Tensor};
use sed::models::ops::roi_align::RoiAlign;

use crate::{
    fixture::Fixture,
    formula::{project, tensor},
};

/// A bin sums up to 36 products, an element of the gradient some hundred, each rounded at 6e-8. Positions are
/// computed in double precision on both sides.
const SUMS: f64 = 1e-6;

#[test]
fn values_and_gradients() {
    let fixtures = Fixture::load("roi_align");
    let device = Device::default().autodiff();
    for (name, fixture) in fixtures.entries().into_iter().filter(|(_, fixture)| fixture.has("boxes")) {
        let features: Tensor<4> =
            tensor(&format!("{name}/features"), fixture.at("shape").get(), -2.0, 2.0, &device).require_grad();
        let options: RoiAlign = fixture.at("options").get();
        let boxes: Vec<[f32; 4]> = fixture.at("boxes").get();
        let images: Vec<usize> = fixture.at("images").get();
        let output = options.forward(features.clone(), &boxes, &images, fixture.at("scale").get());
        fixture.at("output").close_probe_tensor(&format!("{name}/output"), &output, SUMS);
        let [k, c, s, _] = output.dims();
        let means = output.clone().reshape([k, c, s * s]).narrow(1, 0, 2).mean_dim(2);
        fixture.at("means").close_tensor(&means, SUMS);
        let gradients = project(&format!("{name}/upstream"), output).backward();
        let gradient = features.grad(&gradients).expect("a gradient");
        fixture.at("gradient").close_probe_tensor(&format!("{name}/gradient"), &gradient, SUMS);
    }
}
