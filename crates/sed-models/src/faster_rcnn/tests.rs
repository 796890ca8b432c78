use burn::tensor::{Distribution, Gradients, Tolerance};

use super::*;
use crate::{
    anchors::AnchorConfig,
    backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig},
    layers::norm::NormKind,
};

/// As small as it gets, with all that the presets have.
fn small() -> FasterRcnnConfig {
    let norm = NormKind::Group { groups: 2 };
    let tiny = FasterRcnnConfig::tiny(2);
    let proposals = ProposalFilter { max_proposals: 5, ..tiny.rpn.train_proposals };
    FasterRcnnConfig {
        backbone: ResNetFpnConfig {
            body: ResNetConfig { base_width: 4, norm, ..tiny.backbone.body },
            fpn: FpnConfig { out_channels: 8, lowest_level: 3, highest_level: 5, ..tiny.backbone.fpn },
        },
        rpn: RpnConfig {
            channels: 8,
            norm,
            anchors: AnchorConfig::octaves(8.0, 3, 1, &[0.5, 1.0]),
            train_proposals: proposals,
            test_proposals: proposals,
            ..tiny.rpn
        },
        roi: RoiConfig { hidden: 8, ..tiny.roi },
        ..tiny
    }
}

/// One map of stride 16 with the sizes 8, 16 and 32.
fn single_map() -> FasterRcnnConfig {
    let mut config = small();
    config.backbone.fpn = FpnConfig { lowest_level: 4, highest_level: 4, ..config.backbone.fpn };
    config.rpn.anchors.sizes = vec![vec![8.0, 16.0, 32.0]];
    config
}

/// No box is large enough to be a proposal.
fn without_proposals() -> FasterRcnnConfig {
    let mut config = small();
    config.rpn.train_proposals.min_size = 1e6;
    config.rpn.test_proposals.min_size = 1e6;
    config
}

fn images(shape: [usize; 3], device: &Device) -> ImageBatch {
    let [n, h, w] = shape;
    ImageBatch::unpadded(Tensor::random([n, 3, h, w], Distribution::Default, device))
}

fn assert_same<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
    // The same numbers by the same operations; sums may be ordered differently for other shapes.
    a.into_data().assert_approx_eq(&b.into_data(), Tolerance::<f32>::rel_abs(1e-4, 1e-5));
}

fn object(boxes: &[[f32; 4]]) -> Targets {
    Targets { boxes: boxes.to_vec(), labels: vec![1; boxes.len()], crowds: vec![] }
}

/// Whether a gradient reaches each of: the stem, the anchors' logits and deltas, the regions' logits and deltas.
fn touched(model: &FasterRcnn, gradients: &Gradients) -> [bool; 5] {
    fn reaches<const D: usize>(weight: Tensor<D>, gradients: &Gradients) -> bool {
        weight.grad(gradients).is_some_and(|gradient| {
            let size = gradient.abs().sum().into_scalar::<f32>();
            assert!(size.is_finite());
            size > 0.0
        })
    }
    let (head, predictor) = (&model.rpn.head, &model.roi_heads.box_predictor);
    [
        reaches(model.backbone.body.conv1.weight.val(), gradients),
        reaches(head.cls_logits.weight.val(), gradients),
        reaches(head.bbox_pred.weight.val(), gradients),
        reaches(predictor.cls_score.weight.val(), gradients),
        reaches(predictor.bbox_pred.weight.val(), gradients),
    ]
}

#[test]
fn losses_are_finite_in_every_case() {
    let device = Device::default().autodiff();
    let some = object(&[[4., 4., 30., 25.]]);
    let thin = object(&[[10., 4., 11., 40.], [5., 5., 5.5, 5.5]]);
    let none = Targets::default;
    let crowd = Targets { crowds: vec![[0., 0., 64., 64.]], ..none() };
    for config in [small(), single_map(), without_proposals()] {
        let model = config.init(&device).unwrap();
        for targets in
            [[some.clone(), none()], [thin.clone(), none()], [none(), none()], [crowd.clone(), crowd.clone()]]
        {
            let losses = model.supervised_losses(&images([2, 64, 64], &device), &targets);
            assert_eq!(losses.iter().map(|loss| loss.stage).collect::<Vec<_>>(), model.stages());
            let total = losses.iter().map(DetectionLoss::total).reduce(|a, b| a + b).unwrap();
            assert!(total.clone().into_scalar::<f32>().is_finite());
            let objects = targets.iter().any(|t| !t.is_empty());
            for loss in &losses {
                assert_eq!(loss.box_regression.clone().into_scalar::<f32>() > 0.0, objects, "{}", loss.stage);
            }
            if objects {
                assert_eq!(touched(&model, &total.backward()), [true; 5]);
            } else {
                touched(&model, &total.backward());
            }
        }
    }
}

