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
