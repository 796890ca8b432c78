use burn::tensor::{Distribution, Gradients, Tolerance};

use super::*;
use crate::{anchors::AnchorConfig, backbone::ResNetConfig, layers::norm::NormKind};

/// As small as it gets, with all that the presets have.
fn small() -> RetinaNetConfig {
    let norm = NormKind::Group { groups: 2 };
    let tiny = RetinaNetConfig::tiny(2);
    RetinaNetConfig {
        backbone: ResNetFpnConfig {
            body: ResNetConfig { base_width: 4, norm, ..tiny.backbone.body },
            fpn: FpnConfig { out_channels: 8, lowest_level: 3, highest_level: 6, ..tiny.backbone.fpn },
        },
        head: HeadConfig { num_convs: 1, channels: 8, norm, prior: 0.5, ..tiny.head },
        anchors: AnchorConfig::octaves(8.0, 4, 2, &[0.5, 1.0, 2.0]),
        loss: RetinaNetLoss { focal: Default::default(), ..tiny.loss },
        ..tiny
    }
}

/// With P7, as the large presets.
fn small_p7() -> RetinaNetConfig {
    let mut config = small();
    config.backbone.fpn.highest_level = 7;
    config.anchors = AnchorConfig::default();
    config
}

fn images(shape: [usize; 3], device: &Device) -> ImageBatch {
    let [n, h, w] = shape;
    ImageBatch::unpadded(Tensor::random([n, 3, h, w], Distribution::Default, device))
}

fn assert_same(a: Tensor<3>, b: Tensor<3>) {
    // The same numbers by the same operations; sums may be ordered differently for other shapes.
    a.into_data().assert_approx_eq(&b.into_data(), Tolerance::<f32>::rel_abs(1e-4, 1e-5));
}

#[test]
fn anchors_of_an_image_are_twice_those_of_its_half_view() {
    let device = Device::default();
    let with_p2 = RetinaNetConfig { p2_on_half: true, ..small_p7() };
    for (config, count) in [(small(), 3), (small_p7(), 4), (with_p2, 5)] {
        let model = config.init(&device).unwrap();
        for height in (128..=640).step_by(128) {
            for width in (128..=1408).step_by(128) {
                let size = ImageSize::new(height, width);
                let full = model.layout(size);
                let (half, pairs) = model.half_layout(&full, size.halved());
                let ScalePairs::Levels(pairs) = pairs else { panic!("{pairs:?}") };
                assert_eq!(pairs.len(), count);
                for pair in pairs {
                    let of = |layout: &PyramidLayout, level: usize| {
                        model.anchors(&PyramidLayout { levels: vec![layout.levels[level]] })
                    };
                    let doubled: Vec<[f32; 4]> =
                        of(&half, pair.half).into_iter().map(|b| b.map(|v| 2.0 * v)).collect();
                    assert_eq!(of(&full, pair.full), doubled);
                }
            }
        }
    }
}

#[test]
fn other_sizes_are_padded_so_that_they_pair() {
    let device = Device::default();
    for (config, divisor) in [(small(), 64), (small_p7(), 128)] {
        let model = config.init(&device).unwrap();
        assert_eq!(model.size_divisor(), divisor);
        for side in (2..=400).step_by(2) {
            let size = ImageSize::new(side, 402 - side);
            let full = model.layout(size);
            let padded =
                ImageSize::new(side.next_multiple_of(divisor), (402 - side).next_multiple_of(divisor));
            assert_eq!(full, model.layout(padded));
            // Panics if a pair does not fit.
            let (half, _) = model.half_layout(&full, size.halved());
            assert_eq!(half, model.half_layout(&full, padded.halved()).0);
        }
    }
}

#[test]
#[should_panic(
    expected = "stride 16 of the full view has a grid of [8, 8], stride 8 of the half view one of [16, 16]"
)]
fn a_half_view_of_full_size_panics() {
    let model = small().init(&Device::default()).unwrap();
    let size = ImageSize::new(128, 128);
    model.half_layout(&model.layout(size), size);
}

#[test]
#[should_panic(expected = "the anchors of stride 16 are not twice those of stride 8")]
fn anchors_that_do_not_double_panic() {
    let config = RetinaNetConfig { anchors: AnchorConfig::torchvision(), ..small_p7() };
    let model = config.init(&Device::default()).unwrap();
    let size = ImageSize::new(128, 128);
    model.half_layout(&model.layout(size), size.halved());
}

#[test]
fn features_have_the_size_of_the_grid() {
    let device = Device::default();
    // forward panics where features and grid differ.
    for [h, w] in [[64, 128], [40, 72], [1, 1]] {
        let model = small().init(&device).unwrap();
        let layout = model.layout(ImageSize::new(h, w));
        let levels = model.forward(&images([2, h, w], &device));
        assert_eq!(levels.len(), 4);
        for (level, grid) in levels.iter().zip(&layout.levels) {
            assert_eq!(level.class_logits.dims(), [2, grid.num_anchors(), 2]);
            assert_eq!(level.box_deltas.dims(), [2, grid.num_anchors(), 4]);
        }
        assert_eq!(model.anchors(&layout).len(), layout.num_anchors());
    }
}

