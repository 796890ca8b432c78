use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::Device,
};

use super::*;

fn layer() -> Linear {
    LinearConfig::new(3, 2).init(&Device::default().autodiff())
}

fn state(iteration: usize, layer: &Linear) -> State {
    let progress = Progress {
        iteration,
        skipped_steps: 0,
        silent_steps: 0,
        seconds: 1.5,
        row: BTreeMap::from([("loss".into(), 0.1)]),
        evaluations: Vec::new(),
    };
    let mut optimizer = AdamWConfig::new().init();
    let loss = layer.weight.val().sum() + layer.bias.clone().unwrap().val().sum();
    let grads = GradientsParams::from_grads(loss.backward(), layer);
    let after = optimizer.step(0.1, layer.clone(), grads);
    State {
        progress,
        identity: "seed = '1'".parse().unwrap(),
        student: after.into_record(),
        teacher: layer.clone().into_record(),
        optimizer: optimizer.to_record(),
    }
}

fn weights(record: ModuleRecord) -> Vec<f32> {
    layer().load_record(record).weight.val().into_data().iter::<f32>().collect()
}

fn names(folder: &CheckpointFolder) -> Vec<String> {
    let mut names = folder.names().unwrap();
    names.sort();
    names
}

#[test]
fn what_was_saved_comes_back() {
    let root = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::of_run(root.path());
    assert!(folder.newest().unwrap().is_none());
    let layer = layer();
    let path = folder.save(state(12, &layer)).unwrap();
    let restored = folder.newest().unwrap().unwrap();
    assert_eq!((restored.path, restored.damaged.len()), (path, 0));
    let saved = state(12, &layer);
    assert_eq!(restored.state.progress, saved.progress);
    assert_eq!(restored.state.identity, saved.identity);
    assert_eq!(weights(restored.state.student), weights(saved.student));
    assert_eq!(weights(restored.state.teacher), weights(saved.teacher));
    assert_eq!(restored.state.optimizer.len(), saved.optimizer.len());
}

#[test]
fn the_newest_three_and_the_best_are_kept() {
    let root = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::of_run(root.path());
    for iteration in [2, 4, 6, 8, 10] {
        let mut state = state(iteration, &layer());
        let evaluation = |iteration, ap: f64| {
            let summary: crate::eval::CocoSummary =
                toml::from_str(&format!("ap = {ap:?}\nclasses = []")).unwrap();
            crate::train::Evaluation { iteration, student: summary.clone(), teacher: summary }
        };
        state.progress.evaluations =
            (2..iteration).step_by(2).map(|i| evaluation(i, if i == 4 { 0.5 } else { 0.1 })).collect();
        folder.save(state).unwrap();
    }
    assert_eq!(folder.iterations().unwrap(), [4, 6, 8, 10]);
    folder.prune(None).unwrap();
    assert_eq!(names(&folder), ["000000006", "000000008", "000000010"]);
}

#[test]
fn a_damaged_checkpoint_is_told_and_the_one_before_it_used() {
    for (file, damage, reason) in [
        (STUDENT, Damage::Flip, "SHA-256"),
        (TEACHER, Damage::Cut, "bytes instead of"),
        (OPTIMIZER, Damage::Gone, "optimizer.bpk"),
        (MANIFEST, Damage::Flip, "sum"),
        (MANIFEST, Damage::Cut, "sum"),
        (MANIFEST, Damage::Gone, "manifest.toml"),
    ] {
        let root = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of_run(root.path());
        folder.save(state(1, &layer())).unwrap();
        let newer = folder.save(state(2, &layer())).unwrap();
        damage.apply(&newer.join(file));
        let restored = folder.newest().unwrap().unwrap();
        assert_eq!(restored.state.progress.iteration, 1);
        let [error] = restored.damaged.as_slice() else { panic!("one is damaged") };
        assert!(error.to_string().contains(reason) && error.to_string().contains(file), "{error}");

        damage.apply(&restored.path.join(file));
        let error = folder.newest().err().unwrap().to_string();
        assert!(error.contains("no whole checkpoint") && error.contains("000000002"), "{error}");
        // The run makes a new one in its place.
        folder.save(state(2, &layer())).unwrap();
        assert_eq!(folder.newest().unwrap().unwrap().state.progress.iteration, 2);
    }
}

enum Damage {
    Flip,
    Cut,
    Gone,
}

impl Damage {
    fn apply(&self, path: &Path) {
        let mut content = fs::read(path).unwrap();
        match self {
            Self::Flip => {
                let middle = content.len() / 2;
                content[middle] ^= 4;
            }
            Self::Cut => content.truncate(content.len() / 2),
            Self::Gone => return fs::remove_file(path).unwrap(),
        }
        fs::write(path, content).unwrap();
    }
}

#[test]
fn a_forged_file_with_a_right_sum_is_an_error() {
    for content in [&b""[..], b"not a pack", &[0xff; 300]] {
        let root = tempfile::tempdir().unwrap();
        let folder = CheckpointFolder::of_run(root.path());
        let path = folder.save(state(1, &layer())).unwrap();
        let file = path.join(MANIFEST);
        let mut manifest = Manifest::decode(&fs::read_to_string(&file).unwrap()).unwrap();
        manifest.files.insert(TEACHER.into(), FileEntry::of(content));
        fs::write(&file, manifest.encode().unwrap()).unwrap();
        fs::write(path.join(TEACHER), content).unwrap();
        let error = folder.newest().err().unwrap().to_string();
        assert!(error.contains(TEACHER), "{error}");
    }
}

#[test]
fn what_a_killed_process_left_is_removed() {
    let root = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::of_run(root.path());
    folder.remove_unfinished().unwrap();
    folder.save(state(1, &layer())).unwrap();
    let left = folder.path.join(format!("{UNFINISHED}000000002"));
    fs::create_dir(&left).unwrap();
    fs::write(left.join(STUDENT), "half").unwrap();
    assert_eq!(folder.newest().unwrap().unwrap().state.progress.iteration, 1);
    folder.remove_unfinished().unwrap();
    assert_eq!(names(&folder), ["000000001"]);
}

#[test]
fn a_save_that_fails_leaves_what_was_there() {
    let root = tempfile::tempdir().unwrap();
    let folder = CheckpointFolder::of_run(root.path());
    folder.save(state(1, &layer())).unwrap();
    // A file where the folder of the next has to be written.
    fs::write(folder.path.join(format!("{UNFINISHED}000000002")), "").unwrap();
    let error = folder.save(state(2, &layer())).unwrap_err();
    assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
    assert_eq!(folder.newest().unwrap().unwrap().state.progress.iteration, 1);
}
