//! Opening a large dataset: time, processor time and resident memory of each stage up to the first batch.
//!
//! `cargo bench --bench dataset -- 1000000` writes, once, an annotation file of a million images with ten boxes each, and a
//! million names of small files, into the benchmarks' data folder, and prints a table. The number is 10,000 by default. With
//! `photos DIR` after the number it loads batches of so many of the photos below that folder, or in its tar files, again and again, instead.

mod common;

use std::{
    fmt::Write as _,
    fs::{self, File},
    io::{self, BufWriter, Write},
    path::{Path, PathBuf},
    time::Instant,
};

use burn::data::dataloader::DataLoader;
use sed_core::{ImageSize, Targets};
use sed_train::{
    data::{
        AugmentConfig, Category, CocoIndex, DataPolicy, LabeledSample, LabeledSet, LoaderConfig,
        SplitManifest, TrainLoader, TrainSource, UnlabeledSet,
    },
    report::ResidentMemory,
};

const BOXES: usize = 10;
const CLASSES: usize = 80;
/// Files of a folder, all names of one file: file systems bound the number of names.
const FOLDER: usize = 1000;
const SIZE: [u32; 2] = [640, 480];

fn main() {
    let mut arguments = std::env::args().skip(1).filter(|argument| !argument.starts_with('-'));
    let images = arguments.next().map_or(10_000, |number| number.parse().expect("a number of images"));
    match arguments.next().as_deref() {
        Some("photos") => photos(images, &PathBuf::from(arguments.next().expect("a folder of photos"))),
        _ => index(images),
    }
}

/// The stages up to the first batch.
fn index(images: usize) {
    let folder = dataset(images).expect("the dataset can be written");
    let annotations = folder.join("annotations.json");
    let bytes = fs::metadata(&annotations).expect("the file is there").len();
    println!("{images} images, {} boxes, {} MB of JSON", images * BOXES, bytes / 1_000_000);
    println!("{:<28} {:>9} {:>9} {:>9} {:>9}", "stage", "wall, s", "cpu, s", "now, MB", "peak, MB");
    let index = stage("index", || CocoIndex::read(&annotations)).expect("a valid file");
    let split = stage("split, 1 %", || SplitManifest::draw(&index, 1.0, 0)).expect("a split");
    stage("split written", || split.save(folder.join("split.json"))).expect("a file");
    stage("split read and checked", || SplitManifest::load(folder.join("split.json"), &index))
        .expect("the same");
    let labels = stage("labels of 1 %", || index.labels(&split.labeled, DataPolicy::STRICT)).expect("labels");
    let labeled = stage("labeled set", || index.labeled_set(&folder, &labels)).expect("files");
    let unlabeled = stage("unlabeled set", || index.unlabeled_set(&folder, &split.unlabeled)).expect("files");
    drop((labels, split, index));
    let config = LoaderConfig { labeled_batch: 1, unlabeled_batch: 1, ..LoaderConfig::default() };
    let loader = stage("loader", || TrainLoader::new(labeled, unlabeled, AugmentConfig::default(), config))
        .expect("sets");
    stage("first batch", || loader.batch(0)).expect("an image");
    // 990,000 steps on: the second pass begins, whose order is drawn.
    stage("first batch of a new pass", || loader.batch(images)).expect("an image");
}

/// Runs one stage and prints what it took; the peak is that of the stage.
fn stage<T>(name: &str, work: impl FnOnce() -> T) -> T {
    forget_peak();
    let (started, before) = (Instant::now(), processor_seconds());
    let result = work();
    let (wall, cpu) = (started.elapsed().as_secs_f64(), processor_seconds() - before);
    let (now, peak) = memory();
    println!("{name:<28} {wall:>9.2} {cpu:>9.2} {now:>9} {peak:>9}");
    result
}

/// Has Linux measure the peak anew.
fn forget_peak() {
    // Elsewhere the peak is that since the start.
    let _ = fs::write("/proc/self/clear_refs", "5");
}

/// Resident memory now and its peak, in MB.
fn memory() -> (u64, u64) {
    let memory = ResidentMemory::of_this_process();
    memory.map_or((0, 0), |memory| (memory.current / 1_000_000, memory.peak / 1_000_000))
}

/// Processor time of all threads, from the kernel's ticks of 10 ms.
fn processor_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// The folder of a dataset of so many images, written where it is missing.
fn dataset(images: usize) -> io::Result<PathBuf> {
    let folder = common::data_folder().join(format!("index-{images}"));
    if folder.is_dir() {
        return Ok(folder);
    }
    let part = common::data_folder().join(format!("index-{images}.part"));
    fs::create_dir_all(&part)?;
    for start in (0..images).step_by(FOLDER) {
        let first = part.join(file_name(start));
        fs::create_dir_all(first.parent().expect("a name in a folder"))?;
        image::RgbImage::from_pixel(SIZE[0], SIZE[1], image::Rgb([90; 3]))
            .save(&first)
            .map_err(io::Error::other)?;
        for image in start + 1..images.min(start + FOLDER) {
            fs::hard_link(&first, part.join(file_name(image)))?;
        }
    }
    annotations(&part.join("annotations.json"), images)?;
    fs::rename(part, &folder)?;
    Ok(folder)
}

