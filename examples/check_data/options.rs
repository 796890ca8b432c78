//! The command line.

use std::path::PathBuf;

use clap::{
    Parser,
    builder::{PossibleValuesParser, TypedValueParser},
};
use sed::train::data::PolicyMode;

/// Says what a dataset holds and what is wrong with it: annotations, images, classes, sizes, images that are trained on
/// and validated on.
///
/// Exit code 0 if a training would take the data, 1 if one under the policy `strict` would refuse it, 2 if the report
/// could not be written or an argument is wrong.
#[derive(Debug, Clone, Parser)]
#[command(version, max_term_width = 100)]
pub struct Options {
    /// Annotations of the training images: a COCO JSON, a folder of VOC files, or a VOC list of `ImageSets`.
    #[arg(long, value_name = "FILE_OR_DIR", requires = "images", required_unless_present = "unlabeled")]
    pub annotations: Option<PathBuf>,
    /// Folder of the training images.
    #[arg(long, value_name = "DIR", requires = "annotations")]
    pub images: Option<PathBuf>,
    /// Images without labels: a folder of images or of tar files with images, a tar file, or a JSON whose file names are
    /// relative to its folder. May be given several times.
    #[arg(long, value_name = "DIR_OR_FILE")]
    pub unlabeled: Vec<PathBuf>,
    /// Annotations of the validation images.
    #[arg(long, value_name = "FILE_OR_DIR", requires = "val_images")]
    pub val_annotations: Option<PathBuf>,
    /// Folder of the validation images.
    #[arg(long, value_name = "DIR", requires = "val_annotations")]
    pub val_images: Option<PathBuf>,
    /// Show what this policy would do about each problem; by default all three.
    #[arg(long, value_name = "MODE", value_parser = policy_parser())]
    pub policy: Option<PolicyMode>,
    /// Problems of each part that are printed; the JSON lists more.
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub show: usize,
    /// Also write the report as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

fn policy_parser() -> impl TypedValueParser<Value = PolicyMode> {
    PossibleValuesParser::new(PolicyMode::ALL.map(PolicyMode::name))
        .try_map(|name| name.parse::<PolicyMode>())
}
