#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|content: &[u8]| {
    common::file("a.xml", content);
    common::read_labels(common::folder());
});
