//! Layers shared by backbones and heads.

pub mod norm;
pub mod tower;
