//! From the outputs of a region proposal network to proposals.

use sed_core::{
    ImageSize, InvalidOption,
    ops::{batched_nms, boxes},
    pyramid::PyramidLayout,
};
use serde::{Deserialize, Serialize};

use crate::box_coder::BoxCoder;

/// Which anchors become proposals.
///
/// In each image, of each level the best `candidates_per_level`, decoded and clipped to the image; those
/// with a side below `min_size` go. Of all levels together: what survives non-maximum suppression within
/// each level, at most `max_proposals`. (Ren et al., *Faster R-CNN*, NIPS 2015, §3.1.3; by level as in Lin
/// et al., *Feature Pyramid Networks*, CVPR 2017; steps as in torchvision.)
///
/// ```
/// use sed_core::{ImageSize, pyramid::PyramidLayout};
/// use sed_models::{box_coder::BoxCoder, faster_rcnn::ProposalFilter};
///
/// let size = ImageSize::new(16, 32);
/// let layout = PyramidLayout::over(size, &[16], 1);
/// let anchors = [[-8.0, -8.0, 8.0, 8.0], [8.0, -8.0, 24.0, 8.0]];
/// let best = |max_proposals: usize| {
///     let filter = ProposalFilter { max_proposals, ..ProposalFilter::default() };
///     filter.proposals(&[1.0, 2.0], &[0.0; 8], &layout, &anchors, &BoxCoder::default(), size)
/// };
/// // Clipped to the image, best first.
/// assert_eq!(best(10), [[8.0, 0.0, 24.0, 8.0], [0.0, 0.0, 8.0, 8.0]]);
/// assert_eq!(best(1).len(), 1);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProposalFilter {
    /// How many candidates a level hands on.
    pub candidates_per_level: usize,
    /// How many proposals an image has at most.
    pub max_proposals: usize,
    /// Of two boxes of one level with an IoU above this, the one with the lower score goes.
    pub nms_threshold: f32,
    /// The smallest width and height, in pixels.
    pub min_size: f32,
}

impl Default for ProposalFilter {
    /// 1000 candidates a level, 1000 proposals, NMS at 0.7, 0.001 px.
    fn default() -> Self {
        Self { candidates_per_level: 1000, max_proposals: 1000, nms_threshold: 0.7, min_size: 1e-3 }
    }
}

impl ProposalFilter {
    /// Checks the options.
    ///
    /// # Errors
    ///
    /// The option that is out of range.
    ///
    /// ```
    /// use sed_models::faster_rcnn::ProposalFilter;
    ///
    /// assert!(ProposalFilter::default().validate().is_ok());
    /// let error =
    ///     ProposalFilter { nms_threshold: 1.5, ..ProposalFilter::default() }.validate().unwrap_err();
    /// assert_eq!(error.option, "proposals.nms_threshold");
    /// ```
    pub fn validate(&self) -> Result<(), InvalidOption> {
        InvalidOption::unless_positive("proposals.candidates_per_level", self.candidates_per_level as f64)?;
        InvalidOption::unless_positive("proposals.max_proposals", self.max_proposals as f64)?;
        InvalidOption::unless_fraction("proposals.nms_threshold", self.nms_threshold.into())?;
        InvalidOption::unless_non_negative("proposals.min_size", self.min_size.into())
    }

    /// The proposals of one image of `size`, best first, from the logits (`A`) and deltas (`4·A`) of its
    /// anchors.
    ///
    /// ```
    /// use sed_core::{ImageSize, pyramid::PyramidLayout};
    /// use sed_models::{box_coder::BoxCoder, faster_rcnn::ProposalFilter};
    ///
    /// let size = ImageSize::new(16, 32);
    /// let layout = PyramidLayout::over(size, &[16], 1);
    /// let anchors = [[-8.0, -8.0, 8.0, 8.0], [8.0, -8.0, 24.0, 8.0]];
    /// // The first is moved out of the image.
    /// let deltas = [0.0, -2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0];
    /// let filter = ProposalFilter::default();
    /// let found = filter.proposals(&[2.0, 1.0], &deltas, &layout, &anchors, &BoxCoder::default(), size);
    /// assert_eq!(found, [[8.0, 0.0, 24.0, 8.0]]);
    /// ```
    pub fn proposals(
        &self,
        logits: &[f32],
        deltas: &[f32],
        layout: &PyramidLayout,
        anchors: &[[f32; 4]],
        coder: &BoxCoder,
        size: ImageSize,
    ) -> Vec<[f32; 4]> {
        let (mut found, mut scores, mut levels) = (Vec::new(), Vec::new(), Vec::new());
        let mut start = 0;
        for (number, level) in layout.levels.iter().enumerate() {
            let end = start + level.num_anchors();
            for index in best(logits, (start..end).collect(), self.candidates_per_level) {
                let delta = std::array::from_fn(|k| deltas[index * 4 + k]);
                let decoded = coder.decode(delta, anchors[index]);
                let clipped = boxes::clip(&decoded, size.height as f32, size.width as f32);
                let sides = (clipped[2] - clipped[0]).min(clipped[3] - clipped[1]);
                // Clipping turns a NaN into a corner of the image.
                if boxes::is_valid(&decoded) && boxes::is_valid(&clipped) && sides >= self.min_size {
                    found.push(clipped);
                    scores.push(logits[index]);
                    levels.push(number);
                }
            }
            start = end;
        }
        let mut kept = batched_nms(&found, &scores, &levels, self.nms_threshold);
        kept.truncate(self.max_proposals);
        kept.into_iter().map(|k| found[k]).collect()
    }
}

