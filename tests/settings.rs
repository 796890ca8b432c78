//! `--set key=value` and settings files of the examples.

#[path = "../examples/common/settings.rs"]
#[allow(dead_code)]
mod settings;

use std::fs;

use sed::train::train::{OptimizerConfig, TrainConfig};
use settings::override_settings;

fn set(sets: &[&str]) -> anyhow::Result<TrainConfig> {
    let sets: Vec<String> = sets.iter().map(|set| set.to_string()).collect();
    override_settings(&TrainConfig::default(), None, &sets)
}

#[test]
fn nested_values_texts_lists_and_tables_are_set() {
    let config = set(&[
        "burn_in=7",
        "teacher.decay=0.5",
        "method=supervised",
        "schedule.milestones=[0.25]",
        "optimizer={kind=\"sgd\",momentum=0.5,weight_decay=0.0}",
    ])
    .unwrap();
    assert_eq!((config.burn_in, config.teacher.decay), (7, 0.5));
    assert_eq!(config.schedule.milestones, [0.25]);
    assert_eq!(config.optimizer, OptimizerConfig::Sgd { momentum: 0.5, weight_decay: 0.0 });
}

#[test]
fn unknown_keys_and_malformed_settings_are_refused_by_name() {
    for (text, expected) in
        [("burnin=7", "burnin"), ("techer.decay=1", "techer"), ("burn_in", "KEY=VALUE"), ("burn_in=x", "x")]
    {
        let error = format!("{:#}", set(&[text]).unwrap_err());
        assert!(error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn a_file_lies_under_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my.toml");
    fs::write(&path, "burn_in = 5\n[teacher]\ndecay = 0.25\n").unwrap();
    let config = override_settings(&TrainConfig::default(), Some(&path), &["burn_in=6".into()]).unwrap();
    assert_eq!((config.burn_in, config.teacher.decay), (6, 0.25));
    let missing = override_settings(&TrainConfig::default(), Some(&folder.path().join("no.toml")), &[]);
    assert!(format!("{:#}", missing.unwrap_err()).contains("no.toml"));
}
