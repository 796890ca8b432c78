//! The convolution on flex, as an operation of Burn's graph.

mod backward;
mod columns;
mod forward;
mod geometry;
mod winograd;

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

use crate::ops::flex::{contiguous, dims, from_values, values, values_mut};
use geometry::Geometry;

/// Backends with a convolution of this crate.
#[backend_extension(Flex, Autodiff)]
pub(crate) trait TiledConvolution: Backend {
    /// The convolution, cut at 0 from below with `relu`; a bias without elements stands for no bias.
    fn tiled_convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        relu: bool,
    ) -> FloatTensor<Self>;
}

/// The convolution of `f32` tensors of flex.
pub(super) fn conv2d(
    input: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
    relu: bool,
) -> Tensor<4> {
    let bias = bias.unwrap_or_else(|| Tensor::empty([0], &weight.device()));
    Tensor::from_dispatch(<Dispatch as TiledConvolution>::tiled_convolution(
        input.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        stride,
        padding,
        relu,
    ))
}

impl TiledConvolution for Flex {
    fn tiled_convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        relu: bool,
    ) -> FloatTensor<Self> {
        let geometry = Geometry::new(dims(&input), dims(&weight), stride, padding);
        let (input, weight, bias) = (contiguous(input), contiguous(weight), contiguous(bias));
        let output = forward::convolve(values(&input), values(&weight), values(&bias), relu, &geometry);
        from_values(output, geometry.output_shape())
    }
}

#[derive(Debug)]
struct ConvolutionGradients;

#[derive(Clone, Debug)]
struct State {
    /// Kept for the gradient of the weight only.
    input: Option<NodeId>,
    /// Kept for the gradient of the input only.
    weight: Option<NodeId>,
    /// Kept where it was cut at 0: there its gradient ends.
    output: Option<FlexTensor>,
    geometry: Geometry,
}

impl Backward<Flex, 3> for ConvolutionGradients {
    type State = State;

    fn backward(self, ops: Ops<State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let [node_input, node_weight, node_bias] = ops.parents;
        let State { input, weight, output, geometry } = ops.state;
        let mut output_grad = contiguous(grads.consume::<Flex>(&ops.node));
        if let Some(output) = output {
            backward::cut(values_mut(&mut output_grad), values(&output));
        }
        let output_grad = values(&output_grad);
        if let (Some(node), Some(weight)) = (node_input, weight) {
            let weight = contiguous(checkpointer.retrieve_node_output::<FlexTensor>(weight));
            let gradient = backward::input_gradient(output_grad, values(&weight), &geometry);
            grads.register::<Flex>(node.id, from_values(gradient, geometry.input_shape()));
        }
        if let (Some(node), Some(input)) = (node_weight, input) {
            let input = contiguous(checkpointer.retrieve_node_output::<FlexTensor>(input));
            let gradient = backward::weight_gradient(output_grad, values(&input), &geometry);
            grads.register::<Flex>(node.id, from_values(gradient, geometry.weight_shape()));
        }
        if let Some(node) = node_bias {
            let gradient = backward::bias_gradient(output_grad, &geometry);
            grads.register::<Flex>(node.id, from_values(gradient, [geometry.out_channels]));
        }
    }
}

impl<C: CheckpointStrategy> TiledConvolution for Autodiff<Flex, C> {
    fn tiled_convolution(
        input: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: usize,
        padding: usize,
        relu: bool,
    ) -> FloatTensor<Self> {
        let geometry = Geometry::new(dims(input.primitive()), dims(weight.primitive()), stride, padding);
        let nodes = [input.node(), weight.node(), bias.node()];
        let convolve =
            |input, weight, bias| Flex::tiled_convolution(input, weight, bias, stride, padding, relu);
        match ConvolutionGradients.prepare::<C>(nodes).compute_bound().stateful() {
            OpsKind::Tracked(mut prep) => {
                let kept_input = weight.is_tracked().then(|| prep.checkpoint(&input));
                let kept_weight = input.is_tracked().then(|| prep.checkpoint(&weight));
                let output = convolve(input.into_primitive(), weight.into_primitive(), bias.into_primitive());
                let state = State {
                    input: kept_input,
                    weight: kept_weight,
                    output: relu.then(|| output.clone()),
                    geometry,
                };
                prep.finish(state, output)
            }
            OpsKind::UnTracked(prep) => {
                prep.finish(convolve(input.into_primitive(), weight.into_primitive(), bias.into_primitive()))
            }
        }
    }
}
