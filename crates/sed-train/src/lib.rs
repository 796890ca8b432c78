//! Teacher-student training, data and evaluation.
