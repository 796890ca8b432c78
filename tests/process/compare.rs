//! The example `compare`: which runs it makes, which it makes again, and what it leaves.

use std::{fs, path::Path, process::Output, time::SystemTime};

use super::{output, program, said};

/// `compare` of seven steps on generated scenes.
fn compare(root: &Path, arguments: &[&str]) -> Output {
    let mut command = program("compare");
    command.args(["--smoke", "--folds", "3", "--seeds", "1", "--jobs", "2", "--device", "flex"]);
    command.arg("--cache-dir").arg(root.join("cache")).arg("--run-dir").arg(root.join("runs"));
    output(command.args(arguments))
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn runs_are_made_once_and_go_on_where_they_were_stopped() {
    let root = tempfile::tempdir().expect("a temporary folder");
    let runs = root.path().join("runs");
    // `again` says what is the default anyhow, `other` does not.
    let arguments = [
        ["--iterations", "7"],
        ["--method", "supervised,sed"],
        ["--variant", "again=sed:train.objective.scale_weight=0.5"],
        ["--variant", "other=sed:train.objective.scale_weight=0.25"],
    ]
    .concat();
    let first = compare(root.path(), &arguments);
    assert!(first.status.success(), "{}", said(&first));
    assert!(stdout(&first).contains("again: the settings of sed, not trained again"), "{}", stdout(&first));
    assert!(!runs.join("again").exists());

    let csv = fs::read_to_string(runs.join("results.csv")).expect("a table");
    let row = |name: &str| {
        let row = csv.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(','));
        row.unwrap_or_else(|| panic!("no row {name:?} in\n{csv}"))
    };
    for name in ["supervised", "\"supervised, EMA\"", "other"] {
        assert!(row(name).starts_with("1,"), "one run a row: {csv}");
    }
    assert_eq!(row("again"), row("sed"));

    // Each run opens as a checkpoint by these.
    let folder = |variant: &str| runs.join(variant).join("fold3-seed1");
    for variant in ["supervised", "sed", "other"] {
        for file in ["run.toml", "student.safetensors", "teacher.safetensors", "result.json", "metrics.csv"] {
            assert!(folder(variant).join(file).is_file(), "{variant}: {file}");
        }
    }

    // As if it had been stopped before `other` was done.
    let written = |variant: &str| -> SystemTime {
        fs::metadata(folder(variant).join("metrics.csv")).and_then(|file| file.modified()).expect("metrics")
    };
    let before = ["supervised", "sed", "other"].map(written);
    fs::remove_dir_all(folder("other")).expect("a run");
    let second = compare(root.path(), &arguments);
    assert!(second.status.success(), "{}", said(&second));
    assert_eq!([written("supervised"), written("sed")], before[..2]);
    assert!(written("other") > before[2]);
    // The same numbers, only the time of `other` may differ, which this table has not.
    assert_eq!(fs::read_to_string(runs.join("results.csv")).expect("a table"), csv);

    // Other settings do not mix with these.
    let mut longer = arguments.clone();
    longer[1] = "8";
    let third = compare(root.path(), &longer);
    assert_eq!(third.status.code(), Some(1));
    let said = said(&third);
    let told =
        r#"the runs there were made with "iterations = 7", not "iterations = 8"; give another --run-dir"#;
    assert!(said.contains(told), "{said}");
}

#[test]
fn a_run_that_fails_is_named_and_the_others_are_kept() {
    let root = tempfile::tempdir().expect("a temporary folder");
    // Steps so large that the weights overflow.
    let variant = "wild=supervised:train.schedule.learning_rate=1e30";
    let result = compare(root.path(), &["--iterations", "7", "--method", "supervised", "--variant", variant]);
    assert_eq!(result.status.code(), Some(1));
    let said = said(&result);
    assert!(said.contains("1 of 2 runs failed: wild:3:1:; the others are kept"), "{said}");
    let runs = root.path().join("runs");
    assert!(runs.join("supervised/fold3-seed1/result.json").is_file());
    let log = fs::read_to_string(runs.join("wild/fold3-seed1/log.txt")).expect("a log");
    assert!(log.lines().any(|line| line.starts_with("error: ")), "{log}");
}