#[test]
fn without_proposals_there_are_no_detections_and_whole_images_are_compared() {
    let device = Device::default();
    let model = without_proposals().init(&device).unwrap();
    let batch = images([2, 64, 64], &device);
    assert_eq!(model.detect(&batch), vec![Detections::default(); 2]);
    let stages = model.compare_views(&model, &Views::new(batch.clone(), batch));
    assert_eq!(stages[1].distill_pair().student.num_anchors(), 2);
    assert_eq!(stages[1].scale_pair().student.num_anchors(), 2);
}

#[test]
fn detections_lie_in_the_images() {
    let device = Device::default();
    let mut config = small();
    config.roi.postprocess.score_threshold = 0.0;
    let model = config.init(&device).unwrap();
    assert_eq!(model.num_classes(), 2);
    let batch = images([2, 64, 64], &device);
    let batch = ImageBatch::new(batch.pixels, vec![ImageSize::new(64, 40), ImageSize::new(33, 64)]);
    for (found, size) in model.detect(&batch).iter().zip(&batch.sizes) {
        assert!(!found.is_empty());
        assert!(found.labels.iter().all(|label| *label < 2));
        for [x1, y1, x2, y2] in &found.boxes {
            assert!(0.0 <= *x1 && x1 < x2 && *x2 <= size.width as f32);
            assert!(0.0 <= *y1 && y1 < y2 && *y2 <= size.height as f32);
        }
    }
}

#[test]
fn sampling_is_a_function_of_weights_and_batch() {
    let device = Device::default();
    let mut config = small();
    config.rpn.loss.sampler.per_image = 4;
    config.roi.loss.sampler.per_image = 3;
    let model = config.init(&device).unwrap();
    let values = |batch: &ImageBatch| -> Vec<f32> {
        let losses = model.supervised_losses(batch, &[object(&[[4., 4., 30., 25.]])]);
        losses.into_iter().map(|loss| loss.total().into_scalar::<f32>()).collect()
    };
    let batch = images([1, 64, 64], &device);
    assert_eq!(values(&batch), values(&batch));
    assert_ne!(values(&batch), values(&images([1, 64, 64], &device)));
}

#[test]
fn features_have_the_size_of_the_grid() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    // first_stage panics where features and grid differ.
    for [h, w] in [[64, 128], [40, 72], [1, 1]] {
        let first = model.first_stage(&images([2, h, w], &device));
        let anchors = model.layout(ImageSize::new(h, w)).num_anchors();
        assert_eq!(first.joined.num_anchors(), anchors);
    }
}

#[test]
fn views_are_compared_on_the_proposals_of_both_sizes() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    let strong = images([2, 64, 64], &device);
    let views = Views::new(strong.clone(), strong.clone());
    let [rpn, roi] = model.compare_views(&model, &views).try_into().expect("two stages");
    assert_eq!((rpn.stage, rpn.activation), ("rpn", ClassActivation::Sigmoid));
    // P3, P4, P5 of the full view: 8², 4², 2² cells of two anchors; P4 and P5 have a partner.
    assert_eq!(rpn.distill_pair().student.num_anchors(), 84 * 2);
    assert_eq!(rpn.scale_pair().student.num_anchors(), 20 * 2);
    let first = model.first_stage(&strong);
    assert_same(
        rpn.scale_pair().student.class_logits.clone(),
        Predictions::cat(first.predictions[1..].to_vec()).class_logits,
    );
    assert_same(
        rpn.distill_pair().student.class_logits.clone(),
        rpn.distill_pair().other.class_logits.clone(),
    );

    assert_eq!((roi.stage, roi.activation), ("roi", ROI_ACTIVATION));
    let grids = model.settings.grids.over_batch(ImageSize::new(32, 32));
    let half = model.first_stage_on(views.half.as_ref().unwrap(), grids, 32);
    let sizes = [ImageSize::new(32, 32); 2];
    let rois = rois::joined(
        &model.propose(&first, &strong.sizes),
        Some(&model.propose(&half, &sizes)),
        &strong.sizes,
    );
    assert!(rois.len() > 10, "{}", rois.len());
    let full = model.second_stage(&first, &rois);
    let halved = model.second_stage(&half, &rois.scaled(0.5));
    assert_same(roi.scale_pair().student.class_logits.clone(), full.class_logits.clone());
    assert_same(roi.scale_pair().other.class_logits.clone(), halved.class_logits);
    // The teacher is the student, and sees the same picture.
    assert_same(
        roi.distill_pair().student.class_logits.clone(),
        roi.distill_pair().other.class_logits.clone(),
    );
    // The deltas of the likeliest class.
    let k = rois.len();
    let logits: Vec<f32> = full.class_logits.try_into_vec_as().unwrap();
    let class = |r: usize| if logits[3 * r + 1] >= logits[3 * r + 2] { 1 } else { 2 };
    let rows = (0..k).map(|r| {
        let start = 4 * class(r);
        full.box_deltas.clone().slice([0..1, r..r + 1, start..start + 4])
    });
    let chosen = Tensor::cat(rows.collect(), 1);
    for deltas in [&roi.scale_pair().student, &roi.distill_pair().student, &roi.distill_pair().other]
        .map(|p| p.box_deltas.clone())
    {
        assert_same(deltas, chosen.clone());
    }
}

