#![no_main]

mod common;

use std::fs;

use libfuzzer_sys::fuzz_target;
use sed_train::checkpoint::CheckpointFolder;
use sha2::{Digest, Sha256};

// A manifest with a right sum, so that the fuzzer gets past it: whoever forges one can make the sum too.
fuzz_target!(|content: &[u8]| {
    let folder = common::folder().join("checkpoints/000000001");
    fs::create_dir_all(&folder).expect("a temporary folder");
    let sum: String = Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect();
    let end = format!("# sha256 {sum}\n");
    common::file("checkpoints/000000001/manifest.toml", &[content, end.as_bytes()].concat());
    // Files of weights that are listed and are none.
    for name in ["student.bpk", "teacher.bpk", "optimizer.bpk"] {
        common::file(&format!("checkpoints/000000001/{name}"), content);
    }
    let _ = CheckpointFolder::of_run(common::folder()).newest();
});
