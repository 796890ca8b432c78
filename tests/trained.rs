//! Detectors of run folders, as the examples `evaluate`, `predict` and `export` open them.

#[path = "../examples/common/mod.rs"]
mod common;

use std::{fs, path::Path};

use burn::{
    module::Module,
    optim::AdamWConfig,
    store::{BurnToPyTorchAdapter, ModuleSnapshot, bridge},
    tensor::{Device, Tensor},
};
use clap::Parser;
use common::{
    args::{Args, DetectorName, TrainingArgs},
    models::Model,
    run_file::RunFile,
    trained::{CheckpointArgs, Trained, TrainedDetector, WeightsFormat},
};
use sed::{
    core::ImageBatch,
    models::{
        faster_rcnn::FasterRcnnConfig,
        retinanet::RetinaNetConfig,
        weights::{LoadOptions, load, save_safetensors},
    },
    train::{
        checkpoint::{CheckpointFolder, Progress, State},
        data::Category,
        train::Method,
    },
};
use serde::Serialize;

#[derive(Serialize)]
struct Config<M> {
    model: M,
    augment: Augment,
}

#[derive(Serialize)]
struct Augment {
    image_size: usize,
}

/// A run of two classes, with weights of their own for each method and side.
fn run<M: Model>(folder: &Path, model: M, detector: DetectorName, methods: &[Method]) {
    let device = Device::default();
    let categories = vec![Category { id: 3, name: "a".into() }, Category { id: 7, name: "b".into() }];
    let arguments = Args::parse_from(["a-training"]);
    let file = RunFile { detector, methods: methods.to_vec(), arguments, categories };
    fs::write(folder.join(RunFile::NAME), toml::to_string(&file).unwrap()).unwrap();
    for (number, method) in methods.iter().enumerate() {
        fs::create_dir(folder.join(method.name())).unwrap();
        for (side, name) in ["teacher.safetensors", "student.safetensors"].into_iter().enumerate() {
            device.seed((2 * number + side) as u64);
            let detector = model.init(&device).unwrap();
            save_safetensors(&detector, &folder.join(method.name()).join(name)).unwrap();
        }
    }
    let config = Config { model, augment: Augment { image_size: 64 } };
    fs::write(folder.join("config.toml"), toml::to_string(&config).unwrap()).unwrap();
}

fn retinanet_run(methods: &[Method]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), RetinaNetConfig::tiny(2), DetectorName::Retinanet, methods);
    folder
}

fn args(checkpoint: impl AsRef<Path>) -> CheckpointArgs {
    let checkpoint = Some(checkpoint.as_ref().to_owned());
    CheckpointArgs { checkpoint, method: None, teacher: false, student: false }
}

fn open(args: &CheckpointArgs) -> Result<Trained, String> {
    let opened = Trained::open(args, None, &Device::default());
    opened.map(|trained| trained.expect("a checkpoint is named")).map_err(|error| format!("{error:#}"))
}

/// All parameters in the order of their names.
fn parameters<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    let read = |tensor: burn::store::burn_pack::Tensor| {
        let name = tensor.name.clone();
        (name, bridge::into_data(tensor).unwrap().try_to_vec::<f32>().unwrap())
    };
    let mut all: Vec<_> =
        module.collect(None, Some(Box::new(BurnToPyTorchAdapter)), true).into_iter().map(read).collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// A value that tells the weights of a run apart.
fn mark(trained: &Trained) -> f32 {
    let TrainedDetector::RetinaNet(detector) = &trained.detector else { panic!("a RetinaNet") };
    parameters(detector.as_ref()).iter().flat_map(|(_, values)| values).map(|value| value.abs()).sum()
}

