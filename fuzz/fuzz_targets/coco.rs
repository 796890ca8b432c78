#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use sed_train::data::UnlabeledSet;

fuzz_target!(|content: &[u8]| {
    let path = common::file("annotations.json", content);
    common::read_labels(&path);
    let _ = UnlabeledSet::from_json(&path, common::folder());
});
