//! What operations written for Burn's CPU backend flex share: the way from tensors to slices and back, and work
//! over threads.
//!
//! For crates that add operations through Burn's backend extensions, as `sed-models` does.

mod sum;
mod tensor;

pub use sum::sum;
pub use tensor::{
    contiguous, dims, from_values, into_primitive, is_flex_f32, primitive, run_tasks, values, values_mut,
};
