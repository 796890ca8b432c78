//! Boxes as offsets from anchors.

use burn::tensor::Tensor;
use sed_core::InvalidOption;
use serde::{Deserialize, Serialize};

/// Encodes a box relative to an anchor, and back.
///
/// With centre `(x, y)`, width `w` and height `h` of the box and `(xₐ, yₐ, wₐ, hₐ)` of the anchor:
///
/// ```text
/// dx = weights[0]·(x − xₐ)/wₐ      dw = weights[2]·ln(w/wₐ)
/// dy = weights[1]·(y − yₐ)/hₐ      dh = weights[3]·ln(h/hₐ)
/// ```
///
/// `decode(encode(box, anchor), anchor) = box`. Deltas do not change when box and anchor are scaled
/// together, which is why those of two image sizes compare directly. (Ren et al., *Faster R-CNN*,
/// NIPS 2015, eq. 2; the weights and the clamp as in torchvision.)
///
/// ```
/// use sed_models::box_coder::BoxCoder;
///
/// let coder = BoxCoder::default();
/// let anchor = [0.0, 0.0, 10.0, 10.0];
/// // Five to the right (half an anchor), and twice as high.
/// let deltas = coder.encode([5.0, -5.0, 15.0, 15.0], anchor);
/// assert_eq!(deltas, [0.5, 0.0, 0.0, 2.0f32.ln()]);
/// assert_eq!(coder.decode(deltas, anchor), [5.0, -5.0, 15.0, 15.0]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BoxCoder {
    /// Factors of `dx`, `dy`, `dw`, `dh`.
    pub weights: [f32; 4],
    /// Decoding caps `dw` and `dh`, divided by their weights, at this value, so that the
    /// exponential stays finite.
    pub clamp: f32,
}

impl Default for BoxCoder {
    /// Weights 1; a box is at most `1000/16` times as wide or high as its anchor.
    fn default() -> Self {
        Self { weights: [1.0; 4], clamp: (1000.0f32 / 16.0).ln() }
    }
}

