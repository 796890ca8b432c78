//! Fully connected layers.

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Tensor, module::linear as burn_linear},
};

/// `layer.forward(input)`, computed in the type of the layer's weight and given in that of the input.
pub(crate) fn linear(layer: &Linear, input: Tensor<2>) -> Tensor<2> {
    let weight = layer.weight.val();
    let bias = layer.bias.as_ref().map(Param::val);
    let (outer, inner) = (input.dtype(), weight.dtype());
    if outer == inner {
        return burn_linear(input, weight, bias);
    }
    burn_linear(input.cast(inner), weight, bias.map(|bias| bias.cast(inner))).cast(outer)
}
