//! Teacher-student training, data and evaluation.

pub mod data;
pub mod eval;

#[cfg(test)]
mod test_data;
