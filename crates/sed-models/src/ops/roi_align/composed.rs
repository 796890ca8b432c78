//! RoIAlign from Burn's tensor operations.

use burn::tensor::{Int, Tensor, TensorData};

use super::taps::{Tap, Taps};

/// What pads bins with few taps.
const NOTHING: Tap = Tap { index: 0, weight: 0.0 };

/// For each pair of a row and a column tap: selects an element for each bin, `[K·S·S, C]`, and weighs it. Bins with
/// fewer taps than others get some of weight 0.
pub(super) fn roi_align(features: Tensor<4>, taps: &Taps) -> Tensor<4> {
    let [n, c, h, w] = features.dims();
    let (device, dtype) = (features.device(), features.dtype());
    let (boxes, bins) = (taps.images.len(), taps.bins);
    let mut sum = Tensor::<2>::zeros([boxes * bins * bins, c], (&device, dtype));
    let elements = features.permute([0, 2, 3, 1]).reshape([n * h * w, c]);
    let tap = |taps: &[Tap], i: usize| taps.get(i).copied().unwrap_or(NOTHING);
    // At least one, so that the features are part of the graph whatever the boxes are.
    for row in 0..taps.rows.most().max(1) {
        for column in 0..taps.columns.most().max(1) {
            let mut indices = Vec::with_capacity(boxes * bins * bins);
            let mut weights = Vec::with_capacity(indices.capacity());
            for (k, image) in taps.images.iter().enumerate() {
                for i in 0..bins {
                    let y = tap(taps.rows.bin(k * bins + i), row);
                    for j in 0..bins {
                        let x = tap(taps.columns.bin(k * bins + j), column);
                        indices.push(((image * h + y.index) * w + x.index) as i64);
                        weights.push(y.weight * x.weight);
                    }
                }
            }
            let count = indices.len();
            let indices = Tensor::<1, Int>::from_data(TensorData::new(indices, [count]), &device);
            let weights = Tensor::<2>::from_data(TensorData::new(weights, [count, 1]), (&device, dtype));
            sum = sum + elements.clone().select(0, indices) * weights;
        }
    }
    sum.reshape([boxes, bins, bins, c]).permute([0, 3, 1, 2])
}
