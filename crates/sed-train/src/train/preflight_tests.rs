use std::path::PathBuf;

use sed_core::{ImageSize, Targets};

use super::*;
use crate::{
    data::{Category, LabeledSample, UnlabeledImage},
    train::{Method, ScheduleConfig, TeacherConfig},
};

/// 1000 steps of 4 + 8 images with SGD, none of it odd for [`data`].
fn config() -> TrainConfig {
    TrainConfig {
        iterations: 1000,
        evaluate_every: 250,
        batch_labeled: 4,
        batch_unlabeled: 8,
        burn_in: 400,
        ramp_up: 100,
        schedule: ScheduleConfig {
            learning_rate: 0.004,
            warmup_iterations: 50,
            milestones: vec![0.75],
            ..ScheduleConfig::default()
        },
        teacher: TeacherConfig { decay: 0.99, ..TeacherConfig::default() },
        ..TrainConfig::default()
    }
}

fn data() -> DataCounts {
    DataCounts {
        labeled: 50,
        unlabeled: 600,
        sources: Vec::new(),
        objects: vec![("cat".into(), 90), ("dog".into(), 60)],
    }
}

fn line(plan: &Preflight, what: &str) -> String {
    plan.lines.iter().find(|line| line.0 == what).unwrap_or_else(|| panic!("no line {what}")).1.clone()
}

#[test]
fn the_numbers_of_a_plan_by_hand() {
    let plan = Preflight::new(&config(), &data());
    assert_eq!(plan.warnings, [""; 0]);
    assert_eq!(line(&plan, "steps"), "1000: 400 of burn-in on labels alone (40 %), then 600");
    // 150 objects in 50 images, 4 images a step.
    assert_eq!(line(&plan, "labels a step"), "4 of 50 images, 12.0 objects in the mean");
    assert_eq!(line(&plan, "passes over labels"), "80");
    // 600 steps of 8.
    assert_eq!(line(&plan, "passes over unlabeled"), "8.0");
    assert_eq!(line(&plan, "classes"), "2, with 60 to 90 objects");
    // 0.01 · 12 / 32.
    assert_eq!(line(&plan, "learning rate"), "0.004, SGD; 0.01 for 32 images scales to 0.00375 for 12");
    assert_eq!(line(&plan, "teacher"), "averages over about 100 steps, 10 % of the 1000 that it follows");
    let late = TeacherConfig { average_from: AverageFrom::BurnIn, ..config().teacher };
    let late = Preflight::new(&TrainConfig { teacher: late, ..config() }, &data());
    assert_eq!(line(&late, "teacher"), "averages over about 100 steps, 17 % of the 600 that it follows");
}

#[test]
fn each_unlabeled_source_has_its_own_passes() {
    // 600 steps of 8: of 4800 draws 3600 from 100 images and 1200 from 500, then 4500 and 300.
    let of = |images, weight| SourceShare { images, weight };
    let counts = DataCounts { sources: vec![of(100, 3), of(500, 1)], ..data() };
    let plan = Preflight::new(&config(), &counts);
    assert_eq!(
        line(&plan, "passes over unlabeled"),
        "36 (100 images, 75 % of the draws), 2.4 (500 images, 25 % of the draws)"
    );
    assert_eq!(plan.warnings, [""; 0]);
    let counts = DataCounts { sources: vec![of(100, 15), of(500, 1)], ..data() };
    assert_eq!(
        Preflight::new(&config(), &counts).warnings,
        ["the run ends before every image of unlabeled source 2 was used: 60 % are"]
    );
}

#[test]
fn devices_share_the_parts_of_a_step() {
    let config = TrainConfig { accumulation: 4, ..config() };
    let plan = Preflight::new(&config, &data()).on_devices(&config, 2);
    assert_eq!(line(&plan, "accumulation"), "4 parts of 1 + 2 images a step");
    assert_eq!(
        line(&plan, "devices"),
        "2, each takes 2 parts of a step; batch and learning rate are those of the step"
    );
    let one = Preflight::new(&config, &data());
    assert_eq!(one.clone().on_devices(&config, 1), one);
}

#[test]
fn supervised_runs_have_no_unlabeled_images() {
    let supervised = TrainConfig { method: Method::Supervised, ..config() };
    let plan = Preflight::new(&supervised, &DataCounts { unlabeled: 0, ..data() });
    assert_eq!(line(&plan, "steps"), "1000, on labels alone");
    assert_eq!(line(&plan, "learning rate"), "0.004, SGD; 0.01 for 32 images scales to 0.00125 for 4");
    assert!(plan.lines.iter().all(|line| !line.0.contains("unlabeled")));
    assert_eq!(plan.warnings, [""; 0]);
}

