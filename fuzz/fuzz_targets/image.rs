#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use sed_train::data::image;

fuzz_target!(|content: &[u8]| {
    let _ = image::decode(&common::file("image", content));
});
