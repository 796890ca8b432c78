//! Semi-supervised object detection by Scale-Equivalent Distillation, on Burn.
//!
//! This crate re-exports the three of the workspace; a crate that needs one of them alone depends on
//! that one.

#[doc(inline)]
pub use sed_core as core;
#[doc(inline)]
pub use sed_models as models;
#[doc(inline)]
pub use sed_train as train;

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
