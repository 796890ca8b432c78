//! Killed at any moment, again and again, a run ends as one that was not.

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use super::{UNDISTURBED, assert_undisturbed, example, output, resume, said, start, wait_until};

/// Kills of one test; `SED_KILLS` asks for others.
const KILLS: usize = 20;

/// Whether a checkpoint is being written.
fn is_saving(run: &Path) -> bool {
    ["supervised", "sed"].iter().any(|method| {
        let entries = fs::read_dir(run.join(method).join("checkpoints"));
        let mut names = entries.into_iter().flatten().flatten().map(|entry| entry.file_name());
        names.any(|name| name.to_string_lossy().starts_with(".unfinished-"))
    })
}

/// A number in `[0, 1)` for each index, the same in every run of the test.
fn uniform(index: u64) -> f64 {
    let mut mixed = index.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (mixed >> 11) as f64 / (1u64 << 53) as f64
}

#[test]
fn killed_at_any_moment_a_run_ends_as_if_it_had_not_been() {
    let kills = std::env::var("SED_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
    let root = UNDISTURBED.root.path();
    let (mut killed, mut while_saving, mut finished) = (0, 0, 0);
    let mut attempt = 0;
    // Chance alone does not say how many kills meet the writing of a checkpoint, so it goes on until a quarter has.
    while killed < kills || 4 * while_saving < kills {
        assert!(
            attempt < 20 * kills as u64,
            "{while_saving} of {killed} kills met the writing of a checkpoint"
        );
        let run = root.join(format!("killed-{finished}"));
        let mut child = example(root, &arguments(&run)).spawn().expect("the example starts");
        attempt += 1;
        let wait = UNDISTURBED.duration.mul_f64(uniform(attempt));
        if attempt % 2 == 0 {
            // The first time that a checkpoint is being written after a random part of the run.
            let earliest = Instant::now() + wait / 2;
            let saving = wait_until(&mut child, || Instant::now() > earliest && is_saving(&run));
            while_saving += usize::from(saving);
        } else {
            thread::sleep(wait.max(Duration::from_millis(1)));
        }
        match child.try_wait().expect("the child can be asked") {
            None => {
                child.kill().expect("it can be killed");
                killed += 1;
            }
            Some(status) => {
                assert!(status.success(), "run {}: {status}", run.display());
                finished += 1;
                assert_undisturbed(&run);
            }
        }
        child.wait().expect("it has ended");
    }
    let run = root.join(format!("killed-{finished}"));
    let output = output(&mut example(root, &arguments(&run)));
    assert!(output.status.success(), "{}", said(&output));
    assert_undisturbed(&run);
    println!(
        "{killed} kills, {while_saving} of them while a checkpoint was written; {} runs ended whole",
        finished + 1
    );
}

/// To start, or to go on once there is something to go on with.
fn arguments(run: &Path) -> Vec<String> {
    if run.join("config.toml").exists() { resume(run) } else { start(run) }
}