#[test]
fn a_run_its_methods_and_its_files_are_told_apart() {
    let folder = retinanet_run(&[Method::Supervised, Method::Sed]);
    let run = folder.path();
    let by_default = open(&args(run)).unwrap();
    assert_eq!(by_default.images.augment.image_size, 64);
    assert_eq!(by_default.categories[1], Category { id: 7, name: "b".into() });
    assert!(by_default.weights.ends_with("sed/teacher.safetensors"), "{}", by_default.weights.display());

    let teacher = mark(&by_default);
    let student = mark(&open(&CheckpointArgs { student: true, ..args(run) }).unwrap());
    let supervised = CheckpointArgs { method: Some(Method::Supervised), ..args(run) };
    let supervised = mark(&open(&supervised).unwrap());
    assert!(teacher != student && teacher != supervised && student != supervised);
    // The same by path.
    assert_eq!(mark(&open(&args(run.join("sed"))).unwrap()), teacher);
    assert_eq!(mark(&open(&CheckpointArgs { student: true, ..args(run.join("sed")) }).unwrap()), student);
    assert_eq!(mark(&open(&args(run.join("supervised").join("teacher.safetensors"))).unwrap()), supervised);
}

#[test]
fn the_only_method_needs_no_name() {
    let folder = retinanet_run(&[Method::Csd]);
    assert!(open(&args(folder.path())).unwrap().weights.ends_with("csd/teacher.safetensors"));
    assert!(
        Trained::open(&CheckpointArgs { checkpoint: None, ..args("") }, None, &Device::default())
            .unwrap()
            .is_none()
    );
}

/// The example `compare` keeps weights beside the settings, a folder for each run.
#[test]
fn weights_beside_the_settings_are_those_of_the_run() {
    let folder = retinanet_run(&[Method::Sed]);
    let run = folder.path();
    let in_a_folder = ["teacher.safetensors", "student.safetensors"].map(|name| {
        fs::rename(run.join("sed").join(name), run.join(name)).unwrap();
        run.join(name)
    });
    let [teacher, student] = in_a_folder.map(|file| mark(&open(&args(file)).unwrap()));
    assert_ne!(teacher, student);
    assert_eq!(mark(&open(&args(run)).unwrap()), teacher);
    assert_eq!(mark(&open(&CheckpointArgs { student: true, ..args(run) }).unwrap()), student);

    // Such a run is not for the other examples to go on with.
    fs::create_dir(run.join("checkpoints")).unwrap();
    let given = TrainingArgs::parse_from(["a-training", "--resume", run.to_str().unwrap()]);
    let error = given.arguments(DetectorName::Retinanet).unwrap_err().to_string();
    assert!(error.ends_with("a run of the example compare, which goes on with its own runs"), "{error}");
}

/// The best evaluation may lie before the end: its checkpoint is kept, and opens as the weights of the end do.
#[test]
fn a_checkpoint_of_a_run_opens() {
    let folder = retinanet_run(&[Method::Sed]);
    let run = folder.path();
    let detector = |student| {
        let trained = open(&CheckpointArgs { student, ..args(run) }).unwrap();
        let TrainedDetector::RetinaNet(detector) = trained.detector else { panic!("a RetinaNet") };
        *detector
    };
    let progress = Progress {
        iteration: 12,
        skipped_steps: 0,
        silent_steps: 0,
        seconds: 1.5,
        row: Default::default(),
        evaluations: vec![],
    };
    let state = State {
        progress,
        identity: Default::default(),
        // The other way round than at the end of the run, so that they cannot be taken for those.
        student: detector(false).into_record(),
        teacher: detector(true).into_record(),
        optimizer: AdamWConfig::new().init().to_record(),
    };
    let checkpoint = CheckpointFolder::of_run(&run.join("sed")).save(state).unwrap();
    let [teacher, student] =
        [false, true].map(|student| mark(&open(&CheckpointArgs { student, ..args(run) }).unwrap()));
    assert_ne!(teacher, student);
    assert_eq!(mark(&open(&args(&checkpoint)).unwrap()), student);
    assert_eq!(mark(&open(&CheckpointArgs { student: true, ..args(&checkpoint) }).unwrap()), teacher);
    let file = checkpoint.join("student.bpk");
    assert_eq!(mark(&open(&args(&file)).unwrap()), teacher);

    let mut content = fs::read(&file).unwrap();
    *content.last_mut().unwrap() ^= 1;
    fs::write(&file, content).unwrap();
    let error = open(&args(&checkpoint)).err().unwrap();
    assert!(error.contains("student.bpk: damaged checkpoint"), "{error}");
}

