//! What stands against self-training on a dataset: Figure 1 of the paper for any images and any detector.
//!
//! - (a) [`SizeDistribution`]: how much the size of objects varies.
//! - (b) [`ScoreDifferences`]: whether the anchors whose score changes with the image size are those of objects.
//! - (c) [`PseudoLabelMatches`]: how many pseudo-labels are right and how many objects they find, by threshold and by size.
//!
//! All of it is counted on the host, from boxes, scores and true objects. The true objects of images that a training
//! counts as unlabeled serve here to measure and for nothing else: no result is an input of a training.
//!
//! Source: Fig. 1 of Guo et al., *Scale-Equivalent Distillation for Semi-Supervised Object Detection*, CVPR 2022. What
//! the figure does not tell (bins, crowds, the order of matching) is our design.

mod bins;
mod pseudo_labels;
mod score_difference;
mod sizes;

pub use pseudo_labels::{ObjectRecall, PseudoLabelCurve, PseudoLabelMatches, PseudoLabelPoint, RecallBySize};
pub use score_difference::{
    AnchorKind, BACKGROUND_IOU, FOREGROUND_IOU, ScoreDifferenceBin, ScoreDifferenceSummary, ScoreDifferences,
    anchor_kinds,
};
pub use sizes::{SizeDistribution, instance_sizes};
