//! What several targets share; each uses a part.

#![allow(dead_code)]

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use sed_train::data::{CocoIndex, DataPolicy, PolicyMode, SkipBound};
use tempfile::TempDir;

/// A folder of this process.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().expect("a folder for temporary files")).path()
}

/// A file with this content.
pub fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = folder().join(name);
    fs::write(&path, content).expect("a temporary file");
    path
}

/// Reads labeled data by each policy: strict refuses what the others report.
pub fn read_labels(path: &Path) {
    let read = |policy| {
        let index = CocoIndex::open(path, None, policy)?;
        let labels = index.labels(&index.image_ids(), policy)?;
        Ok::<_, sed_train::data::DataError>(index.report().is_clean() && labels.report().is_clean())
    };
    let strict = read(DataPolicy::STRICT).is_ok();
    for mode in [PolicyMode::Skip, PolicyMode::Repair] {
        match read(DataPolicy::new(mode, SkipBound::Percent(100.0))) {
            Ok(clean) => assert_eq!(clean, strict, "{mode:?}"),
            Err(_) => assert!(!strict, "{mode:?}"),
        }
    }
}
