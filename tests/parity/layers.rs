//! Normalisation, residual networks and the feature pyramid, with the gradients of all parameters.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use sed::{
    core::Predictions,
    models::{
        backbone::{FpnConfig, P6Source, ResNetConfig},
        layers::norm::{Norm, NormConfig, NormKind},
        retinanet::HeadConfig,
    },
};

use crate::{
    NETWORK_GRADIENTS,
    fixture::{Fixture, values},
    formula::{project, tensor},
    weights::{close_gradients, fill, state},
};

/// One layer: sums of some ten terms, in another order than PyTorch's.
const LAYER: f64 = 2e-6;
/// The outputs of a whole network: up to 50 layers, each a sum of up to 4608 terms, rounded at 6e-8
/// relative to its largest.
const NETWORK: f64 = 2e-5;

fn norm(kind: NormKind, name: &str, fixture: &Fixture, device: &Device) -> Norm {
    let mut norm = NormConfig::new(kind, 8).init(device);
    fill(&mut norm, &format!("norms/{name}"), &fixture.at("parameters"));
    norm
}

#[test]
fn norms_in_training() {
    let fixtures = Fixture::load("layers").at("norms");
    let device = Device::default().autodiff();
    for (name, kind) in [
        ("group", NormKind::Group { groups: 4 }),
        ("group_one", NormKind::Group { groups: 1 }),
        ("frozen_batch", NormKind::FrozenBatch),
        ("batch", NormKind::Batch),
    ] {
        let fixture = fixtures.at(name);
        let norm = norm(kind, name, &fixture, &device);
        let input = tensor("norms/x", [2, 8, 5, 3], -2.0, 3.0, &device).require_grad();
        let output = norm.forward(input.clone());
        fixture.at("output").close_tensor(&output, LAYER);
        let gradients = project("norms/upstream", output).backward();
        let gradient = input.grad(&gradients).expect("a gradient");
        fixture.at("input_gradient").close_tensor(&gradient, LAYER);
        let expected = fixture.at("gradients");
        match &norm {
            Norm::Group(group) => {
                expected
                    .at("weight")
                    .close_tensor(&group.weight.grad(&gradients).expect("a gradient"), LAYER);
                expected.at("bias").close_tensor(&group.bias.grad(&gradients).expect("a gradient"), LAYER);
            }
            Norm::Batch(batch) => {
                expected.at("weight").close_tensor(&batch.gamma.grad(&gradients).expect("a gradient"), LAYER);
                expected.at("bias").close_tensor(&batch.beta.grad(&gradients).expect("a gradient"), LAYER);
            }
            Norm::FrozenBatch(_) | Norm::None(_) => assert!(expected.entries().is_empty()),
        }
    }
}

#[test]
fn running_statistics_of_batch_norm() {
    let fixture = Fixture::load("layers").at("norms").at("batch");
    let device = Device::default().autodiff();
    let norm = norm(NormKind::Batch, "batch", &fixture, &device);
    let before = state(&norm)["running_var"].1.clone();
    norm.forward(tensor("norms/x", [2, 8, 5, 3], -2.0, 3.0, &device));
    let after = state(&norm.valid());
    fixture.at("running_mean").close(&after["running_mean"].1, LAYER);
    // PyTorch moves the running variance by that over n − 1 of the n = 2·5·3 values a channel, Burn by
    // that over n: the part that is new is smaller by (n − 1)/n, the part that is kept, 0.9, is equal.
    let as_in_torch: Vec<f32> = after["running_var"]
        .1
        .iter()
        .zip(&before)
        .map(|(a, b)| 0.9 * b + (a - 0.9 * b) * 30.0 / 29.0)
        .collect();
    fixture.at("running_var").close(&as_in_torch, LAYER);
}

#[test]
fn batch_norm_outside_training_uses_its_running_statistics() {
    let fixture = Fixture::load("layers").at("norms").at("batch");
    let device = Device::default();
    let norm = norm(NormKind::Batch, "batch", &fixture, &device);
    let output = norm.forward(tensor("norms/x", [2, 8, 5, 3], -2.0, 3.0, &device));
    fixture.at("output_eval").close_tensor(&output, LAYER);
}

fn resnet(name: &str, norm: NormKind) {
    let fixture = Fixture::load("layers").at(name);
    let device = Device::default().autodiff();
    let config = ResNetConfig {
        base_width: fixture.at("base_width").get(),
        norm,
        ..ResNetConfig::new(fixture.at("depth").get())
    };
    let mut net = config.init(&device).expect("the options fit together");
    fill(&mut net, name, &fixture.at("parameters"));
    let image: Tensor<4> =
        tensor(&format!("{name}/image"), fixture.at("image").get(), -2.0, 2.0, &device).require_grad();
    let outputs = net.forward(image.clone());
    for (i, (output, probe)) in outputs.iter().zip(fixture.at("outputs").list()).enumerate() {
        probe.close_probe_tensor(&format!("{name}/output/{i}"), output, NETWORK);
    }
    let projected = outputs.into_iter().enumerate().map(|(i, o)| project(&format!("{name}/upstream/{i}"), o));
    let gradients = projected.reduce(|sum, p| sum + p).expect("four outputs").backward();
    let gradient = image.grad(&gradients).expect("a gradient");
    fixture.at("image_gradient").close_probe_tensor(
        &format!("{name}/image_gradient"),
        &gradient,
        NETWORK_GRADIENTS,
    );
    close_gradients(net.clone(), &gradients, name, &fixture.at("gradients"), NETWORK_GRADIENTS);
    if fixture.has("running") {
        let after = state(&net.valid());
        for (key, probe) in fixture.at("running").entries() {
            // The running variance differs by design, see above.
            if key.ends_with("running_mean") {
                let (shape, values) = &after[&key];
                probe.close_probe(&format!("{name}/{key}/after"), values, shape, NETWORK);
            }
        }
    }
}

