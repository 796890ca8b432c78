#![no_main]

mod common;

use burn::tensor::Device;
use libfuzzer_sys::fuzz_target;
use sed_models::{
    ops::conv2d::Conv2dConfig,
    weights::{LoadOptions, load},
};

fuzz_target!(|content: &[u8]| {
    let path = common::file("weights.pth", content);
    let mut target = Conv2dConfig::new(2, 2, 1).init(&Device::default());
    let _ = load(&mut target, &path, &LoadOptions::default());
});
