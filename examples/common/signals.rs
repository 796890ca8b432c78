//! Ctrl-C and the request to terminate: the first asks for a checkpoint, a second one ends the program at once.

use std::{
    io,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use sed::train::train::Stop;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    flag,
};

static REQUESTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);
static SIGNAL: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// From now on signals ask for a stop, by what is returned.
pub fn stop() -> io::Result<Stop> {
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second signal finds the flag that the first has set.
        flag::register_conditional_shutdown(signal, 128 + signal, REQUESTED.clone())?;
        flag::register_usize(signal, SIGNAL.clone(), signal as usize)?;
        flag::register(signal, REQUESTED.clone())?;
    }
    Ok(Stop::by_flag(REQUESTED.clone()))
}

/// The exit code of a program that was stopped: 143 by a request to terminate, 130 by Ctrl-C or the dashboard's key.
pub fn exit_code() -> u8 {
    match SIGNAL.load(Ordering::SeqCst) {
        0 => 128 + SIGINT as u8,
        signal => 128 + signal as u8,
    }
}