#[test]
fn resnet_18() {
    resnet("resnet18", NormKind::FrozenBatch);
}

#[test]
fn resnet_50() {
    resnet("resnet50", NormKind::FrozenBatch);
}

#[test]
fn resnet_18_of_base_width_16_with_batch_norm() {
    resnet("resnet18_batch", NormKind::Batch);
}

#[test]
fn resnet_18_of_base_width_16_with_group_norm() {
    resnet("resnet18_group", NormKind::Group { groups: 4 });
}

#[test]
fn resnet_50_of_base_width_16() {
    resnet("resnet50_narrow", NormKind::FrozenBatch);
}

fn pyramid(name: &str, p6_source: P6Source) {
    let fixture = Fixture::load("layers").at(name);
    let device = Device::default().autodiff();
    let channels: [usize; 3] = fixture.at("in_channels").get();
    let config =
        FpnConfig { out_channels: fixture.at("out_channels").get(), p6_source, ..FpnConfig::default() };
    // C2 is not looked at from level 3 on.
    let mut fpn =
        config.init([1, channels[0], channels[1], channels[2]], &device).expect("the options fit together");
    fill(&mut fpn, name, &fixture.at("parameters"));
    let sizes: Vec<[usize; 2]> = fixture.at("sizes").get();
    let inputs: Vec<Tensor<4>> = (0..3)
        .map(|i| {
            let shape = [2, channels[i], sizes[i][0], sizes[i][1]];
            tensor(&format!("{name}/input/{i}"), shape, -2.0, 2.0, &device).require_grad()
        })
        .collect();
    let unused = Tensor::zeros([2, 1, 2 * sizes[0][0], 2 * sizes[0][1]], &device);
    let outputs = fpn.forward(&[unused, inputs[0].clone(), inputs[1].clone(), inputs[2].clone()]);
    let probes = fixture.at("outputs").list();
    assert_eq!(outputs.len(), probes.len());
    for (i, (output, probe)) in outputs.iter().zip(probes).enumerate() {
        probe.close_probe_tensor(&format!("{name}/output/{i}"), output, LAYER);
    }
    let projected = outputs.into_iter().enumerate().map(|(i, o)| project(&format!("{name}/upstream/{i}"), o));
    let gradients = projected.reduce(|sum, p| sum + p).expect("five levels").backward();
    for (i, (input, probe)) in inputs.iter().zip(fixture.at("input_gradients").list()).enumerate() {
        let gradient = input.grad(&gradients).expect("a gradient");
        probe.close_probe(&format!("{name}/input_gradient/{i}"), &values(&gradient), &gradient.dims(), LAYER);
    }
    close_gradients(fpn, &gradients, name, &fixture.at("gradients"), LAYER);
}

#[test]
fn pyramid_with_p6_from_p5() {
    pyramid("fpn_p5", P6Source::P5);
}

#[test]
fn pyramid_with_p6_from_c5() {
    pyramid("fpn_c5", P6Source::C5);
}

fn block(name: &str) {
    let fixture = Fixture::load("layers").at(name);
    let name: String = fixture.at("name").get();
    let device = Device::default().autodiff();
    let config = ResNetConfig { base_width: 8, ..ResNetConfig::new(fixture.at("depth").get()) };
    let mut net = config.init(&device).expect("the options fit together");
    fill(&mut net, &name, &fixture.at("parameters"));
    let input: Tensor<4> =
        tensor(&format!("{name}/input"), fixture.at("input").get(), -2.0, 2.0, &device).require_grad();
    let output = net.layer2[0].forward(input.clone());
    fixture.at("output").close_probe_tensor(&format!("{name}/output"), &output, LAYER);
    let gradients = project(&format!("{name}/upstream/0"), output).backward();
    let gradient = input.grad(&gradients).expect("a gradient");
    fixture.at("input_gradient").close_probe_tensor(&format!("{name}/input_gradient"), &gradient, LAYER);
    close_gradients(net, &gradients, &name, &fixture.at("gradients"), LAYER);
}

#[test]
fn basic_block_with_downsampling() {
    block("block_18");
}

#[test]
fn bottleneck_with_downsampling() {
    block("block_50");
}

fn head(name: &str, norm: NormKind) {
    let fixture = Fixture::load("layers").at(name);
    let name: String = fixture.at("name").get();
    let device = Device::default().autodiff();
    let config = HeadConfig { channels: 8, norm, ..HeadConfig::default() };
    let mut head = config.init(8, 2, 3, &device);
    fill(&mut head, &name, &fixture.at("parameters"));
    let input: Tensor<4> = tensor(&format!("{name}/input"), [2, 8, 3, 4], -2.0, 2.0, &device).require_grad();
    let Predictions { class_logits, box_deltas } = head.forward(input.clone());
    let probes = fixture.at("outputs").list();
    probes[0].close_probe_tensor(&format!("{name}/output/0"), &class_logits, LAYER);
    probes[1].close_probe_tensor(&format!("{name}/output/1"), &box_deltas, LAYER);
    let projected = project(&format!("{name}/upstream/0"), class_logits)
        + project(&format!("{name}/upstream/1"), box_deltas);
    let gradients = projected.backward();
    let gradient = input.grad(&gradients).expect("a gradient");
    fixture.at("input_gradient").close_probe_tensor(&format!("{name}/input_gradient"), &gradient, LAYER);
    close_gradients(head, &gradients, &name, &fixture.at("gradients"), LAYER);
}

#[test]
fn head_without_norm() {
    head("head_plain", NormKind::None);
}

#[test]
fn head_with_group_norm() {
    head("head_group", NormKind::Group { groups: 4 });
}
