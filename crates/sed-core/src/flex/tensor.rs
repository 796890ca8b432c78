//! Between Burn's tensors and slices.

use std::sync::{Mutex, PoisonError};

use burn::{
    backend::{DispatchTensorKind, flex::FlexTensor},
    tensor::{DType, Tensor, TensorData},
};

/// Multiplications below which waking other threads costs more than it saves.
const SERIAL_WORK: usize = 200_000;

/// Whether a tensor is an `f32` tensor of flex, with or without autodiff.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::flex::is_flex_f32;
///
/// assert!(is_flex_f32(&Tensor::<1>::zeros([2], &Device::flex())));
/// assert!(is_flex_f32(&Tensor::<1>::zeros([2], &Device::flex().autodiff())));
/// ```
pub fn is_flex_f32<const D: usize>(tensor: &Tensor<D>) -> bool {
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

/// The tensor behind a handle, without its graph and with its elements in row-major order; `None` unless it is an
/// `f32` tensor of flex.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::flex::{dims, primitive, values};
///
/// let rows = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::flex());
/// let columns = primitive(&rows.transpose()).unwrap();
/// assert_eq!(dims(&columns), [3, 2]);
/// assert_eq!(values(&columns), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
/// ```
pub fn primitive<const D: usize>(tensor: &Tensor<D>) -> Option<FlexTensor> {
    into_primitive(tensor.clone())
}

/// [`primitive`] of the last handle, so that it can be written in place.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::flex::{into_primitive, values, values_mut};
///
/// let tensor = Tensor::<1>::from_floats([1.0, 2.0], &Device::flex());
/// let mut numbers = into_primitive(tensor).unwrap();
/// values_mut(&mut numbers)[0] = 5.0;
/// assert_eq!(values(&numbers), [5.0, 2.0]);
/// ```
pub fn into_primitive<const D: usize>(tensor: Tensor<D>) -> Option<FlexTensor> {
    if !is_flex_f32(&tensor) {
        return None;
    }
    match tensor.inner().into_dispatch().kind {
        DispatchTensorKind::Flex(tensor) => Some(contiguous(tensor.float())),
        // Unreachable where flex is the only backend compiled in.
        #[allow(unreachable_patterns)]
        _ => None,
    }
}

/// The tensor with its elements in row-major order, so that `as_slice` gives them.
///
/// ```
/// use sed_core::flex::{contiguous, from_values, values};
///
/// let columns = from_values(vec![1.0, 2.0, 3.0, 4.0], [2, 2]).transpose(0, 1);
/// assert!(!columns.is_contiguous());
/// assert_eq!(values(&contiguous(columns)), [1.0, 3.0, 2.0, 4.0]);
/// ```
pub fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The sizes of a tensor of `D` axes.
///
/// # Panics
///
/// If it has another number of axes.
///
/// ```
/// use sed_core::flex::{dims, from_values};
///
/// let [height, width] = dims(&from_values(vec![0.0; 6], [2, 3]));
/// assert_eq!((height, width), (2, 3));
/// ```
pub fn dims<const D: usize>(tensor: &FlexTensor) -> [usize; D] {
    tensor.layout().shape().dims()
}

/// The elements of a [`contiguous`] `f32` tensor.
///
/// # Panics
///
/// If the tensor is of another type or not contiguous.
///
/// ```
/// use sed_core::flex::{from_values, values};
///
/// let tensor = from_values(vec![1.0, 2.0], [1, 2]);
/// assert_eq!(values(&tensor).iter().sum::<f32>(), 3.0);
/// ```
pub fn values(tensor: &FlexTensor) -> &[f32] {
    tensor.as_slice().expect("a contiguous f32 tensor, by the checks of the callers")
}

/// The elements of a [`contiguous`] `f32` tensor, to be written: in place where this is the only handle of its
/// memory, in a copy where it is not.
///
/// # Panics
///
/// If the tensor is of another type or not contiguous.
///
/// ```
/// use sed_core::flex::{from_values, values, values_mut};
///
/// let original = from_values(vec![1.0, 2.0], [2]);
/// let mut copy = original.clone();
/// values_mut(&mut copy).fill(0.0);
/// // Both shared their memory until the second was written.
/// assert_eq!((values(&original), values(&copy)), (&[1.0, 2.0][..], &[0.0; 2][..]));
/// ```
pub fn values_mut(tensor: &mut FlexTensor) -> &mut [f32] {
    // A part of a larger tensor is contiguous too.
    let (start, end) =
        tensor.layout().contiguous_offsets().expect("a contiguous tensor, by the checks of the callers");
    &mut tensor.storage_mut::<f32>()[start..end]
}

/// A tensor of `shape` from its elements in row-major order.
///
/// # Panics
///
/// If their number is not that of the shape.
///
/// ```
/// use sed_core::flex::{dims, from_values, values};
///
/// let tensor = from_values(vec![1.0, 2.0, 3.0, 4.0], [2, 2]);
/// assert_eq!((dims(&tensor), values(&tensor)[2]), ([2, 2], 3.0));
/// ```
pub fn from_values<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// Runs `run` on each of the independent `tasks`: on the caller and rayon's threads when `work`, the multiplications
/// of all tasks together, is worth it.
///
/// The caller works too instead of sleeping until others are done: for tasks of some 100 µs, handing all of them over
/// costs a tenth of a training step.
///
/// ```
/// let input = [1.0_f32, 2.0, 3.0, 4.0, 5.0];
/// let mut output = [0.0; 5];
/// // A task reads two elements and writes two: they share nothing.
/// let tasks: Vec<_> = input.chunks(2).zip(output.chunks_mut(2)).collect();
/// sed_core::flex::run_tasks(tasks, input.len(), |(input, output)| {
///     output.iter_mut().zip(input).for_each(|(y, x)| *y = x * x);
/// });
/// assert_eq!(output, [1.0, 4.0, 9.0, 16.0, 25.0]);
/// ```
pub fn run_tasks<T: Send>(tasks: Vec<T>, work: usize, run: impl Fn(T) + Sync + Send) {
    let helpers = rayon::current_num_threads().min(tasks.len()).saturating_sub(1);
    if work < SERIAL_WORK || helpers == 0 {
        tasks.into_iter().for_each(run);
        return;
    }
    let tasks = Mutex::new(tasks.into_iter());
    // The lock is held only while a task is taken, where nothing panics.
    let next = || tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
    let work_off = || {
        while let Some(task) = next() {
            run(task);
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 0..helpers {
            scope.spawn(|_| work_off());
        }
        work_off();
    });
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn a_part_of_a_tensor_is_written_alone() {
        let all = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]], &Device::flex());
        let mut row = primitive(&all.clone().slice([1..2, 0..2])).expect("a tensor of flex");
        assert_eq!(values(&row), [3.0, 4.0]);
        values_mut(&mut row).copy_from_slice(&[7.0, 8.0]);
        assert_eq!(values(&row), [7.0, 8.0]);
        assert_eq!(all.into_data().try_to_vec::<f32>().unwrap(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
