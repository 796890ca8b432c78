//! Evaluation of detections.
