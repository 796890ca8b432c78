//! Losses, re-weighting and the detector interface of Scale-Equivalent Distillation (SED).
//!
//! SED trains an object detector from a few labeled and many unlabeled images
//! (Guo et al., *Scale-Equivalent Distillation for Semi-Supervised Object Detection*, CVPR 2022).
//! An unlabeled image is seen three times, in one geometry: by an averaged teacher, by the student,
//! and by the same student at half size. The student learns to agree with itself across the two
//! sizes and with the teacher, on every anchor and without a threshold.
//!
//! The crate works on plain tensors, so a detector that knows nothing of the other crates of this
//! workspace can use it:
//!
//! - [`losses`]: focal loss, scale consistency, self-distillation, box losses.
//! - [`reweight`]: the weight of each anchor by the inconsistency of two predictions.
//! - [`objective`]: the total loss `L_sup + (n_u / n_s)·(λ_s·L_scale + λ_d·L_distill)`.
//! - [`pseudo_labels`]: a teacher's detections as targets, the usual rival.
//! - [`ops`]: box arithmetic, non-maximum suppression, box fusion.
//! - [`pyramid`]: the grids of a feature pyramid and their pairing between two image sizes.
//! - [`device`]: the device of a name, with an error where Burn would panic.
//! - `flex` (feature `flex`): what operations written for Burn's CPU backend share.
//! - [`detector`]: the trait through which a trainer drives any detector.
//!
//! Each item says whether its formula is the paper's or this project's design.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod detector;
pub mod device;
mod error;
#[cfg(feature = "flex")]
pub mod flex;
pub mod losses;
pub mod objective;
pub mod ops;
pub mod pseudo_labels;
pub mod pyramid;
pub mod reweight;
pub mod structures;
#[cfg(test)]
mod testing;

pub use detector::Detector;
pub use error::InvalidOption;
pub use structures::{
    ClassActivation, DetectionLoss, Detections, ImageBatch, ImageSize, Predictions, StageViews, Targets,
    ViewPair, Views,
};
