//! RetinaNet on Burn, ready for Scale-Equivalent Distillation.
//!
//! - [`retinanet`]: the detector; `RetinaNetConfig::tiny` trains on two processor cores,
//!   `RetinaNetConfig::resnet50` has the usual size.
//! - [`backbone`]: residual networks and the feature pyramid.
//! - [`anchors`], [`box_coder`], [`matcher`], [`preprocess`]: what lies between images and losses.
//! - [`weights`]: torchvision state dicts, read and written.
//! - [`layers`], [`ops`]: norms, and the convolution with its faster kernel for the flex backend.

#![warn(missing_docs)]

pub mod anchors;
pub mod backbone;
pub mod box_coder;
pub mod faster_rcnn;
pub mod grids;
mod host;
pub mod layers;
pub mod matcher;
pub mod ops;
pub mod preprocess;
pub mod retinanet;
pub mod weights;
