//! What the examples share that read images or train; each uses a part.

#![allow(dead_code)]

pub mod args;
pub mod compare;
pub mod data;
pub mod dry_run;
mod fault;
pub mod models;
pub mod preset;
pub mod report;
pub mod run_file;
pub mod session;
pub mod setting_keys;
pub mod settings;
pub mod signals;
pub mod trained;
pub mod watch;

use std::{path::PathBuf, process::ExitCode, time::SystemTime};

use args::Args;
use sed::train::train::TrainError;

/// The exit code of a program; an error is printed in one line, with those of its causes that its
/// own text does not give yet. So is a panic, as by a device that is lost.
pub fn exit_code(main: impl FnOnce() -> anyhow::Result<()>) -> ExitCode {
    let Err(error) = fault::caught(main) else { return ExitCode::SUCCESS };
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    if let Some(TrainError::Stopped { .. }) = error.downcast_ref() {
        eprintln!("{text}; --resume with the run folder goes on");
        return ExitCode::from(signals::exit_code());
    }
    eprintln!("error: {text}");
    ExitCode::FAILURE
}

/// The run folder: as asked for, or a new one under `runs`.
pub fn run_dir(args: &Args, name: &str) -> PathBuf {
    args.run_dir.clone().unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |time| time.as_secs());
        PathBuf::from("runs").join(format!("{name}-{now}-{}", std::process::id()))
    })
}

/// Where generated data is kept: as asked for, the user's cache folder, or a temporary one.
pub fn cache_dir(args: &Args) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = || std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
    args.cache_dir.clone().unwrap_or_else(|| cache().unwrap_or_else(std::env::temp_dir).join("sed"))
}
