//! RoIAlign on flex, as an operation of Burn's graph.

mod kernels;

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
            grads::Gradients,
            ops::{Backward, Ops, OpsKind},
        },
        backend_extension,
        tensor::FloatTensor,
    },
    tensor::Tensor,
};

use super::taps::Taps;
use crate::ops::flex::{contiguous, dims, from_values, values};

/// Backends with a RoIAlign of this crate.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedRoiAlign: Backend {
    /// The bins of all boxes.
    fn fused_roi_align(features: FloatTensor<Self>, taps: Arc<Taps>) -> FloatTensor<Self>;
}

/// RoIAlign of an `f32` tensor of flex.
pub(super) fn roi_align(features: Tensor<4>, taps: Arc<Taps>) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as FusedRoiAlign>::fused_roi_align(features.into_dispatch(), taps))
}

impl FusedRoiAlign for Flex {
    fn fused_roi_align(features: FloatTensor<Self>, taps: Arc<Taps>) -> FloatTensor<Self> {
        let shape = dims(&features);
        let features = contiguous(features);
        let output = kernels::forward(values(&features), shape, &taps);
        from_values(output, [taps.images.len(), shape[1], taps.bins, taps.bins])
    }
}

#[derive(Debug)]
struct RoiAlignGradient;

/// The operation is linear: its gradient needs no features.
#[derive(Clone, Debug)]
struct State {
    shape: [usize; 4],
    taps: Arc<Taps>,
}

impl Backward<Flex, 1> for RoiAlignGradient {
    type State = State;

    fn backward(self, ops: Ops<State, 1>, grads: &mut Gradients, _: &mut Checkpointer) {
        let output_grad = contiguous(grads.consume::<Flex>(&ops.node));
        let State { shape, taps } = ops.state;
        if let [Some(node)] = ops.parents {
            let gradient = kernels::backward(values(&output_grad), shape, &taps);
            grads.register::<Flex>(node.id, from_values(gradient, shape));
        }
    }
}

impl<C: CheckpointStrategy> FusedRoiAlign for Autodiff<Flex, C> {
    fn fused_roi_align(features: FloatTensor<Self>, taps: Arc<Taps>) -> FloatTensor<Self> {
        let shape = dims(features.primitive());
        match RoiAlignGradient.prepare::<C>([features.node()]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let output = Flex::fused_roi_align(features.into_primitive(), taps.clone());
                prep.finish(State { shape, taps }, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(Flex::fused_roi_align(features.into_primitive(), taps)),
        }
    }
}
