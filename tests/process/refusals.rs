//! What the system, or another process, does not allow is told in one line; what was saved before stays good.

use std::{path::Path, process::Command};

use super::{
    UNDISTURBED, assert_undisturbed, binary, example, output, resume, rows, said, start, wait_until,
};

/// The one line of an error, after the lines of progress.
fn error_line(output: &std::process::Output) -> String {
    let text = said(output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    let lines: Vec<&str> = text.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(lines.len(), 1, "{text}");
    lines[0].to_string()
}

#[test]
fn a_disk_that_is_full_costs_the_new_checkpoint_and_not_the_old_one() {
    let root = UNDISTURBED.root.path();
    let run = root.join("full");
    let mut child = example(root, &start(&run)).spawn().unwrap();
    assert!(wait_until(&mut child, || rows(&run, "sed") >= 3 && rows(&run, "supervised") >= 3));
    child.kill().unwrap();
    child.wait().unwrap();

    // No file may grow beyond 64 KiB, as if no more were left; weights are larger, metrics are not.
    let mut limited = Command::new("bash");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$@\"", "limited"]).arg(binary("retinanet_coco"));
    limited.args(resume(&run)).args(["--device", "flex"]);
    let line = error_line(&output(limited.stderr(std::process::Stdio::piped())));
    assert!(line.contains("checkpoints") && line.contains(".bpk"), "{line}");
    assert!(line.contains("large") || line.contains("space"), "the system's reason: {line}");

    let resumed = output(&mut example(root, &resume(&run)));
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_undisturbed(&run);
}

#[test]
fn folders_that_cannot_be_used_are_named() {
    let root = UNDISTURBED.root.path();
    let file = root.join("a-file");
    std::fs::write(&file, "").unwrap();
    let below_a_file = file.join("run");
    // A file system that nobody can write to, not even the superuser.
    let read_only = Path::new("/proc/sed-run");
    for folder in [below_a_file.as_path(), read_only] {
        let line = error_line(&output(&mut example(root, &start(folder))));
        assert!(line.contains(&folder.display().to_string()), "{line}");
    }
    let missing = root.join("nowhere");
    let line = error_line(&output(&mut example(root, &resume(&missing))));
    assert!(line.contains("nowhere") && line.contains("not a run folder"), "{line}");
    assert!(!missing.exists());
}

#[test]
fn a_second_process_in_the_same_folder_is_refused() {
    let root = UNDISTURBED.root.path();
    let run = root.join("held");
    let mut child = example(root, &start(&run)).spawn().unwrap();
    assert!(wait_until(&mut child, || rows(&run, "sed") >= 1));
    let second = output(&mut example(root, &resume(&run)));
    // The first may have come to its end in the meantime on a slow machine; then the second has nothing to refuse.
    let still_runs = child.try_wait().unwrap().is_none();
    child.wait().unwrap();
    if still_runs {
        let line = error_line(&second);
        assert!(line.contains("another process") && line.contains("run.lock"), "{line}");
    }
    assert_undisturbed(&run);
}

#[test]
fn settings_that_would_change_the_run_are_refused_by_name() {
    let root = UNDISTURBED.root.path();
    let run = root.join("changed");
    let mut child = example(root, &start(&run)).spawn().unwrap();
    assert!(wait_until(&mut child, || rows(&run, "sed") >= 2));
    child.kill().unwrap();
    child.wait().unwrap();
    let with = |setting: &str| {
        let mut arguments = resume(&run);
        arguments.extend(["--set".into(), setting.into()]);
        output(&mut example(root, &arguments))
    };
    for (setting, key) in [
        ("train.burn_in=5", "train.burn_in"),
        ("train.schedule.learning_rate=0.5", "train.schedule.learning_rate"),
        ("augment.flip_probability=0.1", "augment.flip_probability"),
        ("scenes.val_images=9", "data.validation"),
    ] {
        let line = error_line(&with(setting));
        assert!(line.contains(&format!("`{key}`")), "{setting}: {line}");
    }
    // How images are read may change.
    let resumed = with("loader.threads=5");
    assert!(resumed.status.success(), "{}", said(&resumed));
    assert_undisturbed(&run);
}