#[test]
fn regions_of_the_mirror_image_are_mirrored_and_their_deltas_back() {
    let device = Device::default();
    let model = small().init(&device).unwrap();
    let strong = images([1, 64, 64], &device);
    let views = Views::with_mirror(strong.clone());
    let [rpn, roi] = model.compare_views(&model, &views).try_into().expect("two stages");
    assert!(rpn.scale.is_none() && rpn.distill.is_none() && rpn.mirror.is_some());
    assert!(roi.scale.is_none() && roi.distill.is_none());

    let first = model.first_stage(&strong);
    let rois = rois::joined(&model.propose(&first, &strong.sizes), None, &strong.sizes);
    let levels = model.roi_levels(&rois);
    let mirrored = model.first_stage(views.mirrored.as_ref().unwrap());
    let other = model.second_stage_on(&mirrored, &rois.mirrored(64.0), &levels);
    let boxes_of = LikeliestClass::new(&model.second_stage(&first, &rois));
    let other = boxes_of.of(other);
    let pair = roi.mirror_pair();
    assert_same(pair.other.class_logits.clone(), other.class_logits);
    let signs = Tensor::<1>::from_floats([-1.0, 1.0, 1.0, 1.0], &device).reshape([1, 1, 4]);
    assert_same(pair.other.box_deltas.clone(), other.box_deltas * signs);
}

#[test]
fn the_level_of_the_half_view_is_an_option() {
    let device = Device::default();
    let mut config = small();
    // Enough proposals for all anchor sizes; boxes of 16 px and more lie above the lowest level.
    config.rpn.train_proposals.max_proposals = 200;
    config.roi.pool.canonical_size = 16.0;
    let shifted = config.init(&device).unwrap();
    let mut same = shifted.clone();
    same.settings.config.roi.pool.half_view_level = HalfViewLevel::Same;
    let strong = images([1, 64, 64], &device);
    let views = Views::new(strong.clone(), strong);
    let halved = |model: &FasterRcnn| {
        model.compare_views(model, &views).remove(1).scale_pair().other.class_logits.clone()
    };
    let difference = (halved(&shifted) - halved(&same)).abs().max().into_scalar::<f32>();
    assert!(difference > 1e-4, "{difference}");
}

#[test]
fn views_of_a_single_map_pair() {
    let device = Device::default();
    let model = single_map().init(&device).unwrap();
    assert_eq!(model.size_divisor(), 32);
    let strong = images([1, 64, 96], &device);
    let [rpn, roi] =
        model.compare_views(&model, &Views::new(strong.clone(), strong)).try_into().expect("two stages");
    // 2×3 cells of the half view, two sizes that are doubled, two ratios.
    assert_eq!(rpn.scale_pair().student.num_anchors(), 24);
    assert_eq!(rpn.distill_pair().student.num_anchors(), 4 * 6 * 6);
    assert!(roi.scale_pair().student.num_anchors() > 0);
}

#[test]
fn no_gradient_reaches_the_teacher_and_all_of_the_student_learns() {
    let device = Device::default().autodiff();
    let student = small().init(&device).unwrap();
    let views = Views::new(images([1, 64, 64], &device), images([1, 64, 64], &device));
    // A teacher without autodiff, and one that could take gradients.
    for teacher in [student.valid(), small().init(&device).unwrap()] {
        let stages = student.compare_views(&teacher, &views);
        let terms = stages.into_iter().flat_map(|stage| [stage.scale, stage.distill]).flatten().map(|pair| {
            let class = (pair.student.class_logits - pair.other.class_logits).square().sum();
            class + (pair.student.box_deltas - pair.other.box_deltas).square().sum()
        });
        let gradients = terms.reduce(|a, b| a + b).unwrap().backward();
        assert_eq!(touched(&student, &gradients), [true; 5]);
        assert_eq!(touched(&teacher, &gradients), [false; 5]);
    }
}

#[test]
fn both_sides_of_the_scale_pairs_take_gradients() {
    let device = Device::default().autodiff();
    let student = small().init(&device).unwrap();
    let strong = images([1, 64, 64], &device);
    let views = Views::new(strong.clone(), strong);
    let (first, second) = ([true, true, true, false, false], [true, false, false, true, true]);
    for (stage, side, expected) in [(0, 0, first), (0, 1, first), (1, 0, second), (1, 1, second)] {
        let pair = student
            .compare_views(&student.valid(), &views)
            .swap_remove(stage)
            .scale
            .expect("a pair of scales");
        let Predictions { class_logits, box_deltas } = if side == 0 { pair.student } else { pair.other };
        let gradients = (class_logits.square().sum() + box_deltas.square().sum()).backward();
        assert_eq!(touched(&student, &gradients), expected, "stage {stage}, side {side}");
    }
}

#[test]
fn the_tiny_preset_is_small() {
    let model = FasterRcnnConfig::tiny(6).init(&Device::default()).unwrap();
    assert!((700_000..950_000).contains(&model.num_params()), "{}", model.num_params());
}
