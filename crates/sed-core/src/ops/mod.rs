//! Box arithmetic and non-maximum suppression.
