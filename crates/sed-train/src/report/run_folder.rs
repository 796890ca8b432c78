use std::{
    fs::{self, File},
    io::{self, Cursor, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use image::{ImageFormat, RgbImage};
use serde::Serialize;

use super::ReportError;

/// The file whose presence says that a folder holds a run.
const CONFIG_FILE: &str = "config.toml";

/// The folder of one run.
///
/// Each file is written aside and renamed, so a file that is there is complete.
///
/// ```
/// use sed_train::report::{ReportError, RunFolder};
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("first");
/// let config = toml::toml! { seed = 7 };
/// let folder = RunFolder::create(&path, &config)?;
/// folder.write("notes.txt", "what came out")?;
/// folder.write_toml("best.toml", &toml::toml! { iteration = 300 })?;
/// folder.write_json("results.json", &[34.2])?;
/// folder.write_png("pictures/a.png", &image::RgbImage::new(8, 8))?;
/// assert_eq!(std::fs::read_to_string(folder.file("config.toml"))?, "seed = 7\n");
/// assert!(folder.path().join("pictures/a.png").is_file());
///
/// assert_eq!(RunFolder::open(&path)?, folder);
/// assert!(matches!(RunFolder::create(&path, &config), Err(ReportError::RunExists { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// Makes the folder, its parents included, and writes the configuration of the run into it as
    /// `config.toml`.
    ///
    /// A folder that exists may hold other files, but no run. Two processes that create the same
    /// folder within the same moment are not told apart.
    ///
    /// # Errors
    ///
    /// If the folder already holds a `config.toml`, the configuration has no TOML form, or the
    /// system refuses.
    pub fn create(path: impl Into<PathBuf>, config: &impl Serialize) -> Result<Self, ReportError> {
        let folder = Self::reserve(path)?;
        folder.begin(config)?;
        Ok(folder)
    }

    /// The folder of a run that is yet to begin: files that the run needs are written into it first, so that with the
    /// configuration, by [`begin`](Self::begin), all is there.
    ///
    /// # Errors
    ///
    /// If the folder already holds a `config.toml`.
    ///
    /// ```
    /// use sed_train::report::RunFolder;
    ///
    /// # let dir = tempfile::tempdir()?;
    /// # let path = dir.path().join("first");
    /// let folder = RunFolder::reserve(&path)?;
    /// folder.write("split.json", "[1, 2, 3]")?; // what the run reads
    /// assert!(RunFolder::open(&path).is_err()); // no run yet
    /// folder.begin(&toml::toml! { seed = 7 })?;
    /// assert!(RunFolder::open(&path).is_ok());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reserve(path: impl Into<PathBuf>) -> Result<Self, ReportError> {
        let folder = Self { path: path.into() };
        if folder.file(CONFIG_FILE).exists() {
            return Err(ReportError::RunExists { path: folder.path, file: CONFIG_FILE });
        }
        Ok(folder)
    }

    /// Writes the configuration, which makes the folder that of a run.
    ///
    /// # Errors
    ///
    /// If the configuration has no TOML form, or the system refuses.
    pub fn begin(&self, config: &impl Serialize) -> Result<(), ReportError> {
        self.write_toml(CONFIG_FILE, config)?;
        Ok(())
    }

    /// The folder of a run that was created before.
    ///
    /// # Errors
    ///
    /// If it holds no `config.toml`.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, ReportError> {
        let folder = Self { path: path.into() };
        if !folder.file(CONFIG_FILE).exists() {
            return Err(ReportError::NoRun { path: folder.path, file: CONFIG_FILE });
        }
        Ok(folder)
    }

    /// The folder itself.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of a file in the folder; `name` may have folders of its own.
    pub fn file(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a file and returns its path.
    ///
    /// # Errors
    ///
    /// If the system refuses.
    pub fn write(&self, name: impl AsRef<Path>, bytes: impl AsRef<[u8]>) -> Result<PathBuf, ReportError> {
        let path = self.file(name);
        write_atomic(&path, bytes)?;
        Ok(path)
    }

    /// Writes a value as TOML and returns the file's path.
    ///
    /// # Errors
    ///
    /// If the value has no TOML form, or the system refuses.
    pub fn write_toml(&self, name: impl AsRef<Path>, value: &impl Serialize) -> Result<PathBuf, ReportError> {
        let path = self.file(name);
        let text = toml::to_string_pretty(value)
            .map_err(|source| ReportError::Toml { path: path.clone(), source })?;
        write_atomic(&path, text)?;
        Ok(path)
    }

    /// Writes a value as indented JSON and returns the file's path.
    ///
    /// # Errors
    ///
    /// If the value has no JSON form, or the system refuses.
    pub fn write_json(&self, name: impl AsRef<Path>, value: &impl Serialize) -> Result<PathBuf, ReportError> {
        let path = self.file(name);
        let mut text = serde_json::to_string_pretty(value)
            .map_err(|source| ReportError::Json { path: path.clone(), source })?;
        text.push('\n');
        write_atomic(&path, text)?;
        Ok(path)
    }

    /// Writes a picture as PNG and returns the file's path.
    ///
    /// # Errors
    ///
    /// If the picture has no pixels, or the system refuses.
    pub fn write_png(&self, name: impl AsRef<Path>, picture: &RgbImage) -> Result<PathBuf, ReportError> {
        let path = self.file(name);
        write_atomic(&path, png_bytes(picture, &path)?)?;
        Ok(path)
    }
}

