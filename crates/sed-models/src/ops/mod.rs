//! Tensor operations that the layers are made of.

pub mod conv2d;
#[cfg(feature = "flex")]
mod flex;
pub mod group_norm;
pub mod roi_align;
