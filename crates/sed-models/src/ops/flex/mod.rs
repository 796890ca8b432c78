//! What the operations written for Burn's CPU backend flex share.

mod matrix;
mod scratch;

pub(crate) use matrix::{MatrixMut, MatrixRef, multiply};
pub(crate) use scratch::with_scratch;
pub(crate) use sed_core::flex::{
    contiguous, dims, from_values, is_flex_f32, run_tasks, sum, values, values_mut,
};
