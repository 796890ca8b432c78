//! Kullback-Leibler divergences of class predictions, with their gradients in closed form.
//!
//! For sigmoid heads a class is one Bernoulli variable,
//! `KL_c(p ‖ q) = p log(p/q) + (1 − p) log((1 − p)/(1 − q))`. For softmax heads the classes share one
//! distribution, `KL_c(p ‖ q) = p log(p/q) − p + q`: the two last terms sum to 0 over the classes, so
//! the sum is the categorical divergence, and they make each class's share non-negative, so that
//! classes can be weighted one by one. (The divergence is the paper's, its two readings our design.)

use burn::tensor::{Tensor, activation};

use super::surrogate::{stop_gradient, with_gradient};
use crate::structures::ClassActivation;

/// A divergence of each anchor and class.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, losses::divergence::symmetric_kl};
///
/// let device = Device::default();
/// let a = Tensor::<3>::from_floats([[[1.0, 2.0, 0.0]]], &device);
/// let b = Tensor::<3>::from_floats([[[2.0, 1.0, 0.0]]], &device);
/// let divergence = symmetric_kl(ClassActivation::Softmax { background: 2 }, a, b);
/// // The first two classes swap their probabilities, the third keeps its own.
/// let value = divergence.value.into_data().try_to_vec::<f32>().unwrap();
/// assert!(value[0] > 0.0 && (value[0] - value[1]).abs() < 1e-6 && value[2].abs() < 1e-6);
/// assert!(divergence.probability_difference.sum().into_scalar::<f32>().abs() < 1e-6);
/// ```
#[derive(Debug, Clone)]
pub struct Divergence {
    /// `[N, A, C]`, never negative; the sum over the classes is the divergence of the anchor.
    pub value: Tensor<3>,
    /// `[N, A, C]`, the difference of the probabilities, without gradient.
    pub probability_difference: Tensor<3>,
}

/// The two-sided divergence `KL(sg(P) ‖ Q) + KL(sg(Q) ‖ P)`, of `P` from logits `a` and `Q` from `b`.
///
/// Its value is `(p − q) · (log-odds p − log-odds q)` for each class of a sigmoid head, and
/// `(p − q) · (log p − log q)` for a softmax head. Its gradient, since each term moves only its second
/// side, is `P − Q` to the logits `a` and `Q − P` to `b`. `probability_difference` is `P − Q`.
///
/// Shapes: `a` and `b` `[N, A, C]`.
///
/// # Panics
///
/// If the shapes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, losses::divergence::symmetric_kl};
///
/// let device = Device::default();
/// let a = Tensor::<3>::from_floats([[[0.0]]], &device);
/// let b = Tensor::<3>::from_floats([[[3.0_f32.ln()]]], &device);
/// let divergence = symmetric_kl(ClassActivation::Sigmoid, a, b);
/// // p = 1/2, q = 3/4.
/// assert!((divergence.value.into_scalar::<f32>() - 0.25 * 3.0_f32.ln()).abs() < 1e-6);
/// ```
pub fn symmetric_kl(activation: ClassActivation, a: Tensor<3>, b: Tensor<3>) -> Divergence {
    let (a, b) = (differentiable(activation, a), differentiable(activation, b));
    assert_eq!(a.dims(), b.dims(), "symmetric_kl: logits {:?} and {:?}", a.dims(), b.dims());
    let (fixed_a, fixed_b) = (stop_gradient(a.clone()), stop_gradient(b.clone()));
    let difference = probability(activation, fixed_a.clone()) - probability(activation, fixed_b.clone());
    let value = difference.clone() * (fixed_a - fixed_b);
    Divergence {
        value: with_gradient(value, [(a, difference.clone()), (b, -difference.clone())]),
        probability_difference: difference,
    }
}

