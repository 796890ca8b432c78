//! Group normalisation on flex, as an operation of Burn's graph.

mod kernels;

use std::sync::Arc;

use burn::{
    backend::{
        Autodiff, Backend, Dispatch, Flex,
        autodiff::{
            NodeId,
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

use crate::ops::flex::{contiguous, dims, from_values, values};
use kernels::{Layout, Statistics};

/// Backends with a group normalisation of this crate.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait FusedGroupNorm: Backend {
    /// The normalisation, followed by a ReLU if `rectify`.
    fn fused_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        rectify: bool,
    ) -> FloatTensor<Self>;
}

/// The normalisation of `f32` tensors of flex.
pub(super) fn group_norm(
    x: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    groups: usize,
    eps: f64,
    rectify: bool,
) -> Tensor<4> {
    Tensor::from_dispatch(<Dispatch as FusedGroupNorm>::fused_group_norm(
        x.into_dispatch(),
        gamma.into_dispatch(),
        beta.into_dispatch(),
        groups,
        eps,
        rectify,
    ))
}

fn forward(
    x: FlexTensor,
    gamma: FlexTensor,
    beta: FlexTensor,
    layout: &Layout,
    eps: f64,
) -> (FlexTensor, Vec<Statistics>) {
    let shape = dims::<4>(&x);
    let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
    let (output, statistics) = kernels::forward(values(&x), values(&gamma), values(&beta), layout, eps);
    (from_values(output, shape), statistics)
}

impl FusedGroupNorm for Flex {
    fn fused_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        rectify: bool,
    ) -> FloatTensor<Self> {
        let layout = Layout::new(dims(&x), groups, rectify);
        forward(x, gamma, beta, &layout, eps).0
    }
}

#[derive(Debug)]
struct GroupNormGradients;

#[derive(Clone, Debug)]
struct State {
    x: NodeId,
    gamma: NodeId,
    beta: NodeId,
    layout: Layout,
    statistics: Arc<Vec<Statistics>>,
}

impl Backward<Flex, 3> for GroupNormGradients {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [node_x, node_gamma, node_beta] = ops.parents;
        let output_grad = contiguous(grads.consume::<Flex>(&ops.node));
        let State { x, gamma, beta, layout, statistics } = ops.state;
        let [x, gamma, beta] =
            [x, gamma, beta].map(|id| contiguous(checkpointer.retrieve_node_output::<FlexTensor>(id)));
        let gradients = kernels::backward(
            values(&output_grad),
            values(&x),
            values(&gamma),
            values(&beta),
            &statistics,
            &layout,
            node_x.is_some(),
        );
        if let Some(node) = node_x {
            grads.register::<Flex>(node.id, from_values(gradients.x, dims::<4>(&x)));
        }
        if let Some(node) = node_gamma {
            grads.register::<Flex>(node.id, from_values(gradients.gamma, dims::<1>(&gamma)));
        }
        if let Some(node) = node_beta {
            grads.register::<Flex>(node.id, from_values(gradients.beta, dims::<1>(&beta)));
        }
    }
}

impl<C: CheckpointStrategy> FusedGroupNorm for Autodiff<Flex, C> {
    fn fused_group_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        groups: usize,
        eps: f64,
        rectify: bool,
    ) -> FloatTensor<Self> {
        let layout = Layout::new(dims(x.primitive()), groups, rectify);
        let nodes = [x.node(), gamma.node(), beta.node()];
        let operation = GroupNormGradients.prepare::<C>(nodes).compute_bound().stateful();
        match operation {
            OpsKind::Tracked(mut prep) => {
                let ids = [&x, &gamma, &beta].map(|input| prep.checkpoint(input));
                let (output, statistics) =
                    forward(x.into_primitive(), gamma.into_primitive(), beta.into_primitive(), &layout, eps);
                let [x, gamma, beta] = ids;
                prep.finish(State { x, gamma, beta, layout, statistics: Arc::new(statistics) }, output)
            }
            OpsKind::UnTracked(prep) => prep.finish(
                forward(x.into_primitive(), gamma.into_primitive(), beta.into_primitive(), &layout, eps).0,
            ),
        }
    }
}
