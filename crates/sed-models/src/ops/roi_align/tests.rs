use burn::tensor::{DType, Device, TensorData};

use super::*;

/// Values in [-1, 1) that look random.
fn values<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let values: Vec<f32> = (0..shape.iter().product())
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn error<const D: usize>(actual: Tensor<D>, expected: Tensor<D>) -> f32 {
    assert_eq!(actual.dims(), expected.dims());
    (actual - expected).abs().max().into_scalar()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().try_to_vec().unwrap()
}

fn pooling(output_size: usize, sampling_ratio: usize, aligned: bool) -> RoiAlign {
    RoiAlign { output_size, sampling_ratio, aligned }
}

/// Ratios 1 to 3, aligned and not.
fn all(output_size: usize) -> impl Iterator<Item = RoiAlign> {
    (1..4).flat_map(move |ratio| [false, true].map(|aligned| pooling(output_size, ratio, aligned)))
}

#[test]
fn a_constant_map_gives_its_constant() {
    let device = Device::default();
    let features = Tensor::<4>::full([2, 3, 9, 11], 4.5, &device);
    let boxes = [[0.0, 0.0, 11.0, 9.0], [1.3, 2.7, 1.4, 2.8], [-0.5, 8.0, 3.0, 9.0]];
    for options in all(4) {
        let pooled = options.forward(features.clone(), &boxes, &[1, 0, 1], 1.0);
        // Weights of up to 36 taps sum to 1 but for rounding.
        assert!(error(pooled, Tensor::full([3, 3, 4, 4], 4.5, &device)) < 5e-6, "{options:?}");
    }
}

/// Bilinear samples of a linear function are exact, and their mean is its value at the centre.
#[test]
fn a_ramp_gives_its_values_at_the_centres_of_the_bins() {
    let device = Device::default();
    let f = |x: f32, y: f32| 3.0 * x - 5.0 * y;
    let map = (0..20 * 24).map(|i| f((i % 24) as f32, (i / 24) as f32)).collect::<Vec<_>>();
    let features = Tensor::from_data(TensorData::new(map, [1, 1, 20, 24]), &device);
    // At a stride of 4: 10.5 × 7.75 elements from (2.5, 3.25), and 2 × 4 from (20, 10).
    let boxes = [[10.0, 13.0, 52.0, 44.0], [80.0, 40.0, 88.0, 56.0]];
    let on_map = [[2.5, 3.25, 10.5, 7.75], [20.0, 10.0, 2.0, 4.0]];
    for options in all(5) {
        let pooled = options.forward(features.clone(), &boxes, &[0, 0], 0.25);
        let offset = if options.aligned { 0.5 } else { 0.0 };
        let expected = on_map.iter().flat_map(|[x, y, w, h]| {
            (0..25).map(move |i| {
                let centre = |bin: usize| (bin as f32 + 0.5) / 5.0;
                f(x - offset + centre(i % 5) * w, y - offset + centre(i / 5) * h)
            })
        });
        let expected = TensorData::new(expected.collect::<Vec<_>>(), [2, 1, 5, 5]);
        // Values of up to 70.
        assert!(error(pooled, Tensor::from_data(expected, &device)) < 5e-5, "{options:?}");
    }
}

#[test]
fn the_box_of_a_whole_image_gives_the_map_and_its_averages() {
    let device = Device::default();
    let features = values([2, 3, 6, 6], 1, &device);
    let whole = [[0.0, 0.0, 48.0, 48.0]; 2];
    // One sample a bin, at the elements.
    let pooled = pooling(6, 1, true).forward(features.clone(), &whole, &[0, 1], 0.125);
    assert!(error(pooled, features.clone()) < 1e-6);
    // Bins of 2 × 2 elements with a sample at each.
    let pooled = pooling(3, 2, true).forward(features.clone(), &whole, &[0, 1], 0.125);
    let means = features.reshape([6, 3, 2, 3, 2]).mean_dim(4).mean_dim(2).reshape([2, 3, 3, 3]);
    assert!(error(pooled, means) < 1e-6);
}

#[test]
fn aligned_boxes_are_boxes_half_an_element_earlier() {
    let device = Device::default();
    let features = values([1, 2, 9, 9], 1, &device);
    let boxes = [[8.0, 12.0, 30.0, 34.0], [-6.0, 2.0, 20.0, 40.0]];
    let shifted = boxes.map(|corners: [f32; 4]| corners.map(|corner| corner - 2.0));
    let aligned = pooling(7, 2, true).forward(features.clone(), &boxes, &[0, 0], 0.25);
    let plain = pooling(7, 2, false).forward(features, &shifted, &[0, 0], 0.25);
    assert!(error(aligned, plain) < 1e-6);
}

