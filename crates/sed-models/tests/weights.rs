//! Loading and saving of state dicts.

use std::{collections::BTreeMap, fs, path::Path};

use burn::{
    module::{Module, Param},
    store::{
        BurnToPyTorchAdapter, HalfPrecisionAdapter, ModuleSnapshot, ModuleStore, SafetensorsStore, bridge,
    },
    tensor::{Device, Tensor},
};
use sed_models::{
    backbone::{FpnConfig, ResNet, ResNetConfig, ResNetFpn, ResNetFpnConfig},
    layers::norm::{Norm, NormConfig, NormKind},
    ops::conv2d::{Conv2d, Conv2dConfig},
    weights::{LoadOptions, WeightsError, load, save_safetensors},
};

/// A detector with the field names of torchvision's RetinaNet.
#[derive(Module, Debug)]
struct Detector {
    backbone: ResNetFpn,
    head: Head,
}

#[derive(Module, Debug)]
struct Head {
    classification_head: ClassHead,
}

#[derive(Module, Debug)]
struct ClassHead {
    conv: Vec<(Conv2d, Norm)>,
    cls_logits: Conv2d,
}

fn body(norm: NormKind) -> ResNetConfig {
    ResNetConfig { base_width: 2, norm, ..ResNetConfig::new(18) }
}

fn detector(classes: usize, norm: NormKind) -> Detector {
    let device = Device::default();
    let config =
        ResNetFpnConfig { body: body(norm), fpn: FpnConfig { out_channels: 4, ..FpnConfig::default() } };
    let conv =
        || (Conv2dConfig::new(4, 4, 3).init(&device), NormConfig::new(NormKind::None, 4).init(&device));
    Detector {
        backbone: config.init(&device).unwrap(),
        head: Head {
            classification_head: ClassHead {
                conv: vec![conv(), conv()],
                cls_logits: Conv2dConfig::new(4, classes, 3).init(&device),
            },
        },
    }
}

fn values<M: Module>(module: &M) -> BTreeMap<String, Vec<f32>> {
    let tensors = module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true);
    let read = |t| bridge::into_data(t).unwrap().try_into_vec::<f32>().unwrap();
    tensors.into_iter().map(|t| (t.name.clone(), read(t))).collect()
}

fn fixture(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A file of `module` with keys changed by a regular expression.
fn save_renamed<M: Module>(module: &M, path: &Path, renames: &[(&str, &str)]) {
    let mut store =
        SafetensorsStore::from_file(path).with_to_adapter(BurnToPyTorchAdapter).skip_enum_variants(true);
    for (from, to) in renames {
        store = store.with_key_remapping(*from, *to);
    }
    store.collect_from(module).unwrap();
}

/// The network filled from a file that torchvision wrote, and the sums that PyTorch gives.
fn check_against_pytorch(norm: NormKind, file: &str, options: &LoadOptions) {
    let mut net = body(norm).init(&Device::default()).unwrap();
    let report = load(&mut net, &fixture(file), options).unwrap();
    let sums: BTreeMap<String, f64> =
        serde_json::from_slice(&fs::read(fixture("resnet18_narrow.json")).unwrap()).unwrap();
    let values = values(&net);
    for (key, values) in &values {
        let sum: f64 = values.iter().map(|&v| f64::from(v)).sum();
        // Both are sums in f64 of the same f32 values.
        assert!((sum - sums[key]).abs() < 1e-9, "{key}: {sum} against {}", sums[key]);
    }
    assert_eq!(report.loaded.len(), values.len());
    // 20 batch norms count their batches; the classifier has two tensors.
    assert_eq!(report.skipped.len(), 22);
    assert!(report.kept.is_empty());
}

#[test]
fn a_pytorch_state_dict_fills_frozen_and_trained_batch_norm() {
    check_against_pytorch(NormKind::FrozenBatch, "resnet18_narrow.pth", &LoadOptions::default());
    check_against_pytorch(NormKind::Batch, "resnet18_narrow.pth", &LoadOptions::default());
}

#[test]
fn a_state_dict_inside_a_checkpoint_is_found_by_its_key() {
    let options = LoadOptions { top_level_key: Some("model".to_owned()), ..LoadOptions::default() };
    check_against_pytorch(NormKind::FrozenBatch, "resnet18_narrow_checkpoint.pth", &options);
    let mut net = body(NormKind::FrozenBatch).init(&Device::default()).unwrap();
    let result = load(&mut net, &fixture("resnet18_narrow_checkpoint.pth"), &LoadOptions::default());
    assert!(matches!(result, Err(WeightsError::NothingMatched { .. })), "{result:?}");
}

#[test]
fn the_classifier_is_an_error_when_it_is_not_skipped() {
    let mut net = body(NormKind::FrozenBatch).init(&Device::default()).unwrap();
    let options = LoadOptions { skip: Vec::new(), ..LoadOptions::default() };
    let Err(WeightsError::Mismatch { mismatch, .. }) =
        load(&mut net, &fixture("resnet18_narrow.pth"), &options)
    else {
        panic!("expected a mismatch");
    };
    assert_eq!(mismatch.extra, ["fc.bias", "fc.weight"]);
}

#[test]
fn a_saved_detector_comes_back_with_torchvisions_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("detector.safetensors");
    for norm in [NormKind::FrozenBatch, NormKind::Batch, NormKind::Group { groups: 2 }] {
        let saved = detector(3, norm);
        save_safetensors(&saved, &path).unwrap();
        let mut loaded = detector(3, norm);
        let report = load(&mut loaded, &path, &LoadOptions::default()).unwrap();
        assert_eq!(values(&loaded), values(&saved));
        for key in [
            "backbone.body.conv1.weight",
            "backbone.body.bn1.weight",
            "backbone.body.layer2.0.downsample.0.weight",
            "backbone.body.layer2.0.downsample.1.bias",
            "backbone.fpn.inner_blocks.0.0.weight",
            "backbone.fpn.layer_blocks.2.0.bias",
            "backbone.fpn.extra_blocks.p6.weight",
            "head.classification_head.conv.1.0.weight",
            "head.classification_head.cls_logits.bias",
        ] {
            assert!(report.loaded.iter().any(|k| k == key), "{key} not in {:?}", report.loaded);
        }
        let statistics = report.loaded.iter().any(|key| key == "backbone.body.layer1.0.bn1.running_mean");
        assert_eq!(statistics, !matches!(norm, NormKind::Group { .. }));
    }
    // Nothing is left of the file that was written aside.
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn old_spellings_are_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("old.safetensors");
    let saved = detector(3, NormKind::FrozenBatch);
    let renames =
        [(r"_blocks\.(\d)\.0\.", "_blocks.$1."), (r"conv\.0\.0\.", "conv.0."), (r"conv\.1\.0\.", "conv.2.")];
    save_renamed(&saved, &path, &renames);
    let text = String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned();
    assert!(text.contains("\"head.classification_head.conv.2.bias\""));
    assert!(text.contains("\"backbone.fpn.layer_blocks.2.bias\""));

    let mut loaded = detector(3, NormKind::FrozenBatch);
    load(&mut loaded, &path, &LoadOptions::default()).unwrap();
    assert_eq!(values(&loaded), values(&saved));
}

