//! A number with a gradient computed beforehand, as one node of Burn's graph.

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        flex::FlexTensor,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use super::{TASK, WORK};
use crate::flex::{contiguous, run_tasks, values, values_mut};

/// Backends on which a gradient can be attached.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait AttachGradient: Backend {
    /// `value`, whose gradient to `input` is `factor · gradient`.
    fn attach_gradient(
        value: FloatTensor<Self>,
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self>;
}

/// `value`, whose gradient to `input` is `factor · gradient`; that to what `value` came from stays. All are `f32`
/// tensors of flex, `input` on the autodiff device.
pub(crate) fn attach_gradient<const D: usize>(
    value: Tensor<1>,
    input: Tensor<D>,
    gradient: Tensor<D>,
    factor: f32,
) -> Tensor<1> {
    // With the input's autodiff settings, for an operation takes tensors of one kind only.
    let device = input.device();
    Tensor::from_dispatch(<Dispatch as AttachGradient>::attach_gradient(
        value.to_device(&device).into_dispatch(),
        input.into_dispatch(),
        gradient.to_device(&device).into_dispatch(),
        factor,
    ))
}

impl AttachGradient for Flex {
    fn attach_gradient(value: FlexTensor, _: FlexTensor, _: FlexTensor, _: f32) -> FlexTensor {
        value
    }
}

#[derive(Debug)]
struct Attached;

impl Backward<Flex, 2> for Attached {
    /// The gradient, kept only if the input asks for it, and its factor.
    type State = (Option<FlexTensor>, f32);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _: &mut Checkpointer) {
        let [value, input] = ops.parents;
        let (gradient, factor) = ops.state;
        let upstream = grads.consume::<Flex>(&ops.node);
        if let (Some(input), Some(gradient)) = (input, gradient) {
            let upstream = contiguous(upstream.clone());
            let factor = factor * values(&upstream)[0];
            grads.register::<Flex>(input.id, scaled(gradient, factor));
        }
        if let Some(value) = value {
            grads.register::<Flex>(value.id, upstream);
        }
    }
}

/// In place where nothing else holds the tensor.
fn scaled(tensor: FlexTensor, factor: f32) -> FlexTensor {
    let mut tensor = contiguous(tensor);
    let elements = values_mut(&mut tensor);
    let work = elements.len() * WORK;
    run_tasks(elements.chunks_mut(TASK).collect(), work, |part: &mut [f32]| {
        part.iter_mut().for_each(|element| *element *= factor);
    });
    tensor
}

impl<C: CheckpointStrategy> AttachGradient for Autodiff<Flex, C> {
    fn attach_gradient(
        value: FloatTensor<Self>,
        input: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        factor: f32,
    ) -> FloatTensor<Self> {
        let nodes = [value.node(), input.node()];
        match Attached.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let gradient = input.is_tracked().then(|| gradient.into_primitive());
                prep.finish((gradient, factor), value.into_primitive())
            }
            OpsKind::UnTracked(prep) => prep.finish(value.into_primitive()),
        }
    }
}
