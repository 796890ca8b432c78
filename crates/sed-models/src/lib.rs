//! Detectors on Burn.

pub mod backbone;
pub mod layers;
pub mod ops;
pub mod weights;
