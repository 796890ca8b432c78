//! Layers shared by backbones and heads.

mod drawn;
pub mod norm;
pub mod tower;

pub(crate) use drawn::drawn;
