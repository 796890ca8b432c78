//! Gradient checkpointing of a whole module.

use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{GradientCheckpointingStrategy, Tensor},
};

/// The module with parameters whose operations are checkpointed: Burn refuses to mix parameters and inputs of
/// different strategies, and a module keeps its own when it moves to another device.
///
/// # Panics
///
/// If a parameter is not on an autodiff device.
///
/// ```
/// use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
/// use sed_train::train::checkpointed;
///
/// let device = Device::default().autodiff();
/// let layer = LinearConfig::new(2, 1).init(&device);
/// let weight = layer.weight.id;
/// let layer = checkpointed(layer);
/// assert_eq!(layer.weight.id, weight); // the same parameters
///
/// // Inputs have to be of the same strategy.
/// let input = Tensor::<2>::ones([1, 2], &device.gradient_checkpointing());
/// let grads = layer.forward(input).sum().backward();
/// assert_eq!(layer.weight.val().grad(&grads).unwrap().sum().into_scalar::<f32>(), 2.0);
/// ```
pub fn checkpointed<M: Module>(module: M) -> M {
    module.map(&mut Checkpointed)
}

struct Checkpointed;

impl ModuleMapper for Checkpointed {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|tensor| {
            tensor.with_gradient_checkpointing_strategy(GradientCheckpointingStrategy::Balanced)
        })
    }
}
