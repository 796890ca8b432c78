//! What a run leaves on disk: its folder, scalars, curves, histograms, the table of results, pictures and a page of all that.

mod bitmap_font;
mod curves;
mod error;
mod histogram;
mod html;
mod intervals;
mod list;
mod memory;
mod palette;
mod picture;
mod pseudo_label_watch;
mod run_folder;
mod scalar_log;
mod table;
mod tensorboard;
mod throughput;
mod warnings;

pub use curves::{Series, curves_svg, lines_svg};
pub use error::ReportError;
pub use histogram::{Bars, BinLine, Histogram, VerticalScale, histogram_svg};
pub use html::{Chart, EvaluationReport, Figure, HtmlPage, ModelReport, PseudoLabelSnapshot, RunReport};
pub use intervals::{Interval, intervals_svg};
pub(crate) use list::list;
pub use memory::ResidentMemory;
pub use palette::class_color;
pub use picture::{PictureConfig, draw_detections};
pub use pseudo_label_watch::{PseudoLabelWatch, WatchConfig, WatchError};
pub use run_folder::{RunFolder, write_atomic};
pub use scalar_log::{ScalarLog, ScalarRow, Scalars};
pub use table::{Cell, ResultTable};
pub use tensorboard::TensorBoardLog;
pub use throughput::{Speed, Throughput, describe_duration};
pub use warnings::{Moment, Warning, WarningLog};