impl BoxCoder {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// If a weight or the clamp is not a positive number.
    ///
    /// ```
    /// use sed_models::box_coder::BoxCoder;
    ///
    /// assert!(BoxCoder::default().validate().is_ok());
    /// let error =
    ///     BoxCoder { weights: [10.0, 10.0, 5.0, 0.0], ..Default::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "box_coder.weights");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        for weight in self.weights {
            InvalidOption::unless_positive("box_coder.weights", weight.into())?;
        }
        InvalidOption::unless_positive("box_coder.clamp", self.clamp.into())
    }

    /// The deltas of `target` relative to `anchor`.
    ///
    /// Both need a positive width and height, else the result is not finite.
    ///
    /// ```
    /// use sed_models::box_coder::BoxCoder;
    ///
    /// let coder = BoxCoder { weights: [10.0, 10.0, 5.0, 5.0], ..BoxCoder::default() };
    /// // A quarter of the anchor's width to the right.
    /// let deltas = coder.encode([2.0, 0.0, 10.0, 8.0], [0.0, 0.0, 8.0, 8.0]);
    /// assert_eq!(deltas, [2.5, 0.0, 0.0, 0.0]);
    /// ```
    pub fn encode(&self, target: [f32; 4], anchor: [f32; 4]) -> [f32; 4] {
        let (t, a) = (centre_size(target), centre_size(anchor));
        let w = self.weights;
        [
            w[0] * (t[0] - a[0]) / a[2],
            w[1] * (t[1] - a[1]) / a[3],
            w[2] * (t[2] / a[2]).ln(),
            w[3] * (t[3] / a[3]).ln(),
        ]
    }

    /// The box `[x1, y1, x2, y2]` that has `deltas` relative to `anchor`.
    ///
    /// ```
    /// use sed_models::box_coder::BoxCoder;
    ///
    /// let anchor = [0.0, 0.0, 16.0, 16.0];
    /// let coder = BoxCoder::default();
    /// assert_eq!(coder.decode([0.5, 0.0, 0.0, 0.0], anchor), [8.0, 0.0, 24.0, 16.0]);
    /// // Of a delta beyond the clamp a box of 1000 px is left.
    /// let [x1, _, x2, _] = coder.decode([0.0, 0.0, 99.0, 0.0], anchor);
    /// assert!((x2 - x1 - 1000.0).abs() < 1e-2);
    /// ```
    pub fn decode(&self, deltas: [f32; 4], anchor: [f32; 4]) -> [f32; 4] {
        let [ax, ay, aw, ah] = centre_size(anchor);
        let d: [f32; 4] = std::array::from_fn(|k| deltas[k] / self.weights[k]);
        let (x, y) = (d[0] * aw + ax, d[1] * ah + ay);
        let (w, h) = (d[2].min(self.clamp).exp() * aw, d[3].min(self.clamp).exp() * ah);
        [x - 0.5 * w, y - 0.5 * h, x + 0.5 * w, y + 0.5 * h]
    }

    /// [`encode`](Self::encode) of `targets` `[M, 4]` relative to `anchors` `[M, 4]`: `[M, 4]`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::box_coder::BoxCoder;
    ///
    /// let device = Device::default();
    /// let objects = Tensor::<2>::from_floats([[2.0, 0.0, 10.0, 8.0]], &device);
    /// let anchors = Tensor::<2>::from_floats([[0.0, 0.0, 8.0, 8.0]], &device);
    /// let deltas = BoxCoder::default().encode_tensor(objects, anchors);
    /// assert_eq!(deltas.into_data().try_to_vec::<f32>().unwrap(), [0.25, 0.0, 0.0, 0.0]);
    /// ```
    pub fn encode_tensor(&self, targets: Tensor<2>, anchors: Tensor<2>) -> Tensor<2> {
        let ([tc, ts], [ac, asz]) = (centre_size_tensor(targets), centre_size_tensor(anchors));
        let deltas = Tensor::cat(vec![(tc - ac) / asz.clone(), (ts / asz).log()], 1);
        let weights = Tensor::<1>::from_floats(self.weights, &deltas.device()).unsqueeze();
        deltas * weights
    }

    /// [`decode`](Self::decode) of `deltas` `[M, 4]` relative to `anchors` `[M, 4]`: `[M, 4]`.
    ///
    /// Beyond the clamp no gradient reaches `dw` and `dh`.
    ///
    /// ```
    /// use burn::tensor::{Device, Tensor};
    /// use sed_models::box_coder::BoxCoder;
    ///
    /// let device = Device::default();
    /// let deltas = Tensor::<2>::from_floats([[0.25, 0.0, 0.0, 0.0]], &device);
    /// let anchors = Tensor::<2>::from_floats([[0.0, 0.0, 8.0, 8.0]], &device);
    /// let boxes = BoxCoder::default().decode_tensor(deltas, anchors);
    /// assert_eq!(boxes.into_data().try_to_vec::<f32>().unwrap(), [2.0, 0.0, 10.0, 8.0]);
    /// ```
    pub fn decode_tensor(&self, deltas: Tensor<2>, anchors: Tensor<2>) -> Tensor<2> {
        let [centre, size] = centre_size_tensor(anchors);
        let weights = Tensor::<1>::from_floats(self.weights, &deltas.device()).unsqueeze();
        let deltas = deltas / weights;
        let centre = deltas.clone().narrow(1, 0, 2) * size.clone() + centre;
        let half = deltas.narrow(1, 2, 2).clamp_max(self.clamp).exp() * size * 0.5;
        Tensor::cat(vec![centre.clone() - half.clone(), centre + half], 1)
    }
}

/// Centre, width and height.
fn centre_size(b: [f32; 4]) -> [f32; 4] {
    let (w, h) = (b[2] - b[0], b[3] - b[1]);
    [b[0] + 0.5 * w, b[1] + 0.5 * h, w, h]
}

