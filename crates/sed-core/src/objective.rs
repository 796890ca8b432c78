//! The total loss.
