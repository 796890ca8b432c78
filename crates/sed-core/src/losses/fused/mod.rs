//! The losses on flex, in one pass over their inputs.
//!
//! Composed of tensor operations, a loss reads and writes a dozen tensors of the size of its input. Here value and
//! gradient are computed together, some anchors at a time, and only the gradient is kept. The results are those of
//! the composed formulas up to rounding; every sum has an order that does not depend on the number of threads.

mod attach;
mod elementary;
mod focal;
mod pair;
#[cfg(test)]
mod tests;

pub(crate) use attach::attach_gradient;
pub(crate) use focal::focal_sum;
pub(crate) use pair::{PairTerm, foreground_sum};

/// Elements of a tensor that one task takes.
const TASK: usize = 1 << 16;

/// Elements that are worked on while they lie in the first-level cache.
const BLOCK: usize = 1 << 10;

/// The work of a task in the multiplications that `run_tasks` counts: an element takes about this many.
const WORK: usize = 16;
