//! Training batches from JPEG photos of 1280×720, on two worker threads: decoding, resizing to 512², flip, colours,
//! grey, blur, erased rectangles. One run is 64 photos in 8 batches, each with one labeled photo (one view) and
//! seven unlabeled ones (weak, strong and half view). Nothing is cached.

mod common;

use std::{fs, path::PathBuf};

use burn::{data::dataloader::DataLoader, tensor::Device};
use common::{data_folder, long};
use criterion::{Criterion, criterion_group, criterion_main};
use image::{Rgb, RgbImage};
use sed_core::{ImageSize, Targets, Views};
use sed_train::data::{
    AugmentConfig, Category, LabeledSample, LabeledSet, LoaderConfig, TrainLoader, UnlabeledSet,
};

const PHOTOS: u32 = 32;
const SIZE: [u32; 2] = [1280, 720];

/// Waves of several lengths under a fine grain, so that the file is about as large as a photo's.
fn photo(number: u32) -> RgbImage {
    RgbImage::from_fn(SIZE[0], SIZE[1], |x, y| {
        let grain = common::unit(number.wrapping_mul(921_600) + y * SIZE[0] + x) * 24.0;
        let wave = |channel: u32| {
            let phase = (number + channel) as f32;
            let (x, y) = (x as f32, y as f32);
            let sum = (x / 97.0 + phase).sin() + (y / 61.0 - phase).cos() + ((x + y) / 23.0).sin() / 3.0;
            (sum * 45.0 + 116.0 + grain).clamp(0.0, 255.0) as u8
        };
        Rgb([wave(0), wave(1), wave(2)])
    })
}

/// The photos' folder; they are written where it is missing.
fn photos() -> PathBuf {
    let folder = data_folder().join("photos");
    if !folder.is_dir() {
        let part = data_folder().join("photos.part");
        fs::create_dir_all(&part).expect("a folder for photos");
        for number in 0..PHOTOS {
            photo(number).save(part.join(format!("{number:02}.jpg"))).expect("a photo is written");
        }
        fs::rename(part, &folder).expect("the photos' folder is named");
    }
    folder
}

fn photos_to_batches(criterion: &mut Criterion) {
    long(criterion, "loader").bench_function("photos", |b| {
        let unlabeled = UnlabeledSet::from_folder(photos()).expect("the photos are there");
        let sample = |(id, path): (u64, PathBuf)| LabeledSample {
            id,
            path,
            size: ImageSize::new(SIZE[1] as usize, SIZE[0] as usize),
            targets: Targets { boxes: vec![[100., 100., 500., 500.]], labels: vec![0], crowds: Vec::new() },
        };
        let paths = unlabeled.images.iter().map(|image| image.path.clone());
        let labeled = LabeledSet {
            categories: vec![Category { id: 1, name: "thing".into() }],
            samples: (1..).zip(paths).map(sample).collect(),
        };
        let config = LoaderConfig {
            labeled_batch: 1,
            unlabeled_batch: 7,
            iterations_per_epoch: 8,
            workers: 2,
            cache_bytes: 0,
            ..LoaderConfig::default()
        };
        let loader =
            TrainLoader::new(labeled, unlabeled, AugmentConfig::default(), config).expect("a valid loader");
        let device = Device::flex();
        b.iter(|| {
            for batch in loader.iter() {
                let batch = batch.expect("the photos can be read");
                let views = batch.unlabeled.expect("seven unlabeled photos");
                let views = Views::new(views.weak.to_batch(&device), views.strong.to_batch(&device));
                std::hint::black_box((batch.labeled.to_batch(&device), views));
            }
        });
    });
}

criterion_group!(benches, photos_to_batches);
criterion_main!(benches);
