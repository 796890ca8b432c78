use std::error::Error;
use std::fs;
use std::path::Path;

use image::RgbImage;
use sed_core::Targets;

use super::*;
use crate::data::{Category, DataError, LabeledSample, UnlabeledImage};

const SIDE: u32 = 24;

/// Images of one colour each, so that the content of a batch is easily told.
fn decode(path: &Path, listed: Option<(u64, ImageSize)>) -> Result<RgbImage, DataError> {
    let name = path.to_string_lossy();
    assert!(!name.contains("panic"), "cannot bear {name}");
    if name.contains("corrupt") {
        return Err(DataError::Truncated { path: path.to_owned() });
    }
    let found = ImageSize::new(SIDE as usize, SIDE as usize);
    if let Some((id, listed)) = listed.filter(|(_, listed)| *listed != found) {
        return Err(DataError::SizeMismatch { path: path.to_owned(), id, found, listed });
    }
    let shade = name.bytes().fold(0_u8, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte));
    Ok(RgbImage::from_pixel(SIDE, SIDE, image::Rgb([shade, 255 - shade, 128])))
}

fn labeled(n: usize) -> LabeledSet {
    let samples = (0..n).map(|i| LabeledSample {
        id: 100 + i as u64,
        path: format!("labeled/{i}.png").into(),
        size: ImageSize::new(SIDE as usize, SIDE as usize),
        targets: Targets { boxes: vec![[2.0, 3.0, 20.0, 21.0]], labels: vec![i % 3], crowds: Vec::new() },
    });
    let categories = (0..3).map(|id| Category { id, name: id.to_string() }).collect();
    LabeledSet { categories, samples: samples.collect() }
}

fn unlabeled(n: usize) -> UnlabeledSet {
    let image = |i| UnlabeledImage::file(format!("{i}"), format!("unlabeled/{i}.png"));
    UnlabeledSet { images: (0..n).map(image).collect() }
}

fn config() -> LoaderConfig {
    LoaderConfig {
        labeled_batch: 2,
        unlabeled_batch: 3,
        iterations_per_epoch: 6,
        prefetch: 3,
        ..LoaderConfig::default()
    }
}

fn augment() -> AugmentConfig {
    AugmentConfig { image_size: 16, ..AugmentConfig::default() }
}

fn loader(config: LoaderConfig) -> TrainLoader {
    TrainLoader::with_decoder(labeled(5), unlabeled(7), augment(), config, decode).unwrap()
}

fn epoch(loader: &dyn DataLoader<TrainBatch>) -> Vec<TrainBatch> {
    loader.iter().map(Result::unwrap).collect()
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let expected: Vec<_> = (0..6).map(|i| loader(config()).batch(i).unwrap()).collect();
    for workers in [0, 1, 2, 4, 8] {
        assert_eq!(epoch(&loader(LoaderConfig { workers, ..config() })), expected);
    }
}

#[test]
fn a_loader_started_at_an_iteration_gives_what_a_run_up_to_it_would() {
    let whole = loader(config());
    let mut batches = epoch(&whole);
    assert_eq!(whole.next_iteration(), 6);
    batches.extend(epoch(&whole));
    assert_eq!(batches.iter().map(|b| b.iteration).collect::<Vec<_>>(), (0..12).collect::<Vec<_>>());
    let resumed = loader(config());
    resumed.resume_at(4, false);
    assert_eq!(epoch(&resumed), batches[4..6]);
    assert_eq!(epoch(&resumed), batches[6..12]);
    // At the end of an epoch: with the evaluation that follows it done, and still to do.
    resumed.resume_at(6, false);
    assert_eq!(epoch(&resumed), batches[6..12]);
    resumed.resume_at(6, true);
    assert_eq!(epoch(&resumed), []);
    assert_eq!(epoch(&resumed), batches[6..12]);
}

#[test]
fn an_iterator_that_is_dropped_early_leaves_the_position_after_its_last_batch() {
    let loader = loader(LoaderConfig { workers: 2, ..config() });
    loader.iter().take(2).for_each(drop);
    assert_eq!(loader.next_iteration(), 2);
    assert_eq!(epoch(&loader)[0].iteration, 2);
    // A loader on another device goes on from the same position.
    assert_eq!(epoch(loader.to_device(&Device::default()).as_ref())[0].iteration, 6);
    assert_eq!(loader.next_iteration(), 12);
}

#[test]
fn the_seed_changes_order_and_content() {
    let (a, b) = (loader(config()), loader(LoaderConfig { seed: 1, ..config() }));
    let keys = |loader: &TrainLoader| {
        epoch(loader).into_iter().map(|b| (b.labeled_ids, b.unlabeled.unwrap().keys)).collect::<Vec<_>>()
    };
    assert_ne!(keys(&a), keys(&b));
    assert_eq!(keys(&loader(config())), keys(&loader(config())));
}