#[test]
fn another_number_of_classes_loads_without_the_last_layer() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("three_classes.safetensors");
    let saved = detector(3, NormKind::FrozenBatch);
    save_safetensors(&saved, &path).unwrap();

    let mut target = detector(5, NormKind::FrozenBatch);
    let before = values(&target);
    let Err(WeightsError::Mismatch { mismatch, .. }) = load(&mut target, &path, &LoadOptions::default())
    else {
        panic!("expected a mismatch");
    };
    assert_eq!(mismatch.misshaped.len(), 2);
    assert_eq!(
        mismatch.misshaped[1].to_string(),
        "head.classification_head.cls_logits.bias is [3] in the file, [5] in the model"
    );
    assert_eq!(values(&target), before, "an error leaves the module as it was");

    let prefix = "head.classification_head.cls_logits.";
    let report = load(&mut target, &path, &LoadOptions::skipping([prefix])).unwrap();
    assert_eq!(report.kept.len(), 2);
    assert_eq!(report.skipped.len(), 2);
    let saved = values(&saved);
    for (key, value) in values(&target) {
        let origin = if key.starts_with(prefix) { &before } else { &saved };
        assert_eq!(value, origin[&key], "{key}");
    }
}

#[test]
fn every_key_that_differs_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("renamed.safetensors");
    let saved = detector(3, NormKind::FrozenBatch);
    save_renamed(&saved, &path, &[(r"p7\.", "p8."), (r"layer1\.0\.bn1\.bias", "layer1.0.bn1.shift")]);
    let error = load(&mut detector(4, NormKind::FrozenBatch), &path, &LoadOptions::default()).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("3 missing, 3 extra and 2 misshaped keys"), "{message}");
    for line in [
        "missing in the file: backbone.fpn.extra_blocks.p7.weight",
        "missing in the file: backbone.body.layer1.0.bn1.bias",
        "not in the model: backbone.fpn.extra_blocks.p8.bias",
        "not in the model: backbone.body.layer1.0.bn1.shift",
        "misshaped: head.classification_head.cls_logits.weight is [3, 4, 3, 3] in the file, [4, 4, 3, 3] in the model",
        "renamed.safetensors",
    ] {
        assert!(message.contains(line), "{line} not in {message}");
    }
}

#[test]
fn a_file_without_a_common_key_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("conv.safetensors");
    save_safetensors(&Conv2dConfig::new(1, 1, 1).init(&Device::default()), &path).unwrap();
    let mut net = body(NormKind::FrozenBatch).init(&Device::default()).unwrap();
    let result = load(&mut net, &path, &LoadOptions::default());
    let Err(WeightsError::NothingMatched { found, expected, .. }) = result else { panic!("{result:?}") };
    assert_eq!(found, ["bias", "weight"]);
    assert_eq!(expected[0], "conv1.weight");
}

