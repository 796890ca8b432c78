//! The mean-teacher trainer, riding on Burn's training engine.
//!
//! ```text
//! TrainLoader ──► SemiSupervised::step ──► gradients ──► SemiSupervised::optimize ──► teacher
//!   (ordered)      losses, clipping          (Burn)        optimizer on the student     (EMA)
//! ```
//!
//! [`SemiSupervised`] is a Burn module that implements Burn's `TrainStep` and `InferenceStep`;
//! [`train`] hands it to Burn's `SupervisedTraining`, whose "epoch" is here the number of
//! iterations between two evaluations.

mod accumulate;
mod average;
mod checkpointing;
mod clip;
mod config;
mod display;
mod engine;
mod error;
mod files;
mod method;
mod metrics;
mod monitor;
mod optimizer;
mod precision;
mod preflight;
mod rivals;
mod run;
mod saver;
mod schedule;
mod silence;
mod step;
mod surroundings;
mod teacher;
mod unsupervised;

pub use checkpointing::checkpointed;
pub use clip::clip_global_norm;
pub use config::TrainConfig;
pub use engine::{Evaluation, TrainData, TrainOutcome, train};
pub use error::TrainError;
pub use method::{Method, UnknownMethod};
pub use optimizer::OptimizerConfig;
pub use precision::Precision;
pub use preflight::{DataCounts, Preflight, StepCost};
pub use rivals::RivalsConfig;
pub use run::{Run, Stop, TeacherWatch};
pub use schedule::{ScheduleConfig, WarmupMultiStep};
pub use step::{SemiSupervised, StepOutput};
pub use teacher::{AverageFrom, RunningStatistics, TeacherConfig, update_teacher};
