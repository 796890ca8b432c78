//! How long a training waits for its batches.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use burn::data::dataloader::{DataLoader, DataLoaderIterator, Progress};
use burn::data::dataset::DatasetError;
use burn::tensor::Device;

/// The time that was spent waiting, counted on one thread and read on another.
///
/// ```
/// use std::{thread, time::Duration};
///
/// use sed_train::data::WaitClock;
///
/// let clock = WaitClock::default();
/// let shared = clock.clone();
/// assert_eq!(shared.time(|| { thread::sleep(Duration::from_millis(2)); 7 }), 7);
/// assert!(clock.take() >= Duration::from_millis(2));
/// assert_eq!(clock.take(), Duration::ZERO);
/// ```
#[derive(Debug, Clone, Default)]
pub struct WaitClock(Arc<AtomicU64>);

impl WaitClock {
    /// Runs `work` and counts its time.
    pub fn time<T>(&self, work: impl FnOnce() -> T) -> T {
        let started = Instant::now();
        let result = work();
        let nanoseconds = u64::try_from(started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.0.fetch_add(nanoseconds, Ordering::Relaxed);
        result
    }

    /// The time since the last call.
    pub fn take(&self) -> Duration {
        Duration::from_nanos(self.0.swap(0, Ordering::Relaxed))
    }
}

/// A loader that counts how long whoever asks it for batches waits for them.
///
/// It delivers what the loader within delivers. Loaders made of it by `slice` and `to_device` count on the same clock.
///
/// ```
/// use std::{sync::Arc, time::Duration};
///
/// use burn::data::dataloader::DataLoader;
/// use sed_train::data::{EvalImage, EvalLoader, EvalLoaderConfig, TimedLoader, WaitClock};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("a.png");
/// # image::RgbImage::new(40, 30).save(&path)?;
/// let image = EvalImage { id: 7, path, listed_size: None };
/// let loader = EvalLoader::from_images(vec![image], EvalLoaderConfig::default())?;
/// let clock = WaitClock::default();
/// let timed = TimedLoader::new(Arc::new(loader), clock.clone());
/// assert_eq!(timed.iter().count(), 1);
/// assert!(clock.take() > Duration::ZERO);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct TimedLoader<T> {
    loader: Arc<dyn DataLoader<T>>,
    clock: WaitClock,
}

impl<T> TimedLoader<T> {
    /// Counts the waits for `loader` on `clock`.
    pub fn new(loader: Arc<dyn DataLoader<T>>, clock: WaitClock) -> Self {
        Self { loader, clock }
    }
}

struct TimedIterator<'a, T> {
    batches: Box<dyn DataLoaderIterator<T> + 'a>,
    clock: WaitClock,
}

impl<T> Iterator for TimedIterator<'_, T> {
    type Item = Result<T, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let Self { batches, clock } = self;
        clock.time(|| batches.next())
    }
}

impl<T> DataLoaderIterator<T> for TimedIterator<'_, T> {
    fn progress(&self) -> Progress {
        self.batches.progress()
    }
}

impl<T: 'static> DataLoader<T> for TimedLoader<T> {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<T> + 'a> {
        // The first batches are prepared from here on.
        let batches = self.clock.time(|| self.loader.iter());
        Box::new(TimedIterator { batches, clock: self.clock.clone() })
    }

    fn num_items(&self) -> usize {
        self.loader.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<T>> {
        Arc::new(Self::new(self.loader.to_device(device), self.clock.clone()))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<T>> {
        Arc::new(Self::new(self.loader.slice(start, end), self.clock.clone()))
    }
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;

    use super::*;

    /// Numbers from a start to an end, each after 5 ms.
    struct Slow(usize, usize);

    struct SlowIterator(std::ops::Range<usize>);

    impl Iterator for SlowIterator {
        type Item = Result<usize, DatasetError>;

        fn next(&mut self) -> Option<Self::Item> {
            sleep(Duration::from_millis(5));
            self.0.next().map(Ok)
        }
    }

    impl DataLoaderIterator<usize> for SlowIterator {
        fn progress(&self) -> Progress {
            Progress::new(self.0.start, 10, None)
        }
    }

    impl DataLoader<usize> for Slow {
        fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<usize> + 'a> {
            Box::new(SlowIterator(self.0..self.1))
        }

        fn num_items(&self) -> usize {
            self.1 - self.0
        }

        fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<usize>> {
            Arc::new(Self(self.0, self.1))
        }

        fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<usize>> {
            Arc::new(Self(self.0 + start, self.0 + end))
        }
    }

    #[test]
    fn waits_are_counted_and_batches_unchanged() {
        let clock = WaitClock::default();
        let loader = TimedLoader::new(Arc::new(Slow(0, 4)), clock.clone());
        assert_eq!(loader.num_items(), 4);
        let batches: Vec<usize> = loader.iter().map(Result::unwrap).collect();
        assert_eq!(batches, [0, 1, 2, 3]);
        // Four batches and the end.
        assert!(clock.take() >= Duration::from_millis(25));
        assert_eq!(clock.take(), Duration::ZERO);
        let part = loader.to_device(&Device::default()).slice(1, 3);
        assert_eq!(part.iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
        assert!(clock.take() >= Duration::from_millis(15));
    }

    #[test]
    fn other_work_is_not_counted() {
        let clock = WaitClock::default();
        let loader = TimedLoader::new(Arc::new(Slow(0, 1)), clock.clone());
        let started = Instant::now();
        for _ in loader.iter() {
            sleep(Duration::from_millis(60));
        }
        assert!(clock.take() + Duration::from_millis(60) <= started.elapsed());
    }
}
