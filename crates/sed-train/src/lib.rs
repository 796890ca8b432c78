//! Teacher-student training, data and evaluation for Scale-Equivalent Distillation.
//!
//! - [`checkpoint`]: what a run needs to go on after a stop.
//! - [`data`]: COCO files, splits, augmented views, loaders, a generated dataset.
//! - [`train`]: the mean teacher, the semi-supervised step, the run.
//! - [`eval`]: the COCO numbers.
//! - [`diagnostics`]: Figure 1 of the paper for any dataset and detector.
//! - [`report`]: what a run leaves in its folder.

#![warn(missing_docs)]
#![deny(unsafe_code)]

pub mod checkpoint;
pub mod data;
pub mod diagnostics;
pub mod eval;
pub mod report;
pub mod train;

#[cfg(test)]
mod test_data;
