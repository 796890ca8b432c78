//! Worker threads whose results arrive in order.

use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// The text of a panic.
pub(super) fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_owned())
}

/// Runs `work(i)` for each `i` of a range on worker threads and yields the results by ascending
/// `i`, at most `ahead` of them before they are asked for.
///
/// A panic in `work` is yielded as `Err` with its text, at its place; the worker goes on.
/// Dropping the iterator waits for the calls that are running.
pub(super) struct OrderedWorkers<T> {
    shared: Arc<Shared<T>>,
    end: usize,
    threads: Vec<JoinHandle<()>>,
    work: Arc<dyn Fn(usize) -> T + Send + Sync>,
}

struct Shared<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

struct State<T> {
    /// The next index that a worker takes.
    next: usize,
    /// The next index that is yielded.
    wanted: usize,
    /// Results that are not yet yielded.
    ready: BTreeMap<usize, Result<T, String>>,
    stopped: bool,
}

impl<T> Shared<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        // No code panics while it holds the lock, and the state is valid after each statement.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, guard: MutexGuard<'a, State<T>>) -> MutexGuard<'a, State<T>> {
        self.changed.wait(guard).unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Send + 'static> OrderedWorkers<T> {
    /// Starts `workers` threads; with none, the caller's thread does the work when asked.
    pub fn new(
        range: Range<usize>,
        workers: usize,
        ahead: usize,
        work: Arc<dyn Fn(usize) -> T + Send + Sync>,
    ) -> Self {
        let state = State { next: range.start, wanted: range.start, ready: BTreeMap::new(), stopped: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let (end, ahead) = (range.end, ahead.max(1));
        let threads = (0..workers)
            .map(|_| {
                let (shared, work) = (Arc::clone(&shared), Arc::clone(&work));
                std::thread::spawn(move || serve(&shared, end, ahead, work.as_ref()))
            })
            .collect();
        Self { shared, end, threads, work }
    }
}

fn guarded<T>(work: &(dyn Fn(usize) -> T + Send + Sync), index: usize) -> Result<T, String> {
    // What the call leaves behind is dropped with its result; shared caches hold whole entries only.
    catch_unwind(AssertUnwindSafe(|| work(index))).map_err(|payload| panic_message(payload.as_ref()))
}

fn serve<T>(shared: &Shared<T>, end: usize, ahead: usize, work: &(dyn Fn(usize) -> T + Send + Sync)) {
    loop {
        let mut state = shared.lock();
        while !state.stopped && state.next < end && state.next >= state.wanted + ahead {
            state = shared.wait(state);
        }
        if state.stopped || state.next >= end {
            return;
        }
        let index = state.next;
        state.next += 1;
        drop(state);
        let result = guarded(work, index);
        shared.lock().ready.insert(index, result);
        shared.changed.notify_all();
    }
}

impl<T> Iterator for OrderedWorkers<T> {
    type Item = Result<T, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut state = self.shared.lock();
        let index = state.wanted;
        if index >= self.end {
            return None;
        }
        let result = if self.threads.is_empty() {
            drop(state);
            let result = guarded(self.work.as_ref(), index);
            state = self.shared.lock();
            result
        } else {
            loop {
                if let Some(result) = state.ready.remove(&index) {
                    break result;
                }
                state = self.shared.wait(state);
            }
        };
        state.wanted += 1;
        drop(state);
        self.shared.changed.notify_all();
        Some(result)
    }
}

impl<T> Drop for OrderedWorkers<T> {
    fn drop(&mut self) {
        self.shared.lock().stopped = true;
        self.shared.changed.notify_all();
        for thread in self.threads.drain(..) {
            // Workers catch the panics of their work, and have nothing else to report.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[test]
    fn results_arrive_in_order_whatever_the_threads() {
        for workers in [0, 1, 2, 4] {
            let work = Arc::new(|i: usize| {
                // Later items are ready sooner.
                std::thread::sleep(Duration::from_millis((7 - i % 8) as u64));
                i * i
            });
            let found: Vec<_> = OrderedWorkers::new(5..30, workers, 6, work).map(Result::unwrap).collect();
            assert_eq!(found, (5..30).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_panic_arrives_at_its_place_and_the_rest_goes_on() {
        for workers in [0, 2] {
            let work = Arc::new(|i: usize| {
                assert!(i != 3, "item {i} is bad");
                i
            });
            let found: Vec<_> = OrderedWorkers::new(0..6, workers, 2, work).collect();
            assert_eq!(found[3], Err("item 3 is bad".to_owned()));
            assert_eq!(found.iter().filter(|r| r.is_ok()).count(), 5);
        }
    }

    #[test]
    fn workers_stay_within_their_lead_and_stop_when_dropped() {
        let started = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&started);
        let work = Arc::new(move |_: usize| counter.fetch_add(1, Ordering::SeqCst));
        let mut items = OrderedWorkers::new(0..1000, 2, 4, work);
        items.next().unwrap().unwrap();
        std::thread::sleep(Duration::from_millis(30));
        // One is yielded, four lie ahead of the next.
        assert!(started.load(Ordering::SeqCst) <= 5);
        drop(items);
        let after = started.load(Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(10));
        assert_eq!(started.load(Ordering::SeqCst), after);
    }
}
