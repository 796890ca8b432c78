//! Inconsistency re-weighting.