/// Not aligned, a box of no size or turned round is one of 1 × 1 element; aligned it is what it is.
#[test]
fn only_aligned_boxes_may_be_small() {
    let device = Device::default();
    let features = values([1, 2, 9, 9], 1, &device);
    let of = |options: RoiAlign, corners: [f32; 4]| options.forward(features.clone(), &[corners], &[0], 1.0);
    let plain = pooling(4, 2, false);
    let one = of(plain, [3.0, 4.0, 4.0, 5.0]);
    for small in [[3.0, 4.0, 3.0, 4.0], [3.0, 4.0, 1.0, 2.0], [3.0, 4.0, 3.5, 0.0]] {
        assert_eq!(host(of(plain, small)), host(one.clone()), "{small:?}");
    }
    let aligned = pooling(4, 2, true);
    // Every sample of a point is the map there: at (3, 4).
    let point = features.clone().narrow(2, 4, 1).narrow(3, 3, 1).expand([1, 2, 4, 4]);
    assert!(error(of(aligned, [3.5, 4.5, 3.5, 4.5]), point) < 1e-6);
    // Bins of an inverted box go the other way.
    let turned = of(aligned, [6.0, 7.0, 2.0, 1.0]);
    assert!(error(turned, of(aligned, [2.0, 1.0, 6.0, 7.0]).flip([2, 3])) < 1e-6);
}

#[test]
fn samples_beyond_the_border_are_zero() {
    let device = Device::default();
    let features = Tensor::<4>::ones([1, 1, 4, 4], &device);
    // Samples at x = −1.5, −0.5, 0.5, 1.5 and y = 2.5, 3.5, 4.5, 5.5, one a bin.
    let pooled = pooling(4, 1, false).forward(features, &[[-2.0, 2.0, 2.0, 6.0]], &[0], 1.0);
    let row = [0.0, 1.0, 1.0, 1.0];
    assert_eq!(host(pooled), [row, row, [0.0; 4], [0.0; 4]].concat());
}

#[test]
fn each_option_acts() {
    let device = Device::default();
    let features = values([1, 1, 12, 12], 1, &device);
    let of = |options: RoiAlign| options.forward(features.clone(), &[[1.0, 2.0, 9.0, 10.0]], &[0], 1.0);
    let base = of(pooling(3, 2, false));
    assert_eq!(of(pooling(4, 2, false)).dims(), [1, 1, 4, 4]);
    assert!(error(of(pooling(3, 3, false)), base.clone()) > 1e-2);
    assert!(error(of(pooling(3, 2, true)), base) > 1e-2);
}

/// What pools `boxes` in images 0, 1, …, 0, 1, … by `forward` and by tensor operations, with gradients.
fn check(options: RoiAlign, shape: [usize; 4], boxes: &[[f32; 4]], permuted: bool) {
    let device = Device::default().autodiff();
    let images: Vec<usize> = (0..boxes.len()).map(|k| k % shape[0]).collect();
    let [n, c, h, w] = shape;
    let run = |composed: bool| {
        // A view with another order of the elements.
        let leaf = values(if permuted { [n, h, w, c] } else { shape }, 1, &device).require_grad();
        let features = if permuted { leaf.clone().permute([0, 3, 1, 2]) } else { leaf.clone() };
        let output = if composed {
            composed::roi_align(features, &options.taps(shape, boxes, &images, 0.5))
        } else {
            options.forward(features, boxes, &images, 0.5)
        };
        let gradients = (output.clone() * values(output.dims(), 2, &device)).sum().backward();
        (output.inner(), leaf.grad(&gradients).expect("a gradient"))
    };
    let (actual, expected) = (run(false), run(true));
    let what = format!("{options:?} on {shape:?}, permuted {permuted}");
    assert_eq!(actual.0.dims(), [boxes.len(), c, options.output_size, options.output_size], "{what}");
    if !boxes.is_empty() {
        assert!(error(actual.0, expected.0) < 1e-6, "{what}");
    }
    // An element sums up to some hundred products, in another order.
    assert!(error(actual.1, expected.1) < 2e-5, "gradient of {what}");
}