/// A picture as PNG; `path` is the file that errors name.
pub(super) fn png_bytes(picture: &RgbImage, path: &Path) -> Result<Vec<u8>, ReportError> {
    let mut bytes = Vec::new();
    picture
        .write_to(&mut Cursor::new(&mut bytes), ImageFormat::Png)
        .map_err(|source| ReportError::Picture { path: path.to_owned(), source })?;
    Ok(bytes)
}

/// Writes a file so that it is seen whole or not at all: into a neighbour first, which is then
/// renamed over `path`. Missing folders are made.
///
/// # Errors
///
/// If the system refuses; `path` is then as it was before.
///
/// # Panics
///
/// If `path` does not end in a file name.
///
/// ```
/// use sed_train::report::write_atomic;
///
/// # let dir = tempfile::tempdir()?;
/// let path = dir.path().join("new/folder/notes.txt");
/// write_atomic(&path, "first")?;
/// write_atomic(&path, "second")?;
/// assert_eq!(std::fs::read_to_string(&path)?, "second");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn write_atomic(path: &Path, bytes: impl AsRef<[u8]>) -> Result<(), ReportError> {
    // Threads of one process that write the same file need neighbours of their own.
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        panic!("write_atomic: {} has no file name", path.display());
    };
    let mut aside = std::ffi::OsString::from(".");
    aside.push(name);
    aside.push(format!(".{}-{}.tmp", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed)));
    let aside = path.with_file_name(aside);

    let write = || -> io::Result<()> {
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
            fs::create_dir_all(parent)?;
        }
        let mut file = File::create_new(&aside)?;
        file.write_all(bytes.as_ref())?;
        file.sync_all()?;
        fs::rename(&aside, path)
    };
    write().map_err(|source| {
        // It may not exist; the first error is the one to report.
        let _ = fs::remove_file(&aside);
        ReportError::Io { path: path.to_owned(), source }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Config {
        seed: u64,
        method: &'static str,
    }

    const CONFIG: Config = Config { seed: 3, method: "sed" };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_new_folder_holds_the_configuration() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path().join("a/b"), &CONFIG).unwrap();
        let text = fs::read_to_string(folder.file("config.toml")).unwrap();
        assert_eq!(text, "seed = 3\nmethod = \"sed\"\n");
        assert_eq!(names(folder.path()), ["config.toml"]);
    }

    #[test]
    fn a_folder_with_a_run_is_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("notes.txt"), "mine").unwrap();
        RunFolder::create(root.path(), &CONFIG).unwrap();
        let error = RunFolder::create(root.path(), &Config { seed: 4, ..CONFIG }).unwrap_err();
        assert!(matches!(error, ReportError::RunExists { .. }));
        assert!(error.to_string().contains(&root.path().display().to_string()), "{error}");
        assert!(fs::read_to_string(root.path().join("config.toml")).unwrap().contains("seed = 3"));
        assert_eq!(names(root.path()), ["config.toml", "notes.txt"]);
    }

    #[test]
    fn only_a_folder_with_a_run_is_opened() {
        let root = tempfile::tempdir().unwrap();
        let error = RunFolder::open(root.path()).unwrap_err();
        assert!(error.to_string().contains("holds no run"), "{error}");
        let folder = RunFolder::create(root.path(), &CONFIG).unwrap();
        assert_eq!(RunFolder::open(root.path()).unwrap(), folder);
    }

    #[test]
    fn a_configuration_without_a_toml_form_leaves_no_file() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("run");
        // TOML's top level is a table.
        let error = RunFolder::create(&path, &3).unwrap_err();
        assert!(matches!(error, ReportError::Toml { .. }), "{error}");
        assert!(!path.exists());
    }

    #[test]
    fn files_are_replaced_whole_and_failures_leave_nothing() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path().join("run"), &CONFIG).unwrap();
        let path = folder.write("tables/x.txt", "first").unwrap();
        folder.write("tables/x.txt", "second").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "second");
        assert_eq!(names(&folder.file("tables")), ["x.txt"]);

        // A folder in the place of the file: the rename fails, and the neighbour goes away.
        fs::create_dir(folder.file("taken")).unwrap();
        let error = folder.write("taken", "x").unwrap_err();
        assert!(matches!(error, ReportError::Io { .. }), "{error}");
        assert_eq!(names(folder.path()), ["config.toml", "tables", "taken"]);

        // A file in the place of a folder.
        let error = folder.write("tables/x.txt/y.txt", "x").unwrap_err();
        assert!(error.to_string().contains("y.txt"), "{error}");
    }

    #[test]
    fn json_and_png_come_back() {
        let root = tempfile::tempdir().unwrap();
        let folder = RunFolder::create(root.path().join("run"), &CONFIG).unwrap();
        let json = folder.write_json("a.json", &CONFIG).unwrap();
        let value: serde_json::Value = serde_json::from_slice(&fs::read(json).unwrap()).unwrap();
        assert_eq!(value["seed"], 3);
        let mut picture = RgbImage::new(3, 2);
        picture.put_pixel(2, 1, image::Rgb([1, 2, 3]));
        let png = folder.write_png("val/a.png", &picture).unwrap();
        assert_eq!(image::open(png).unwrap().to_rgb8(), picture);
    }
}
