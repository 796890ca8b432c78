use super::*;
use crate::data::{
    AugmentConfig, Category, DataPolicy, LabeledSample, LabeledSet, LoaderConfig, PolicyMode, SkipBound,
    SourceShare, TrainLoader,
};

/// A tar file of these members.
fn shard(path: &Path, members: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(File::create(path).unwrap());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.finish().unwrap();
}

/// A PNG of one colour.
fn png(shade: u8) -> Vec<u8> {
    let mut bytes = io::Cursor::new(Vec::new());
    let image = ::image::RgbImage::from_pixel(8, 6, ::image::Rgb([shade, 0, 255 - shade]));
    image.write_to(&mut bytes, ::image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn keys(set: &UnlabeledSet) -> Vec<&str> {
    set.images.iter().map(|image| image.key.as_str()).collect()
}

/// Two shards of `each` images whose colour is their number.
fn two_shards(folder: &Path, each: u8) -> UnlabeledSet {
    for (shard_number, name) in ["a.tar", "b.tar"].into_iter().enumerate() {
        let first = shard_number as u8 * each;
        let names: Vec<String> = (0..each).map(|i| format!("{i:03}.png")).collect();
        let images: Vec<Vec<u8>> = (0..each).map(|i| png(first + i)).collect();
        let members: Vec<(&str, &[u8])> =
            names.iter().zip(&images).map(|(name, image)| (name.as_str(), image.as_slice())).collect();
        shard(&folder.join(name), &members);
    }
    UnlabeledSet::open(folder).unwrap()
}

#[test]
fn members_are_found_where_they_lie() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("day.tar");
    let long = format!("{}/a.png", "long".repeat(60));
    let (one, two, three) = (png(1), png(2), png(3));
    let members: [(&str, &[u8]); 6] = [
        ("./x/1.PNG", &one),
        ("x/1.txt", b"text"),
        (".hidden/h.png", &one),
        ("2.jpg", &two),
        ("x/._3.png", &one),
        (&long, &three),
    ];
    shard(&path, &members);
    let set = UnlabeledSet::open(&path).unwrap();
    assert_eq!(keys(&set), ["day.tar/x/1.PNG", "day.tar/2.jpg", &format!("day.tar/{long}")]);
    for (image, content) in set.images.iter().zip([&one, &two, &three]) {
        assert_eq!(&image.read().unwrap(), content, "{}", image.key);
        assert!(image.decode().is_ok());
    }
    assert_eq!(set.images[0].place(), path.join("x/1.PNG"));
}

#[test]
fn a_folder_of_shards_is_read_in_the_order_of_their_names_unless_it_has_images() {
    let dir = tempfile::tempdir().unwrap();
    let image = png(1);
    for name in ["b.tar", "a.TAR", ".c.tar"] {
        shard(&dir.path().join(name), &[("1.png", &image)]);
    }
    assert_eq!(keys(&UnlabeledSet::open(dir.path()).unwrap()), ["a.TAR/1.png", "b.tar/1.png"]);
    fs::write(dir.path().join("plain.png"), &image).unwrap();
    assert_eq!(keys(&UnlabeledSet::open(dir.path()).unwrap()), ["plain.png"]);
}

#[test]
fn what_is_no_plain_tar_file_is_refused_in_words() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let message = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        let error = UnlabeledSet::open(&path).unwrap_err().to_string();
        error.strip_prefix(&format!("{}: ", path.display())).unwrap_or_else(|| panic!("{error}")).to_owned()
    };
    assert_eq!(
        message(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0]),
        "compressed by gzip: images are read in place, from a plain tar file"
    );
    assert!(message(&[b'x'; 2000]).starts_with("not readable as a tar file: "), "{}", message(&[b'x'; 2000]));
    assert_eq!(message(&[]), "no .jpg, .jpeg or .png file in this file");

    let image = png(1);
    shard(&path, &[("1.png", &image), ("2.png", &image)]);
    let whole = fs::read(&path).unwrap();
    let second = UnlabeledSet::open(&path).unwrap().images[1].span.unwrap().offset as usize;
    assert_eq!(message(&whole[..second + image.len() - 1]), "it ends within 2.png");
    fs::remove_file(&path).unwrap();
    assert!(matches!(UnlabeledSet::open(&path), Err(DataError::Io { .. })));
}

