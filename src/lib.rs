//! sed
pub use sed_core as core;
pub use sed_models as models;
pub use sed_train as train;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
