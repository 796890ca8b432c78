//! Detectors on Burn.

pub mod anchors;
pub mod backbone;
pub mod box_coder;
pub mod layers;
pub mod matcher;
pub mod ops;
pub mod preprocess;
pub mod retinanet;
pub mod weights;
