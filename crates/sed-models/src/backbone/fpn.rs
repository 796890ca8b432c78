//! The feature pyramid network (Lin et al., 2017) with the extra levels P6 and P7 of RetinaNet (Lin et
//! al., *Focal Loss for Dense Object Detection*, 2017); of one level, it is a single feature map.

use burn::{
    module::Module,
    nn::Initializer,
    tensor::{Device, Tensor, activation::relu},
};
use serde::{Deserialize, Serialize};

use super::BackboneConfigError;
use crate::{
    layers::norm::{Norm, NormConfig, NormKind},
    ops::conv2d::{Conv2d, Conv2dConfig},
};

/// What P6 is computed from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum P6Source {
    /// The backbone's last feature map, as in the RetinaNet paper.
    C5,
    /// The pyramid's level 5, as in torchvision's `retinanet_resnet50_fpn`.
    P5,
    /// Every second cell of level 5, without a convolution, as in Faster R-CNN (Lin et al., *Feature
    /// Pyramid Networks*, CVPR 2017, §4.1).
    Subsampled,
}

/// Configuration of an [`Fpn`]; the default is that of torchvision's RetinaNet.
///
/// With `lowest_level = highest_level` there is a single map, at 4 one of stride 16 made from C4 alone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FpnConfig {
    /// Channels of each level.
    pub out_channels: usize,
    /// The finest level, 2 to 5; level `l` has stride `2^l`.
    pub lowest_level: usize,
    /// The coarsest level, from the lowest up to 7; up to 6 with [`P6Source::Subsampled`].
    pub highest_level: usize,
    /// What P6 is computed from.
    pub p6_source: P6Source,
    /// What follows the convolutions of levels up to P5; with it they lose their bias.
    pub norm: NormKind,
}

impl Default for FpnConfig {
    fn default() -> Self {
        Self {
            out_channels: 256,
            lowest_level: 3,
            highest_level: 7,
            p6_source: P6Source::P5,
            norm: NormKind::None,
        }
    }
}

impl FpnConfig {
    /// Whether the options fit together.
    ///
    /// # Errors
    ///
    /// Names the option and the rule it breaks.
    pub fn validate(&self) -> Result<(), BackboneConfigError> {
        if self.out_channels == 0 {
            return Err(BackboneConfigError::NoChannels("out_channels"));
        }
        if !(2..=5).contains(&self.lowest_level) {
            return Err(BackboneConfigError::LowestLevel(self.lowest_level));
        }
        let last = if self.p6_source == P6Source::Subsampled { 6 } else { 7 };
        if !(self.lowest_level..=last).contains(&self.highest_level) {
            return Err(BackboneConfigError::HighestLevel {
                highest: self.highest_level,
                lowest: self.lowest_level,
                last,
            });
        }
        self.norm.validate(self.out_channels)?;
        Ok(())
    }

    /// The strides of the levels, finest first.
    pub fn strides(&self) -> Vec<usize> {
        (self.lowest_level..=self.highest_level).map(|level| 1 << level).collect()
    }

