//! Memory that a thread keeps between operations: fresh pages cost more than small operations themselves.

use std::cell::Cell;

thread_local! {
    static SCRATCH: Cell<Vec<f32>> = const { Cell::new(Vec::new()) };
}

/// Runs `run` with `len` floats of unspecified content.
pub(crate) fn with_scratch<R>(len: usize, run: impl FnOnce(&mut [f32]) -> R) -> R {
    SCRATCH.with(|cell| {
        let mut buffer = cell.take();
        if buffer.len() < len {
            buffer.resize(len, 0.0);
        }
        let result = run(&mut buffer[..len]);
        cell.set(buffer);
        result
    })
}
