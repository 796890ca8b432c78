//! The optimizer of the student.

use burn::optim::{
    AdamWConfig, ModuleOptimizer, SgdConfig, decay::WeightDecayConfig, momentum::MomentumConfig,
};
use serde::{Deserialize, Serialize};

use super::TrainError;

/// The optimizer, with the conventions of PyTorch where Burn's defaults differ: no dampening of the
/// momentum, `ε = 1e-8`.
///
/// ```
/// use sed_train::train::OptimizerConfig;
///
/// let config: OptimizerConfig = toml::from_str("kind = 'sgd'\nmomentum = 0.9\nweight_decay = 1e-4")?;
/// assert_eq!(config, OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 1e-4 });
///
/// let error = OptimizerConfig::Sgd { momentum: 1.0, weight_decay: 0.0 }.validate().unwrap_err();
/// assert_eq!(error.to_string(), "optimizer.momentum = 1: must lie in [0, 1)");
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum OptimizerConfig {
    /// Stochastic gradient descent with momentum.
    Sgd {
        /// Momentum, in `[0, 1)`.
        momentum: f64,
        /// L2 penalty, added to the gradient.
        weight_decay: f64,
    },
    /// Adam with decoupled weight decay.
    Adamw {
        /// Decay of the mean of the gradients, in `[0, 1)`.
        beta1: f64,
        /// Decay of the mean of their squares, in `[0, 1)`.
        beta2: f64,
        /// Decoupled weight decay.
        weight_decay: f64,
    },
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self::Sgd { momentum: 0.9, weight_decay: 1e-4 }
    }
}

impl OptimizerConfig {
    /// Checks the ranges.
    ///
    /// # Errors
    ///
    /// Names the first field outside its range.
    pub fn validate(&self) -> Result<(), TrainError> {
        let unit = |field, value: f64| match (0.0..1.0).contains(&value) {
            true => Ok(()),
            false => Err(TrainError::config(field, value, "must lie in [0, 1)")),
        };
        match *self {
            Self::Sgd { momentum, weight_decay } => {
                unit("optimizer.momentum", momentum)?;
                unit("optimizer.weight_decay", weight_decay)
            }
            Self::Adamw { beta1, beta2, weight_decay } => {
                unit("optimizer.beta1", beta1)?;
                unit("optimizer.beta2", beta2)?;
                unit("optimizer.weight_decay", weight_decay)
            }
        }
    }

    /// Burn's optimizer.
    ///
    /// ```
    /// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
    /// use sed_train::train::OptimizerConfig;
    ///
    /// let device = Device::default().autodiff();
    /// let layer = LinearConfig::new(1, 1).with_bias(false).init(&device);
    /// let before = layer.weight.val().into_scalar::<f32>();
    /// let loss = layer.forward(Tensor::<2>::ones([1, 1], &device)).sum(); // of gradient 1
    ///
    /// let mut optimizer = OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 }.init();
    /// let grads = GradientsParams::from_grads(loss.backward(), &layer);
    /// let layer = optimizer.step(0.5, layer, grads);
    /// let after = layer.weight.val().into_scalar::<f32>();
    /// assert!((before - after - 0.5).abs() < 1e-6);
    /// ```
    pub fn init(&self) -> ModuleOptimizer {
        match *self {
            Self::Sgd { momentum, weight_decay } => {
                let mut config = SgdConfig::new();
                if momentum > 0.0 {
                    config = config.with_momentum(Some(
                        MomentumConfig::new().with_momentum(momentum).with_dampening(0.0),
                    ));
                }
                if weight_decay > 0.0 {
                    config = config.with_weight_decay(Some(WeightDecayConfig::new(weight_decay as f32)));
                }
                config.init()
            }
            Self::Adamw { beta1, beta2, weight_decay } => AdamWConfig::new()
                .with_beta_1(beta1 as f32)
                .with_beta_2(beta2 as f32)
                .with_epsilon(1e-8)
                .with_weight_decay(weight_decay as f32)
                .init(),
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{Linear, LinearConfig},
        optim::GradientsParams,
        tensor::{Device, Tensor},
    };

    use super::*;

    /// The weight after two steps from 1 with gradient 1 at learning rate 0.1.
    fn two_steps(config: &OptimizerConfig) -> f32 {
        let device = Device::default().autodiff();
        let mut layer: Linear = LinearConfig::new(1, 1).with_bias(false).init(&device);
        layer.weight = layer.weight.map(|w| (w * 0.0 + 1.0).detach().require_grad());
        let mut optimizer = config.init();
        for _ in 0..2 {
            let mut grads = GradientsParams::new();
            grads.register(layer.weight.id, Tensor::<2>::ones([1, 1], &device.clone().inner()));
            layer = optimizer.step(0.1, layer, grads);
        }
        layer.weight.val().into_scalar::<f32>()
    }

    #[test]
    fn sgd_is_undampened() {
        // v = 1, then 0.9 + 1: 1 − 0.1 − 0.19 = 0.71. Rounding of f32 only.
        let weight = two_steps(&OptimizerConfig::Sgd { momentum: 0.9, weight_decay: 0.0 });
        assert!((weight - 0.71).abs() < 1e-6, "{weight}");
        let plain = two_steps(&OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.0 });
        assert!((plain - 0.8).abs() < 1e-6, "{plain}");
    }

    #[test]
    fn sgd_weight_decay_adds_to_the_gradient() {
        // Gradient 1 + 0.5·w: 1 → 0.85 → 0.85 − 0.1·1.425 = 0.7075.
        let weight = two_steps(&OptimizerConfig::Sgd { momentum: 0.0, weight_decay: 0.5 });
        assert!((weight - 0.7075).abs() < 1e-6, "{weight}");
    }

    #[test]
    fn adamw_steps_by_the_rate_and_decays_the_weight() {
        // A constant gradient gives unit steps: 0.9, 0.8; ε = 1e-8 is below f32's resolution.
        let plain = two_steps(&OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 0.0 });
        assert!((plain - 0.8).abs() < 1e-5, "{plain}");
        let decayed = two_steps(&OptimizerConfig::Adamw { beta1: 0.9, beta2: 0.999, weight_decay: 0.5 });
        assert!(decayed < plain - 0.05, "{decayed}");
    }

    #[test]
    fn values_outside_their_range_are_refused_by_name() {
        let error = OptimizerConfig::Sgd { momentum: 1.0, weight_decay: 0.0 }.validate().unwrap_err();
        assert!(error.to_string().contains("optimizer.momentum"), "{error}");
        let error =
            OptimizerConfig::Adamw { beta1: 0.9, beta2: -1.0, weight_decay: 0.0 }.validate().unwrap_err();
        assert!(error.to_string().contains("optimizer.beta2"), "{error}");
    }
}
