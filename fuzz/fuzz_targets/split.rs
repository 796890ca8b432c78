#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use sed_train::data::{CocoIndex, SplitManifest};

/// The file that the seed belongs to.
const ANNOTATIONS: &str = include_str!("../seeds/annotations.json");

fuzz_target!(|content: &[u8]| {
    let index =
        CocoIndex::read(common::file("annotations.json", ANNOTATIONS.as_bytes())).expect("a good file");
    let _ = SplitManifest::load(common::file("split.json", content), &index);
});
