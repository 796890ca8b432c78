//! What a run shows while it goes on, and the rows of numbers it leaves behind.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use burn::train::{
    logger::MetricLogger,
    metric::{
        MetricDefinition, MetricId, NumericEntry,
        store::{EpochSummary, MetricsUpdate, Split},
    },
};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::{TrainConfig, TrainError, display::Display, metrics::LEARNING_RATE, surroundings::Failure};
use crate::{
    data::WaitClock,
    report::{
        Moment, ReportError, ResidentMemory, ScalarLog, TensorBoardLog, Throughput, Warning, WarningLog,
        describe_duration,
    },
};

/// Steps over which the speed is averaged.
const WINDOW: usize = 50;

/// How long a checkpoint waits for rows that are on their way to the log.
const PATIENCE: Duration = Duration::from_secs(300);

/// The bars of all runs of the program, each on its own line.
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Named numbers of one iteration.
pub(super) type Row = BTreeMap<String, f64>;

/// Collects the rows of a run, writes them to the run folder as they come, and shows progress.
#[derive(Clone)]
pub(super) struct Monitor {
    state: Arc<Mutex<State>>,
    changed: Arc<Condvar>,
}

impl core::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Monitor")
    }
}

/// The files of a run with a folder.
pub(super) struct Logs {
    pub scalars: ScalarLog,
    pub board: TensorBoardLog,
    pub warnings: WarningLog,
}

struct State {
    names: HashMap<MetricId, String>,
    logs: Option<Logs>,
    failure: Failure,
    label: String,
    total: usize,
    evaluate_every: usize,
    /// Steps whose row was written.
    done: usize,
    /// Evaluations whose row was written.
    evaluations: usize,
    throughput: Throughput,
    /// How long steps wait for their images.
    waits: WaitClock,
    last_row: Instant,
    last_line: Option<Instant>,
    bar: ProgressBar,
    display: Display,
    /// What was said while the dashboard had the terminal.
    held: Vec<String>,
}

impl Monitor {
    /// A monitor of a run of which `done` steps are made, with so many `evaluations`; the logs are absent for a run without a
    /// folder.
    pub(super) fn new(
        label: &str,
        config: &TrainConfig,
        (done, evaluations): (usize, usize),
        logs: Option<Logs>,
        waits: WaitClock,
        failure: Failure,
        display: Display,
    ) -> Self {
        let total = config.iterations;
        let bar = ProgressBar::with_draw_target(Some(total as u64), ProgressDrawTarget::hidden());
        let bar = if display == Display::Bar { BARS.add(bar) } else { bar };
        if let Ok(style) = ProgressStyle::with_template("{prefix} [{bar:20}] {pos}/{len}  {wide_msg}") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.set_prefix(label.to_string());
        bar.set_position(done as u64);
        let state = State {
            names: HashMap::new(),
            logs,
            failure,
            label: label.to_string(),
            total,
            evaluate_every: config.evaluate_every,
            done,
            evaluations,
            throughput: Throughput::new(WINDOW, config.batch_labeled + config.unlabeled_per_step()),
            waits,
            last_row: Instant::now(),
            last_line: None,
            bar,
            display,
            held: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)), changed: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Waits until the rows of so many steps and evaluations are written, and brings them to the disk.
    pub(super) fn wait_for(&self, steps: usize, evaluations: usize) -> Result<(), TrainError> {
        let missing = |state: &mut State| state.done < steps || state.evaluations < evaluations;
        let waited = self.changed.wait_timeout_while(self.state(), PATIENCE, missing);
        let (state, timeout) = waited.unwrap_or_else(|poisoned| poisoned.into_inner());
        if timeout.timed_out() {
            return Err(TrainError::MetricsLost { iteration: steps });
        }
        match &state.logs {
            Some(logs) => Ok(logs.scalars.sync()?),
            None => Ok(()),
        }
    }

    /// Shows a warning and keeps it.
    pub(super) fn warn(&self, iteration: usize, moment: Moment, message: &str) {
        let mut state = self.state();
        let line = format!("{} {iteration}/{}  warning: {message}", state.label, state.total);
        state.print(&line);
        let warning = Warning { iteration: iteration as u64, moment, message: message.to_owned() };
        let written = state.logs.as_mut().map(|logs| logs.warnings.append(warning));
        if let Some(Err(error)) = written {
            state.log_failed(error);
        }
    }

    /// Steps whose row was written.
    pub(super) fn done(&self) -> usize {
        self.state().done
    }
}

impl State {
    fn print(&mut self, line: &str) {
        match self.display {
            Display::Bar => self.bar.println(line),
            Display::Lines => eprintln!("{line}"),
            Display::Dashboard => self.held.push(line.to_owned()),
        }
    }

    /// Once is enough: the engine stops after the current step.
    fn log_failed(&mut self, error: ReportError) {
        self.logs = None;
        self.failure.raise(error.into());
    }

