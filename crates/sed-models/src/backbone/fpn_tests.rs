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
    assert_eq!(fpn.num_params(), config_without_p6(&config).init(CHANNELS, &device).unwrap().num_params());
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
