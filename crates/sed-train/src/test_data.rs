//! Where tests find real data that is not part of the repository.

use std::path::PathBuf;

/// The folder `name` of the shared data: below `SED_TEST_DATA`, or else beside the repository.
/// `None`, with a word on the terminal, where it is missing.
pub(crate) fn shared_data(name: &str) -> Option<PathBuf> {
    let root = match std::env::var_os("SED_TEST_DATA") {
        Some(root) => PathBuf::from(root),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"),
    };
    let folder = root.join(name);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: there is no folder {}", folder.display());
    None
}