/// The one-sided divergence `KL(sg(T) ‖ S)` of a teacher `T` from a student `S`, by their logits.
///
/// Its gradient is `S − T` to the student's logits; none flows into the teacher's.
/// `probability_difference` is `S − T`.
///
/// Shapes: `student` and `teacher` `[N, A, C]`.
///
/// # Panics
///
/// If the shapes differ.
///
/// ```
/// use burn::tensor::{Device, Tensor};
/// use sed_core::{ClassActivation, losses::divergence::one_sided_kl};
///
/// let device = Device::default().autodiff();
/// let student = Tensor::<3>::zeros([1, 1, 1], &device).require_grad();
/// let teacher = Tensor::<3>::full([1, 1, 1], 50.0, &device).require_grad();
/// let divergence = one_sided_kl(ClassActivation::Sigmoid, student.clone(), teacher.clone());
/// // The teacher is sure, the student says one half: log 2.
/// assert!((divergence.value.clone().into_scalar::<f32>() - 2.0_f32.ln()).abs() < 1e-6);
/// let gradients = divergence.value.sum().backward();
/// assert_eq!(student.grad(&gradients).unwrap().into_scalar::<f32>(), -0.5);
/// assert!(teacher.grad(&gradients).is_none());
/// ```
pub fn one_sided_kl(activation: ClassActivation, student: Tensor<3>, teacher: Tensor<3>) -> Divergence {
    let (s, t) = (student.dims(), teacher.dims());
    assert_eq!(s, t, "one_sided_kl: logits of the student {s:?} and of the teacher {t:?}");
    let student = differentiable(activation, student);
    let fixed = stop_gradient(student.clone());
    let teacher = differentiable(activation, stop_gradient(teacher));
    let teacher_probability = probability(activation, teacher.clone());
    let difference = probability(activation, fixed.clone()) - teacher_probability.clone();
    let value = match activation {
        ClassActivation::Sigmoid => bernoulli_kl(teacher, fixed),
        ClassActivation::Softmax { .. } => teacher_probability * (teacher - fixed) + difference.clone(),
    };
    Divergence {
        // Rounding can leave a nearly zero divergence slightly below zero.
        value: with_gradient(value.clamp_min(0.0), [(student, difference.clone())]),
        probability_difference: difference,
    }
}

/// `KL(p ‖ q)` of Bernoulli variables by their logits.
///
/// With `log p = z − softplus(z)` and `log(1 − p) = −softplus(z)` it is
/// `p·(z_p − z_q) + softplus(z_q) − softplus(z_p)`. Where `z_p > 0` large terms would cancel, so there
/// both variables are taken by their opposite, which has the logits `−z` and the same divergence.
fn bernoulli_kl(p: Tensor<3>, q: Tensor<3>) -> Tensor<3> {
    let side = p.clone().greater_scalar(0.0).float() * -2.0 + 1.0;
    let (p, q) = (p.abs().neg(), q * side);
    activation::sigmoid(p.clone()) * (p.clone() - q.clone()) + activation::softplus(q, 1.0)
        - activation::softplus(p, 1.0)
}

/// What the closed-form gradients refer to: logits of sigmoids, log-probabilities of a softmax.
///
/// Backpropagation through the logarithm of the softmax turns `p − q` to the log-probabilities into
/// `p − q` to the logits, and stays right where classes are weighted unequally.
fn differentiable(activation: ClassActivation, logits: Tensor<3>) -> Tensor<3> {
    match activation {
        ClassActivation::Sigmoid => logits,
        ClassActivation::Softmax { .. } => activation::log_softmax(logits, 2),
    }
}

