/// Detections that cannot be evaluated.
///
/// ```
/// use sed_train::eval::{ConfusionMatrix, EvalError};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // Of `truth`'s two classes there is none with the number 5.
/// match ConfusionMatrix::new(&truth, &[found(1, 5, 0.9)], 0.5, 0.5) {
///     Err(EvalError::UnknownClass { image, label, classes, .. }) => {
///         assert_eq!((image, label, classes), (1, 5, 2));
///     }
///     other => panic!("{other:?}"),
/// }
/// ```
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    /// Detections of an image without ground truth.
    #[error("detections of image {image}, which is not in the ground truth")]
    UnknownImage {
        /// The image's id.
        image: u64,
    },
    /// Two entries for one image.
    #[error("detections of image {image} are given twice")]
    DuplicateImage {
        /// The image's id.
        image: u64,
    },
    /// A class id that is too large.
    #[error("image {image}, detection {index}: class {label} of {classes} classes")]
    UnknownClass {
        /// The image's id.
        image: u64,
        /// The detection's position among those of the image.
        index: usize,
        /// The dense class id.
        label: usize,
        /// The number of classes.
        classes: usize,
    },
    /// A category id that the ground truth does not have.
    #[error("image {image}, detection {index}: category_id {id} is not in the ground truth")]
    UnknownCategory {
        /// The image's id.
        image: u64,
        /// The detection's position among those of the image.
        index: usize,
        /// The category's id.
        id: u64,
    },
    /// A box or score that is infinite or not a number, or a box of negative size.
    #[error(
        "image {image}, detection {index}: bbox {bbox:?} and score {score} must be finite, \
         with a width and height of at least 0"
    )]
    InvalidDetection {
        /// The image's id.
        image: u64,
        /// The detection's position among those of the image.
        index: usize,
        /// `[x, y, width, height]`.
        bbox: [f64; 4],
        /// The confidence.
        score: f64,
    },
    /// The evaluation itself failed.
    #[error("COCO evaluation: {source}")]
    Evaluation {
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}
