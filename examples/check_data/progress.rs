//! How far the images are.

use std::{
    io::{IsTerminal, stderr},
    sync::Mutex,
};

use indicatif::ProgressBar;

/// A bar on a terminal; elsewhere a line at each tenth of the images.
pub struct Progress(Mutex<State>);

struct State {
    bar: Option<ProgressBar>,
    /// The images of the part, and the tenths of them that were told.
    part: (usize, usize),
}

impl Default for Progress {
    fn default() -> Self {
        let bar = stderr().is_terminal().then(|| ProgressBar::new(0));
        Self(Mutex::new(State { bar, part: (0, 0) }))
    }
}

impl Progress {
    /// `done` of `total` images of a part were looked at.
    pub fn tell(&self, done: usize, total: usize) {
        let Ok(mut state) = self.0.lock() else { return };
        if let Some(bar) = &state.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            return;
        }
        let tenth = done * 10 / total.max(1);
        if state.part.0 != total || done == 1 {
            state.part = (total, 0);
        }
        if tenth > state.part.1 {
            state.part.1 = tenth;
            eprintln!("{done} of {total} images");
        }
    }

    /// Removes the bar.
    pub fn finish(&self) {
        if let Ok(State { bar: Some(bar), .. }) = self.0.lock().as_deref() {
            bar.finish_and_clear();
        }
    }
}