    /// The pyramid on feature maps C2 … C5 of `in_channels`, on `device`; convolutions start
    /// uniform with variance `1 / fan_in`, biases at 0.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    pub fn init(&self, in_channels: [usize; 4], device: &Device) -> Result<Fpn, BackboneConfigError> {
        self.validate()?;
        let conv = |input: usize, kernel: usize, stride: usize, bias: bool| {
            Conv2dConfig::new(input, self.out_channels, kernel)
                .with_stride(stride)
                .with_padding(kernel / 2)
                .with_bias(bias)
                .with_initializer(Initializer::KaimingUniform { gain: 1.0, fan_out_only: false })
                .init(device)
        };
        let norm = || NormConfig::new(self.norm, self.out_channels).init(device);
        let bias = self.norm == NormKind::None;
        let levels = &in_channels[self.lowest_level - 2..=self.highest_body_level() - 2];
        let p6_in = if self.p6_source == P6Source::C5 { in_channels[3] } else { self.out_channels };
        let subsampled = self.p6_source == P6Source::Subsampled;
        Ok(Fpn {
            inner_blocks: levels.iter().map(|&input| (conv(input, 1, 1, bias), norm())).collect(),
            layer_blocks: levels.iter().map(|_| (conv(self.out_channels, 3, 1, bias), norm())).collect(),
            extra_blocks: ExtraLevels {
                p6: (self.highest_level >= 6 && !subsampled).then(|| conv(p6_in, 3, 2, true)),
                p7: (self.highest_level >= 7).then(|| conv(self.out_channels, 3, 2, true)),
            },
            lowest_level: self.lowest_level,
            p6_source: (self.highest_level >= 6).then_some(self.p6_source),
        })
    }

    /// The last of C2 … C5 that the pyramid is made from.
    pub fn highest_body_level(&self) -> usize {
        self.highest_level.min(5)
    }
}

/// The convolutions of the levels that lie above the backbone.
#[derive(Module, Debug)]
pub struct ExtraLevels {
    /// To P6, of stride 2.
    pub p6: Option<Conv2d>,
    /// From P6 to P7, of stride 2.
    pub p7: Option<Conv2d>,
}

/// The feature pyramid: `P_l = layer_l(M_l)`, `M_5 = inner_5(C5)`,
/// `M_l = inner_l(C_l) + up(M_{l+1})`, `P6 = p6(P5 or C5)`, `P7 = p7(relu(P6))`, where `up`
/// repeats each cell twice in both directions.
#[derive(Module, Debug)]
pub struct Fpn {
    /// 1×1 convolution and its normalisation, a level, finest first.
    pub inner_blocks: Vec<(Conv2d, Norm)>,
    /// 3×3 convolution and its normalisation, a level, finest first.
    pub layer_blocks: Vec<(Conv2d, Norm)>,
    /// P6 and P7.
    pub extra_blocks: ExtraLevels,
    #[module(skip)]
    lowest_level: usize,
    /// `None` without P6.
    #[module(skip)]
    p6_source: Option<P6Source>,
}

impl Fpn {
    /// The finest level.
    pub fn lowest_level(&self) -> usize {
        self.lowest_level
    }

    /// The last of C2 … C5 that it is made from.
    pub fn highest_body_level(&self) -> usize {
        self.lowest_level + self.inner_blocks.len() - 1
    }

    /// All levels, finest first, from C2, C3, … up to [`highest_body_level`](Self::highest_body_level).
    ///
    /// # Panics
    ///
    /// As [`forward_from`](Self::forward_from).
    pub fn forward(&self, features: &[Tensor<4>]) -> Vec<Tensor<4>> {
        self.forward_from(features, self.lowest_level())
    }

    /// The levels from `lowest` on, finest first: the same values as in [`forward`](Self::forward),
    /// without the work for finer levels.
    ///
    /// # Panics
    ///
    /// If the pyramid has no level `lowest` made from a feature map, a feature map is missing, or two
    /// neighbouring ones are not of sizes `n` and `n / 2`, rounded up.
    pub fn forward_from(&self, features: &[Tensor<4>], lowest: usize) -> Vec<Tensor<4>> {
        let (finest, coarsest) = (self.lowest_level(), self.highest_body_level());
        assert!(
            (finest..=coarsest).contains(&lowest),
            "Fpn: level {lowest} asked of a pyramid on C{finest} to C{coarsest}"
        );
        assert!(
            features.len() > coarsest - 2,
            "Fpn: {} feature maps, C2 to C{coarsest} are needed",
            features.len()
        );
        let mut merged: Option<Tensor<4>> = None;
        let mut levels = Vec::new();
        for level in (lowest..=coarsest).rev() {
            let (inner, inner_norm) = &self.inner_blocks[level - finest];
            let (layer, layer_norm) = &self.layer_blocks[level - finest];
            let lateral = inner_norm.forward(inner.forward(features[level - 2].clone()));
            let sum = match merged.take() {
                Some(coarser) => {
                    let [_, _, height, width] = lateral.dims();
                    lateral + upsample(coarser, height, width)
                }
                None => lateral,
            };
            levels.push(layer_norm.forward(layer.forward(sum.clone())));
            merged = Some(sum);
        }
        levels.reverse();
        if let Some(source) = self.p6_source {
            let p5 = &levels[coarsest - lowest];
            levels.push(match (source, &self.extra_blocks.p6) {
                (P6Source::C5, Some(p6)) => p6.forward(features[3].clone()),
                (_, Some(p6)) => p6.forward(p5.clone()),
                (_, None) => every_second(p5.clone()),
            });
        }
        if let (Some(p7), Some(p6)) = (&self.extra_blocks.p7, levels.last()) {
            levels.push(p7.forward(relu(p6.clone())));
        }
        levels
    }
}

