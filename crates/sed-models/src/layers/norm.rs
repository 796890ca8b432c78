//! Normalisation of feature maps: frozen batch norm, batch norm, group norm or none.

use burn::{
    config::Config,
    module::{Module, Param, ParamId},
    nn::{BatchNorm, BatchNormConfig},
    tensor::{Device, Tensor, activation::relu},
};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::ops::{
    conv2d::{AffineConv2d, Conv2d},
    group_norm::{group_norm, group_norm_relu},
};

/// Which normalisation follows a convolution.
///
/// In TOML: `norm = "frozen_batch"`, `norm = { group = { groups = 8 } }`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::layers::norm::{NormConfig, NormKind};
///
/// let device = Device::default();
/// let input = Tensor::<4>::from_floats([[[[1.0, 3.0]], [[10.0, 30.0]]]], &device);
/// let output = |kind: NormKind| {
///     NormConfig::new(kind, 2).init(&device).forward(input.clone()).into_data().try_to_vec::<f32>().unwrap()
/// };
/// assert_eq!(output(NormKind::None), [1.0, 3.0, 10.0, 30.0]);
/// // Each channel to mean 0 and variance 1.
/// for (value, expected) in output(NormKind::Group { groups: 2 }).into_iter().zip([-1.0, 1.0, -1.0, 1.0]) {
///     assert!((value - expected).abs() < 1e-4);
/// }
/// let read: NormKind = serde_json::from_str(r#"{"group": {"groups": 2}}"#).unwrap();
/// assert_eq!(read, NormKind::Group { groups: 2 });
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NormKind {
    /// No normalisation, for networks whose batch norm was folded into the convolutions.
    None,
    /// Batch norm with fixed statistics and a fixed affine map; see [`FrozenBatchNorm`].
    ///
    /// It starts as the identity: a network with it is meant to be filled with pre-trained weights.
    FrozenBatch,
    /// Batch norm that trains and keeps running statistics, which are used outside training
    /// (on a device without autodiff) and in frozen layers.
    ///
    /// A clone of the module shares the running statistics with the original. Take a copy that is
    /// to live on its own by [`Module::valid`] or from a record.
    Batch,
    /// Group norm (Wu and He, 2018), which does not look at the other images of a batch.
    Group {
        /// The number of groups; it must divide the number of channels.
        groups: usize,
    },
}

/// The channels cannot be split into the groups.
///
/// ```
/// use sed_models::layers::norm::{GroupsError, NormKind};
///
/// let error = NormKind::Group { groups: 8 }.validate(20).unwrap_err();
/// assert_eq!(error, GroupsError { channels: 20, groups: 8 });
/// assert_eq!(error.to_string(), "group norm: 20 channels do not split into 8 equal groups");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("group norm: {channels} channels do not split into {groups} equal groups")]
pub struct GroupsError {
    /// Channels of the layer.
    pub channels: usize,
    /// Groups asked for.
    pub groups: usize,
}

impl NormKind {
    /// Whether the normalisation can stand behind a layer of `channels` channels.
    ///
    /// # Errors
    ///
    /// If the groups of a group norm do not divide `channels`.
    ///
    /// ```
    /// use sed_models::layers::norm::NormKind;
    ///
    /// assert!(NormKind::Group { groups: 8 }.validate(32).is_ok());
    /// assert!(NormKind::Group { groups: 8 }.validate(4).is_err());
    /// // The others suit any number of channels.
    /// assert!(NormKind::Batch.validate(4).is_ok());
    /// ```
    pub fn validate(self, channels: usize) -> Result<(), GroupsError> {
        match self {
            Self::Group { groups } if groups == 0 || !channels.is_multiple_of(groups) => {
                Err(GroupsError { channels, groups })
            }
            _ => Ok(()),
        }
    }
}

/// Configuration of a [`Norm`].
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::layers::norm::{NormConfig, NormKind};
///
/// let device = Device::default();
/// let norm = NormConfig::new(NormKind::Batch, 16).with_epsilon(1e-3).init(&device);
/// assert_eq!(norm.forward(Tensor::zeros([2, 16, 4, 4], &device)).dims(), [2, 16, 4, 4]);
/// ```
#[derive(Config, Debug)]
pub struct NormConfig {
    /// Which normalisation.
    pub kind: NormKind,
    /// Channels of the input.
    pub channels: usize,
    /// Added to the variance before the square root.
    #[config(default = 1e-5)]
    pub epsilon: f64,
}

