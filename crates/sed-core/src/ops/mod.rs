//! Box arithmetic and non-maximum suppression.
//!
//! Both run on the host, on plain arrays: what is left after scoring is small, and a device would
//! only wait for it.

pub mod boxes;
pub mod nms;

pub use nms::{batched_nms, nms};
