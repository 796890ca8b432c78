//! Box arithmetic, non-maximum suppression and box fusion.
//!
//! All run on the host, on plain arrays: what is left after scoring is small, and a device would
//! only wait for it.

pub mod box_fusion;
pub mod boxes;
pub mod nms;

pub use box_fusion::fuse_boxes;
pub use nms::{batched_nms, nms};
