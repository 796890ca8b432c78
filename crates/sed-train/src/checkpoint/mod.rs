//! Checkpoints: a run that was stopped, by whatever, goes on as if it never had been.
//!
//! A checkpoint is a folder `checkpoints/000001000`, named by the iteration, of four files: `student.bpk`, `teacher.bpk` and
//! `optimizer.bpk` in Burn's format, and `manifest.toml` with the [`Progress`], the identity of the run (what must not change when it
//! goes on), and the size and SHA-256 of each file. The folder is written under another name, brought to the disk and renamed, so one that
//! is there is whole; one that was damaged later is told by its sums, and the one before it is used.

mod error;
mod folder;
mod identity;
mod lock;
mod manifest;

pub use error::CheckpointError;
pub use folder::{CheckpointFolder, Restored, State};
pub use identity::require_same;
pub use lock::RunLock;
pub use manifest::Progress;
