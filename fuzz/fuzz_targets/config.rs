#![no_main]

use libfuzzer_sys::fuzz_target;
use sed_models::{faster_rcnn::FasterRcnnConfig, retinanet::RetinaNetConfig};
use sed_train::{
    data::{AugmentConfig, DataPolicy},
    train::TrainConfig,
};

fuzz_target!(|text: &str| {
    let _ = toml::from_str::<TrainConfig>(text).map(|config| config.validate().is_ok());
    let _ = toml::from_str::<AugmentConfig>(text).map(|config| config.validate().is_ok());
    let _ = toml::from_str::<DataPolicy>(text);
    let _ = toml::from_str::<RetinaNetConfig>(text).map(|config| config.validate_for_views().is_ok());
    let _ = toml::from_str::<FasterRcnnConfig>(text).map(|config| config.validate_for_views().is_ok());
});
