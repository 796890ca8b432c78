//! A residual network and a feature pyramid on top of it.

use burn::{
    module::Module,
    tensor::{Device, Tensor},
};
use serde::{Deserialize, Serialize};

use super::{BackboneConfigError, Fpn, FpnConfig, ResNet, ResNetConfig};

/// Configuration of a [`ResNetFpn`].
///
/// ```
/// use sed_models::backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig};
///
/// let config = ResNetFpnConfig {
///     body: ResNetConfig::new(18),
///     fpn: FpnConfig { out_channels: 64, highest_level: 6, ..FpnConfig::default() },
/// };
/// assert!(config.validate().is_ok());
/// assert_eq!(config.strides(), [8, 16, 32, 64]);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ResNetFpnConfig {
    /// The residual network.
    pub body: ResNetConfig,
    /// The pyramid.
    pub fpn: FpnConfig,
}

impl ResNetFpnConfig {
    /// Whether the options fit together.
    ///
    /// # Errors
    ///
    /// Names the option and the rule it breaks.
    pub fn validate(&self) -> Result<(), BackboneConfigError> {
        self.body.validate()?;
        self.fpn.validate()
    }

    /// The strides of the levels, finest first.
    pub fn strides(&self) -> Vec<usize> {
        self.fpn.strides()
    }

    /// The backbone, on `device`.
    ///
    /// # Errors
    ///
    /// Those of [`validate`](Self::validate).
    ///
    /// ```
    /// use burn::tensor::Device;
    /// use sed_models::backbone::{BackboneConfigError, FpnConfig, ResNetConfig, ResNetFpnConfig};
    ///
    /// let small = ResNetFpnConfig {
    ///     body: ResNetConfig { base_width: 2, ..ResNetConfig::new(18) },
    ///     fpn: FpnConfig { out_channels: 4, ..FpnConfig::default() },
    /// };
    /// let backbone = small.init(&Device::default())?;
    /// assert_eq!((backbone.fpn.lowest_level(), backbone.fpn.highest_body_level()), (3, 5));
    ///
    /// let refused = ResNetFpnConfig { fpn: FpnConfig { lowest_level: 6, ..small.fpn }, ..small };
    /// let error = refused.init(&Device::default()).unwrap_err();
    /// assert_eq!(error, BackboneConfigError::LowestLevel(6));
    /// # Ok::<(), BackboneConfigError>(())
    /// ```
    pub fn init(&self, device: &Device) -> Result<ResNetFpn, BackboneConfigError> {
        let body = self.body.init(device)?;
        let fpn = self.fpn.init(self.body.out_channels()?, device)?;
        Ok(ResNetFpn { body, fpn })
    }
}

/// A residual network and a feature pyramid on top of it.
///
/// ```
/// use burn::{module::Module, tensor::Device};
/// use sed_models::backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig};
///
/// let config = ResNetFpnConfig {
///     body: ResNetConfig { base_width: 2, ..ResNetConfig::new(18) },
///     fpn: FpnConfig { out_channels: 4, ..FpnConfig::default() },
/// };
/// let backbone = config.init(&Device::default())?;
/// assert_eq!(backbone.num_params(), backbone.body.num_params() + backbone.fpn.num_params());
/// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
/// ```
#[derive(Module, Debug)]
pub struct ResNetFpn {
    /// The residual network.
    pub body: ResNet,
    /// The pyramid.
    pub fpn: Fpn,
}

impl ResNetFpn {
    /// The levels of the pyramid over `images` `[N, 3, H, W]`, finest first, each
    /// `[N, out_channels, H / stride, W / stride]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig};
    ///
    /// let config = ResNetFpnConfig {
    ///     body: ResNetConfig { base_width: 4, ..ResNetConfig::new(18) },
    ///     fpn: FpnConfig { out_channels: 8, ..FpnConfig::default() },
    /// };
    /// let device = Device::default();
    /// let levels = config.init(&device)?.forward(Tensor::zeros([1, 3, 128, 128], &device));
    /// let sizes: Vec<_> = levels.iter().map(|level| level.dims()[2]).collect();
    /// assert_eq!(sizes, [16, 8, 4, 2, 1]); // P3 … P7
    /// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
    /// ```
    pub fn forward(&self, images: Tensor<4>) -> Vec<Tensor<4>> {
        self.fpn.forward(&self.body.forward_to(images, self.fpn.highest_body_level()))
    }

    /// The levels from `lowest` on; see [`Fpn::forward_from`].
    ///
    /// # Panics
    ///
    /// If the pyramid has no level `lowest`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::backbone::{FpnConfig, ResNetConfig, ResNetFpnConfig};
    ///
    /// let config = ResNetFpnConfig {
    ///     body: ResNetConfig { base_width: 2, ..ResNetConfig::new(18) },
    ///     fpn: FpnConfig { out_channels: 4, lowest_level: 2, highest_level: 5, ..FpnConfig::default() },
    /// };
    /// let device = Device::default();
    /// let levels = config.init(&device)?.forward_from(Tensor::zeros([1, 3, 64, 64], &device), 4);
    /// let sizes: Vec<_> = levels.iter().map(|level| level.dims()[2]).collect();
    /// assert_eq!(sizes, [4, 2]); // P4 and P5
    /// # Ok::<(), sed_models::backbone::BackboneConfigError>(())
    /// ```
    pub fn forward_from(&self, images: Tensor<4>, lowest: usize) -> Vec<Tensor<4>> {
        self.fpn.forward_from(&self.body.forward_to(images, self.fpn.highest_body_level()), lowest)
    }
}
