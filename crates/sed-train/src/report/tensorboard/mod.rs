//! Scalars and pictures for TensorBoard.

mod event;
mod record;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use image::RgbImage;

use super::{ReportError, run_folder::png_bytes};
use record::record;

/// What the names of event files begin with; seconds since 1970, a number and `.sed` follow.
const PREFIX: &str = "events.out.tfevents.";

/// The scalars and pictures of a run as an event file `events.out.tfevents.*`, which TensorBoard reads:
/// `tensorboard --logdir RUN_FOLDER`.
///
/// A row becomes one event, its names the tags, so `head/scale_class` is found in the group `head`. Values are stored
/// in single precision. The step is the iteration of the row.
///
/// The file is complete after each row. A resumed run writes a file of its own, see [`TensorBoardLog::resume`];
/// TensorBoard reads the files of a folder as one run, in the order of their names.
///
/// Format: records of TensorFlow, `length, checksum, data, checksum`, with an `Event` message each.
///
/// ```
/// use image::RgbImage;
/// use sed_train::report::TensorBoardLog;
///
/// # let dir = tempfile::tempdir()?;
/// let mut log = TensorBoardLog::create(dir.path())?;
/// log.append(0, &[("head/class".to_owned(), 0.5)].into())?;
/// log.append_image(0, "pseudo-labels", &RgbImage::new(8, 8))?;
/// drop(log);
/// TensorBoardLog::resume(dir.path(), 0)?; // in a file of its own
/// assert_eq!(std::fs::read_dir(dir.path())?.count(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct TensorBoardLog {
    path: PathBuf,
    file: File,
}

impl TensorBoardLog {
    /// Starts the event file of a new run in a folder.
    ///
    /// # Errors
    ///
    /// If the folder already has an event file, or the system refuses.
    pub fn create(folder: &Path) -> Result<Self, ReportError> {
        match event_files(folder)?.pop() {
            Some(name) => Err(io_error(&folder.join(name), io::ErrorKind::AlreadyExists.into())),
            None => Self::open(folder, now(), 0, 0),
        }
    }

    /// Starts a further event file in the folder of a run that goes on after `iteration`.
    ///
    /// It begins with a mark that makes TensorBoard forget whatever earlier files hold of later iterations, so
    /// rows that were written after the checkpoint are not shown twice. A last record that a killed process left half
    /// written does no harm: TensorBoard skips it. A folder without event files gets its first one.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn resume(folder: &Path, iteration: u64) -> Result<Self, ReportError> {
        let earlier = event_files(folder)?;
        // Not before the latest file, even if the clock was set back: the names give the order of reading.
        let latest =
            earlier.last().and_then(|name| name.strip_prefix(PREFIX)?.split('.').next()?.parse().ok());
        Self::open(folder, now().max(latest.unwrap_or(0.0)), earlier.len(), iteration + 1)
    }

    /// A file that begins with version and start mark. A new run has a mark too: of the marks of a folder TensorBoard's
    /// slower reader (`--load_fast=false`) ignores the first.
    fn open(folder: &Path, seconds: f64, number: usize, step: u64) -> Result<Self, ReportError> {
        let path = folder.join(format!("{PREFIX}{:010}.{number:04}.sed", seconds as u64));
        let file = File::create_new(&path).map_err(|source| io_error(&path, source))?;
        let mut log = Self { path, file };
        log.write(&event::version(now()))?;
        log.write(&event::start(now(), step))?;
        Ok(log)
    }

    /// Adds the scalars of one iteration.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn append(&mut self, iteration: u64, values: &BTreeMap<String, f64>) -> Result<(), ReportError> {
        self.write(&event::scalars(now(), iteration, values))
    }

    /// Adds a picture under a tag.
    ///
    /// # Errors
    ///
    /// If the picture has no pixels, or the system refuses.
    pub fn append_image(&mut self, iteration: u64, tag: &str, picture: &RgbImage) -> Result<(), ReportError> {
        let png = png_bytes(picture, &self.path)?;
        self.write(&event::image(now(), iteration, tag, [picture.width(), picture.height()], &png))
    }

    /// Adds a record in one call, so that a reader rarely meets half of it.
    fn write(&mut self, event: &[u8]) -> Result<(), ReportError> {
        self.file.write_all(&record(event)).map_err(|source| io_error(&self.path, source))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |time| time.as_secs_f64())
}

/// The names of a folder's event files, in order.
fn event_files(folder: &Path) -> Result<Vec<String>, ReportError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(|source| io_error(folder, source))? {
        let entry = entry.map_err(|source| io_error(folder, source))?;
        names.extend(entry.file_name().into_string().ok().filter(|name| name.starts_with(PREFIX)));
    }
    names.sort();
    Ok(names)
}