#[test]
fn padding_in_the_batch_and_by_the_detector_are_the_same() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    let image = images([1, 40, 50], &device);
    // The same image at the top left of a grey canvas: grey is not the padding of the network.
    let canvas = Tensor::full([1, 3, 64, 64], 0.5, &device)
        .slice_assign([0..1, 0..3, 0..40, 0..50], image.pixels.clone());
    let padded = ImageBatch::new(canvas, vec![ImageSize::new(40, 50)]);
    for (a, b) in model.forward(&image).into_iter().zip(model.forward(&padded)) {
        assert_same(a.class_logits, b.class_logits);
        assert_same(a.box_deltas, b.box_deltas);
    }
}

/// Whether a gradient reaches each of: the stem, P5 of the pyramid, the class predictor, the box
/// predictor.
fn touched(model: &RetinaNet, gradients: &Gradients) -> [bool; 4] {
    [
        &model.backbone.body.conv1,
        &model.backbone.fpn.layer_blocks[2].0,
        &model.head.classification_head.cls_logits,
        &model.head.regression_head.bbox_reg,
    ]
    .map(|conv| match conv.weight.val().grad(gradients) {
        Some(gradient) => {
            let size = gradient.abs().sum().into_scalar::<f32>();
            assert!(size.is_finite());
            size > 0.0
        }
        None => false,
    })
}

#[test]
fn losses_are_finite_with_and_without_objects() {
    let device = Device::default().autodiff();
    let model = small().init(&device).unwrap();
    assert_eq!(model.stages(), ["head"]);
    assert_eq!(model.num_classes(), 2);
    let batch = images([2, 64, 64], &device);
    let some = Targets { boxes: vec![[4., 4., 30., 25.]], labels: vec![1], crowds: vec![] };
    for targets in [[some, Targets::default()], [Targets::default(), Targets::default()]] {
        let losses = model.supervised_losses(&batch, &targets);
        assert_eq!(losses.len(), 1);
        let has_objects = targets.iter().any(|t| !t.is_empty());
        assert_eq!(losses[0].box_regression.clone().into_scalar::<f32>() > 0.0, has_objects);
        assert!(losses[0].total().into_scalar::<f32>().is_finite());
        let gradients = losses[0].total().backward();
        assert_eq!(touched(&model, &gradients), [true, true, true, has_objects]);
    }
}

#[test]
fn views_pair_the_student_with_itself_and_with_the_teacher() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    let strong = images([1, 64, 64], &device);
    let views = Views::new(strong.clone(), strong.clone());
    let [stage] = model.compare_views(&model, &views).try_into().expect("one stage");
    assert_eq!((stage.stage, stage.activation), ("head", ClassActivation::Sigmoid));
    let full = model.forward(&strong);
    // P4, P5, P6 of the full view: 4², 2², 1 cells of six anchors.
    let compared = Predictions::cat(full[1..].to_vec());
    assert_eq!(compared.num_anchors(), 21 * 6);
    assert_same(stage.scale_pair().student.class_logits.clone(), compared.class_logits);
    assert_same(stage.scale_pair().student.box_deltas.clone(), compared.box_deltas);
    // P3, P4, P5 of the half view, which at 32 px needs no padding.
    let pixels = model.settings.preprocess.forward(views.half.as_ref().unwrap(), 32);
    let half = model.backbone.forward(pixels).into_iter().take(3).map(|level| model.head.forward(level));
    assert_same(stage.scale_pair().other.class_logits.clone(), Predictions::cat(half.collect()).class_logits);
    // The teacher is the student, and sees the same picture.
    assert_eq!(stage.distill_pair().student.num_anchors(), 85 * 6);
    assert_same(
        stage.distill_pair().student.class_logits.clone(),
        stage.distill_pair().other.class_logits.clone(),
    );
    assert_same(
        stage.distill_pair().student.box_deltas.clone(),
        stage.distill_pair().other.box_deltas.clone(),
    );
}

#[test]
fn p2_of_the_half_view_adds_the_pair_of_p3() {
    let device = Device::default();
    let strong = images([1, 64, 64], &device);
    let views = Views::new(strong.clone(), strong);
    let anchors = |config: RetinaNetConfig| {
        let model = config.init(&device).unwrap();
        let stages = model.compare_views(&model, &views);
        (stages[0].scale_pair().student.num_anchors() / 6, stages[0].distill_pair().student.num_anchors() / 6)
    };
    assert_eq!(anchors(small()), (16 + 4 + 1, 85));
    assert_eq!(anchors(RetinaNetConfig { p2_on_half: true, ..small() }), (85, 85));
    assert_eq!(anchors(RetinaNetConfig { scale_levels: Some(vec![4, 6]), ..small() }), (17, 85));
    let finest = RetinaNetConfig { p2_on_half: true, scale_levels: Some(vec![3]), ..small() };
    assert_eq!(anchors(finest), (64, 85));
}

