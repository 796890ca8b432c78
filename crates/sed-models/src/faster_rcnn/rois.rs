//! Regions of interest in a batch of images.

use sed_core::{ImageSize, ops::boxes};

/// Boxes, each in one image of a batch.
///
/// ```
/// use sed_models::faster_rcnn::Rois;
///
/// let rois = Rois::new(&[vec![[0.0, 0.0, 8.0, 8.0]], vec![], vec![[4.0, 0.0, 8.0, 6.0]; 2]]);
/// assert_eq!((rois.len(), rois.is_empty()), (3, false));
/// assert_eq!(rois.images, [0, 2, 2]);
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Rois {
    /// `[x1, y1, x2, y2]` in pixels of its image.
    pub boxes: Vec<[f32; 4]>,
    /// The image of each box.
    pub images: Vec<usize>,
}

impl Rois {
    /// The boxes of each image, one image after another.
    pub fn new(images: &[Vec<[f32; 4]>]) -> Self {
        Self {
            boxes: images.concat(),
            images: images.iter().enumerate().flat_map(|(i, boxes)| vec![i; boxes.len()]).collect(),
        }
    }

    /// The number of boxes.
    pub fn len(&self) -> usize {
        self.boxes.len()
    }

    /// Whether there is no box.
    pub fn is_empty(&self) -> bool {
        self.boxes.is_empty()
    }

    /// The same regions in images resized by `factor`.
    ///
    /// ```
    /// use sed_models::faster_rcnn::Rois;
    ///
    /// let half = Rois::new(&[vec![[4.0, 0.0, 8.0, 6.0]]]).scaled(0.5);
    /// assert_eq!(half.boxes, [[2.0, 0.0, 4.0, 3.0]]);
    /// ```
    #[must_use]
    pub fn scaled(&self, factor: f32) -> Self {
        let boxes = self.boxes.iter().map(|b| boxes::scale(b, factor)).collect();
        Self { boxes, images: self.images.clone() }
    }

    /// The same regions in images of `width` pixels of which left and right are exchanged.
    ///
    /// ```
    /// use sed_models::faster_rcnn::Rois;
    ///
    /// let mirrored = Rois::new(&[vec![[4.0, 0.0, 8.0, 6.0]]]).mirrored(32.0);
    /// assert_eq!(mirrored.boxes, [[24.0, 0.0, 28.0, 6.0]]);
    /// ```
    #[must_use]
    pub fn mirrored(&self, width: f32) -> Self {
        let boxes = self.boxes.iter().map(|[x1, y1, x2, y2]| [width - x2, *y1, width - x1, *y2]).collect();
        Self { boxes, images: self.images.clone() }
    }
}

/// The regions on which an image and its half-size view are compared: the proposals of both, those of the
/// half view, where there is one, scaled by 2 and clipped to the image. (Guo et al., *Scale-Equivalent Distillation*, CVPR 2022.)
///
/// A batch without any proposal is compared on whole images, so that there is always something to compare
/// (our design).
pub(super) fn joined(full: &[Vec<[f32; 4]>], half: Option<&[Vec<[f32; 4]>]>, sizes: &[ImageSize]) -> Rois {
    let image = |i: usize| -> Vec<[f32; 4]> {
        let (height, width) = (sizes[i].height as f32, sizes[i].width as f32);
        // A half view of odd size is rounded up: its boxes may leave the image by a pixel.
        let half = half.map_or(&[][..], |half| &half[i]);
        let doubled = half.iter().map(|b| boxes::clip(&boxes::scale(b, 2.0), height, width));
        full[i].iter().copied().chain(doubled.filter(boxes::is_valid)).collect()
    };
    let images: Vec<_> = (0..sizes.len()).map(image).collect();
    if images.iter().all(Vec::is_empty) {
        let whole = |size: &ImageSize| vec![[0.0, 0.0, size.width as f32, size.height as f32]];
        return Rois::new(&sizes.iter().map(whole).collect::<Vec<_>>());
    }
    Rois::new(&images)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposals_of_both_views_are_joined_image_by_image() {
        let sizes = [ImageSize::new(20, 31), ImageSize::new(10, 10)];
        let rois = joined(
            &[vec![[1., 2., 3., 4.]], vec![]],
            // The half view of 31 px is 16 px wide.
            Some(&[vec![[8., 0., 16., 5.]], vec![[1., 1., 2., 2.]]]),
            &sizes,
        );
        assert_eq!(rois.boxes, [[1., 2., 3., 4.], [16., 0., 31., 10.], [2., 2., 4., 4.]]);
        assert_eq!(rois.images, [0, 0, 1]);
        assert_eq!(rois.scaled(0.5).boxes[1], [8., 0., 15.5, 5.]);
        assert_eq!(rois.mirrored(32.).boxes[0], [29., 2., 31., 4.]);
        assert_eq!(joined(&[vec![[1., 2., 3., 4.]], vec![]], None, &sizes).len(), 1);
    }

    #[test]
    fn without_proposals_whole_images_are_compared() {
        let none = [vec![], vec![]];
        let rois = joined(&none, Some(&none), &[ImageSize::new(20, 30), ImageSize::new(10, 10)]);
        assert_eq!(rois.boxes, [[0., 0., 30., 20.], [0., 0., 10., 10.]]);
    }
}
