//! Between Burn's tensors and slices.

use burn::{
    backend::{DispatchTensorKind, flex::FlexTensor},
    tensor::{DType, Tensor, TensorData},
};
use rayon::prelude::*;

/// Multiplications below which waking other threads costs more than it saves.
const SERIAL_WORK: usize = 200_000;

/// Whether a tensor is an `f32` tensor of flex, with or without autodiff.
pub(crate) fn is_flex_f32<const D: usize>(tensor: &Tensor<D>) -> bool {
    fn is_flex(kind: &DispatchTensorKind) -> bool {
        match kind {
            DispatchTensorKind::Flex(_) => true,
            DispatchTensorKind::Autodiff(inner) => is_flex(inner),
            // Unreachable where flex is the only backend compiled in.
            #[allow(unreachable_patterns)]
            _ => false,
        }
    }
    tensor.dtype() == DType::F32 && is_flex(&tensor.clone().into_dispatch().kind)
}

/// The tensor with its elements in row-major order, so that `as_slice` gives them.
pub(crate) fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The sizes of a tensor of `D` axes.
pub(crate) fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().dims()
}

/// The elements of a [`contiguous`] tensor.
pub(crate) fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous f32 tensor, by the checks of the callers")
}

/// A tensor of `shape` from its elements in row-major order.
pub(crate) fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Runs `run` on each of the independent `tasks`: on rayon's threads when `work`, the multiplications of all tasks
/// together, is worth it.
pub(crate) fn run_tasks<T: Send>(tasks: Vec<T>, work: usize, run: impl Fn(T) + Sync + Send) {
    if work < SERIAL_WORK || tasks.len() < 2 {
        tasks.into_iter().for_each(run);
    } else {
        tasks.into_par_iter().with_max_len(1).for_each(run);
    }
}