fn probability(activation: ClassActivation, of: Tensor<3>) -> Tensor<3> {
    match activation {
        ClassActivation::Sigmoid => activation::sigmoid(of),
        ClassActivation::Softmax { .. } => of.exp(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{assert_close, device, gradient, pseudo_logits, values};

    const SIGMOID: ClassActivation = ClassActivation::Sigmoid;
    const SOFTMAX: ClassActivation = ClassActivation::Softmax { background: 0 };
    const SHAPE: [usize; 3] = [2, 3, 4];

    /// Unequal weights of anchors and classes, so that the gradient's every entry counts.
    fn weights() -> Tensor<3> {
        pseudo_logits(SHAPE, 9, &device()).abs()
    }

    /// `KL_c(p ‖ q)` by plain operations; gradients flow into `q` alone.
    fn plain_kl(activation: ClassActivation, p: Tensor<3>, q: Tensor<3>) -> Tensor<3> {
        let p = p.inner();
        match activation {
            SIGMOID => {
                let log = |z: Tensor<3>| activation::log_sigmoid(z);
                activation::sigmoid(p.clone()) * (log(p.clone()) - log(q.clone()))
                    + activation::sigmoid(-p.clone()) * (log(-p) - log(-q))
            }
            ClassActivation::Softmax { .. } => {
                let (log_p, log_q) = (activation::log_softmax(p, 2), activation::log_softmax(q, 2));
                log_p.clone().exp() * (log_p.clone() - log_q.clone()) - log_p.exp() + log_q.exp()
            }
        }
    }

    type Run = (Vec<f32>, Vec<f32>, Option<Vec<f32>>);

    fn run(a: Tensor<3>, b: Tensor<3>, f: impl Fn(Tensor<3>, Tensor<3>) -> Tensor<3>) -> Run {
        let (a, b) = (a.inner().autodiff().require_grad(), b.inner().autodiff().require_grad());
        let out = f(a.clone(), b.clone());
        let gradients = (out.clone() * weights()).sum().backward();
        (values(&out), gradient(&a, &gradients), b.grad(&gradients).map(|g| values(&g)))
    }

    fn logits() -> (Tensor<3>, Tensor<3>) {
        (pseudo_logits(SHAPE, 1, &device()), pseudo_logits(SHAPE, 2, &device()))
    }

    #[test]
    fn both_equal_plain_autodiff() {
        let (a, b) = logits();
        for activation in [SIGMOID, SOFTMAX] {
            // Values up to 30 are sums of a few rounded f32 terms.
            let closed = run(a.clone(), b.clone(), |a, b| symmetric_kl(activation, a, b).value);
            let plain = run(a.clone(), b.clone(), |a, b| {
                plain_kl(activation, a.clone(), b.clone()) + plain_kl(activation, b, a)
            });
            assert_close(&closed.0, &plain.0, 1e-5);
            assert_close(&closed.1, &plain.1, 1e-5);
            assert_close(&closed.2.unwrap(), &plain.2.unwrap(), 1e-5);

            let closed = run(a.clone(), b.clone(), |a, b| one_sided_kl(activation, a, b).value);
            let plain = run(a.clone(), b.clone(), |a, b| plain_kl(activation, b, a));
            assert_close(&closed.0, &plain.0, 1e-5);
            assert_close(&closed.1, &plain.1, 1e-5);
            assert_eq!(closed.2, None, "the teacher gets no gradient");
        }
    }

    #[test]
    fn the_gradient_is_the_difference_of_the_probabilities() {
        let (a, b) = logits();
        for activation in [SIGMOID, SOFTMAX] {
            let (p, q) = (activation.probabilities(a.clone()), activation.probabilities(b.clone()));
            let expected = values(&(p - q));
            let (a, b) = (a.clone().require_grad(), b.clone().require_grad());
            let two = symmetric_kl(activation, a.clone(), b.clone());
            assert_close(&values(&two.probability_difference), &expected, 1e-6);
            let gradients = two.value.sum().backward();
            assert_close(&gradient(&a, &gradients), &expected, 1e-6);
            let negative: Vec<f32> = expected.iter().map(|g| -g).collect();
            assert_close(&gradient(&b, &gradients), &negative, 1e-6);

            let one = one_sided_kl(activation, a.clone(), b);
            assert_close(&values(&one.probability_difference), &expected, 1e-6);
            assert_close(&gradient(&a, &one.value.sum().backward()), &expected, 1e-6);
        }
    }

    /// The divergence of one anchor of `C` classes in `f64`.
    fn host_kl(activation: ClassActivation, p: &[f64], q: &[f64]) -> f64 {
        let log_sum_exp = |z: &[f64]| z.iter().map(|z| z.exp()).sum::<f64>().ln();
        let bernoulli = |p: f64, q: f64| p * (p / q).ln() + (1.0 - p) * ((1.0 - p) / (1.0 - q)).ln();
        let sigmoid = |z: f64| 1.0 / (1.0 + (-z).exp());
        match activation {
            SIGMOID => p.iter().zip(q).map(|(&p, &q)| bernoulli(sigmoid(p), sigmoid(q))).sum(),
            ClassActivation::Softmax { .. } => {
                let (lp, lq) = (log_sum_exp(p), log_sum_exp(q));
                p.iter().zip(q).map(|(p, q)| (p - lp).exp() * ((p - lp) - (q - lq))).sum()
            }
        }
    }

    #[test]
    fn values_and_slopes_equal_those_of_the_host() {
        let (p, q) = ([0.5_f32, -2.0, 1.5], [-1.0_f32, -2.5, 3.0]);
        let device = device();
        for activation in [SIGMOID, SOFTMAX] {
            let student = Tensor::<3>::from_floats([[p]], &device).require_grad();
            let loss = one_sided_kl(activation, student.clone(), Tensor::from_floats([[q]], &device));
            let sum = loss.value.sum();
            let at = |p: [f64; 3]| host_kl(activation, &q.map(f64::from), &p);
            // f32 against f64.
            assert_close(&values(&sum), &[at(p.map(f64::from)) as f32], 1e-6);
            let slopes = gradient(&student, &sum.backward());
            for c in 0..3 {
                let shifted = |h: f64| {
                    let mut p = p.map(f64::from);
                    p[c] += h;
                    at(p)
                };
                assert_close(&[slopes[c]], &[((shifted(1e-5) - shifted(-1e-5)) / 2e-5) as f32], 1e-6);
            }
        }
    }

    #[test]
    fn equal_logits_give_exactly_zero() {
        let a = pseudo_logits(SHAPE, 4, &device()) * 5.0;
        for activation in [SIGMOID, SOFTMAX] {
            for one_sided in [false, true] {
                let (value, gradient, _) = run(a.clone(), a.clone(), |a, b| match one_sided {
                    true => one_sided_kl(activation, a, b).value,
                    false => symmetric_kl(activation, a, b).value,
                });
                assert!(value.iter().chain(&gradient).all(|&v| v == 0.0), "{activation:?} {one_sided}");
            }
        }
    }

    #[test]
    fn a_class_is_never_negative() {
        let (a, b) = logits();
        for activation in [SIGMOID, SOFTMAX] {
            for z in [b.clone(), a.clone() + 1e-3] {
                for value in
                    [symmetric_kl(activation, a.clone(), z.clone()), one_sided_kl(activation, a.clone(), z)]
                {
                    assert!(values(&value.value).iter().all(|&v| v >= 0.0));
                }
            }
        }
    }

    #[test]
    fn extreme_logits_stay_finite() {
        let device = device();
        let a = Tensor::<3>::from_floats([[[100., -100., 100., -100., 0.]]], &device);
        let b = Tensor::<3>::from_floats([[[-100., 100., 100., -100., 100.]]], &device);
        for activation in [SIGMOID, SOFTMAX] {
            for one_sided in [false, true] {
                let (x, y) = (a.clone().require_grad(), b.clone());
                let value = match one_sided {
                    true => one_sided_kl(activation, x.clone(), y).value,
                    false => symmetric_kl(activation, x.clone(), y).value,
                };
                let slope = gradient(&x, &value.clone().sum().backward());
                assert!(values(&value).iter().chain(&slope).all(|v| v.is_finite()), "{activation:?}");
            }
        }
        // Sure of the opposite: 200 nats for both directions together, 100 for one.
        let two = values(&symmetric_kl(SIGMOID, a.clone(), b.clone()).value);
        assert_close(&two, &[200.0, 200.0, 0.0, 0.0, 50.0], 1e-6);
        let one = values(&one_sided_kl(SIGMOID, a, b).value);
        assert_close(&one, &[100.0, 100.0, 0.0, 0.0, 2.0_f32.ln()], 1e-6);
    }

    #[test]
    #[should_panic(expected = "logits of the student [1, 2, 3] and of the teacher [1, 2, 4]")]
    fn shapes_must_agree() {
        let device = device();
        let _ = one_sided_kl(SIGMOID, Tensor::zeros([1, 2, 3], &device), Tensor::zeros([1, 2, 4], &device));
    }
}
