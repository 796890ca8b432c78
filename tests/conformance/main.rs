//! Every operation that training uses, on the device of `BURN_DEVICE`, against a reference: values and gradients.
//!
//! A backend may be wrong for some shapes only, and training then goes on with a gradient that points elsewhere. So
//! each operation has a test of its own, with the shapes of this project's models, and a failing one is named:
//!
//! ```text
//! BURN_DEVICE=wgpu cargo test --release --features wgpu --test conformance
//! ```
//!
//! The reference of an operation is the same code in `f64` on flex, where it is made of Burn's own operations: that
//! checks flex's own kernels of this project too. Whole detectors and what computes in `f32` by itself are
//! compared with flex, and flex with ndarray.

mod compare;
mod convolutions;
mod detectors;
mod indexing;
mod losses;
mod matmul;
mod modules;
mod norms;
mod objective;
mod place;
mod pooling;
mod preprocess;
mod roi_align;
mod stem;
mod training;
