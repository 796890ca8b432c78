#![no_main]

mod common;

use libfuzzer_sys::fuzz_target;
use sed_train::data::UnlabeledSet;

// What a shard lists can be read, whole.
fuzz_target!(|content: &[u8]| {
    let path = common::file("shard.tar", content);
    if let Ok(set) = UnlabeledSet::from_shards([&path]) {
        for image in &set.images {
            let span = image.span.expect("a part of the shard");
            let bytes = image.read().expect("a member within the file");
            assert_eq!(bytes.len() as u64, span.length, "{}", image.key);
        }
    }
});