impl NormConfig {
    /// The layer, on `device`: scale 1, shift 0, running mean 0 and variance 1.
    ///
    /// # Panics
    ///
    /// If [`NormKind::validate`] refuses the channels.
    ///
    /// ```
    /// use burn::{module::Module, tensor::Device};
    /// use sed_models::layers::norm::{NormConfig, NormKind};
    ///
    /// // γ and β of four channels.
    /// let norm = NormConfig::new(NormKind::Group { groups: 2 }, 4).init(&Device::default());
    /// assert_eq!(norm.num_params(), 8);
    /// ```
    pub fn init(&self, device: &Device) -> Norm {
        if let Err(error) = self.kind.validate(self.channels) {
            panic!("{error}");
        }
        match self.kind {
            NormKind::None => Norm::None(Vec::new()),
            NormKind::FrozenBatch => {
                Norm::FrozenBatch(FrozenBatchNorm::identity(self.channels, self.epsilon, device))
            }
            NormKind::Batch => {
                Norm::Batch(BatchNormConfig::new(self.channels).with_epsilon(self.epsilon).init(device))
            }
            NormKind::Group { groups } => Norm::Group(GroupNorm {
                weight: Param::from_tensor(Tensor::ones([self.channels], device)),
                bias: Param::from_tensor(Tensor::zeros([self.channels], device)),
                groups,
                epsilon: self.epsilon,
            }),
        }
    }
}

/// A normalisation of feature maps, `[N, C, H, W]` to the same shape.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::layers::norm::{Norm, NormConfig, NormKind};
///
/// let device = Device::default();
/// let norm = NormConfig::new(NormKind::FrozenBatch, 1).init(&device);
/// let Norm::FrozenBatch(statistics) = &norm else { unreachable!("as asked for") };
/// assert_eq!(statistics.running_var.val().into_scalar::<f32>(), 1.0);
/// let output = norm.forward_relu(Tensor::from_floats([[[[-2.0, 2.0]]]], &device));
/// let output = output.into_data().try_to_vec::<f32>().unwrap();
/// // With these statistics the identity, but for ε.
/// assert!(output[0] == 0.0 && (output[1] - 2.0).abs() < 1e-4);
/// ```
#[derive(Module, Debug)]
pub enum Norm {
    /// The identity; the vector is empty, a module's variant has to hold a module.
    None(Vec<GroupNorm>),
    /// Batch norm with nothing to train.
    FrozenBatch(FrozenBatchNorm),
    /// Batch norm. Running variance is averaged over `n` values, not `n − 1` as PyTorch does.
    Batch(BatchNorm),
    /// Group norm.
    Group(GroupNorm),
}

impl Norm {
    /// `[N, C, H, W]` to `[N, C, H, W]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None(_) => input,
            Self::FrozenBatch(norm) => norm.forward(input),
            Self::Batch(norm) => norm.forward(input),
            Self::Group(norm) => norm.forward(input),
        }
    }

    /// `relu(forward(input))`, for a group norm as one operation where the backend has it.
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::Group(norm) => norm.forward_relu(input),
            norm => relu(norm.forward(input)),
        }
    }

    /// `forward(conv.forward(input))`; a frozen batch norm goes into the convolution.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::{
    ///     layers::norm::{NormConfig, NormKind},
    ///     ops::conv2d::Conv2dConfig,
    /// };
    ///
    /// let device = Device::default();
    /// let conv = Conv2dConfig::new(3, 4, 3).with_padding(1).with_bias(false).init(&device);
    /// let norm = NormConfig::new(NormKind::FrozenBatch, 4).init(&device);
    /// let x = Tensor::<4>::ones([1, 3, 5, 5], &device);
    /// let difference = norm.after(&conv, x.clone()) - norm.forward(conv.forward(x));
    /// assert!(difference.abs().max().into_scalar::<f32>() < 1e-5);
    /// ```
    pub fn after(&self, conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::FrozenBatch(norm) => norm.fold(conv).forward(input),
            norm => norm.forward(conv.forward(input)),
        }
    }

    /// `relu(after(conv, input))`, with the ReLU as part of what comes before it.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::{
    ///     layers::norm::{NormConfig, NormKind},
    ///     ops::conv2d::Conv2dConfig,
    /// };
    ///
    /// let device = Device::default();
    /// let conv = Conv2dConfig::new(3, 4, 3).with_padding(1).with_bias(false).init(&device);
    /// let norm = NormConfig::new(NormKind::Group { groups: 2 }, 4).init(&device);
    /// let y = norm.relu_after(&conv, Tensor::ones([1, 3, 5, 5], &device));
    /// assert_eq!((y.dims(), y.min().into_scalar::<f32>()), ([1, 4, 5, 5], 0.0));
    /// ```
    pub fn relu_after(&self, conv: &Conv2d, input: Tensor<4>) -> Tensor<4> {
        match self {
            Self::None(_) => conv.forward_relu(input),
            Self::FrozenBatch(norm) => norm.fold(conv).forward_relu(input),
            norm => norm.forward_relu(conv.forward(input)),
        }
    }
}

