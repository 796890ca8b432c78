//! A generated dataset: scenes of simple shapes, for trying a detector without any data at hand.
//!
//! The class of an object is its shape, and its hue leans towards one of the class; size, texture,
//! stretch and rotation vary without regard to it. Sizes are log-uniform over more than 1:16 by default, so that size is the main
//! difficulty; textured backgrounds, unlabeled figures, overlaps and noise add to it (our design).

mod config;
mod files;
mod palette;
mod raster;
mod scene;
mod shapes;
mod texture;

pub use config::SceneConfig;
pub use files::{SceneError, ScenePaths, generate};
pub use scene::Scene;
pub use shapes::ShapeClass;
