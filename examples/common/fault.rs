//! A panic as an error: Burn's way to say that a device is lost, and the sign of a mistake in the program.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, anyhow};

/// Where the first panic of the program was, and what it said; later ones follow from it.
static FIRST: Mutex<Option<String>> = Mutex::new(None);

/// Runs a program whose panics become errors. With `RUST_BACKTRACE` set they are printed as usual too.
pub fn caught(main: impl FnOnce() -> Result<()>) -> Result<()> {
    let usual = panic::take_hook();
    let prints = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value != "0");
    panic::set_hook(Box::new(move |fault| {
        let place = fault.location().map(ToString::to_string).unwrap_or_default();
        let said = fault.payload_as_str().unwrap_or_default().lines().next().unwrap_or_default();
        let mut first = FIRST.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(format!("{said} (a fault at {place})"));
        drop(first);
        if prints {
            usual(fault);
        }
    }));
    panic::catch_unwind(AssertUnwindSafe(main)).unwrap_or_else(|_| {
        let first = FIRST.lock().unwrap_or_else(PoisonError::into_inner).take();
        Err(anyhow!(first.unwrap_or_default()))
    })
}
