//! The convolutions of all networks of this project: every kernel, stride and pair of channel counts.

use std::collections::BTreeSet;

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
};
use sed::models::{
    backbone::{FpnConfig, P6Source, ResNetConfig},
    faster_rcnn::FasterRcnnConfig,
    ops::conv2d::{conv2d, conv2d_relu},
    retinanet::RetinaNetConfig,
};

use super::{
    compare::{Results, Tolerance, with_exact},
    place::Place,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shape {
    pub kernel: usize,
    pub stride: usize,
    pub input: usize,
    pub output: usize,
}

impl Shape {
    fn products(self) -> usize {
        self.kernel * self.kernel * self.input * self.output
    }

    /// Rows of two maps: few enough that the three passes take a fraction of a second on one core. Kernels
    /// cut their work by the size of the map, so that one size does not show them all. ndarray is a hundred
    /// times slower.
    fn rows(self) -> [usize; 2] {
        let budget = if Place::tested().is("ndarray") { 1_500_000 } else { 20_000_000 };
        let positions = (budget / self.products()) as f64;
        let rows = (positions.sqrt() as usize).clamp(2, 14) * self.stride;
        [rows, rows / 2 + 1]
    }
}

/// Values and all gradients on two images of `rows` × `rows + 1`: even and odd sides, so that at stride 2 the last
/// row or column is padding for one and not for the other.
pub fn check(name: &str, shape: Shape, rows: usize) {
    let Shape { kernel, stride, input, output } = shape;
    with_exact(name, Tolerance::Products, |place| {
        let x = place.leaf([2, input, rows, rows + 1], 1);
        let weight = place.leaf([output, input, kernel, kernel], 2);
        let bias = place.leaf([output], 3);
        let y = conv2d(x.clone(), weight.clone(), Some(bias.clone()), stride, kernel / 2);
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &x, &gradients);
        results.add_gradient("weight", &weight, &gradients);
        results.add_gradient("bias", &bias, &gradients);
        results
    });
}

/// With the ReLU behind it, which a backend may compute in the same pass; with a bias or without.
fn check_rectified(name: &str, shape: Shape, bias: bool) {
    let Shape { kernel, stride, input, output } = shape;
    with_exact(name, Tolerance::Products, |place| {
        let x = place.leaf([2, input, 12, 13], 1);
        let weight = place.leaf([output, input, kernel, kernel], 2);
        let bias = bias.then(|| place.leaf([output], 3));
        let y = conv2d_relu(x.clone(), weight.clone(), bias.clone(), stride, kernel / 2);
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &x, &gradients);
        results.add_gradient("weight", &weight, &gradients);
        if let Some(bias) = bias {
            results.add_gradient("bias", &bias, &gradients);
        }
        results
    });
}

#[test]
fn conv_relu_7x7_s2_3_64() {
    check_rectified("conv_relu_7x7_s2_3_64", Shape { kernel: 7, stride: 2, input: 3, output: 64 }, false);
}

#[test]
fn conv_relu_1x1_64_64() {
    check_rectified("conv_relu_1x1_64_64", Shape { kernel: 1, stride: 1, input: 64, output: 64 }, true);
}

#[test]
fn conv_relu_3x3_32_32() {
    check_rectified("conv_relu_3x3_32_32", Shape { kernel: 3, stride: 1, input: 32, output: 32 }, true);
}

#[test]
fn conv_relu_3x3_s2_16_32() {
    check_rectified("conv_relu_3x3_s2_16_32", Shape { kernel: 3, stride: 2, input: 16, output: 32 }, false);
}

macro_rules! convolutions {
    ($($name:ident: $kernel:literal, stride $stride:literal, $input:literal => $output:literal;)*) => {
        const LISTED: &[Shape] =
            &[$(Shape { kernel: $kernel, stride: $stride, input: $input, output: $output }),*];
        $(
            #[test]
            fn $name() {
                let shape = Shape { kernel: $kernel, stride: $stride, input: $input, output: $output };
                for rows in shape.rows() {
                    check(stringify!($name), shape, rows);
                }
            }
        )*
    };
}

