//! Values and gradients against PyTorch and torchvision.
//!
//! `tests/fixtures/*.json` are written by `scripts/fixtures/generate.py`, in double precision; what
//! a test sees is therefore our rounding alone. Where a tolerance is relative, it is relative to the
//! largest reference of the same tensor.

mod boxes;
mod coco_eval;
mod faster_rcnn;
mod fixture;
mod formula;
mod images;
mod layers;
mod losses;
mod pipeline;
mod retinanet;
mod roi_align;
mod weights;

/// The gradients of whole networks, with some million ReLUs: a unit whose input is within a rounding
/// of 0 gets the gradient of either side. In PyTorch itself, in double precision, noise of 1e-7 of the
/// weights moves the gradients of these fixtures by up to 5e-4 now and then, noise of 1e-6 by up to
/// 5e-3. Blocks, heads and pyramids that keep away from such inputs are compared closely.
const NETWORK_GRADIENTS: f64 = 5e-3;