    fn row(&self, update: &MetricsUpdate, take: fn(&NumericEntry) -> bool) -> Row {
        let value = |numeric: &burn::train::metric::store::NumericMetricUpdate| {
            let name = self.names.get(&numeric.entry.metric_id)?;
            let entry = numeric.numeric_entry.as_ref().filter(|entry| take(entry))?;
            Some((name.clone(), entry.current()))
        };
        update.entries_numeric.iter().filter_map(value).collect()
    }

    fn write(&mut self, row: &Row) {
        let iteration = self.done as u64;
        let append = |logs: &mut Logs| {
            logs.scalars.append(iteration, row).and_then(|()| logs.board.append(iteration, row))
        };
        let written = self.logs.as_mut().map(append);
        if let Some(Err(error)) = written {
            self.log_failed(error);
        }
    }

    fn train_row(&mut self, mut row: Row) {
        self.done = row.remove("iteration").map_or(self.done, |iteration| iteration as usize) + 1;
        self.write(&row);
        self.throughput.step(self.last_row.elapsed().as_secs_f64(), self.waits.take().as_secs_f64());
        self.last_row = Instant::now();
        let pause = match self.display {
            Display::Bar => Duration::from_millis(100),
            Display::Lines => Duration::from_secs(10),
            Display::Dashboard => return,
        };
        if self.last_line.is_some_and(|last| last.elapsed() < pause) && self.done < self.total {
            return;
        }
        self.last_line = Some(Instant::now());
        let description = self.describe(&row);
        if self.display == Display::Bar {
            self.bar.set_position(self.done as u64);
            self.bar.set_message(description);
        } else {
            eprintln!("{} {}/{}  {description}", self.label, self.done, self.total);
        }
    }

    /// Time left, speed, memory, and the numbers of a step.
    fn describe(&self, row: &Row) -> String {
        let evaluations = self.total / self.evaluate_every - self.evaluations;
        let left = self.throughput.time_left(self.total - self.done, evaluations);
        let mut parts = vec![format!("ETA {}", left.map_or("?".into(), describe_duration))];
        if let Some(speed) = self.throughput.speed() {
            parts.push(format!("{:.1} images/s", speed.images_per_second));
            parts.push(format!("data {:.0} %", 100.0 * speed.data_share));
        }
        if let Some(memory) = ResidentMemory::of_this_process() {
            parts.push(format!("{:.0} MiB", memory.current as f64 / f64::from(1 << 20)));
        }
        let number = |name: &str| row.get(name).copied();
        parts.extend(number(LEARNING_RATE).map(|rate| format!("lr {rate:.1e}")));
        parts.extend(number("loss").map(|loss| format!("loss {loss:.3}")));
        let hidden = [LEARNING_RATE, "gradient_norm", "loss"];
        let losses = row.iter().filter(|(name, _)| !hidden.contains(&name.as_str()));
        parts.extend(losses.map(|(name, value)| format!("{} {value:.3}", name.trim_start_matches("head/"))));
        parts.join("  ")
    }

    fn valid_row(&mut self, row: Row) {
        // An evaluation that a stop cut short has no numbers.
        if row.is_empty() || self.failure.interrupter().should_stop() {
            return;
        }
        self.evaluations += 1;
        self.write(&row);
        self.throughput.evaluation(self.last_row.elapsed().as_secs_f64());
        self.last_row = Instant::now();
        let number = |name: &str| row.get(name).map_or(f64::NAN, |value| 100.0 * value);
        let line = format!(
            "{} {}/{}  AP / AP50: student {:.1} / {:.1}, teacher {:.1} / {:.1}",
            self.label,
            self.done,
            self.total,
            number("student/AP"),
            number("student/AP50"),
            number("teacher/AP"),
            number("teacher/AP50"),
        );
        self.print(&line);
    }
}

impl MetricLogger for Monitor {
    fn log(&mut self, update: MetricsUpdate, _epoch: usize, split: &Split) {
        let mut state = self.state();
        match split {
            Split::Train => {
                let row = state.row(&update, |entry| matches!(entry, NumericEntry::Value(_)));
                // The engine also sends the means of an "epoch", which carry no iteration's values.
                if !row.is_empty() {
                    state.train_row(row);
                }
            }
            Split::Valid => {
                let row = state.row(&update, |entry| matches!(entry, NumericEntry::Final(_)));
                state.valid_row(row);
            }
            Split::Test(_) => {}
        }
        self.changed.notify_all();
    }

    fn read_numeric(
        &mut self,
        name: &str,
        _epoch: usize,
        _split: &Split,
    ) -> Result<Vec<NumericEntry>, String> {
        Err(format!("{name}: the run folder keeps its own logs; nothing is read back"))
    }

    fn log_metric_definition(&mut self, definition: MetricDefinition) {
        self.state().names.insert(definition.metric_id, definition.name.to_string());
    }

    fn log_epoch_summary(&mut self, _summary: EpochSummary) {}
}

impl Monitor {
    /// Ends the display and gives the logs back.
    pub(super) fn finish(&self) -> Option<Logs> {
        let mut state = self.state();
        state.bar.finish_and_clear();
        state.held.drain(..).for_each(|line| eprintln!("{line}"));
        state.logs.take()
    }
}