/// The cells of even row and column.
///
/// Made of views, so that its gradient exists on every backend.
fn every_second(x: Tensor<4>) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    let (rows, columns) = (h.div_ceil(2), w.div_ceil(2));
    x.pad([(0, 2 * rows - h), (0, 2 * columns - w)], 0.0)
        .reshape([n, c, rows, 2, columns, 2])
        .slice([0..n, 0..c, 0..rows, 0..1, 0..columns, 0..1])
        .reshape([n, c, rows, columns])
}

/// Each cell twice in both directions, the last row or column once where the target is odd.
///
/// Made of views, so that its gradient exists on every backend.
fn upsample(x: Tensor<4>, height: usize, width: usize) -> Tensor<4> {
    let [n, c, h, w] = x.dims();
    assert!(
        h == height.div_ceil(2) && w == width.div_ceil(2),
        "Fpn: a level of {h}×{w} above one of {height}×{width}"
    );
    x.reshape([n, c, h, 1, w, 1]).expand([n, c, h, 2, w, 2]).reshape([n, c, 2 * h, 2 * w]).slice([
        0..n,
        0..c,
        0..height,
        0..width,
    ])
}

#[cfg(test)]
mod tests {
    use burn::tensor::Distribution;

    use super::*;

    const CHANNELS: [usize; 4] = [2, 3, 4, 5];

    fn features(device: &Device) -> [Tensor<4>; 4] {
        let sides = [16, 8, 4, 2];
        core::array::from_fn(|i| {
            Tensor::random([1, CHANNELS[i], sides[i], sides[i]], Distribution::Normal(0.0, 1.0), device)
        })
    }

    fn config(lowest_level: usize, highest_level: usize) -> FpnConfig {
        FpnConfig { out_channels: 6, lowest_level, highest_level, ..FpnConfig::default() }
    }

    #[test]
    fn upsampling_repeats_cells_and_cuts_odd_grids() {
        let device = Device::default();
        let x = Tensor::<4>::from_floats([[[[1.0, 2.0], [3.0, 4.0]]]], &device);
        let expected = Tensor::<4>::from_floats(
            [[[[1.0, 1.0, 2.0], [1.0, 1.0, 2.0], [3.0, 3.0, 4.0], [3.0, 3.0, 4.0]]]],
            &device,
        );
        upsample(x, 4, 3).into_data().assert_eq(&expected.into_data(), true);
    }

    #[test]
    #[should_panic(expected = "2×2 above one of 5×4")]
    fn grids_that_do_not_halve_are_refused() {
        upsample(Tensor::zeros([1, 1, 2, 2], &Device::default()), 5, 4);
    }