fn io_error(path: &Path, source: io::Error) -> ReportError {
    ReportError::Io { path: path.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use image::Rgb;

    use super::*;
    use crate::report::ScalarLog;

    fn row(values: &[(&str, f64)]) -> BTreeMap<String, f64> {
        values.iter().map(|&(name, value)| (name.to_owned(), value)).collect()
    }

    fn files(folder: &Path) -> Vec<Vec<u8>> {
        event_files(folder).unwrap().iter().map(|name| fs::read(folder.join(name)).unwrap()).collect()
    }

    /// The data of each record, its lengths and checksums verified.
    fn records(mut bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            let data = bytes[12..12 + length].to_vec();
            assert_eq!(bytes[..length + 16], record(&data));
            all.push(data);
            bytes = &bytes[length + 16..];
        }
        all
    }

    /// An event without its wall time.
    fn timeless(event: &[u8]) -> &[u8] {
        assert_eq!(event[0], 9, "field 1, eight bytes");
        &event[9..]
    }

    #[test]
    fn a_file_is_complete_after_each_row() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = TensorBoardLog::create(folder.path()).unwrap();
        let events = || records(&files(folder.path())[0]);
        assert_eq!(events().len(), 2);
        assert_eq!(timeless(&events()[0]), timeless(&event::version(0.0)));
        assert_eq!(timeless(&events()[1]), timeless(&event::start(0.0, 0)));
        let values = row(&[("loss", 2.5), ("head/box", f64::NAN)]);
        log.append(3, &values).unwrap();
        assert_eq!(timeless(&events()[2]), timeless(&event::scalars(0.0, 3, &values)));
        log.append_image(3, "labels", &RgbImage::new(4, 2)).unwrap();
        assert_eq!(events().len(), 4);
    }

    #[test]
    fn a_resumed_run_has_a_file_that_sorts_last_and_marks_its_start() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        TensorBoardLog::create(path).unwrap();
        TensorBoardLog::resume(path, 20).unwrap();
        // A clock that runs ahead.
        let ahead = format!("{PREFIX}9000000000.0002.sed");
        fs::write(path.join(&ahead), []).unwrap();
        TensorBoardLog::resume(path, 30).unwrap();
        let names = event_files(path).unwrap();
        assert_eq!((names.len(), &names[2]), (4, &ahead));
        for (file, step) in [(1, 21), (3, 31)] {
            let events = records(&files(path)[file]);
            assert_eq!(events.len(), 2);
            assert_eq!(timeless(&events[1]), timeless(&event::start(0.0, step)));
        }
    }

    #[test]
    fn an_earlier_log_is_not_continued_by_mistake() {
        let folder = tempfile::tempdir().unwrap();
        TensorBoardLog::create(folder.path()).unwrap();
        let error = TensorBoardLog::create(folder.path()).unwrap_err();
        assert!(error.to_string().contains(PREFIX), "{error}");
        assert_eq!(files(folder.path()).len(), 1);
        let missing = TensorBoardLog::create(&folder.path().join("none")).unwrap_err();
        assert!(missing.to_string().contains("none"), "{missing}");
    }

    /// A folder as a run leaves it that was stopped after iteration 4 and resumed after iteration 2.
    fn resumed_run(folder: &Path) -> ScalarLog {
        let mut kept = ScalarLog::create(folder).unwrap();
        let values = |iteration: u64, shift: f64| {
            row(&[("loss", 1.0 / iteration as f64 + shift), ("head/box", 0.1), ("odd", f64::NAN)])
        };
        let mut first = TensorBoardLog::create(folder).unwrap();
        for iteration in 1..=4 {
            first.append(iteration, &values(iteration, if iteration > 2 { 100.0 } else { 0.0 })).unwrap();
        }
        // Cut as by a kill.
        first.file.write_all(&record(b"half")[..15]).unwrap();
        let mut second = TensorBoardLog::resume(folder, 2).unwrap();
        for iteration in 3..=5 {
            second.append(iteration, &values(iteration, 0.0)).unwrap();
        }
        second.append_image(5, "labels", &RgbImage::from_pixel(3, 2, Rgb([9, 8, 7]))).unwrap();
        for iteration in 1..=5 {
            kept.append(iteration, &values(iteration, 0.0)).unwrap();
        }
        kept
    }

    #[test]
    fn the_real_tensorboard_reads_what_was_logged() {
        let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
        let there = Command::new(&python).args(["-c", "import tensorboard"]).output();
        if !there.is_ok_and(|output| output.status.success()) {
            println!("skipped: {python} has no package `tensorboard`; the variable PYTHON names another");
            return;
        }
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/check_tensorboard.py");
        let check = |folder: &Path| Command::new(&python).arg(&script).arg(folder).output().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let mut kept = resumed_run(folder.path());
        let output = check(folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(String::from_utf8_lossy(&output.stdout), "15 scalars of 3 tags agree, 1 picture\n");
        // The check notices what the event files do not have.
        kept.append(6, &row(&[("loss", 0.5)])).unwrap();
        assert!(!check(folder.path()).status.success());
    }
}