convolutions! {
    // Stems.
    conv_7x7_s2_3_64: 7, stride 2, 3 => 64;
    conv_3x3_s2_3_16: 3, stride 2, 3 => 16;
    // ResNet-18 and -34.
    conv_3x3_64_64: 3, stride 1, 64 => 64;
    conv_3x3_s2_64_128: 3, stride 2, 64 => 128;
    conv_1x1_s2_64_128: 1, stride 2, 64 => 128;
    conv_3x3_128_128: 3, stride 1, 128 => 128;
    conv_3x3_s2_128_256: 3, stride 2, 128 => 256;
    conv_1x1_s2_128_256: 1, stride 2, 128 => 256;
    conv_3x3_256_256: 3, stride 1, 256 => 256;
    conv_3x3_s2_256_512: 3, stride 2, 256 => 512;
    conv_1x1_s2_256_512: 1, stride 2, 256 => 512;
    conv_3x3_512_512: 3, stride 1, 512 => 512;
    // ResNet-50 and -101; those of stride 2 and 1×1 that narrow are the paper's and caffe's.
    conv_1x1_64_64: 1, stride 1, 64 => 64;
    conv_1x1_64_256: 1, stride 1, 64 => 256;
    conv_1x1_256_64: 1, stride 1, 256 => 64;
    conv_1x1_256_128: 1, stride 1, 256 => 128;
    conv_1x1_s2_256_128: 1, stride 2, 256 => 128;
    conv_3x3_s2_128_128: 3, stride 2, 128 => 128;
    conv_1x1_128_512: 1, stride 1, 128 => 512;
    conv_1x1_512_128: 1, stride 1, 512 => 128;
    conv_1x1_512_256: 1, stride 1, 512 => 256;
    conv_1x1_s2_512_256: 1, stride 2, 512 => 256;
    conv_3x3_s2_256_256: 3, stride 2, 256 => 256;
    conv_1x1_256_1024: 1, stride 1, 256 => 1024;
    conv_1x1_s2_512_1024: 1, stride 2, 512 => 1024;
    conv_1x1_1024_256: 1, stride 1, 1024 => 256;
    conv_1x1_1024_512: 1, stride 1, 1024 => 512;
    conv_1x1_s2_1024_512: 1, stride 2, 1024 => 512;
    conv_3x3_s2_512_512: 3, stride 2, 512 => 512;
    conv_1x1_512_2048: 1, stride 1, 512 => 2048;
    conv_1x1_s2_1024_2048: 1, stride 2, 1024 => 2048;
    conv_1x1_2048_512: 1, stride 1, 2048 => 512;
    // Pyramid: laterals of C2 to C5, P6.
    conv_1x1_128_256: 1, stride 1, 128 => 256;
    conv_1x1_256_256: 1, stride 1, 256 => 256;
    conv_1x1_2048_256: 1, stride 1, 2048 => 256;
    conv_3x3_s2_2048_256: 3, stride 2, 2048 => 256;
    conv_3x3_s2_512_256: 3, stride 2, 512 => 256;
    // Heads: RetinaNet of 80 classes, RPN.
    conv_3x3_256_720: 3, stride 1, 256 => 720;
    conv_3x3_256_36: 3, stride 1, 256 => 36;
    conv_1x1_256_3: 1, stride 1, 256 => 3;
    conv_1x1_256_12: 1, stride 1, 256 => 12;
    // The tiny presets.
    conv_3x3_16_16: 3, stride 1, 16 => 16;
    conv_3x3_s2_16_32: 3, stride 2, 16 => 32;
    conv_1x1_s2_16_32: 1, stride 2, 16 => 32;
    conv_3x3_32_32: 3, stride 1, 32 => 32;
    conv_3x3_s2_32_64: 3, stride 2, 32 => 64;
    conv_1x1_s2_32_64: 1, stride 2, 32 => 64;
    conv_1x1_16_32: 1, stride 1, 16 => 32;
    conv_1x1_32_32: 1, stride 1, 32 => 32;
    conv_1x1_64_32: 1, stride 1, 64 => 32;
    conv_1x1_128_32: 1, stride 1, 128 => 32;
    conv_3x3_32_6: 3, stride 1, 32 => 6;
    conv_3x3_32_8: 3, stride 1, 32 => 8;
    conv_1x1_32_2: 1, stride 1, 32 => 2;
    conv_1x1_32_8: 1, stride 1, 32 => 8;
}

/// Kernel and channels of a network's convolutions.
struct Kernels(BTreeSet<(usize, usize, usize)>);

impl ModuleVisitor for Kernels {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // The shape alone does not make the network draw its weights.
        if let [output, input, kernel, _] = param.lazy_shape().to_vec()[..] {
            self.0.insert((kernel, input, output));
        }
    }
}

/// The strides follow from the source; kernels and channels are read from the networks.
#[test]
fn every_convolution_of_the_networks_is_listed() {
    let device = Device::default();
    let mut kernels = Kernels(BTreeSet::new());
    for depth in [18, 34, 50, 101] {
        let mut retinanet = RetinaNetConfig::resnet50(80);
        retinanet.backbone.body = ResNetConfig::new(depth);
        for p6_source in [P6Source::P5, P6Source::C5] {
            retinanet.backbone.fpn = FpnConfig { p6_source, ..FpnConfig::default() };
            retinanet.init(&device).unwrap().visit(&mut kernels);
        }
        let mut faster_rcnn = FasterRcnnConfig::resnet50(80);
        faster_rcnn.backbone.body = ResNetConfig::new(depth);
        faster_rcnn.init(&device).unwrap().visit(&mut kernels);
    }
    RetinaNetConfig::tiny(3).init(&device).unwrap().visit(&mut kernels);
    FasterRcnnConfig::tiny(3).init(&device).unwrap().visit(&mut kernels);
    let listed: BTreeSet<_> = LISTED.iter().map(|s| (s.kernel, s.input, s.output)).collect();
    let missing: Vec<_> = kernels.0.difference(&listed).collect();
    assert!(missing.is_empty(), "(kernel, inputs, outputs): {missing:?}");
}

/// The large maps of the first stages, on which a backend may take another algorithm than on small ones.
macro_rules! large_maps {
    ($($name:ident: $kernel:literal, stride $stride:literal, $input:literal => $output:literal, $rows:literal;)*) => {
        $(
            #[test]
            fn $name() {
                let shape = Shape { kernel: $kernel, stride: $stride, input: $input, output: $output };
                let rows = if Place::tested().is("ndarray") { 6 } else { $rows };
                check(stringify!($name), shape, rows);
            }
        )*
    };
}

large_maps! {
    large_conv_3x3_s2_3_16: 3, stride 2, 3 => 16, 256;
    large_conv_3x3_64_64: 3, stride 1, 64 => 64, 48;
    large_conv_1x1_64_256: 1, stride 1, 64 => 256, 64;
    large_conv_3x3_s2_128_128: 3, stride 2, 128 => 128, 64;
    large_conv_1x1_s2_256_512: 1, stride 2, 256 => 512, 64;
    large_conv_3x3_256_256: 3, stride 1, 256 => 256, 20;
    large_conv_3x3_16_16: 3, stride 1, 16 => 16, 64;
    large_conv_3x3_32_32: 3, stride 1, 32 => 32, 64;
}
