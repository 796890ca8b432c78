//! sed
pub use sed_core as core;
pub use sed_models as models;
pub use sed_train as train;