/// Batch norm with fixed statistics `μ, σ²` and a fixed affine map `γ, β`:
/// `y = γ·(x − μ) / √(σ² + ε) + β`, per channel.
///
/// No gradient reaches its four tensors, not even after [`Module::unfreeze`]; the gradient of the
/// input is `γ / √(σ² + ε)`.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::layers::norm::{Norm, NormConfig, NormKind};
///
/// let device = Device::default().autodiff();
/// let norm = NormConfig::new(NormKind::FrozenBatch, 1).init(&device);
/// let Norm::FrozenBatch(frozen) = norm else { unreachable!("as asked for") };
/// let output = frozen.forward(Tensor::from_floats([[[[1.0, -3.0]]]], &device));
/// let output = output.into_data().try_to_vec::<f32>().unwrap();
/// // Statistics as at the start, 0 and 1.
/// assert!((output[0] - 1.0).abs() < 1e-4 && (output[1] + 3.0).abs() < 1e-4);
/// assert!(!frozen.weight.val().is_require_grad());
/// ```
#[derive(Module, Debug)]
pub struct FrozenBatchNorm {
    /// `γ`, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `β`, `[C]`.
    pub bias: Param<Tensor<1>>,
    /// `μ`, `[C]`.
    pub running_mean: Param<Tensor<1>>,
    /// `σ²`, `[C]`.
    pub running_var: Param<Tensor<1>>,
    #[module(skip)]
    epsilon: f64,
}

impl FrozenBatchNorm {
    fn identity(channels: usize, epsilon: f64, device: &Device) -> Self {
        let fixed = |value: f64| {
            Param::initialized(ParamId::new(), Tensor::full([channels], value, device))
                .set_require_grad(false)
        };
        Self {
            weight: fixed(1.0),
            bias: fixed(0.0),
            running_mean: fixed(0.0),
            running_var: fixed(1.0),
            epsilon,
        }
    }

    /// `[N, C, H, W]` to `[N, C, H, W]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        let channels = self.weight.dims()[0];
        let (scale, shift) = self.affine();
        let per_channel = |t: Tensor<1>| t.reshape([1, channels, 1, 1]);
        input * per_channel(scale) + per_channel(shift)
    }

    /// `γ / √(σ² + ε)` and `β − μ·γ / √(σ² + ε)`, `[C]` each.
    fn affine(&self) -> (Tensor<1>, Tensor<1>) {
        let scale = self.weight.val() / (self.running_var.val() + self.epsilon).sqrt();
        let shift = self.bias.val() - self.running_mean.val() * scale.clone();
        (scale.detach(), shift.detach())
    }

    /// The convolution before the norm and the norm as one.
    fn fold(&self, conv: &Conv2d) -> AffineConv2d {
        let (scale, shift) = self.affine();
        conv.affine(scale, shift)
    }
}

/// Group norm: `y = γ·(x − μ_g) / √(σ²_g + ε) + β`, with mean and variance over the channels of a
/// group and all positions of one image.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_models::layers::norm::{Norm, NormConfig, NormKind};
///
/// let device = Device::default();
/// let norm = NormConfig::new(NormKind::Group { groups: 1 }, 2).init(&device);
/// let Norm::Group(group) = norm else { unreachable!("as asked for") };
/// let x = Tensor::<4>::from_floats([[[[1.0]], [[3.0]]]], &device);
/// let normalized = group.forward(x.clone()).into_data().try_to_vec::<f32>().unwrap();
/// assert!((normalized[0] + 1.0).abs() < 1e-4 && (normalized[1] - 1.0).abs() < 1e-4);
/// assert_eq!(group.forward_relu(x).into_data().try_to_vec::<f32>().unwrap(), [0.0, normalized[1]]);
/// ```
#[derive(Module, Debug)]
pub struct GroupNorm {
    /// `γ`, `[C]`.
    pub weight: Param<Tensor<1>>,
    /// `β`, `[C]`.
    pub bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    #[module(skip)]
    epsilon: f64,
}

