//! The average of two tensors.

use burn::tensor::Tensor;
#[cfg(feature = "flex")]
use sed_core::flex;

/// `decay · average + (1 − decay) · new`, on flex in one pass, in place if this is the only handle of `average`.
///
/// Neither is on a graph.
pub(super) fn moved<const D: usize>(average: Tensor<D>, new: Tensor<D>, decay: f64) -> Tensor<D> {
    #[cfg(feature = "flex")]
    if flex::is_flex_f32(&average)
        && let Some(new) = flex::primitive(&new)
    {
        return moved_on_flex(average, flex::values(&new), decay as f32);
    }
    average * decay + new * (1.0 - decay)
}

#[cfg(feature = "flex")]
fn moved_on_flex<const D: usize>(average: Tensor<D>, new: &[f32], decay: f32) -> Tensor<D> {
    /// Elements that a task takes.
    const TASK: usize = 1 << 16;
    let device = average.device();
    let mut average = flex::into_primitive(average).expect("a tensor of flex, by the check of the caller");
    let elements = flex::values_mut(&mut average);
    let tasks = elements.chunks_mut(TASK).zip(new.chunks(TASK)).collect();
    flex::run_tasks(tasks, new.len(), |(average, new): (&mut [f32], &[f32])| {
        average
            .iter_mut()
            .zip(new)
            .for_each(|(average, new)| *average = decay * *average + (1.0 - decay) * new);
    });
    Tensor::from_data(average.into_data(), &device)
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn other_handles_keep_their_values() {
        let device = Device::default();
        let average = Tensor::<2>::from_floats([[1.0, 2.0], [3.0, 4.0]], &device);
        let new = Tensor::<2>::from_floats([[5.0, 2.0], [-1.0, 0.0]], &device);
        // A view with another order of its elements.
        for (average, new, expected) in [
            (average.clone(), new.clone(), [2.0, 2.0, 2.0, 3.0]),
            (average.clone().transpose(), new.clone().transpose(), [2.0, 2.0, 2.0, 3.0]),
            (average.clone(), new.clone().transpose(), [2.0, 1.25, 2.75, 3.0]),
        ] {
            let kept = average.clone();
            let before = kept.clone().into_data();
            let mut result = moved(average, new, 0.75);
            if before.as_slice::<f32>().is_ok_and(|values| values[1] == 3.0) {
                result = result.transpose();
            }
            assert_eq!(result.into_data().try_to_vec::<f32>().unwrap(), expected);
            kept.into_data().assert_eq(&before, true);
        }
    }

    #[cfg(feature = "flex")]
    #[test]
    fn a_single_handle_is_written_in_place() {
        let address = |t: &Tensor<1>| flex::values(&flex::primitive(t).expect("a tensor of flex")).as_ptr();
        let ones = || Tensor::<1>::ones([1000], &Device::flex());
        let average = ones();
        let before = address(&average);
        assert_eq!(address(&moved(average, ones(), 0.5)), before);
        let average = ones();
        let (before, kept) = (address(&average), average.clone());
        assert_ne!(address(&moved(average, ones(), 0.5)), before);
        drop(kept);
    }
}