/// The `count` indices of the highest logits, in no order; of equal logits the first. NaN counts as none.
fn best(logits: &[f32], mut indices: Vec<usize>, count: usize) -> Vec<usize> {
    indices.retain(|&i| !logits[i].is_nan());
    if indices.len() > count {
        indices.select_nth_unstable_by(count, |&i, &j| logits[j].total_cmp(&logits[i]).then(i.cmp(&j)));
        indices.truncate(count);
    }
    indices
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::anchors::AnchorConfig;

    const SIZE: ImageSize = ImageSize { height: 16, width: 16 };

    struct Setup {
        layout: PyramidLayout,
        anchors: Vec<[f32; 4]>,
    }

    /// Strides 8 and 16, anchors of 8 and 16 px: centres (0, 0), (8, 0), (0, 8), (8, 8); (0, 0).
    fn setup() -> Setup {
        let layout = PyramidLayout::over(SIZE, &[8, 16], 1);
        let anchors = AnchorConfig::octaves(8.0, 2, 1, &[1.0]).init(&[8, 16]).grid(&layout);
        Setup { layout, anchors }
    }

    fn proposals(filter: ProposalFilter, logits: &[f32], deltas: &[f32]) -> Vec<[f32; 4]> {
        let Setup { layout, anchors } = setup();
        filter.proposals(logits, deltas, &layout, &anchors, &BoxCoder::default(), SIZE)
    }

    const LOGITS: [f32; 5] = [0.5, 3.0, -1.0, 2.0, 1.0];

    #[test]
    fn proposals_by_hand_and_each_option_acts() {
        let filter = ProposalFilter::default();
        let all = proposals(filter, &LOGITS, &[0.0; 20]);
        // By score, clipped to the image.
        assert_eq!(
            all,
            [[4., 0., 12., 4.], [4., 4., 12., 12.], [0., 0., 8., 8.], [0., 0., 4., 4.], [0., 4., 4., 12.]]
        );
        let count = |filter| proposals(filter, &LOGITS, &[0.0; 20]).len();
        assert_eq!(count(ProposalFilter { max_proposals: 2, ..filter }), 2);
        // The best two of the first level, and the only one of the second.
        let two = ProposalFilter { candidates_per_level: 2, ..filter };
        assert_eq!(proposals(two, &LOGITS, &[0.0; 20]), all[..3]);
        assert_eq!(count(ProposalFilter { min_size: 5.0, ..filter }), 2);
    }

    #[test]
    fn overlaps_are_suppressed_within_a_level_only() {
        // The second anchor (score 3) moved one to the left onto the first, the anchor of the coarse level
        // shrunk to half its size, which is the first anchor again.
        let mut deltas = [0.0; 20];
        deltas[4] = -1.0;
        deltas[18] = -2.0f32.ln();
        deltas[19] = -2.0f32.ln();
        let found = proposals(ProposalFilter::default(), &LOGITS, &deltas);
        let at_origin = found
            .iter()
            .filter(|b| b.iter().zip([0., 0., 4., 4.]).all(|(a, b): (&f32, f32)| (a - b).abs() < 1e-5));
        assert_eq!((found.len(), at_origin.count()), (4, 2));
        let keep_all = ProposalFilter { nms_threshold: 1.0, ..ProposalFilter::default() };
        assert_eq!(proposals(keep_all, &LOGITS, &deltas).len(), 5);
    }

    #[test]
    fn broken_numbers_give_no_proposal() {
        assert!(proposals(ProposalFilter::default(), &[f32::NAN; 5], &[0.0; 20]).is_empty());
        assert!(proposals(ProposalFilter::default(), &LOGITS, &[f32::NAN; 20]).is_empty());
        let filter = ProposalFilter { min_size: 0.0, ..ProposalFilter::default() };
        // Far outside of the image: nothing is left after clipping.
        assert!(proposals(filter, &LOGITS, &[1e6; 20]).is_empty());
    }

    #[test]
    fn options_out_of_range_are_named() {
        let good = ProposalFilter::default();
        assert_eq!(good.validate(), Ok(()));
        let bad = |filter: ProposalFilter| filter.validate().unwrap_err().option;
        assert_eq!(bad(ProposalFilter { candidates_per_level: 0, ..good }), "proposals.candidates_per_level");
        assert_eq!(bad(ProposalFilter { max_proposals: 0, ..good }), "proposals.max_proposals");
        assert_eq!(bad(ProposalFilter { nms_threshold: 2.0, ..good }), "proposals.nms_threshold");
        assert_eq!(bad(ProposalFilter { min_size: -1.0, ..good }), "proposals.min_size");
    }
}