    #[test]
    fn levels_halve_from_the_lowest_to_the_highest() {
        let device = Device::default();
        for (lowest, highest, sides) in
            [(3, 7, vec![8, 4, 2, 1, 1]), (2, 6, vec![16, 8, 4, 2, 1]), (4, 5, vec![4, 2])]
        {
            let config = config(lowest, highest);
            let fpn = config.init(CHANNELS, &device).unwrap();
            assert_eq!(fpn.lowest_level(), lowest);
            let levels = fpn.forward(&features(&device));
            assert_eq!(levels.len(), config.strides().len());
            let found: Vec<_> = levels.iter().map(Tensor::dims).collect();
            assert_eq!(found, sides.iter().map(|&s| [1, 6, s, s]).collect::<Vec<[usize; 4]>>());
        }
        assert_eq!(config(3, 7).strides(), [8, 16, 32, 64, 128]);
    }

    #[test]
    fn leaving_out_the_finest_level_changes_no_other() {
        let device = Device::default();
        let fpn = config(2, 7).init(CHANNELS, &device).unwrap();
        let input = features(&device);
        let all = fpn.forward(&input);
        let fewer = fpn.forward_from(&input, 3);
        assert_eq!(fewer.len(), 5);
        for (a, b) in all[1..].iter().zip(&fewer) {
            a.to_data().assert_eq(&b.to_data(), true);
        }
    }

    #[test]
    #[should_panic(expected = "level 2 asked of a pyramid on C3 to C5")]
    fn a_level_that_is_not_there_is_refused() {
        let device = Device::default();
        config(3, 7).init(CHANNELS, &device).unwrap().forward_from(&features(&device), 2);
    }

    #[test]
    fn a_change_of_c5_reaches_every_level_and_one_of_c3_only_p3() {
        let device = Device::default();
        let fpn = config(3, 5).init(CHANNELS, &device).unwrap();
        let input = features(&device);
        let base = fpn.forward(&input);
        let changed = |index: usize| {
            let mut input = input.clone();
            input[index] = input[index].clone() + 1.0;
            let levels = fpn.forward(&input);
            let differs = |(a, b): (&Tensor<4>, &Tensor<4>)| {
                (a.clone() - b.clone()).abs().max().into_scalar::<f32>() > 1e-6
            };
            base.iter().zip(&levels).map(differs).collect::<Vec<_>>()
        };
        assert_eq!(changed(3), [true, true, true]);
        assert_eq!(changed(1), [true, false, false]);
        assert_eq!(changed(0), [false, false, false]);
    }

    #[test]
    fn p6_comes_from_the_source_asked_for_and_p7_from_its_positive_part() {
        let device = Device::default();
        for source in [P6Source::C5, P6Source::P5] {
            let config = FpnConfig { p6_source: source, ..config(3, 7) };
            let fpn = config.init(CHANNELS, &device).unwrap();
            let input = features(&device);
            let levels = fpn.forward(&input);
            let from = if source == P6Source::C5 { input[3].clone() } else { levels[2].clone() };
            let p6 = fpn.extra_blocks.p6.as_ref().unwrap().forward(from);
            levels[3].to_data().assert_eq(&p6.to_data(), true);
            let p7 = fpn.extra_blocks.p7.as_ref().unwrap().forward(p6.clamp_min(0.0));
            levels[4].to_data().assert_eq(&p7.into_data(), true);
        }
    }

    #[test]
    fn a_subsampled_p6_is_every_second_cell_of_p5() {
        let device = Device::default();
        let config = FpnConfig { p6_source: P6Source::Subsampled, ..config(2, 6) };
        let fpn = config.init(CHANNELS, &device).unwrap();
        assert_eq!(
            fpn.num_params(),
            config_without_p6(&config).init(CHANNELS, &device).unwrap().num_params()
        );
        let levels = fpn.forward(&features(&device));
        assert_eq!(levels[4].dims(), [1, 6, 1, 1]);
        let corner = levels[3].clone().slice([0..1, 0..6, 0..1, 0..1]);
        levels[4].to_data().assert_eq(&corner.into_data(), true);
        // An odd grid rounds up.
        let row = Tensor::<4>::from_floats([[[[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]]]], &device);
        let expected = Tensor::<4>::from_floats([[[[1.0, 3.0], [7.0, 9.0]]]], &device);
        every_second(row).into_data().assert_eq(&expected.into_data(), true);
    }

