//! Tensor operations that the layers are made of.

pub mod conv2d;
#[cfg(feature = "flex")]
mod flex;
pub mod group_norm;
mod linear;
pub mod roi_align;

pub(crate) use linear::linear;
