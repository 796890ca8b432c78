//! The caffe-style ResNet-50 of half width with batch norm folded in, loaded by general options.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use burn::tensor::{Device, Tensor, TensorData};
use sed_models::{
    backbone::ResNetConfig,
    layers::norm::NormKind,
    weights::{LoadOptions, load},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Feature {
    shape: Vec<usize>,
    mean: f64,
    square_mean: f64,
    first_channels: Vec<f64>,
}

fn config() -> ResNetConfig {
    ResNetConfig {
        depth: 50,
        base_width: 32,
        stem_channels: Some(64),
        stem_pool_padding: [0, 0, 1, 1],
        norm: NormKind::None,
        conv_bias: true,
        stride_in_1x1: true,
        ..ResNetConfig::default()
    }
}

/// The file, or `None` with a plain word about it.
fn weights() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let data = env::var_os("SED_TEST_DATA").map_or_else(|| root.join("../shared/data"), PathBuf::from);
    let path = data.join("backbones/resnet50_1by2_opennsfw.safetensors");
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: the half-width ResNet-50 is not on this machine");
    None
}

/// The formula of `scripts/fixtures/state_dict.py`.
fn image(device: &Device) -> Tensor<4> {
    let mut pixels = Vec::new();
    for channel in 0..3 {
        for row in 0..64 {
            for column in 0..64 {
                pixels.push(((29 * channel + 7 * row + 13 * column) % 256) as f32 - 110.0);
            }
        }
    }
    Tensor::from_data(TensorData::new(pixels, [1, 3, 64, 64]), device)
}

fn relative_error(found: f64, expected: f64) -> f64 {
    (found - expected).abs() / expected.abs().max(1e-3)
}

#[test]
fn its_features_are_those_of_pytorch() {
    let Some(path) = weights() else { return };
    let device = Device::default();
    let mut net = config().init(&device).unwrap();
    let report = load(&mut net, &path, &LoadOptions::skipping(["fc_nsfw."])).unwrap();
    assert_eq!(report.skipped, ["fc_nsfw.bias", "fc_nsfw.weight"]);

    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/half_width.json");
    let expected: std::collections::BTreeMap<String, Feature> =
        serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
    for (feature, expected) in net.forward(image(&device)).into_iter().zip(expected.into_values()) {
        assert_eq!(feature.dims().to_vec(), expected.shape);
        let width = expected.shape[3];
        let values: Vec<f32> =
            feature.clone().slice([0..1, 0..8, 0..1, width - 1..width]).into_data().try_into_vec().unwrap();
        let mean = feature.clone().mean().into_scalar::<f32>();
        let square_mean = feature.powi_scalar(2).mean().into_scalar::<f32>();
        // The reference is in f64; f32 through 50 layers keeps about 5 digits of values of order 1.
        assert!(relative_error(mean.into(), expected.mean) < 1e-4);
        assert!(relative_error(square_mean.into(), expected.square_mean) < 1e-4);
        for (value, expected) in values.into_iter().zip(expected.first_channels) {
            assert!(
                (f64::from(value) - expected).abs() < 1e-3 * expected.abs().max(1.0),
                "{value} {expected}"
            );
        }
    }
}

#[test]
fn each_caffe_option_changes_the_features() {
    let Some(path) = weights() else { return };
    let device = Device::default();
    let features = |config: ResNetConfig| {
        let mut net = config.init(&device).unwrap();
        load(&mut net, &path, &LoadOptions::skipping(["fc_nsfw."])).unwrap();
        net.forward(image(&device))
    };
    let caffe = features(config());
    for other in [
        ResNetConfig { stride_in_1x1: false, ..config() },
        ResNetConfig { stem_pool_padding: [1; 4], ..config() },
    ] {
        let c3 = features(other).swap_remove(1);
        assert_eq!(c3.dims(), caffe[1].dims());
        let distance = (c3 - caffe[1].clone()).abs().mean().into_scalar::<f32>();
        assert!(distance > 0.01, "{distance}");
    }
}
