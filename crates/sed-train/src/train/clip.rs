//! Gradient clipping by the norm over all parameters.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{ExecutionError, Tensor},
};
#[cfg(feature = "flex")]
use sed_core::flex;

/// Scales all gradients of `module` by one factor so that their global norm
/// `sqrt(Σ over parameters of ‖g‖²)` is at most `max_norm`, and returns them with the norm before
/// clipping. Without `max_norm` the gradients stay as they are.
///
/// Burn clips each tensor by its own norm, which changes the direction of the step; one factor for
/// all keeps it. A norm that is not finite leaves the gradients untouched: the caller decides.
///
/// # Errors
///
/// If the device of the gradients is lost.
///
/// ```
/// use burn::{nn::LinearConfig, optim::GradientsParams, tensor::{Device, Tensor}};
/// use sed_train::train::clip_global_norm;
///
/// let device = Device::default();
/// let layer = LinearConfig::new(2, 1).with_bias(false).init(&device);
/// let mut grads = GradientsParams::new();
/// grads.register(layer.weight.id, Tensor::<2>::from_floats([[3.0], [4.0]], &device));
///
/// let (clipped, norm) = clip_global_norm(&layer, grads, Some(2.5))?;
/// assert_eq!(norm, 5.0);
/// let clipped = clipped.get::<2>(layer.weight.id).unwrap().into_data();
/// assert_eq!(clipped.iter::<f32>().collect::<Vec<_>>(), [1.5, 2.0]);
/// # Ok::<(), burn::tensor::ExecutionError>(())
/// ```
pub fn clip_global_norm<M: Module>(
    module: &M,
    grads: GradientsParams,
    max_norm: Option<f64>,
) -> Result<(GradientsParams, f64), ExecutionError> {
    let mut squares = Squares { grads: &grads, on_host: 0.0, on_device: Vec::new() };
    module.visit(&mut squares);
    let mut sum = squares.on_host;
    if !squares.on_device.is_empty() {
        // One read for all parameters: each read stalls a GPU.
        let squares = Tensor::cat(squares.on_device, 0).sum().try_into_data()?;
        sum += squares.iter::<f64>().sum::<f64>();
    }
    let norm = sum.sqrt();
    match max_norm {
        Some(max) if norm.is_finite() && norm > max => {
            let mut scale = Scale { grads, factor: max / norm };
            module.visit(&mut scale);
            Ok((scale.grads, norm))
        }
        _ => Ok((grads, norm)),
    }
}

struct Squares<'a> {
    grads: &'a GradientsParams,
    /// Of gradients in the host's memory.
    on_host: f64,
    on_device: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let Some(grad) = self.grads.get::<D>(param.id) else { return };
        #[cfg(feature = "flex")]
        if let Some(grad) = flex::primitive(&grad) {
            self.on_host += sum_of_squares(flex::values(&grad));
            return;
        }
        self.on_device.push((grad.clone() * grad).sum());
    }
}

#[cfg(feature = "flex")]
fn sum_of_squares(values: &[f32]) -> f64 {
    /// Elements that a task takes.
    const TASK: usize = 1 << 16;
    let mut sums = vec![0.0; values.len().div_ceil(TASK)];
    let tasks = values.chunks(TASK).zip(&mut sums).collect();
    flex::run_tasks(tasks, values.len(), |(part, sum): (&[f32], &mut f64)| *sum = flex::sum(part, |v| v * v));
    sums.iter().sum()
}

struct Scale {
    grads: GradientsParams,
    factor: f64,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.grads.register(param.id, grad * self.factor);
        }
    }
}

#[cfg(test)]
mod tests {
    use burn::{
        nn::{Linear, LinearConfig},
        tensor::Device,
    };

    use super::*;

    /// Gradients 3 and 4 on a weight and a bias: global norm 5.
    fn three_four() -> (Linear, GradientsParams) {
        let device = Device::default();
        let layer = LinearConfig::new(1, 1).init(&device);
        let mut grads = GradientsParams::new();
        grads.register(layer.weight.id, Tensor::<2>::from_data([[3.0]], &device));
        grads.register(layer.bias.as_ref().unwrap().id, Tensor::<1>::from_data([4.0], &device));
        (layer, grads)
    }

    fn values(layer: &Linear, grads: &GradientsParams) -> (f32, f32) {
        let weight = grads.get::<2>(layer.weight.id).unwrap().into_scalar::<f32>();
        (weight, grads.get::<1>(layer.bias.as_ref().unwrap().id).unwrap().into_scalar::<f32>())
    }

    #[test]
    fn a_larger_norm_is_scaled_down_in_one_direction() {
        let (layer, grads) = three_four();
        let (clipped, norm) = clip_global_norm(&layer, grads, Some(2.5)).unwrap();
        assert_eq!(norm, 5.0);
        assert_eq!(values(&layer, &clipped), (1.5, 2.0));
    }

    #[test]
    fn a_smaller_norm_and_no_limit_change_nothing() {
        for limit in [Some(5.0), Some(10.0), None] {
            let (layer, grads) = three_four();
            let (clipped, norm) = clip_global_norm(&layer, grads, limit).unwrap();
            assert_eq!(norm, 5.0);
            assert_eq!(values(&layer, &clipped), (3.0, 4.0));
        }
    }

    #[test]
    fn a_norm_that_is_not_finite_is_reported_and_not_spread() {
        let (layer, mut grads) = three_four();
        grads.register(layer.weight.id, Tensor::<2>::from_data([[f32::NAN]], &Device::default()));
        let (clipped, norm) = clip_global_norm(&layer, grads, Some(1.0)).unwrap();
        assert!(norm.is_nan());
        assert_eq!(values(&layer, &clipped).1, 4.0);
    }
}
