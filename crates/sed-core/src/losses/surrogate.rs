//! Values with a gradient given in closed form.

use burn::tensor::Tensor;

#[cfg(feature = "flex")]
use crate::flex::is_flex_f32;

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

/// A number with the given value whose gradient to `input` is `factor · gradient`.
///
/// As [`with_gradient`] for a loss that is summed: only `gradient` is kept. `value` may have a gradient of
/// its own, as from another call for a second input. (Our design.)
///
/// Shapes: `value` and the result `[1]`; `input` and `gradient` any equal shape. The gradient of
/// `gradient`, if any, is not followed.
///
/// On flex the number is a node of its own in the graph. Elsewhere it is `value + s − sg(s)` with
/// `s = factor · Σ input · gradient`, so that input and gradient must be finite.
///
/// # Panics
///
/// If the shapes of `input` and `gradient` differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::losses::surrogate::sum_with_gradient;
///
/// let device = Device::default().autodiff();
/// let x = Tensor::<2>::from_floats([[1.0, 2.0]], &device).require_grad();
/// let squares = sum_with_gradient(x.clone().square().sum().inner(), x.clone(), x.clone(), 2.0);
/// assert_eq!(squares.clone().into_scalar::<f32>(), 5.0);
/// let gradients = squares.backward();
/// assert_eq!(x.grad(&gradients).unwrap().into_data().try_to_vec::<f32>().unwrap(), [2.0, 4.0]);
/// ```
pub fn sum_with_gradient<const D: usize>(
    value: Tensor<1>,
    input: Tensor<D>,
    gradient: Tensor<D>,
    factor: f64,
) -> Tensor<1> {
    let (x, g) = (input.dims(), gradient.dims());
    assert_eq!(x, g, "sum_with_gradient: an input {x:?}, a gradient {g:?}");
    if !input.is_autodiff() {
        return value;
    }
    let gradient = stop_gradient(gradient);
    #[cfg(feature = "flex")]
    if is_flex_f32(&value) && is_flex_f32(&input) && is_flex_f32(&gradient) {
        return super::fused::attach_gradient(value, input, gradient, factor as f32);
    }
    let sum = (input * gradient).sum() * factor;
    sum.clone() - stop_gradient(sum) + value
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
    fn a_sum_has_the_given_value_and_gradients() {
        let a = Tensor::<2>::from_floats([[1.0, -3.0]], &device()).require_grad();
        let b = Tensor::<2>::from_floats([[2.0, 5.0]], &device()).require_grad();
        let difference = |factor| {
            let slope = a.clone() - b.clone();
            let once =
                sum_with_gradient(Tensor::from_floats([7.0], &device()), a.clone(), slope.clone(), factor);
            sum_with_gradient(once, b.clone(), slope, -factor)
        };
        assert_eq!(values(&difference(1.0)), [7.0]);
        let gradients = (difference(0.5) * 10.0).backward();
        assert_eq!(gradient(&a, &gradients), [-5.0, -40.0]);
        assert_eq!(gradient(&b, &gradients), [5.0, 40.0]);
    }

    #[test]
    fn a_sum_keeps_the_gradient_of_its_value() {
        let x = Tensor::<1>::from_floats([3.0], &device()).require_grad();
        let y = Tensor::<1>::from_floats([1.0, 2.0], &device());
        // The second input asks for no gradient.
        let sum = sum_with_gradient(x.clone() * 4.0, y.clone(), y, 1.0);
        assert_eq!(values(&sum), [12.0]);
        assert_eq!(gradient(&x, &sum.backward()), [4.0]);
    }

    #[test]
    #[should_panic(expected = "an input [2], a gradient [1]")]
    fn shapes_of_a_sum_must_agree() {
        let device = device();
        let (two, one) = (Tensor::<1>::zeros([2], &device), Tensor::<1>::zeros([1], &device));
        let _ = sum_with_gradient(one.clone(), two, one, 1.0);
    }

    #[test]
    #[should_panic(expected = "a value [2] of an input [1]")]
    fn shapes_must_agree() {
        let device = device();
        let (two, one) = (Tensor::<1>::zeros([2], &device), Tensor::<1>::zeros([1], &device));
        let _ = with_gradient(two.clone(), [(one, two)]);
    }
}
