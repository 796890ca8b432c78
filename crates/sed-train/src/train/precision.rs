//! The type in which networks compute.

use burn::{
    module::{ModuleMapper, Param},
    tensor::{Device, FloatDType, Tensor},
};
use sed_core::Detector;
use serde::{Deserialize, Serialize};

use super::TrainError;

/// In which type the layers of student and teacher compute during a step. Weights, their gradients, the optimizer, the teacher's average,
/// losses, boxes and evaluations are in `f32` whatever it is.
///
/// ```
/// use sed_train::train::{Precision, TrainConfig};
///
/// let config: TrainConfig = toml::from_str("precision = \"bf16\"")?;
/// assert_eq!(config.precision, Precision::Bf16);
/// assert_eq!(TrainConfig::default().precision, Precision::F32);
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32 bits throughout.
    #[default]
    F32,
    /// Convolutions and fully connected layers in bfloat16, which has the range of `f32` with 8 bits of precision, so that no loss needs
    /// to be scaled; faster on GPUs that have units for it. (Micikevicius et al., *Mixed Precision Training*, ICLR 2018; Kalamkar et
    /// al., 2019.) The device must compute in it, and the detector must [take it](Detector::takes_other_precisions).
    Bf16,
}

impl Precision {
    /// Refuses what the detector or a device cannot do.
    pub(super) fn check<D: Detector>(self, detector: &D, devices: &[Device]) -> Result<(), TrainError> {
        let Some(dtype) = self.dtype() else { return Ok(()) };
        let refuse = |rule: String| Err(TrainError::config("precision", "bf16", rule));
        if !detector.takes_other_precisions() {
            return refuse("this detector computes in f32 alone".to_string());
        }
        match devices.iter().find(|device| !device.supports_dtype(dtype)) {
            Some(device) => refuse(format!("the device {device:?} does not compute in it")),
            None => Ok(()),
        }
    }

    /// The detector with weights of this type. Gradients go to the weights that it was made of.
    pub(super) fn of<D: Detector>(self, detector: &D) -> D {
        match self.dtype() {
            None => detector.clone(),
            Some(dtype) => detector.clone().map(&mut Cast(dtype)),
        }
    }

    fn dtype(self) -> Option<FloatDType> {
        match self {
            Self::F32 => None,
            Self::Bf16 => Some(FloatDType::BF16),
        }
    }
}

/// Biases and what norms are made of have one axis, and stay as they are: each layer takes them to its own type.
struct Cast(FloatDType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if D < 2 {
            return param;
        }
        param.map(|weight| weight.cast(self.0))
    }
}
