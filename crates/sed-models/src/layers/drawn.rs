//! Random weights, drawn at once.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::Tensor,
};

/// The module with all its weights drawn, in the order of its fields.
///
/// Burn draws a weight when it is first asked for. Two detectors that start under the same `device.seed` would then differ
/// where threads use them side by side, as the generator is that of the process.
pub(crate) fn drawn<M: Module>(module: M) -> M {
    module.visit(&mut Draw);
    module
}

struct Draw;

impl ModuleVisitor for Draw {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        // The value stays with the parameter; this copy shares its storage.
        let _ = param.val();
    }
}