impl GroupNorm {
    /// `[N, C, H, W]` to `[N, C, H, W]`.
    pub fn forward(&self, input: Tensor<4>) -> Tensor<4> {
        group_norm(input, self.weight.val(), self.bias.val(), self.groups, self.epsilon)
    }

    /// `relu(forward(input))`.
    pub fn forward_relu(&self, input: Tensor<4>) -> Tensor<4> {
        group_norm_relu(input, self.weight.val(), self.bias.val(), self.groups, self.epsilon)
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Distribution, Tolerance};

    use super::*;
    use crate::ops::conv2d::Conv2dConfig;

    fn input(device: &Device) -> Tensor<4> {
        Tensor::random([2, 4, 3, 3], Distribution::Normal(1.0, 2.0), device)
    }

    #[test]
    fn none_is_the_identity_and_holds_no_parameter() {
        let device = Device::default();
        let norm = NormConfig::new(NormKind::None, 4).init(&device);
        let x = input(&device);
        norm.forward(x.clone()).into_data().assert_eq(&x.into_data(), true);
        assert_eq!(norm.num_params(), 0);
    }

    #[test]
    fn with_relu_each_kind_is_cut_at_zero() {
        let device = Device::default();
        let x = input(&device);
        for kind in [NormKind::None, NormKind::FrozenBatch, NormKind::Batch, NormKind::Group { groups: 2 }] {
            let norm = NormConfig::new(kind, 4).init(&device);
            let expected = norm.forward(x.clone()).clamp_min(0.0);
            assert!(expected.clone().min().into_scalar::<f32>() == 0.0, "some values are cut");
            // One pass over memory instead of two may round once less.
            norm.forward_relu(x.clone())
                .into_data()
                .assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
        }
    }

    #[test]
    fn after_a_convolution_each_kind_gives_what_one_after_the_other_gives() {
        let device = Device::default();
        let x = input(&device);
        for kind in [NormKind::None, NormKind::FrozenBatch, NormKind::Batch, NormKind::Group { groups: 2 }] {
            for bias in [false, true] {
                let conv = Conv2dConfig::new(4, 4, 3).with_padding(1).with_bias(bias).init(&device);
                let mut norm = NormConfig::new(kind, 4).init(&device);
                if let Norm::FrozenBatch(frozen) = &mut norm {
                    let row = |values: [f32; 4]| Param::from_tensor(Tensor::from_floats(values, &device));
                    frozen.weight = row([2.0, -1.0, 0.5, 1.0]);
                    frozen.bias = row([0.1, 0.2, -0.3, 0.0]);
                    frozen.running_mean = row([1.0, -2.0, 0.0, 0.5]);
                    frozen.running_var = row([4.0, 0.5, 1.0, 2.0]);
                }
                let expected = norm.forward(conv.forward(x.clone()));
                // Sums of 36 products in another order.
                let close = |a: Tensor<4>, b: Tensor<4>| {
                    a.into_data().assert_approx_eq::<f32>(&b.into_data(), Tolerance::absolute(2e-5));
                };
                close(norm.after(&conv, x.clone()), expected.clone());
                close(norm.relu_after(&conv, x.clone()), expected.clamp_min(0.0));
            }
        }
    }