#[test]
fn every_image_is_seen_once_a_pass() {
    let batches = epoch(&loader(LoaderConfig { iterations_per_epoch: 35, ..config() }));
    // 70 labeled draws are 14 passes over 5; 105 unlabeled ones are 15 passes over 7.
    let ids: Vec<u64> = batches.iter().flat_map(|b| b.labeled_ids.clone()).collect();
    for pass in ids.chunks(5) {
        let mut pass = pass.to_vec();
        pass.sort_unstable();
        assert_eq!(pass, [100, 101, 102, 103, 104]);
    }
    let mut keys: Vec<String> = batches.iter().flat_map(|b| b.unlabeled.clone().unwrap().keys).collect();
    keys.sort();
    assert!(keys.chunks(15).all(|same| same.iter().all(|key| *key == same[0])));
}

/// The unlabeled images 0 and 1 three times as often as the others.
fn weighted() -> LoaderConfig {
    let share = |images, weight| SourceShare { images, weight };
    LoaderConfig { unlabeled_sources: vec![share(2, 3), share(5, 1)], ..config() }
}

#[test]
fn sources_are_drawn_from_in_proportion_to_their_weights() {
    // 36 draws: 27 of the first source, which are 13 passes and a half, and 9 of the second.
    let batches = epoch(&loader(LoaderConfig { iterations_per_epoch: 12, ..weighted() }));
    let keys: Vec<String> = batches.into_iter().flat_map(|batch| batch.unlabeled.unwrap().keys).collect();
    let counts: Vec<usize> =
        (0..7).map(|key: usize| keys.iter().filter(|k| **k == key.to_string()).count()).collect();
    assert_eq!(counts[..2].iter().sum::<usize>(), 27);
    assert!(counts[..2].iter().all(|count| [13, 14].contains(count)), "{counts:?}");
    assert_eq!(counts[2..].iter().sum::<usize>(), 9);
    assert!(counts[2..].iter().all(|count| [1, 2].contains(count)), "{counts:?}");
}

#[test]
fn weighted_draws_depend_neither_on_threads_nor_on_where_a_run_went_on() {
    let expected: Vec<_> = (0..12).map(|i| loader(weighted()).batch(i).unwrap()).collect();
    for workers in [0, 1, 4] {
        let resumed = loader(LoaderConfig { workers, ..weighted() });
        resumed.resume_at(4, false);
        assert_eq!(epoch(&resumed), expected[4..6]);
        assert_eq!(epoch(&resumed), expected[6..12]);
    }
}

#[test]
fn batches_have_their_sizes_and_views_pair() {
    let batch = loader(config()).batch(0).unwrap();
    assert_eq!((batch.labeled.len(), batch.targets.len(), batch.labeled_ids.len()), (2, 2, 2));
    assert_eq!((batch.labeled.height, batch.labeled.width), (16, 16));
    let views = batch.unlabeled.unwrap();
    assert_eq!((views.weak.len(), views.strong.len(), views.keys.len()), (3, 3, 3));
    assert_eq!(views.weak.sizes, views.strong.sizes);
    let views = views.to_views(&Device::default());
    assert_eq!(views.half.unwrap().pixels.dims(), [3, 3, 8, 8]);
}

#[test]
fn no_unlabeled_images_are_asked_for_with_a_batch_of_zero() {
    // Nor are sources, which this set does not have.
    for config in [config(), weighted()] {
        let config = LoaderConfig { unlabeled_batch: 0, ..config };
        let set = UnlabeledSet::default();
        let loader = TrainLoader::with_decoder(labeled(5), set, augment(), config, decode).unwrap();
        assert!(epoch(&loader).iter().all(|batch| batch.unlabeled.is_none()));
    }
}

#[test]
fn empty_sets_and_bad_configurations_are_refused() {
    let none = LabeledSet { categories: Vec::new(), samples: Vec::new() };
    let result = TrainLoader::new(none, unlabeled(1), augment(), config());
    assert!(matches!(result, Err(LoaderError::EmptySet { set: "labeled" })));
    let result = TrainLoader::new(labeled(1), UnlabeledSet::default(), augment(), config());
    assert!(matches!(result, Err(LoaderError::EmptySet { set: "unlabeled" })));
    let bad = LoaderConfig { labeled_batch: 0, ..config() };
    let error = TrainLoader::new(labeled(1), unlabeled(1), augment(), bad).err().unwrap();
    assert_eq!(error.to_string(), "loader.labeled_batch = 0: must be positive");
    let error = TrainLoader::new(labeled(1), unlabeled(3), augment(), weighted()).err().unwrap();
    assert!(error.to_string().starts_with("loader.unlabeled_sources = 7: "), "{error}");
}

