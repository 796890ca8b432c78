//! Examples as processes: killed, stopped by signals, refused by the system; and resumed.
#![cfg(unix)]

mod compare;
mod kills;
mod refusals;
mod signals;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::LazyLock,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// Drawn scenes, and the folder of a run that nothing disturbed.
struct Undisturbed {
    root: TempDir,
    duration: Duration,
}

static UNDISTURBED: LazyLock<Undisturbed> = LazyLock::new(|| {
    let root = tempfile::tempdir().expect("a temporary folder");
    let run = root.path().join("undisturbed");
    // The first draws the scenes, the second is the one that is timed.
    for folder in [root.path().join("first"), run] {
        let started = Instant::now();
        let output = output(&mut example(root.path(), &start(&folder)));
        assert!(output.status.success(), "{}", said(&output));
        if folder.ends_with("undisturbed") {
            return Undisturbed { root, duration: started.elapsed() };
        }
    }
    unreachable!("the second returns")
});

/// The arguments of a run that starts.
fn start(run: &Path) -> Vec<String> {
    let arguments = ["--smoke", "--iterations", "12", "--checkpoint-every", "1", "--run-dir"];
    let run = run.display().to_string();
    arguments.iter().map(|argument| argument.to_string()).chain([run]).collect()
}

/// The arguments of a run that goes on.
fn resume(run: &Path) -> Vec<String> {
    vec!["--resume".into(), run.display().to_string()]
}

/// An example, which `cargo test` builds before it runs the tests.
fn binary(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("the test's own path");
    let target = tests.parent().and_then(Path::parent).expect("tests lie in target/PROFILE/deps");
    let path = target.join("examples").join(name);
    assert!(path.exists(), "{}: missing; build it by `cargo build --release --examples`", path.display());
    path
}

fn program(name: &str) -> Command {
    let mut command = Command::new(binary(name));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A training by `retinanet_coco`.
fn example(cache: &Path, arguments: &[String]) -> Command {
    let mut command = program("retinanet_coco");
    command.args(arguments).arg("--cache-dir").arg(cache.join("cache")).args(["--device", "flex"]);
    command.stdout(Stdio::null());
    command
}

fn output(command: &mut Command) -> Output {
    command.output().expect("the example starts")
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until `condition` holds while the child runs; whether it did.
fn wait_until(child: &mut Child, condition: impl Fn() -> bool) -> bool {
    let deadline = Instant::now() + Duration::from_secs(120);
    while Instant::now() < deadline {
        if condition() {
            return true;
        }
        if child.try_wait().expect("the child can be asked").is_some() {
            return condition();
        }
        thread::sleep(Duration::from_micros(100));
    }
    panic!("nothing happened for two minutes");
}

/// The number of rows in the metrics of a method.
fn rows(run: &Path, method: &str) -> usize {
    fs::read_to_string(run.join(method).join("metrics.csv"))
        .map_or(0, |text| text.lines().count().saturating_sub(1))
}

/// That a run has left what the undisturbed one has, to the bit.
fn assert_undisturbed(run: &Path) {
    let whole = UNDISTURBED.root.path().join("undisturbed");
    for method in ["supervised", "sed"] {
        for file in ["student.safetensors", "teacher.safetensors", "metrics.csv", "metrics.jsonl"] {
            let read = |folder: &Path| {
                let path = folder.join(method).join(file);
                fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
            };
            assert!(read(run) == read(&whole), "{method}/{file} of {} differs", run.display());
        }
    }
    let seen = |folder: &Path| {
        let entries = fs::read_dir(folder.join("sed/pseudo_labels")).expect("the teacher was looked at");
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        // A kill may leave a file under its first name.
        files.retain(|path| path.extension().is_some_and(|end| end == "json" || end == "png"));
        files.sort();
        let content = |path: PathBuf| (path.file_name().map(ToOwned::to_owned), fs::read(path).unwrap());
        files.into_iter().map(content).collect::<Vec<_>>()
    };
    assert!(!seen(&whole).is_empty(), "no pseudo-labels were kept");
    assert!(seen(run) == seen(&whole), "pseudo-labels of {} differ", run.display());
    for file in ["config.toml", "split.json"] {
        assert_eq!(fs::read(run.join(file)).unwrap(), fs::read(whole.join(file)).unwrap(), "{file}");
    }
}