    #[test]
    fn frozen_batch_norm_is_the_affine_map_of_its_statistics() {
        let device = Device::default();
        let mut norm = FrozenBatchNorm::identity(2, 0.25, &device);
        norm.weight = norm.weight.map(|_| Tensor::from_floats([2.0, 3.0], &device));
        norm.bias = norm.bias.map(|_| Tensor::from_floats([1.0, -1.0], &device));
        norm.running_mean = norm.running_mean.map(|_| Tensor::from_floats([4.0, 0.0], &device));
        norm.running_var = norm.running_var.map(|_| Tensor::from_floats([0.75, 3.75], &device));
        let x = Tensor::<4>::from_floats([[[[5.0]], [[6.0]]]], &device);
        // 2·(5 − 4)/√(0.75 + 0.25) + 1 = 3 and 3·6/√(3.75 + 0.25) − 1 = 8.
        let expected = Tensor::<4>::from_floats([[[[3.0]], [[8.0]]]], &device);
        // A handful of roundings of f32 at values below 10.
        norm.forward(x).into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-5));
    }

    #[test]
    fn nothing_in_frozen_batch_norm_gets_a_gradient() {
        let device = Device::default().autodiff();
        for norm in [
            NormConfig::new(NormKind::FrozenBatch, 4).init(&device),
            NormConfig::new(NormKind::FrozenBatch, 4).init(&device).unfreeze(),
        ] {
            let x = input(&device).require_grad();
            let grads = norm.forward(x.clone()).sum().backward();
            let Norm::FrozenBatch(frozen) = &norm else { panic!("asked for frozen batch norm") };
            for param in [&frozen.weight, &frozen.bias, &frozen.running_mean, &frozen.running_var] {
                assert!(param.val().grad(&grads).is_none());
            }
            // dy/dx = 1/√(1 + 1e-5) everywhere, one rounding off at most.
            let expected = Tensor::<4>::ones([2, 4, 3, 3], &x.device().inner()) / (1.0f64 + 1e-5).sqrt();
            let gradient = x.grad(&grads).unwrap();
            gradient.into_data().assert_approx_eq::<f32>(&expected.into_data(), Tolerance::absolute(1e-6));
        }
    }

    #[test]
    fn batch_norm_normalises_each_channel_while_training_and_moves_its_statistics() {
        let device = Device::default().autodiff();
        let norm = NormConfig::new(NormKind::Batch, 4).init(&device);
        let y = norm.forward(input(&device) + 10.0);
        let means = y.swap_dims(0, 1).flatten::<2>(1, 3).mean_dim(1);
        // A mean of 18 values of order 1.
        means.into_data().assert_approx_eq::<f32>(
            &Tensor::<2>::zeros([4, 1], &Device::default()).into_data(),
            Tolerance::absolute(1e-5),
        );
        // Momentum 0.1 takes the running mean from 0 to a tenth of about 11.
        let Norm::Batch(batch) = norm.valid() else { panic!("asked for batch norm") };
        let moved: Vec<f32> = batch.running_mean.value().into_data().try_into_vec().unwrap();
        assert!(moved.iter().all(|&m| (0.7..1.5).contains(&m)), "{moved:?}");
    }

    #[test]
    fn group_norm_has_mean_0_and_variance_1_in_each_group() {
        let device = Device::default();
        let norm = NormConfig::new(NormKind::Group { groups: 2 }, 4).init(&device);
        let groups = norm.forward(input(&device)).reshape([2, 2, 18]);
        let zeros = Tensor::<3>::zeros([2, 2, 1], &device);
        // Sums of 18 values of order 1; the variance is off by ε / σ² as well.
        groups
            .clone()
            .mean_dim(2)
            .into_data()
            .assert_approx_eq::<f32>(&zeros.clone().into_data(), Tolerance::absolute(1e-5));
        groups
            .powi_scalar(2)
            .mean_dim(2)
            .into_data()
            .assert_approx_eq::<f32>(&(zeros + 1.0).into_data(), Tolerance::absolute(1e-4));
    }

    #[test]
    fn epsilon_enters_every_normalisation() {
        let device = Device::default();
        for kind in [NormKind::FrozenBatch, NormKind::Batch, NormKind::Group { groups: 1 }] {
            let x = input(&device);
            let spread = |epsilon| {
                let norm = NormConfig::new(kind, 4).with_epsilon(epsilon).init(&device);
                norm.forward(x.clone()).abs().mean().into_scalar::<f32>()
            };
            assert!(spread(100.0) < 0.5 * spread(1e-5), "{kind:?}");
        }
    }

    #[test]
    fn groups_must_divide_the_channels() {
        assert_eq!(NormKind::Group { groups: 3 }.validate(4), Err(GroupsError { channels: 4, groups: 3 }));
        assert!(NormKind::Group { groups: 0 }.validate(4).is_err());
        assert!(NormKind::Group { groups: 4 }.validate(4).is_ok());
    }

    #[test]
    fn kinds_have_plain_names() {
        assert_eq!(serde_json::to_string(&NormKind::FrozenBatch).unwrap(), "\"frozen_batch\"");
        let group: NormKind = serde_json::from_str(r#"{"group": {"groups": 8}}"#).unwrap();
        assert_eq!(group, NormKind::Group { groups: 8 });
    }
}