/// On C4 alone, with the sizes 16, 32 and 64.
fn single_map() -> RetinaNetConfig {
    let mut config = small();
    config.backbone.fpn = FpnConfig { lowest_level: 4, highest_level: 4, ..config.backbone.fpn };
    config.anchors.sizes = vec![vec![16.0, 32.0, 64.0]];
    config
}

#[test]
fn views_on_a_single_map_pair_every_second_cell_and_doubled_sizes() {
    let device = Device::default();
    let config = single_map();
    assert_eq!(config.validate_for_views(), Ok(()));
    let model = config.init(&device).unwrap();
    // The half view of 32 px fills a 2×2 map.
    assert_eq!(model.size_divisor(), 32);
    let strong = images([1, 64, 32], &device);
    let views = Views::new(strong.clone(), strong.clone());
    let [stage] = model.compare_views(&model, &views).try_into().expect("one stage");
    // 2×1 cells of the half view, of each the sizes 16 and 32 in three ratios.
    assert_eq!(stage.scale_pair().student.num_anchors(), 2 * 6);
    assert_eq!(stage.distill_pair().student.num_anchors(), 4 * 2 * 9);
    let by_cell = |predictions: &Predictions, [h, w]: [usize; 2]| {
        predictions.class_logits.clone().reshape([h, w, 3, 3, 2])
    };
    let full = by_cell(&model.forward(&strong)[0], [4, 2]);
    let (half, _) = model.half_layout(&model.layout(ImageSize::new(64, 32)), ImageSize::new(32, 16));
    let half = model.head.forward(model.half_features(views.half.as_ref().unwrap(), &half).remove(0));
    let half = by_cell(&half, [2, 1]);
    for (k, row) in [0, 2].into_iter().enumerate() {
        let student = stage.scale_pair().student.class_logits.clone().slice([0..1, 6 * k..6 * k + 6, 0..2]);
        let cell = full.clone().slice([row..row + 1, 0..1, 0..3, 1..3, 0..2]);
        assert_same(student, cell.reshape([1, 6, 2]));
        let other = stage.scale_pair().other.class_logits.clone().slice([0..1, 6 * k..6 * k + 6, 0..2]);
        let cell = half.clone().slice([k..k + 1, 0..1, 0..3, 0..2, 0..2]);
        assert_same(other, cell.reshape([1, 6, 2]));
    }
}

#[test]
fn no_gradient_reaches_the_teacher() {
    let device = Device::default().autodiff();
    let student = small().init(&device).unwrap();
    let strong = images([1, 64, 64], &device);
    let views = Views::new(images([1, 64, 64], &device), strong);
    // A teacher without autodiff, and one that could take gradients.
    for teacher in [student.valid(), small().init(&device).unwrap()] {
        let [stage] = student.compare_views(&teacher, &views).try_into().expect("one stage");
        let sides = [stage.scale, stage.distill].map(|pair| pair.expect("both views"));
        let terms = sides.map(|pair| {
            let class = (pair.student.class_logits - pair.other.class_logits).square().sum();
            class + (pair.student.box_deltas - pair.other.box_deltas).square().sum()
        });
        let [scale, distill] = terms;
        let gradients = (scale + distill).backward();
        assert_eq!(touched(&student, &gradients), [true; 4]);
        assert_eq!(touched(&teacher, &gradients), [false; 4]);
    }
}

#[test]
fn both_sides_of_the_scale_pair_take_gradients() {
    let device = Device::default().autodiff();
    let student = small().init(&device).unwrap();
    let strong = images([1, 64, 64], &device);
    let [stage] = student
        .compare_views(&student.valid(), &Views::new(strong.clone(), strong))
        .try_into()
        .expect("one stage");
    for side in [stage.scale_pair().student.clone(), stage.scale_pair().other.clone()] {
        let gradients = (side.class_logits.square().sum() + side.box_deltas.square().sum()).backward();
        assert_eq!(touched(&student, &gradients), [true; 4]);
    }
}

#[test]
fn detections_are_sorted_clipped_and_few() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    let pixels = Tensor::random([2, 3, 64, 96], Distribution::Default, &device);
    let sizes = vec![ImageSize::new(64, 96), ImageSize::new(30, 41)];
    let found = model.detect(&ImageBatch::new(pixels, sizes.clone()));
    assert_eq!(found.len(), 2);
    for (found, size) in found.iter().zip(sizes) {
        // A prior of .5 is far above the threshold.
        assert!(!found.is_empty() && found.len() <= 100);
        assert!(found.scores.windows(2).all(|w| w[0] >= w[1]));
        assert!(found.labels.iter().all(|&label| label < 2));
        for [x1, y1, x2, y2] in &found.boxes {
            assert!(0.0 <= *x1 && x1 < x2 && *x2 <= size.width as f32);
            assert!(0.0 <= *y1 && y1 < y2 && *y2 <= size.height as f32);
        }
    }
}

#[test]
fn the_tiny_preset_is_small() {
    let model = RetinaNetConfig::tiny(6).init(&Device::default()).unwrap();
    assert!((700_000..850_000).contains(&model.num_params()), "{}", model.num_params());
}
