//! How fast a run goes.

use std::{collections::VecDeque, time::Duration};

/// The latest steps of a run: their times, and how long each waited for its images.
///
/// All means are over the last steps alone, so that a change of speed, as at the end of burn-in, is seen soon.
///
/// ```
/// use sed_train::report::Throughput;
///
/// let mut throughput = Throughput::new(50, 8);
/// throughput.step(0.5, 0.125);
/// throughput.step(0.25, 0.0);
/// let speed = throughput.speed().unwrap();
/// assert_eq!(speed.seconds_per_step, 0.375);
/// assert_eq!(speed.images_per_second, 8.0 / 0.375);
/// assert_eq!(speed.data_share, 0.125 / 0.75);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Throughput {
    window: usize,
    images: usize,
    /// Seconds of each of the latest steps: all of it, and the wait for images.
    steps: VecDeque<[f64; 2]>,
    evaluations: Vec<f64>,
}

/// The speed of the latest steps.
///
/// ```
/// use sed_train::report::Throughput;
///
/// let mut throughput = Throughput::new(50, 8);
/// assert_eq!(throughput.speed(), None); // no step yet
/// throughput.step(0.5, 0.25);
/// let speed = throughput.speed().unwrap();
/// assert_eq!((speed.images_per_second, speed.data_share), (16.0, 0.5));
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Speed {
    /// Mean time of a step in seconds, evaluations not counted.
    pub seconds_per_step: f64,
    /// Images that are trained on in a second, labeled and unlabeled.
    pub images_per_second: f64,
    /// The share of the time in which a step waited for images, in `[0, 1]`.
    pub data_share: f64,
}

impl Throughput {
    /// Without steps yet; means are over the last `window` steps, of `images` images each.
    ///
    /// # Panics
    ///
    /// If the window is empty.
    pub fn new(window: usize, images: usize) -> Self {
        assert!(window > 0, "Throughput: a window of 0 steps");
        Self { window, images, steps: VecDeque::with_capacity(window), evaluations: Vec::new() }
    }

    /// Adds a step that took `seconds` in all, `waiting` of them for its images.
    pub fn step(&mut self, seconds: f64, waiting: f64) {
        if self.steps.len() == self.window {
            self.steps.pop_front();
        }
        self.steps.push_back([seconds, waiting]);
    }

    /// Adds an evaluation that took `seconds`.
    pub fn evaluation(&mut self, seconds: f64) {
        self.evaluations.push(seconds);
    }

    /// The speed of the latest steps; `None` before the first one, or if they took no time.
    pub fn speed(&self) -> Option<Speed> {
        let [seconds, waiting] =
            self.steps.iter().fold([0.0, 0.0], |[s, w], [step, wait]| [s + step, w + wait]);
        let steps = self.steps.len() as f64;
        (seconds > 0.0).then(|| Speed {
            seconds_per_step: seconds / steps,
            images_per_second: self.images as f64 * steps / seconds,
            data_share: waiting / seconds,
        })
    }

    /// The time that `steps` more steps and `evaluations` more evaluations take at the present speed; an evaluation takes as
    /// long as those so far did in the mean, and no time before the first.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use sed_train::report::Throughput;
    ///
    /// let mut throughput = Throughput::new(50, 8);
    /// throughput.step(0.5, 0.0);
    /// throughput.evaluation(4.0);
    /// assert_eq!(throughput.time_left(10, 2), Some(Duration::from_secs(5 + 8)));
    /// ```
    pub fn time_left(&self, steps: usize, evaluations: usize) -> Option<Duration> {
        let evaluation = self.evaluations.iter().sum::<f64>() / self.evaluations.len().max(1) as f64;
        let seconds = self.speed()?.seconds_per_step * steps as f64 + evaluation * evaluations as f64;
        Duration::try_from_secs_f64(seconds).ok()
    }
}

/// A duration in two units: `45 s`, `3 min 05 s`, `2 h 07 min`, `4 d 03 h`.
///
/// ```
/// use std::time::Duration;
/// use sed_train::report::describe_duration;
///
/// assert_eq!(describe_duration(Duration::from_secs(185)), "3 min 05 s");
/// ```
pub fn describe_duration(duration: Duration) -> String {
    let seconds = duration.as_secs_f64().round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {:02} s", seconds % 60),
        (0, _, _) => format!("{hours} h {:02} min", minutes % 60),
        _ => format!("{days} d {:02} h", hours % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_steps_leave_the_means() {
        let mut throughput = Throughput::new(2, 4);
        assert_eq!(throughput.speed(), None);
        for (seconds, waiting) in [(100.0, 100.0), (1.0, 0.5), (3.0, 0.5)] {
            throughput.step(seconds, waiting);
        }
        let speed = throughput.speed().unwrap();
        assert_eq!(speed, Speed { seconds_per_step: 2.0, images_per_second: 2.0, data_share: 0.25 });
    }

    #[test]
    fn time_left_counts_steps_and_evaluations() {
        let mut throughput = Throughput::new(10, 1);
        assert_eq!(throughput.time_left(10, 1), None);
        throughput.step(0.5, 0.0);
        assert_eq!(throughput.time_left(10, 3), Some(Duration::from_secs(5)));
        throughput.evaluation(2.0);
        throughput.evaluation(4.0);
        assert_eq!(throughput.time_left(10, 3), Some(Duration::from_secs(14)));
        assert_eq!(throughput.time_left(0, 0), Some(Duration::ZERO));
    }

    #[test]
    fn no_time_is_no_speed() {
        let mut throughput = Throughput::new(3, 1);
        throughput.step(0.0, 0.0);
        assert_eq!((throughput.speed(), throughput.time_left(3, 0)), (None, None));
        throughput.step(f64::INFINITY, 0.0);
        assert_eq!(throughput.time_left(3, 0), None);
    }

    #[test]
    fn durations_have_two_units() {
        let cases = [
            (0.4, "0 s"),
            (59.4, "59 s"),
            (59.6, "1 min 00 s"),
            (3599.0, "59 min 59 s"),
            (7620.0, "2 h 07 min"),
            (90_000.0, "1 d 01 h"),
        ];
        for (seconds, text) in cases {
            assert_eq!(describe_duration(Duration::from_secs_f64(seconds)), text);
        }
    }
}