/// Centres `[M, 2]` and sizes `[M, 2]` of boxes `[M, 4]`.
fn centre_size_tensor(boxes: Tensor<2>) -> [Tensor<2>; 2] {
    let lower = boxes.clone().narrow(1, 0, 2);
    let size = boxes.narrow(1, 2, 2) - lower.clone();
    [lower + size.clone() * 0.5, size]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Tolerance};

    const CODER: BoxCoder = BoxCoder { weights: [10.0, 10.0, 5.0, 5.0], clamp: 4.135 };
    const ANCHORS: [[f32; 4]; 3] = [[0., 0., 10., 20.], [-8., 4., 24., 20.], [100., 50., 228., 306.]];
    const TARGETS: [[f32; 4]; 3] = [[5., 0., 15., 20.], [0., 0., 12., 31.], [90., 70., 300., 170.]];

    #[test]
    fn deltas_by_hand() {
        // Half a width to the right, same size: 10·5/10 = 5.
        assert_eq!(CODER.encode(TARGETS[0], ANCHORS[0]), [5.0, 0.0, 0.0, 0.0]);
    }

    #[test]
    fn decoding_inverts_encoding_and_the_tensor_form_agrees() {
        let device = Device::default();
        let tensor = |rows: [[f32; 4]; 3]| Tensor::<2>::from_floats(rows, &device);
        let deltas: [[f32; 4]; 3] = std::array::from_fn(|k| CODER.encode(TARGETS[k], ANCHORS[k]));
        let decoded: [[f32; 4]; 3] = std::array::from_fn(|k| CODER.decode(deltas[k], ANCHORS[k]));
        // A few roundings of numbers up to 306: 1e-4 is about four units in the last place.
        let tolerance = Tolerance::<f32>::absolute(1e-4);
        tensor(decoded).into_data().assert_approx_eq(&tensor(TARGETS).into_data(), tolerance);
        let encoded = CODER.encode_tensor(tensor(TARGETS), tensor(ANCHORS));
        encoded.clone().into_data().assert_approx_eq(&tensor(deltas).into_data(), tolerance);
        let decoded = CODER.decode_tensor(encoded, tensor(ANCHORS));
        decoded.into_data().assert_approx_eq(&tensor(TARGETS).into_data(), tolerance);
    }

    #[test]
    fn huge_deltas_are_clamped() {
        let coder = BoxCoder::default();
        let anchor = [0.0, 0.0, 16.0, 16.0];
        let decoded = coder.decode([0.0, 0.0, 1e9, 1e9], anchor);
        // 16 · 1000/16 = 1000 wide around (8, 8); ln and exp each round once.
        for (value, expected) in decoded.into_iter().zip([-492.0, -492.0, 508.0, 508.0]) {
            assert!((value - expected).abs() < 1e-2, "{decoded:?}");
        }
        let device = Device::default();
        let tensor = coder.decode_tensor(
            Tensor::from_floats([[0.0, 0.0, 1e9, 1e9]], &device),
            Tensor::from_floats([anchor], &device),
        );
        tensor.into_data().assert_approx_eq(
            &Tensor::<2>::from_floats([decoded], &device).into_data(),
            Tolerance::<f32>::absolute(1e-2),
        );
    }

    #[test]
    fn deltas_ignore_a_common_scale() {
        let double = |b: [f32; 4]| b.map(|v| 2.0 * v);
        for (target, anchor) in TARGETS.into_iter().zip(ANCHORS) {
            assert_eq!(CODER.encode(double(target), double(anchor)), CODER.encode(target, anchor));
        }
    }

    #[test]
    fn the_gradient_of_decoding_is_the_analytic_one() {
        let device = Device::default().autodiff();
        let deltas = Tensor::<2>::from_floats([[0.5, -0.25, 0.2, 9.0]], &device).require_grad();
        let coder = BoxCoder::default();
        let decoded = coder.decode_tensor(deltas.clone(), Tensor::from_floats([[0., 0., 10., 20.]], &device));
        let gradients = decoded.narrow(1, 2, 2).sum().backward();
        let gradient = deltas.grad(&gradients).expect("deltas take part");
        // d x2/d dx = 10, d y2/d dy = 20, d x2/d dw = ½·10·e^0.2 = 6.107, and 9 is beyond the clamp.
        let expected = Tensor::<2>::from_floats([[10.0, 20.0, 6.107_014, 0.0]], &gradient.device());
        gradient.into_data().assert_approx_eq(&expected.into_data(), Tolerance::<f32>::relative(1e-5));
    }
}
