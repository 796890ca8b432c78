//! Values with a gradient given in closed form.

use burn::tensor::Tensor;

/// A tensor with the given values whose gradient to each input `z` is the given one.
///
/// `value + Σ_k (z_k − sg(z_k)) · g_k`, with `sg` the stop-gradient: the added terms are 0, and their
/// derivative to `z_k` is `g_k`. Backpropagation keeps only the `g_k`, not the intermediate results
/// of the formula that gave the value. (Our design; the straight-through trick with a gradient of
/// choice.)
///
/// Shapes: `value`, each `z` and each `g` are equal, and all operations are element by element. The
/// gradients of `value` and of the `g_k`, if any, are not followed.
///
/// The `z` must be finite: `∞ − ∞` is not 0.
///
/// # Panics
///
/// If shapes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::surrogate::with_gradient;
///
/// let device = Device::default().autodiff();
/// let x = Tensor::<1>::from_floats([1.0, 2.0], &device).require_grad();
/// let square = with_gradient(x.clone().square(), [(x.clone(), x.clone() * 2.0)]);
/// let gradients = square.sum().backward();
/// assert_eq!(x.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap(), [2.0, 4.0]);
/// ```
pub fn with_gradient<const D: usize>(
    value: Tensor<D>,
    inputs: impl IntoIterator<Item = (Tensor<D>, Tensor<D>)>,
) -> Tensor<D> {
    let dims = value.dims();
    inputs.into_iter().fold(stop_gradient(value), |sum, (input, gradient)| {
        assert_eq!(dims, input.dims(), "with_gradient: a value {dims:?} of an input {:?}", input.dims());
        assert_eq!(
            dims,
            gradient.dims(),
            "with_gradient: a value {dims:?}, a gradient {:?}",
            gradient.dims()
        );
        let zero = input.clone() - stop_gradient(input);
        zero * stop_gradient(gradient) + sum
    })
}

/// The values of a tensor without a path for gradients, `sg(·)` in formulas.
///
/// `detach` would not do: on a leaf it keeps `require_grad`.
pub(crate) fn stop_gradient<const D: usize>(tensor: Tensor<D>) -> Tensor<D> {
    tensor.inner()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{device, gradient, values};

    #[test]
    fn value_and_gradient_are_the_given_ones() {
        let a = Tensor::<2>::from_floats([[1.0, -3.0]], &device()).require_grad();
        let b = Tensor::<2>::from_floats([[2.0, 5.0]], &device()).require_grad();
        let product = with_gradient(a.clone() * b.clone(), [(a.clone(), b.clone()), (b.clone(), a.clone())]);
        assert_eq!(values(&product), [2.0, -15.0]);
        let gradients = (product * 10.0).sum().backward();
        assert_eq!(gradient(&a, &gradients), [20.0, 50.0]);
        assert_eq!(gradient(&b, &gradients), [10.0, -30.0]);
    }

    #[test]
    fn the_graph_behind_the_input_is_followed() {
        let x = Tensor::<1>::from_floats([3.0], &device()).require_grad();
        let z = x.clone() * 2.0;
        // d(z²)/dx = 2z · 2 = 24.
        let square = with_gradient(z.clone().square(), [(z.clone(), z * 2.0)]);
        assert_eq!(gradient(&x, &square.backward()), [24.0]);
    }

    #[test]
    #[should_panic(expected = "a value [2] of an input [1]")]
    fn shapes_must_agree() {
        let device = device();
        let (two, one) = (Tensor::<1>::zeros([2], &device), Tensor::<1>::zeros([1], &device));
        let _ = with_gradient(two.clone(), [(one, two)]);
    }
}
