use burn::tensor::{Device, TensorData};

use super::*;
use crate::box_coder::BoxCoder;

fn octaves(levels: usize, strides: &[usize]) -> DenseGrids {
    DenseGrids::new(&AnchorConfig::octaves(8.0, levels, 2, &[0.5, 1.0]), strides.to_vec(), false, None)
}

/// All sizes on one map, from 8 to 64.
fn single(sizes: &[f32]) -> DenseGrids {
    let config = AnchorConfig { sizes: vec![sizes.to_vec()], ratios: vec![0.5, 1.0], rounding: false };
    DenseGrids::new(&config, vec![16], false, None)
}

#[test]
fn on_a_single_map_each_paired_anchor_is_twice_its_partner() {
    let grids = single(&[8.0, 16.0, 20.0, 32.0, 64.0]);
    assert_eq!((grids.size_divisor(), grids.validate_for_views()), (32, Ok(())));
    for (height, width) in [(32, 32), (64, 128), (70, 250), (2, 34)] {
        let size = ImageSize::new(height, width);
        let full = grids.layout(size);
        let (half, pairs) = grids.half_layout(&full, size.halved());
        let ScalePairs::Map(cells) = pairs else { panic!("{pairs:?}") };
        // 8 → 16, 16 → 32, 32 → 64 for each of two ratios, in each cell of the half view.
        assert_eq!(cells.full.len(), 6 * half.levels[0].height * half.levels[0].width);
        let (of_full, of_half) = (grids.anchors(&full), grids.anchors(&half));
        for (f, h) in cells.full.iter().zip(&cells.half) {
            assert_eq!(of_full[*f], of_half[*h].map(|v| 2.0 * v));
        }
    }
}

#[test]
fn a_level_below_a_single_map_makes_it_a_pyramid_on_the_half_view() {
    let config = AnchorConfig { sizes: vec![vec![8.0, 20.0]], ratios: vec![1.0], rounding: false };
    let grids = DenseGrids::new(&config, vec![16], true, None);
    assert_eq!((grids.lowest_level(), grids.lowest_level_on_half(), grids.size_divisor()), (4, 3, 16));
    let size = ImageSize::new(32, 48);
    let (_, pairs) = grids.half_layout(&grids.layout(size), size.halved());
    assert_eq!(pairs, ScalePairs::Levels(vec![LevelPair { full: 0, half: 0 }]));
}

#[test]
fn what_cannot_be_compared_is_named() {
    assert_eq!(single(&[8.0, 12.0]).validate_for_views(), Err(ScaleViewsError::NothingDoubles(16)));
    let levels =
        |levels: &[usize]| DenseGrids { scale_levels: Some(levels.to_vec()), ..octaves(3, &[8, 16, 32]) };
    assert_eq!(levels(&[5]).validate_for_views(), Ok(()));
    let wrong = |levels: &[usize]| ScaleViewsError::Levels { levels: levels.to_vec(), paired: vec![4, 5] };
    assert_eq!(levels(&[3]).validate(), Err(wrong(&[3])));
    assert_eq!(levels(&[]).validate(), Err(wrong(&[])));
    let rounded = DenseGrids::new(&AnchorConfig::torchvision(), vec![8, 16, 32, 64, 128], false, None);
    assert!(matches!(rounded.validate_for_views(), Err(ScaleViewsError::NotOctaves { .. })));
}

#[test]
fn paired_anchors_are_mirror_images() {
    let grids = octaves(3, &[8, 16, 32]);
    let layout = grids.layout(ImageSize::new(64, 96));
    let anchors = grids.anchors(&layout);
    let pairs = MirrorPairs::new(&layout);
    // Columns 1 to W − 1 of 8×12, 4×6 and 2×3 cells of four anchors.
    assert_eq!(pairs.image.len(), 4 * (8 * 11 + 4 * 5 + 2 * 2));
    for (own, other) in pairs.image.iter().zip(&pairs.mirror) {
        let [x1, y1, x2, y2] = anchors[*other];
        // Both sides are rounded sums around 96.
        let expected = [96.0 - x2, y1, 96.0 - x1, y2];
        assert!(anchors[*own].iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-4), "{:?}", anchors[*own]);
    }
}

