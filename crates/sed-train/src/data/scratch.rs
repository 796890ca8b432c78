use super::*;
use crate::data::scenes::*;
use ::image::{Rgb, RgbImage, imageops};
use std::time::Instant;
#[test]
fn scratch_sheet() {
    let text = std::fs::read_to_string("/tmp/scenes.toml").unwrap_or_default();
    let config: SceneConfig = toml::from_str(&text).unwrap();
    let (k, cols, rows) = (2u32, 6u32, 4u32);
    let s = 128 * k + 4;
    let mut sheet = RgbImage::from_pixel(cols * s, rows * s, Rgb([255; 3]));
    let colors = [[255, 0, 0], [0, 255, 0], [0, 128, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]];
    let raw = std::env::var("NOBOX").is_ok();
    for i in 0..cols * rows {
        let scene = Scene::draw(&config, &mut HostRng::new(config.seed, Purpose::TrainScene, i as u64, 0));
        let mut big = imageops::resize(&scene.image, 128 * k, 128 * k, imageops::FilterType::Nearest);
        if !raw {
            for (b, &l) in scene.targets.boxes.iter().zip(&scene.targets.labels) {
                let [x1, y1, x2, y2] = b.map(|v| ((v * k as f32).round() as u32).min(128 * k - 1));
                for x in x1..=x2 {
                    for y in [y1, y2] {
                        big.put_pixel(x, y, Rgb(colors[l]));
                    }
                }
                for y in y1..=y2 {
                    for x in [x1, x2] {
                        big.put_pixel(x, y, Rgb(colors[l]));
                    }
                }
            }
        }
        imageops::replace(&mut sheet, &big, ((i % cols) * s) as i64, ((i / cols) * s) as i64);
    }
    sheet.save(if raw { "/tmp/scenes_raw.png" } else { "/tmp/scenes.png" }).unwrap();
}
#[test]
fn scratch_timing() {
    let dir = std::path::Path::new("/tmp/views_scenes");
    let _ = std::fs::remove_dir_all(dir);
    let t = Instant::now();
    let paths = generate(&SceneConfig::default(), dir).unwrap();
    println!("generate 1000: {:?}", t.elapsed());
    let t = Instant::now();
    for i in 0..200 {
        super::image::decode(&paths.train_images.join(format!("{i:06}.png"))).unwrap();
    }
    println!("decode: {:?}", t.elapsed() / 200);
    let image = super::image::decode(&paths.train_images.join("000003.png")).unwrap();
    let config = AugmentConfig { image_size: 128, ..Default::default() };
    let n = 500;
    let t = Instant::now();
    for i in 0..n {
        std::hint::black_box(UnlabeledViews::sample(
            &image,
            &config,
            &mut HostRng::new(0, Purpose::UnlabeledView, i, 0),
        ));
    }
    println!("weak+strong: {:?}", t.elapsed() / n as u32);
    let geo = config.sample_geometry(
        sed_core::ImageSize::new(128, 128),
        &mut HostRng::new(0, Purpose::UnlabeledView, 1, 0),
    );
    let t = Instant::now();
    for _ in 0..n {
        std::hint::black_box(geo.apply(&image));
    }
    println!("geometry: {:?}", t.elapsed() / n as u32);
    let weak = geo.apply(&image);
    let mut rng = HostRng::new(0, Purpose::UnlabeledView, 1, 0);
    let mut time = |name: &str, f: &mut dyn FnMut(&mut FloatImage)| {
        let mut x = weak.clone();
        let t = Instant::now();
        for _ in 0..n {
            f(&mut x);
        }
        println!("{name}: {:?} {:?}", t.elapsed() / n as u32, x.size());
    };
    time("hue", &mut |x| image_ops::hue(x, 0.05));
    time("brightness", &mut |x| image_ops::brightness(x, 1.0));
    time("contrast", &mut |x| image_ops::contrast(x, 1.0));
    time("saturation", &mut |x| image_ops::saturation(x, 1.0));
    time("blur 2", &mut |x| image_ops::gaussian_blur(x, 2.0));
    time("erase", &mut |x| {
        image_ops::erase(x, image_ops::PixelRect { top: 0, left: 0, height: 40, width: 40 }, &mut rng)
    });
}
