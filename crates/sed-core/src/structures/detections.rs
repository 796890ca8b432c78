/// The objects that a detector found in one image, best first.
///
/// The three vectors have one entry an object.
///
/// ```
/// use sed_core::Detections;
///
/// let found = Detections {
///     boxes: vec![[0.0, 0.0, 8.0, 4.0], [2.0, 2.0, 4.0, 4.0]],
///     scores: vec![0.9, 0.3],
///     labels: vec![2, 0],
/// };
/// assert_eq!(found.len(), 2);
/// assert!(Detections::default().is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Detections {
    /// `[x1, y1, x2, y2]` in pixels of the image that was given to the detector.
    pub boxes: Vec<[f32; 4]>,
    /// Confidence in `[0, 1]`, descending.
    pub scores: Vec<f32>,
    /// Dense class ids.
    pub labels: Vec<usize>,
}

impl Detections {
    /// The number of objects.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }
}