/// Predictions on each level whose deltas are the anchors themselves.
fn anchors_as_deltas(grids: &DenseGrids, layout: &PyramidLayout) -> Vec<Predictions> {
    let device = Device::default();
    let level = |level: &LevelLayout| {
        let anchors = grids.anchors(&PyramidLayout { levels: vec![*level] });
        let shape = |columns| [1, anchors.len(), columns];
        let deltas = Tensor::<1>::from_floats(anchors.as_flattened(), &device).reshape(shape(4));
        Predictions::new(Tensor::zeros(shape(1), &device), deltas)
    };
    layout.levels.iter().map(level).collect()
}

#[test]
fn paired_anchors_are_those_of_the_pair_and_twice_those_of_the_half_view() {
    let strides = [8, 16, 32];
    let some_levels = DenseGrids { scale_levels: Some(vec![5]), ..octaves(3, &strides) };
    let finer = DenseGrids::new(&AnchorConfig::octaves(8.0, 3, 2, &[0.5, 1.0]), strides.to_vec(), true, None);
    for grids in [octaves(3, &strides), some_levels, finer, single(&[8.0, 16.0, 20.0, 32.0])] {
        for (height, width) in [(64, 96), (40, 70)] {
            let size = ImageSize::new(height, width);
            let full = grids.layout(size);
            let (half, pairs) = grids.half_layout(&full, size.halved());
            let on_half = anchors_as_deltas(&grids, &half);
            let pair = pairs.pair(&anchors_as_deltas(&grids, &full), |level| on_half[level].clone());
            let boxes = |predictions: &Predictions| -> Vec<f32> {
                predictions.box_deltas.to_data().try_to_vec().unwrap()
            };
            let paired = grids.paired_anchors(size);
            assert_eq!(paired.len(), pair.student.num_anchors());
            assert_eq!(paired.as_flattened(), boxes(&pair.student));
            let doubled: Vec<f32> = boxes(&pair.other).into_iter().map(|v| 2.0 * v).collect();
            assert_eq!(paired.as_flattened(), doubled);
        }
    }
}

#[test]
fn an_object_and_its_mirror_image_give_the_same_deltas() {
    let grids = octaves(2, &[8, 16]);
    let layout = grids.layout(ImageSize::new(32, 48));
    let anchors = grids.anchors(&layout);
    let coder = BoxCoder::default();
    let seen = |object: [f32; 4]| {
        let deltas: Vec<f32> = anchors.iter().flat_map(|anchor| coder.encode(object, *anchor)).collect();
        let deltas = TensorData::new(deltas, [1, anchors.len(), 4]);
        let logits = Tensor::zeros([1, anchors.len(), 1], &Device::default());
        Predictions::new(logits, Tensor::from_data(deltas, &Device::default()))
    };
    let (x1, y1, x2, y2) = (5.0, 6.0, 30.0, 21.0);
    let pair = MirrorPairs::new(&layout).pair(seen([x1, y1, x2, y2]), seen([48.0 - x2, y1, 48.0 - x1, y2]));
    let ViewPair { student, other } = pair.expect("levels of several columns");
    assert!(student.box_deltas.clone().abs().max().into_scalar::<f32>() > 1.0);
    let difference = (student.box_deltas - other.box_deltas).abs().max().into_scalar::<f32>();
    // Anchors are sums around 48, off by a few units in the last place, over sides of 6 and more.
    assert!(difference < 1e-5, "{difference}");
}

#[test]
fn the_levels_to_compare_can_be_chosen() {
    let mut grids = octaves(3, &[8, 16, 32]);
    let size = ImageSize::new(64, 64);
    let pairs = |grids: &DenseGrids| grids.half_layout(&grids.layout(size), size.halved()).1;
    let pair = |full, half| LevelPair { full, half };
    assert_eq!(pairs(&grids), ScalePairs::Levels(vec![pair(1, 0), pair(2, 1)]));
    grids.scale_levels = Some(vec![5]);
    assert_eq!(pairs(&grids), ScalePairs::Levels(vec![pair(2, 1)]));
}