/// No byte of a shard that is changed makes it do anything but open or be refused.
#[test]
fn damaged_headers_are_survived() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let image = png(1);
    shard(&path, &[("1.png", &image), (&format!("{}/2.png", "x".repeat(150)), &image)]);
    let whole = fs::read(&path).unwrap();
    for at in 0..whole.len().min(4096) {
        for value in [0xff, whole[at] ^ 1] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            fs::write(&path, &damaged).unwrap();
            if let Ok(set) = UnlabeledSet::open(&path) {
                set.images.iter().for_each(|image| assert!(image.read().is_ok(), "byte {at}: {image:?}"));
            }
        }
    }
}

#[test]
fn images_that_cannot_be_used_are_named_within_their_shard() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    shard(&path, &[("good.png", &png(1)), ("x/bad.png", b"text")]);
    let set = UnlabeledSet::open(&path).unwrap();
    let policy = DataPolicy::new(PolicyMode::Skip, SkipBound::Count(1));
    let (usable, report) = set.with_usable_files(&path, policy).unwrap();
    assert_eq!(keys(&usable), ["a.tar/good.png"]);
    assert_eq!(report.problems[0].file, path.join("x/bad.png"));
}

#[test]
fn a_fingerprint_depends_on_names_and_lengths_but_not_on_where_members_lie() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.tar");
    let of = |members: &[(&str, &[u8])]| {
        shard(&path, members);
        UnlabeledSet::open(&path).unwrap().fingerprint()
    };
    let first = of(&[("1.png", b"abc")]);
    assert_eq!(of(&[("other.txt", b"x"), ("1.png", b"xyz")]), first);
    assert_ne!(of(&[("1.png", b"abcd")]), first);
    assert_ne!(of(&[("2.png", b"abc")]), first);
}

#[test]
fn a_window_reads_ahead_once_and_hands_out_each_image_once() {
    let dir = tempfile::tempdir().unwrap();
    let images = two_shards(dir.path(), 4).images;
    let order = ShardOrder::new(1, 0, 0, &images, 6).unwrap();
    let (first, window) = order.draw(0);
    assert_eq!(window.take(first, &images).unwrap(), images[first].read().unwrap());
    // All six are in memory now.
    ["a.tar", "b.tar"].iter().for_each(|name| fs::remove_file(dir.path().join(name)).unwrap());
    for position in 1..6 {
        let (image, same) = order.draw(position);
        assert!(std::sync::Arc::ptr_eq(&window, &same));
        assert!(window.take(image, &images).is_ok());
    }
    let error = window.take(first, &images).unwrap_err();
    assert!(error.to_string().starts_with(&images[first].place().display().to_string()), "{error}");
    assert!(order.draw(6).1.take(order.draw(6).0, &images).is_err());
}

#[test]
fn an_image_that_cannot_be_read_ahead_fails_alone() {
    let dir = tempfile::tempdir().unwrap();
    let mut images = two_shards(dir.path(), 3).images;
    images[1].span = Some(FileSpan { offset: 1 << 40, length: 5 });
    images[2].span = Some(FileSpan { offset: 0, length: 1 << 40 });
    let order = ShardOrder::new(1, 0, 0, &images, 6).unwrap();
    let mut failed: Vec<usize> = Vec::new();
    for position in 0..6 {
        let (image, window) = order.draw(position);
        match window.take(image, &images) {
            Ok(bytes) => assert_eq!(bytes, images[image].read().unwrap()),
            Err(_) => failed.push(image),
        }
    }
    failed.sort_unstable();
    assert_eq!(failed, [1, 2]);
    assert!(matches!(images[2].read(), Err(DataError::TooLarge { .. })));
    // A file of its own has the same limit; this one has a length and no content.
    let path = dir.path().join("large.png");
    File::create(&path).unwrap().set_len((256 << 20) + 1).unwrap();
    let large = UnlabeledImage::file("large.png", path);
    assert!(matches!(large.read(), Err(DataError::TooLarge { .. })));
}

