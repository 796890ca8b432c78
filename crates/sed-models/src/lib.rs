//! RetinaNet and Faster R-CNN on Burn, ready for Scale-Equivalent Distillation.
//!
//! - [`retinanet`], [`faster_rcnn`]: the detectors, of one stage and of two; their presets `tiny` train on two
//!   processor cores, `resnet50` have the usual size.
//! - [`backbone`]: residual networks and the feature pyramid.
//! - [`anchors`], [`grids`], [`box_coder`], [`matcher`], [`preprocess`]: what lies between images and losses.
//! - [`weights`]: torchvision state dicts, read and written.
//! - [`layers`], [`ops`]: norms and towers; convolution, group norm and RoIAlign, with faster kernels for the flex backend.

#![warn(missing_docs)]
#![deny(unsafe_code)]

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
