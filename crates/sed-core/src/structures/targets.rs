/// The labeled objects of one image.
///
/// `boxes` and `labels` have one entry an object. Crowd regions are kept apart: they mark places
/// where objects are not labeled one by one, so they are never a target.
///
/// ```
/// use sed_core::Targets;
///
/// let targets =
///     Targets { boxes: vec![[0.0, 0.0, 8.0, 4.0]], labels: vec![2], crowds: vec![[10.0, 0.0, 30.0, 20.0]] };
/// assert_eq!(targets.len(), 1);
/// // An image without objects is an example of background.
/// assert!(Targets::default().is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Targets {
    /// `[x1, y1, x2, y2]` in pixels of the batch's image.
    pub boxes: Vec<[f32; 4]>,
    /// Dense class ids.
    pub labels: Vec<usize>,
    /// Regions labeled as a crowd, `[x1, y1, x2, y2]`.
    pub crowds: Vec<[f32; 4]>,
}

impl Targets {
    /// The number of labeled objects, crowds not counted.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether the image has no labeled object.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }
}