#[test]
fn the_parts_of_a_step_are_said() {
    assert!(Preflight::new(&config(), &data()).lines.iter().all(|line| line.0 != "accumulation"));
    let plan = Preflight::new(&TrainConfig { accumulation: 4, ..config() }, &data());
    assert_eq!(line(&plan, "accumulation"), "4 parts of 1 + 2 images a step");
    // The optimizer sees as many images a step as before.
    assert!(line(&plan, "learning rate").ends_with("for 12"));
}

#[test]
fn the_published_schedule_is_not_odd() {
    let coco = DataCounts {
        labeled: 11_700,
        unlabeled: 105_000,
        objects: vec![("person".into(), 80_000)],
        ..data()
    };
    assert_eq!(Preflight::new(&TrainConfig::default(), &coco).warnings, [""; 0]);
}

#[test]
fn what_is_odd_is_said_alone() {
    type Change = fn(&mut TrainConfig, &mut DataCounts);
    let cases: [(&str, Change); 12] = [
        ("burn-in takes 85 %", |c, _| {
            c.burn_in = 850;
            c.schedule.milestones.clear();
        }),
        ("ramp of 600 steps", |c, _| c.ramp_up = 600),
        ("some occur twice", |c, d| {
            c.batch_labeled = 6;
            d.labeled = 5;
        }),
        ("cannot be learned: cat", |_, d| d.objects[0].1 = 0),
        ("fewer than 5 labeled objects: dog", |_, d| d.objects[1].1 = 4),
        ("have no object", |_, d| d.objects.iter_mut().for_each(|class| class.1 = 0)),
        ("sed: there are no unlabeled images", |_, d| d.unlabeled = 0),
        ("before every unlabeled image was used: 48 %", |_, d| d.unlabeled = 10_000),
        ("times that of the linear rule", |c, _| c.schedule.learning_rate = 0.02),
        ("never reached", |c, _| c.schedule.warmup_iterations = 1000),
        ("falls during burn-in", |c, _| c.schedule.milestones = vec![0.3, 0.9]),
        ("lower train.teacher.decay", |c, _| c.teacher.decay = 0.999),
    ];
    for (words, change) in cases {
        let (mut config, mut data) = (config(), data());
        change(&mut config, &mut data);
        config.validate().unwrap();
        let warnings = Preflight::new(&config, &data).warnings;
        assert!(warnings.len() == 1 && warnings[0].contains(words), "{words}: {warnings:?}");
    }
    // Adam has no such rule.
    let mut adam = config();
    adam.schedule.learning_rate = 0.02;
    adam.optimizer = OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 0.0 };
    assert_eq!(Preflight::new(&adam, &data()).warnings, [""; 0]);
}

#[test]
fn time_and_memory_follow_from_the_cost_of_a_step() {
    let cost = StepCost {
        supervised_seconds: 0.5,
        unsupervised_seconds: 2.0,
        evaluation_seconds: 10.0,
        memory: Some(300 << 20),
    };
    let plan = Preflight::new(&config(), &data()).with_cost(&config(), &cost);
    // 400 · 0.5 + 600 · 2 + 4 · 10 = 1440 s.
    assert_eq!(line(&plan, "time"), "about 24 min 00 s");
    assert_eq!(line(&plan, "memory"), "about 300 MiB");
    let supervised = TrainConfig { method: Method::Supervised, ..config() };
    let plan =
        Preflight::new(&supervised, &data()).with_cost(&supervised, &StepCost { memory: None, ..cost });
    assert_eq!(line(&plan, "time"), "about 9 min 00 s");
    assert!(plan.lines.iter().all(|line| line.0 != "memory"));
}

#[test]
fn the_text_is_a_table_and_the_warnings() {
    let mut short = config();
    short.ramp_up = 600;
    let text = Preflight::new(&short, &data()).to_text();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].starts_with("steps") && lines[1].contains("1000: 400"), "{text}");
    assert!(lines.last().unwrap().starts_with("warning: the ramp"), "{text}");
}

#[test]
fn counts_are_those_of_the_sets() {
    let sample = |labels: &[usize]| LabeledSample {
        id: 1,
        path: PathBuf::new(),
        size: ImageSize::new(1, 1),
        targets: Targets {
            boxes: vec![[0.0, 0.0, 1.0, 1.0]; labels.len()],
            labels: labels.to_vec(),
            crowds: vec![[0.0; 4]],
        },
    };
    let labeled = LabeledSet {
        categories: ["a", "b", "c"].map(|name| Category { id: 1, name: name.into() }).to_vec(),
        samples: vec![sample(&[2, 0, 2]), sample(&[])],
    };
    let image = UnlabeledImage::file("x", PathBuf::new());
    let counts = DataCounts::new(&labeled, &UnlabeledSet { images: vec![image; 3] });
    let objects = [("a", 1), ("b", 0), ("c", 2)].map(|(name, count)| (name.to_owned(), count));
    assert_eq!(
        counts,
        DataCounts { labeled: 2, unlabeled: 3, sources: Vec::new(), objects: objects.to_vec() }
    );
}