#[test]
fn two_spellings_of_one_key_are_refused() {
    #[derive(Module, Debug)]
    struct Both {
        inner_blocks: Vec<Block>,
    }
    #[derive(Module, Debug)]
    struct Block {
        weight: Param<Tensor<1>>,
        inner: Vec<Param<Tensor<1>>>,
    }
    let device = Device::default();
    let param = || Param::<Tensor<1>>::from_data([1.0], &device);
    let both = Both { inner_blocks: vec![Block { weight: param(), inner: vec![param()] }] };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("both.safetensors");
    save_renamed(&both, &path, &[(r"inner\.0", "0.weight")]);
    let result = load(&mut both.clone(), &path, &LoadOptions::default());
    assert!(
        matches!(&result, Err(WeightsError::DuplicateKey { key, .. }) if key == "inner_blocks.0.0.weight"),
        "{result:?}"
    );
}

#[test]
fn half_precision_is_converted_and_frozen_layers_stay_frozen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("half.safetensors");
    let device = Device::default();
    let conv = Conv2dConfig::new(2, 2, 1).init(&device);
    // Converted on the host: not every backend computes in half precision.
    SafetensorsStore::from_file(&path)
        .with_to_adapter(HalfPrecisionAdapter::new())
        .collect_from(&conv)
        .unwrap();
    assert!(String::from_utf8_lossy(&fs::read(&path).unwrap()).contains("F16"));

    let mut loaded = Conv2dConfig::new(2, 2, 1).init(&Device::default().autodiff()).freeze();
    load(&mut loaded, &path, &LoadOptions::default()).unwrap();
    assert!(!loaded.weight.is_require_grad());
    let (a, b) = (&values(&loaded)["weight"], &values(&conv)["weight"]);
    // f16 has 11 bits of precision.
    assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= b.abs() / 1024.0), "{a:?} {b:?}");
}

#[test]
fn values_that_are_no_finite_floats_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("nan.safetensors");
    let device = Device::default();
    let mut conv = Conv2dConfig::new(1, 2, 1).init(&device);
    let mut target = conv.clone();
    conv.bias = Some(Param::from_data([0.0, f32::NAN], &device));
    save_safetensors(&conv, &path).unwrap();
    let message = load(&mut target, &path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(message.ends_with("bias: holds NaN or infinity"), "{message}");

    #[derive(Module, Debug)]
    struct Integers {
        weight: Param<Tensor<4>>,
        bias: Param<Tensor<1, burn::tensor::Int>>,
    }
    let bias = Param::initialized(burn::module::ParamId::new(), Tensor::from_ints([1, 2], &device));
    save_safetensors(&Integers { weight: target.weight.clone(), bias }, &path).unwrap();
    let message = load(&mut target, &path, &LoadOptions::default()).unwrap_err().to_string();
    assert!(message.contains("bias: holds I") && message.ends_with("not floats"), "{message}");
}

#[test]
fn bad_files_give_one_plain_line() {
    let folder = tempfile::tempdir().unwrap();
    let mut net: ResNet = body(NormKind::FrozenBatch).init(&Device::default()).unwrap();
    let mut message = |name: &str, content: Option<&[u8]>| {
        let path = folder.path().join(name);
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let message = load(&mut net, &path, &LoadOptions::default()).unwrap_err().to_string();
        assert!(message.contains(name), "{message} does not name {name}");
        message
    };
    assert!(message("absent.pth", None).contains("No such file"));
    assert!(message("weights.onnx", Some(b"")).contains(".safetensors, .pth and .pt"));
    assert!(message("empty.safetensors", Some(b"")).contains("not readable as safetensors"));
    assert!(message("noise.safetensors", Some(&[0xff; 64])).contains("not readable as safetensors"));
    assert!(message("empty.pth", Some(b"")).contains("not readable as a PyTorch"));
    assert!(message("noise.pt", Some(&[7; 64])).contains("not readable as a PyTorch"));

    let whole = fs::read(fixture("resnet18_narrow.pth")).unwrap();
    assert!(message("cut.pth", Some(&whole[..whole.len() / 2])).contains("not readable as a PyTorch"));
    let path = folder.path().join("whole.safetensors");
    save_safetensors(&body(NormKind::FrozenBatch).init(&Device::default()).unwrap(), &path).unwrap();
    let whole = fs::read(path).unwrap();
    assert!(
        message("cut.safetensors", Some(&whole[..whole.len() - 10])).contains("not readable as safetensors")
    );
}

#[test]
fn a_file_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("absent/weights.safetensors");
    let conv = Conv2dConfig::new(1, 1, 1).init(&Device::default());
    let result = save_safetensors(&conv, &path);
    assert!(matches!(result, Err(WeightsError::Write { .. })), "{result:?}");
}
