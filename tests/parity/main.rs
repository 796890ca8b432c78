//! Values and gradients against PyTorch and torchvision.
//!
//! `tests/fixtures/*.json` are written by `scripts/fixtures/generate.py`, in double precision; what
//! a test sees is therefore our rounding alone. Where a tolerance is relative, it is relative to the
//! largest reference of the same tensor.

mod boxes;
mod fixture;
mod formula;
mod layers;
mod losses;
mod retinanet;
mod weights;
