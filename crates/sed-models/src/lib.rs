//! Detectors on Burn.

pub mod ops;