#[test]
fn what_is_no_run_is_named() {
    let folder = retinanet_run(&[Method::Supervised, Method::Csd]);
    let run = folder.path();
    let error = |args: &CheckpointArgs| open(args).err().expect("an error");
    assert_eq!(error(&args(run)), "the run was trained by supervised, csd: name one by --method");
    let sed = CheckpointArgs { method: Some(Method::Sed), ..args(run) };
    assert_eq!(error(&sed), "--method sed: the run was trained by supervised, csd");
    assert!(error(&args(run.join("nowhere"))).ends_with("nowhere: no such file or folder"));
    let elsewhere = tempfile::tempdir().unwrap();
    assert!(error(&args(elsewhere.path())).contains("no config.toml"));
    let file = CheckpointArgs { student: true, ..args(run.join("csd").join("teacher.safetensors")) };
    assert!(error(&file).contains("is a file of weights"));
    let part = CheckpointArgs { method: Some(Method::Csd), ..args(run.join("csd")) };
    assert!(error(&part).contains("is not a run folder"));
    fs::remove_file(run.join(RunFile::NAME)).unwrap();
    assert!(error(&args(run)).contains("run.toml: "));
}

#[test]
fn a_threshold_decides_what_is_found() {
    let folder = retinanet_run(&[Method::Sed]);
    let found = |threshold| {
        let device = Device::default();
        let trained = Trained::open(&args(folder.path()), threshold, &device).unwrap().unwrap();
        let images = ImageBatch::unpadded(Tensor::ones([1, 3, 64, 64], &device));
        trained.detector.detect(&images).remove(0).len()
    };
    // Untrained scores are about .01.
    assert_eq!(found(None), 0);
    assert!(found(Some(0.001)) > 0);
}

#[test]
fn exported_weights_are_read_back_unchanged() {
    let out = tempfile::tempdir().unwrap();
    let device = Device::default();
    let folder = retinanet_run(&[Method::Sed]);
    let trained = open(&args(folder.path())).unwrap();
    let TrainedDetector::RetinaNet(detector) = &trained.detector else { panic!("a RetinaNet") };
    let expected = parameters(detector.as_ref());
    for name in ["a.safetensors", "a.bpk"] {
        let path = out.path().join(name);
        trained.detector.save(&path, WeightsFormat::of(&path).unwrap()).unwrap();
        let mut fresh = RetinaNetConfig::tiny(2).init(&device).unwrap();
        assert_ne!(parameters(&fresh), expected);
        match name {
            "a.bpk" => fresh = fresh.try_load_file(&path).unwrap(),
            _ => drop(load(&mut fresh, &path, &LoadOptions::default()).unwrap()),
        }
        assert_eq!(parameters(&fresh), expected, "{name}");
    }
    assert_eq!(WeightsFormat::of(Path::new("a.onnx")), None);
}

#[test]
fn a_detector_of_two_stages_is_exported_too() {
    let folder = tempfile::tempdir().unwrap();
    run(folder.path(), FasterRcnnConfig::tiny(2), DetectorName::FasterRcnn, &[Method::Sed]);
    let trained = open(&args(folder.path())).unwrap();
    let TrainedDetector::FasterRcnn(detector) = &trained.detector else { panic!("a Faster R-CNN") };
    let path = folder.path().join("a.bpk");
    trained.detector.save(&path, WeightsFormat::Burnpack).unwrap();
    let fresh = FasterRcnnConfig::tiny(2).init(&Device::default()).unwrap().try_load_file(&path).unwrap();
    assert_eq!(parameters(&fresh), parameters(detector.as_ref()));
}