/// As `train2017/000123/000000123456.png`, which is as long as names of COCO are with their folder.
fn file_name(image: usize) -> String {
    format!("train2017/{:06}/{image:012}.png", image / FOLDER)
}

fn annotations(path: &Path, images: usize) -> io::Result<()> {
    let mut file = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let comma = |index: usize| if index == 0 { "" } else { "," };
    write!(file, "{{\"images\":[")?;
    for image in 0..images {
        let (name, [width, height]) = (file_name(image), SIZE);
        write!(
            file,
            "{}{{\"license\":3,\"file_name\":\"{name}\",\"height\":{height},\"width\":{width},\"id\":{}}}",
            comma(image),
            image + 1
        )?;
    }
    write!(file, "],\"categories\":[")?;
    for class in 0..CLASSES {
        write!(file, "{}{{\"id\":{},\"name\":\"class {class}\"}}", comma(class), class + 1)?;
    }
    write!(file, "],\"annotations\":[")?;
    let mut text = String::new();
    for object in 0..images * BOXES {
        let unit = |axis: usize| f64::from(common::unit((object * 4 + axis) as u32));
        let [x, y] = [0, 1].map(|axis| (unit(axis) * 400.0 * 100.0).floor() / 100.0);
        let [w, h] = [2, 3].map(|axis| 1.0 + (unit(axis) * 70.0 * 100.0).floor() / 100.0);
        text.clear();
        write!(
            text,
            "{}{{\"area\":{:.4},\"iscrowd\":0,\"image_id\":{},\"bbox\":[{x},{y},{w},{h}],\"category_id\":{},\"id\":{}}}",
            comma(object),
            w * h,
            object / BOXES + 1,
            object % CLASSES + 1,
            object + 1
        )
        .map_err(io::Error::other)?;
        file.write_all(text.as_bytes())?;
    }
    write!(file, "]}}")?;
    file.into_inner()?.sync_all()
}

/// Loads batches of `images` photos in all with one and with two threads.
fn photos(images: usize, folder: &Path) {
    const BATCH: usize = 16;
    let found = UnlabeledSet::open(folder).expect("photos");
    println!("{images} images of {} photos", found.len());
    let labeled = || {
        let image = found.images[0].decode().expect("a photo");
        let size = ImageSize::new(image.height() as usize, image.width() as usize);
        let (id, path) = (1, common::data_folder().join("labeled.png"));
        fs::create_dir_all(common::data_folder()).expect("a folder");
        image.save(&path).expect("a file");
        let samples = vec![LabeledSample { id, path, size, targets: Targets::default() }];
        LabeledSet { categories: vec![Category { id: 1, name: "thing".into() }], samples }
    };
    println!(
        "{:>7} {:>10} {:>12} {:>14} {:>14}",
        "threads", "images/s", "cpu ms/image", "1st peak, MB", "2nd peak, MB"
    );
    for workers in [1, 2] {
        let iterations = images / BATCH;
        let config = LoaderConfig {
            labeled_batch: 1,
            unlabeled_batch: BATCH - 1,
            iterations_per_epoch: iterations,
            workers,
            cache_bytes: 0,
            ..LoaderConfig::default()
        };
        let loader =
            TrainLoader::new(labeled(), found.clone(), AugmentConfig::default(), config).expect("valid sets");
        // Peaks are those of the two halves, without the first batches, which fill the queue.
        let (mut started, mut before, mut first) = (Instant::now(), processor_seconds(), 0);
        let (warm, half) = ((iterations / 20).max(1), iterations / 2);
        assert_eq!(loader.iterations_per_epoch(), iterations);
        for (number, batch) in loader.iter().enumerate() {
            std::hint::black_box(batch.expect("a photo can be read"));
            if number + 1 == warm {
                (started, before) = (Instant::now(), processor_seconds());
                forget_peak();
            }
            if number + 1 == half {
                first = memory().1;
                forget_peak();
            }
        }
        let counted = ((iterations - warm) * BATCH) as f64;
        let rate = counted / started.elapsed().as_secs_f64();
        let cpu = 1000.0 * (processor_seconds() - before) / counted;
        println!("{workers:>7} {rate:>10.0} {cpu:>12.2} {first:>14} {:>14}", memory().1);
    }
}
