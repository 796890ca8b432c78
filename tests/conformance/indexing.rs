//! Operations that pick and place entries, as losses, RoIAlign and the comparison of views use them.

use burn::tensor::{Int, Tensor};

use super::{
    compare::{Results, Tolerance, with_exact},
    place::Place,
};

/// Compares `work` of one leaf: its values and its gradient.
fn check<const D: usize, const E: usize>(
    name: &str,
    tolerance: Tolerance,
    shape: [usize; D],
    work: impl Fn(&Place, Tensor<D>) -> Tensor<E>,
) {
    with_exact(name, tolerance, |place| {
        let x = place.leaf(shape, 1);
        let y = work(place, x.clone());
        let gradients = place.backward(y.clone());
        let mut results = Results::default();
        results.add("output", y);
        results.add_gradient("input", &x, &gradients);
        results
    });
}

/// Indices below `below` that repeat, so that gradients add up.
fn repeating(count: usize, below: usize) -> Vec<i64> {
    (0..count).map(|i| ((i * i * 7 + i / 3) % below) as i64).collect()
}

/// Predictions of the matched anchors.
#[test]
fn select_rows_that_repeat() {
    check("select_rows_that_repeat", Tolerance::Elementwise, [50, 4], |place, x| {
        x.select(0, place.indices(repeating(200, 50), [200]))
    });
}

/// Elements of a map, as RoIAlign composed of Burn's operations takes them.
#[test]
fn select_many_rows_of_256_channels() {
    check("select_many_rows_of_256_channels", Tolerance::Elementwise, [300, 256], |place, x| {
        x.select(0, place.indices(repeating(1000, 300), [1000]))
    });
}

/// Anchors that have a partner at the other size.
#[test]
fn select_along_anchors() {
    check("select_along_anchors", Tolerance::Elementwise, [2, 40, 3], |place, x| {
        x.select(1, place.indices(repeating(25, 40), [25]))
    });
}

/// The logit of each region's class.
#[test]
fn gather_a_class() {
    check("gather_a_class", Tolerance::Elementwise, [60, 81], |place, x| {
        x.gather(1, place.indices(repeating(60, 81), [60, 1]))
    });
}

/// The box of each region's likeliest class.
#[test]
fn gather_boxes_of_a_class() {
    check("gather_boxes_of_a_class", Tolerance::Elementwise, [30, 7, 4], |place, x| {
        x.gather(1, place.indices(repeating(30, 7), [30, 1, 1]).expand([30, 1, 4]))
    });
}

#[test]
fn scatter_that_adds() {
    check("scatter_that_adds", Tolerance::Elementwise, [40, 5], |place, x| {
        let indices = place.indices(repeating(200, 13), [40, 5]);
        place.values([13, 5], 2).scatter(0, indices, x, burn::tensor::IndexingUpdateOp::Add)
    });
}

#[test]
fn the_likeliest_class() {
    with_exact("the_likeliest_class", Tolerance::Moved, |place| {
        let classes: Tensor<3, Int> = place.values([2, 50, 9], 1).argmax(2);
        let mut results = Results::default();
        results.add_numbers("class", classes.into_data().iter::<f64>().collect());
        results
    });
}

#[test]
fn highest_class() {
    check("highest_class", Tolerance::Elementwise, [2, 50, 9], |_, x| x.max_dim(2));
}

#[test]
fn masks() {
    check("masks", Tolerance::Elementwise, [3, 20, 6], |place, x| {
        let other = place.values([3, 20, 6], 2);
        let chosen = x.clone().greater(other.clone());
        x.clone().mask_where(chosen, other) + x.clone().mask_fill(x.lower_elem(-0.5), 3.0)
    });
}

/// One-hot rows from class numbers; `classes` itself is background.
#[test]
fn one_hot_by_comparison() {
    with_exact("one_hot_by_comparison", Tolerance::Moved, |place| {
        let ids = place.indices(repeating(60, 6), [2, 30, 1]);
        let classes = Tensor::<1, Int>::arange(0..5, &place.device).reshape([1, 1, 5]);
        let mut results = Results::default();
        results.add("rows", ids.expand([2, 30, 5]).equal(classes.expand([2, 30, 5])).float());
        results
    });
}

/// The outputs of a level by anchor, and all levels in one tensor.
#[test]
fn permuted_and_joined_levels() {
    check("permuted_and_joined_levels", Tolerance::Elementwise, [2, 12, 5, 7], |place, x| {
        let rows = x.permute([0, 2, 3, 1]).reshape([2, 105, 4]);
        Tensor::cat(vec![rows.clone(), place.values([2, 9, 4], 2), rows.slice([0..2, 30..60, 0..4])], 1)
    });
}

#[test]
fn padding_and_flipping() {
    check("padding_and_flipping", Tolerance::Elementwise, [2, 3, 5, 7], |_, x| {
        x.flip([1]).pad((0, 3, 0, 1), 0.0)
    });
}

/// Over 120,000 entries, as many as the anchors of an image.
#[test]
fn sum_of_many() {
    check("sum_of_many", Tolerance::Products, [1, 120_000], |_, x| x.sum_dim(1));
}

#[test]
fn means_over_dimensions() {
    check("means_over_dimensions", Tolerance::Products, [4, 33, 1025], |_, x| {
        x.clone().mean_dim(2) + x.sum_dim(1).mean_dim(2)
    });
}