#[test]
fn matches_the_composed_operations() {
    let boxes = [
        [2.0, 3.0, 9.0, 8.0],
        [-5.0, -3.0, 40.0, 30.0],
        [6.0, 5.0, 6.0, 5.0],
        [8.0, 7.0, 3.0, 2.0],
        [1.0, 1.0, 5.0, 11.0],
        [500.0, 0.0, 600.0, 9.0],
    ];
    for options in all(3) {
        for shape in [[1, 1, 4, 5], [2, 16, 6, 5], [3, 17, 7, 9], [2, 40, 1, 1]] {
            check(options, shape, &boxes, options.sampling_ratio == 2);
        }
    }
}

#[test]
fn no_boxes_give_no_features_and_no_gradient() {
    check(RoiAlign::default(), [2, 3, 4, 4], &[], false);
}

/// The weights of a bin inside the map sum to 1.
#[test]
fn the_gradient_of_a_sum_counts_the_bins() {
    let device = Device::default().autodiff();
    for options in all(3) {
        let features = values([2, 2, 8, 8], 1, &device).require_grad();
        let boxes = [[4.0, 4.0, 20.0, 28.0], [8.0, 6.0, 9.0, 7.0], [2.0, 2.0, 30.0, 30.0]];
        let pooled = options.forward(features.clone(), &boxes, &[0, 1, 0], 0.25);
        let gradient = features.grad(&pooled.sum().backward()).unwrap();
        let sums = host(gradient.reshape([2, 128]).sum_dim(1));
        // Two channels of 9 bins a box; sums of 128 values.
        assert!((sums[0] - 36.0).abs() < 1e-4 && (sums[1] - 18.0).abs() < 1e-4, "{options:?}: {sums:?}");
    }
}

#[test]
fn boxes_that_are_no_numbers_and_far_boxes_are_zero() {
    let device = Device::default().autodiff();
    let (nan, inf, max) = (f32::NAN, f32::INFINITY, f32::MAX);
    let boxes = [
        [nan, nan, nan, nan],
        [nan, 1.0, 3.0, 3.0],
        [1.0, 1.0, 3.0, nan],
        [1.0, 1.0, inf, 3.0],
        [-inf, -inf, inf, inf],
        [inf, 1.0, -inf, 3.0],
        [-max, -max, max, max],
        [max, max, max, max],
        [1.0, -max, 3.0, -max],
        [-9.0, 1.0, -4.0, 3.0],
    ];
    for options in all(4) {
        let features = values([1, 2, 5, 5], 1, &device).require_grad();
        let pooled = options.forward(features.clone(), &boxes, &[0; 10], 1.0);
        assert!(host(pooled.clone().inner()).iter().all(|value| *value == 0.0), "{options:?}");
        let gradient = features.grad(&pooled.sum().backward()).unwrap();
        assert!(host(gradient).iter().all(|value| *value == 0.0), "gradient of {options:?}");
    }
    let features = values([1, 2, 5, 5], 1, &device.inner());
    let pooled = RoiAlign::default().forward(features, &[[1.0, 1.0, 3.0, 3.0]], &[0], nan);
    assert!(host(pooled).iter().all(|value| *value == 0.0));
}

#[test]
fn other_types_are_composed() {
    let device = Device::default();
    let features = values([1, 2, 5, 5], 1, &device);
    let of = |features| RoiAlign::default().forward(features, &[[1.0, 0.5, 4.0, 3.0]], &[0], 1.0);
    let expected = of(features.clone());
    let pooled = of(features.cast(DType::F64));
    assert_eq!(pooled.dtype(), DType::F64);
    assert!(error(pooled.cast(expected.dtype()), expected) < 1e-6);
}

#[test]
fn options_are_checked_and_read() {
    assert_eq!(RoiAlign::default().validate(), Ok(()));
    assert_eq!(pooling(0, 2, false).validate().unwrap_err().option, "roi_align.output_size");
    assert_eq!(pooling(7, 0, false).validate().unwrap_err().option, "roi_align.sampling_ratio");
    assert_eq!(serde_json::from_str::<RoiAlign>("{}").unwrap(), RoiAlign::default());
    assert!(serde_json::from_str::<RoiAlign>(r#"{"ratio": 2}"#).is_err());
}

#[test]
#[should_panic(expected = "2 boxes, 1 indices of images")]
fn a_box_without_an_image_panics() {
    let features = Tensor::zeros([1, 1, 2, 2], &Device::default());
    RoiAlign::default().forward(features, &[[0.0; 4]; 2], &[0], 1.0);
}

#[test]
#[should_panic(expected = "image 2 of features [2, 1, 3, 3]")]
fn an_image_that_is_not_there_panics() {
    let features = Tensor::zeros([2, 1, 3, 3], &Device::default());
    RoiAlign::default().forward(features, &[[0.0; 4]; 2], &[0, 2], 1.0);
}