    fn config_without_p6(config: &FpnConfig) -> FpnConfig {
        FpnConfig { highest_level: 5, ..config.clone() }
    }

    #[test]
    fn a_pyramid_of_one_level_sees_one_feature_map() {
        let device = Device::default();
        let fpn = config(4, 4).init(CHANNELS, &device).unwrap();
        assert_eq!((fpn.lowest_level(), fpn.highest_body_level()), (4, 4));
        let maps = features(&device);
        // C5 is not needed.
        let [level] = fpn.forward(&maps[..3]).try_into().expect("one level");
        let by_hand = fpn.layer_blocks[0].0.forward(fpn.inner_blocks[0].0.forward(maps[2].clone()));
        level.into_data().assert_eq(&by_hand.into_data(), true);
    }

    #[test]
    #[should_panic(expected = "2 feature maps, C2 to C4 are needed")]
    fn missing_feature_maps_panic() {
        let device = Device::default();
        config(4, 4).init(CHANNELS, &device).unwrap().forward(&features(&device)[..2]);
    }

    #[test]
    fn with_group_norm_each_level_is_normalised() {
        let device = Device::default();
        let config = FpnConfig { norm: NormKind::Group { groups: 1 }, ..config(3, 5) };
        let fpn = config.init(CHANNELS, &device).unwrap();
        assert!(fpn.layer_blocks[0].0.bias.is_none());
        for level in fpn.forward(&features(&device)) {
            // A sum of at most 384 values of order 1, and ε against the variance.
            assert!(level.clone().mean().into_scalar::<f32>().abs() < 1e-4);
            assert!((level.powi_scalar(2).mean().into_scalar::<f32>() - 1.0).abs() < 1e-2);
        }
    }

    #[test]
    fn every_convolution_gets_a_gradient() {
        let device = Device::default().autodiff();
        let fpn = config(2, 7).init(CHANNELS, &device).unwrap();
        let loss = fpn.forward(&features(&device)).into_iter().map(|level| level.powi_scalar(2).sum());
        let grads = loss.reduce(|a, b| a + b).unwrap().backward();
        let blocks = fpn.inner_blocks.iter().chain(&fpn.layer_blocks).map(|(conv, _)| conv);
        for conv in blocks.chain(&fpn.extra_blocks.p6).chain(&fpn.extra_blocks.p7) {
            assert!(conv.weight.val().grad(&grads).is_some());
        }
    }

    #[test]
    fn options_that_do_not_fit_are_refused() {
        use BackboneConfigError as E;
        for (config, error) in [
            (FpnConfig { out_channels: 0, ..config(3, 7) }, E::NoChannels("out_channels")),
            (config(1, 7), E::LowestLevel(1)),
            (config(3, 8), E::HighestLevel { highest: 8, lowest: 3, last: 7 }),
            (config(4, 3), E::HighestLevel { highest: 3, lowest: 4, last: 7 }),
            (
                FpnConfig { p6_source: P6Source::Subsampled, ..config(2, 7) },
                E::HighestLevel { highest: 7, lowest: 2, last: 6 },
            ),
        ] {
            assert_eq!(config.validate(), Err(error));
        }
        let groups = FpnConfig { norm: NormKind::Group { groups: 4 }, ..config(3, 7) }.validate();
        assert!(matches!(groups, Err(E::Groups(_))), "{groups:?}");
        assert!(serde_json::from_str::<FpnConfig>(r#"{"p6_source": "P5", "highest_level": 6}"#).is_ok());
        assert!(serde_json::from_str::<FpnConfig>(r#"{"level": 6}"#).is_err());
    }
}