fn loader(unlabeled: UnlabeledSet, folder: &Path, config: LoaderConfig) -> TrainLoader {
    let path = folder.join("labeled.image");
    fs::write(&path, png(9)).unwrap();
    let labeled = LabeledSet {
        categories: vec![Category { id: 1, name: "screw".into() }],
        samples: vec![LabeledSample {
            id: 1,
            path,
            size: sed_core::ImageSize::new(6, 8),
            targets: sed_core::Targets::default(),
        }],
    };
    let augment = AugmentConfig { image_size: 16, ..AugmentConfig::default() };
    TrainLoader::new(labeled, unlabeled, augment, config).unwrap()
}

#[test]
fn a_loader_goes_through_shards_window_by_window_whatever_its_threads() {
    use burn::data::dataloader::DataLoader;

    let dir = tempfile::tempdir().unwrap();
    let set = two_shards(dir.path(), 10);
    let config = |workers, shuffle_buffer| LoaderConfig {
        labeled_batch: 1,
        unlabeled_batch: 2,
        iterations_per_epoch: 20,
        workers,
        shuffle_buffer,
        ..LoaderConfig::default()
    };
    let keys_of = |loader: &TrainLoader| -> Vec<String> {
        loader.iter().flat_map(|batch| batch.unwrap().unlabeled.unwrap().keys).collect()
    };
    let alone = loader(set.clone(), dir.path(), config(0, 5));
    let drawn = keys_of(&alone);
    assert_eq!(keys_of(&loader(set.clone(), dir.path(), config(3, 5))), drawn);
    // Five at a time are of one shard, in each of the two passes.
    for (number, window) in drawn.chunks(5).enumerate() {
        assert!(window.iter().all(|key| key[..5] == window[0][..5]), "window {number}: {window:?}");
    }
    for pass in drawn.chunks(20) {
        let mut pass = pass.to_vec();
        pass.sort_unstable();
        assert_eq!(pass, keys(&set));
    }
    assert_ne!(keys_of(&loader(set.clone(), dir.path(), config(0, 20))), drawn);
    // Each with its own pixels: the blue of an image tells its number, and what surrounds it is darker.
    let batch = alone.batch(3).unwrap().unlabeled.unwrap();
    let side = 16 * 16;
    for (slot, key) in batch.keys.iter().enumerate() {
        let blue = &batch.weak.pixels[(3 * slot + 2) * side..(3 * slot + 3) * side];
        let brightest = blue.iter().copied().fold(0.0, f32::max);
        let number = set.images.iter().position(|image| image.key == *key).unwrap();
        let expected = (255 - number) as f32 / 255.0;
        assert!((brightest - expected).abs() < 1e-3, "{key}: {brightest}, not {expected}");
    }
}

#[test]
fn shards_and_files_are_sources_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let shards = two_shards(dir.path(), 6);
    let path = dir.path().join("plain.image");
    fs::write(&path, png(7)).unwrap();
    let files = UnlabeledSet { images: vec![UnlabeledImage::file("plain", path)] };
    let config = LoaderConfig {
        labeled_batch: 1,
        unlabeled_batch: 4,
        unlabeled_sources: vec![
            SourceShare { images: files.len(), weight: 1 },
            SourceShare { images: shards.len(), weight: 3 },
        ],
        shuffle_buffer: 4,
        ..LoaderConfig::default()
    };
    let all = UnlabeledSet::concat([files, shards.clone()]);
    let loader = loader(all, dir.path(), config);
    let drawn: Vec<String> = (0..4).flat_map(|i| loader.batch(i).unwrap().unlabeled.unwrap().keys).collect();
    assert_eq!(drawn.iter().filter(|key| *key == "plain").count(), 4);
    let mut of_shards: Vec<&str> = drawn.iter().map(String::as_str).filter(|key| *key != "plain").collect();
    of_shards.sort_unstable();
    assert_eq!(of_shards, keys(&shards));
}
