//! Work on the host: values read from a device, and work image by image on several threads.

use std::{ops::Deref, thread};

#[cfg(feature = "flex")]
use burn::backend::flex::FlexTensor;
use burn::tensor::Tensor;
#[cfg(feature = "flex")]
use sed_core::flex;

/// The values of a tensor, where they are if they are on the host already.
pub(crate) enum Values {
    #[cfg(feature = "flex")]
    Flex(FlexTensor),
    Copied(Vec<f32>),
}

impl Deref for Values {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        match self {
            #[cfg(feature = "flex")]
            Self::Flex(tensor) => flex::values(tensor),
            Self::Copied(values) => values,
        }
    }
}

/// The values of a tensor. Reading fails only if the device itself has failed.
pub(crate) fn read<const D: usize>(tensor: Tensor<D>) -> Values {
    #[cfg(feature = "flex")]
    if let Some(tensor) = flex::primitive(&tensor) {
        return Values::Flex(tensor);
    }
    let copied = tensor.try_into_vec_as::<f32>();
    Values::Copied(copied.unwrap_or_else(|error| panic!("reading predictions: {error}")))
}

/// `work(0), …, work(images − 1)`, in order, on as many threads as the machine has cores.
pub(crate) fn for_each_image<T: Send>(images: usize, work: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, usize::from).min(images);
    if threads <= 1 {
        return (0..images).map(work).collect();
    }
    let per_thread = images.div_ceil(threads);
    thread::scope(|scope| {
        let work = &work;
        let handles: Vec<_> = (0..images)
            .step_by(per_thread)
            .map(|first| {
                let last = (first + per_thread).min(images);
                scope.spawn(move || (first..last).map(work).collect::<Vec<T>>())
            })
            .collect();
        handles
            .into_iter()
            .flat_map(|handle| handle.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn values_come_in_the_order_of_the_tensor() {
        let rows = Tensor::<2>::from_floats([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], &Device::default());
        assert_eq!(*read(rows.clone()), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
        assert_eq!(*read(rows.transpose()), [1.0, 4.0, 2.0, 5.0, 3.0, 6.0]);
    }

    #[test]
    fn results_keep_the_order_of_the_images() {
        for images in 0..20 {
            assert_eq!(for_each_image(images, |i| i * i), (0..images).map(|i| i * i).collect::<Vec<_>>());
        }
    }

    #[test]
    #[should_panic(expected = "image 3")]
    fn a_panic_reaches_the_caller() {
        for_each_image(5, |i| assert!(i != 3, "image {i}"));
    }
}