/// The error at the iteration that has the bad image, with good batches before and after.
fn error_of(file: &str, workers: usize) -> (usize, String) {
    let mut set = unlabeled(7);
    set.images[3].path = file.into();
    // Seven batches of one: one pass, so that the file comes once.
    let config = LoaderConfig { unlabeled_batch: 1, iterations_per_epoch: 7, workers, ..config() };
    let loader = TrainLoader::with_decoder(labeled(5), set, augment(), config, decode).unwrap();
    let results: Vec<_> = loader.iter().collect();
    assert_eq!(results.len(), 7);
    let mut errors = results.iter().enumerate().filter_map(|(i, r)| Some((i, r.as_ref().err()?)));
    let (iteration, error) = errors.next().unwrap();
    assert!(errors.next().is_none());
    match error.source().unwrap().downcast_ref::<LoaderError>().unwrap() {
        LoaderError::Image { batch, .. } | LoaderError::Panic { batch, .. } => assert_eq!(*batch, iteration),
        other => panic!("{other}"),
    }
    (iteration, error.to_string())
}

#[test]
fn a_bad_image_arrives_as_an_error_at_its_iteration() {
    let (iteration, text) = error_of("unlabeled/corrupt.png", 0);
    assert!(text.contains("corrupt.png") && text.contains("truncated"), "{text}");
    for workers in [1, 2, 4] {
        assert_eq!(error_of("unlabeled/corrupt.png", workers), (iteration, text.clone()));
    }
}

#[test]
fn a_panic_arrives_as_an_error_that_names_the_file() {
    for workers in [0, 2] {
        let (_, text) = error_of("unlabeled/panic.png", workers);
        assert!(text.contains("unlabeled/panic.png: preparing the image panicked: cannot bear"), "{text}");
    }
}

#[test]
fn a_corrupt_file_on_disk_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("bad.png");
    fs::write(&path, b"\x89PNG\r\n\x1a\n and no more").unwrap();
    let mut set = labeled(1);
    set.samples[0].path = path.clone();
    let config = LoaderConfig { unlabeled_batch: 0, ..config() };
    let loader = TrainLoader::new(set, UnlabeledSet::default(), augment(), config).unwrap();
    let text = loader.batch(2).unwrap_err().to_string();
    assert!(text.starts_with("batch 2: ") && text.contains("bad.png"), "{text}");
}

#[test]
fn an_image_of_another_size_than_listed_is_an_error() {
    let mut set = labeled(1);
    set.samples[0].size = ImageSize::new(99, 24);
    let loader = TrainLoader::with_decoder(set, unlabeled(1), augment(), config(), decode).unwrap();
    assert!(matches!(
        loader.batch(0),
        Err(LoaderError::Image { batch: 0, source: DataError::SizeMismatch { id: 100, .. } })
    ));
}

#[test]
fn the_cache_changes_nothing_but_reads_each_file_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.png");
    RgbImage::from_fn(SIDE, SIDE, |x, y| image::Rgb([x as u8 * 9, y as u8 * 9, 50])).save(&path).unwrap();
    let mut set = labeled(1);
    set.samples[0].path = path.clone();
    let config = |cache_bytes| LoaderConfig { unlabeled_batch: 0, cache_bytes, ..config() };
    let load =
        |bytes| TrainLoader::new(set.clone(), UnlabeledSet::default(), augment(), config(bytes)).unwrap();
    let (cached, fresh) = (load(1 << 20), load(0));
    assert_eq!(cached.batch(0).unwrap(), fresh.batch(0).unwrap());
    fs::remove_file(&path).unwrap();
    assert!(cached.batch(1).is_ok());
    assert!(fresh.batch(1).is_err());
}

#[test]
fn slices_split_each_epoch() {
    let whole = loader(config());
    let (first, second) = (whole.slice(0, 2), whole.slice(2, 6));
    assert_eq!((first.num_items(), second.num_items(), whole.num_items()), (2, 4, 6));
    let iterations = |loader: &Arc<dyn DataLoader<TrainBatch>>| {
        epoch(loader.as_ref()).iter().map(|b| b.iteration).collect::<Vec<_>>()
    };
    assert_eq!((iterations(&first), iterations(&second)), (vec![0, 1], vec![2, 3, 4, 5]));
    assert_eq!((iterations(&first), iterations(&second)), (vec![6, 7], vec![8, 9, 10, 11]));
}

#[test]
fn progress_counts_batches() {
    let loader = loader(config());
    let mut batches = loader.iter();
    assert_eq!((batches.progress().items_processed, batches.progress().items_total), (0, 6));
    batches.next();
    assert_eq!(batches.progress().items_processed, 1);
}
