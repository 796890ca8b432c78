//! Teacher-student training, data and evaluation.

pub mod report;
