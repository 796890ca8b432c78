//! Feature extractors: residual networks and the feature pyramid on top of them.
//!
//! Fields are named as torchvision names them, so that the keys of its state dicts are the paths
//! of the parameters (see [`crate::weights`]).

pub mod fpn;
pub mod resnet;
pub mod resnet_fpn;

use thiserror::Error;

pub use fpn::{Fpn, FpnConfig, P6Source};
pub use resnet::{ResNet, ResNetConfig};
pub use resnet_fpn::{ResNetFpn, ResNetFpnConfig};

use crate::layers::norm::GroupsError;

/// An option of a backbone has a value that it cannot have.
///
/// ```
/// use burn::tensor::Device;
/// use sed_models::backbone::{BackboneConfigError, ResNetConfig};
///
/// match ResNetConfig::new(20).init(&Device::default()) {
///     Err(BackboneConfigError::Depth(depth)) => assert_eq!(depth, 20),
///     other => unreachable!("{other:?}"),
/// }
/// assert_eq!(BackboneConfigError::Depth(20).to_string(), "depth: 20, but must be 18, 34, 50 or 101");
/// ```
#[derive(Debug, Clone, PartialEq, Error)]
pub enum BackboneConfigError {
    /// No such network.
    #[error("depth: {0}, but must be 18, 34, 50 or 101")]
    Depth(usize),
    /// A layer without channels.
    #[error("{0}: must be at least 1")]
    NoChannels(&'static str),
    /// The stem's kernel has no middle.
    #[error("stem_kernel_size: {0}, but must be odd, so that padding keeps the image centred")]
    EvenStemKernel(usize),
    /// A pooling window would see nothing but padding.
    #[error("stem_pool_padding: {0:?}, but each side must be at most 1, half of the window of 3")]
    PoolPadding([usize; 4]),
    /// Blocks of ResNet-18 and -34 have no 1×1 convolution.
    #[error("stride_in_1x1: a ResNet-{0} has no 1×1 convolution in its blocks")]
    StrideIn1x1(usize),
    /// More layers than there are.
    #[error("trainable_layers: {0}, but must be from 0 (all frozen) to 5 (none frozen)")]
    TrainableLayers(usize),
    /// Not a positive number.
    #[error("norm_epsilon: {0}, but must be finite and not negative")]
    Epsilon(f64),
    /// The group norm does not fit a layer.
    #[error("norm: {0}")]
    Groups(#[from] GroupsError),
    /// The pyramid starts where the backbone has no features, or has none.
    #[error("lowest_level: {0}, but must be 2, 3, 4 or 5")]
    LowestLevel(usize),
    /// The pyramid ends where it cannot.
    #[error("highest_level: {highest}, but must be from lowest_level, {lowest}, to {last}")]
    HighestLevel {
        /// The level of the configuration.
        highest: usize,
        /// The pyramid's lowest level.
        lowest: usize,
        /// The highest that it could have.
        last: usize,
    },
}
