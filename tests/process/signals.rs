//! Ctrl-C and the request to terminate.

use std::{
    path::Path,
    process::{Command, Output},
    thread,
    time::Duration,
};

use super::{UNDISTURBED, assert_undisturbed, example, output, resume, rows, said, start, wait_until};

/// Runs the example, sends it the signals once the log has a few rows, and waits for its end.
fn signalled(arguments: &[String], run: &Path, signals: &[&str]) -> Output {
    let mut child = example(UNDISTURBED.root.path(), arguments).spawn().expect("the example starts");
    assert!(wait_until(&mut child, || rows(run, "sed") >= 1), "the run has ended before");
    for signal in signals {
        let status =
            Command::new("kill").args([*signal, &child.id().to_string()]).status().expect("kill is there");
        assert!(status.success());
        // Well below the duration of a step.
        thread::sleep(Duration::from_millis(20));
    }
    child.wait_with_output().expect("it has ended")
}

#[test]
fn a_first_signal_leaves_a_checkpoint_and_its_exit_code() {
    for (signal, code) in [("-INT", 130), ("-TERM", 143)] {
        let run = UNDISTURBED.root.path().join(format!("signal{signal}"));
        let stopped = signalled(&start(&run), &run, &[signal]);
        assert_eq!(stopped.status.code(), Some(code), "{}", said(&stopped));
        assert!(said(&stopped).contains("--resume"), "{}", said(&stopped));
        let resumed = output(&mut example(UNDISTURBED.root.path(), &resume(&run)));
        assert!(resumed.status.success(), "{}", said(&resumed));
        assert_undisturbed(&run);
    }
}

#[test]
fn a_second_signal_ends_the_program_at_once() {
    let run = UNDISTURBED.root.path().join("twice");
    let mut arguments = start(&run);
    // Steps of a second.
    arguments.extend(["--image-size", "256", "--batch-labeled", "16"].map(String::from));
    let stopped = signalled(&arguments, &run, &["-INT", "-TERM"]);
    assert_eq!(stopped.status.code(), Some(143), "{}", said(&stopped));
    assert!(!said(&stopped).contains("--resume"), "{}", said(&stopped));
}
