use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::data::Category;

/// The twelve numbers of the COCO detection protocol, and the precision of each class.
///
/// AP is the mean over classes of precision interpolated at 101 recalls, AR the mean over classes
/// of the highest recall; where no IoU is named, both are also means over the IoU thresholds
/// .50, .55, …, .95. A number is `None` where it is not defined: no class has an object of that
/// size. Source: Lin et al., *Microsoft COCO: Common Objects in Context*, ECCV 2014, and its
/// evaluation server.
///
/// ```
/// use sed_train::eval::{CocoEvaluator, CocoSummary, DetectionEvaluator};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::{found, truth};
/// # let truth = truth();
///
/// // The only object, of class 1 in image 1, is found; it is of medium size.
/// let summary = CocoEvaluator.evaluate(&truth, &[found(1, 1, 0.9)])?;
/// assert_eq!((summary.ap_small, summary.ap_medium.is_some()), (None, true));
/// let named: Vec<_> = CocoSummary::NAMES.into_iter().zip(summary.values()).collect();
/// assert_eq!(named[1], ("AP50", summary.ap50));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CocoSummary {
    /// AP over all IoU thresholds.
    pub ap: Option<f64>,
    /// AP at IoU .50.
    pub ap50: Option<f64>,
    /// AP at IoU .75.
    pub ap75: Option<f64>,
    /// AP of objects of area up to 32².
    pub ap_small: Option<f64>,
    /// AP of objects of area from 32² to 96².
    pub ap_medium: Option<f64>,
    /// AP of objects of area from 96².
    pub ap_large: Option<f64>,
    /// AR with one detection an image and class.
    pub ar1: Option<f64>,
    /// AR with 10 detections an image and class.
    pub ar10: Option<f64>,
    /// AR with 100 detections an image and class.
    pub ar100: Option<f64>,
    /// AR of objects of area up to 32², with 100 detections.
    pub ar_small: Option<f64>,
    /// AR of objects of area from 32² to 96², with 100 detections.
    pub ar_medium: Option<f64>,
    /// AR of objects of area from 96², with 100 detections.
    pub ar_large: Option<f64>,
    /// Each class, in the order of the dense class ids.
    pub classes: Vec<ClassSummary>,
}

/// The precision of one class, over objects of all sizes.
///
/// ```
/// use sed_train::eval::{CocoEvaluator, DetectionEvaluator};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/truth.rs")); }
/// # use setup::truth;
/// # let truth = truth();
///
/// // There are no nuts, and the only screw is not found.
/// let classes = CocoEvaluator.evaluate(&truth, &[])?.classes;
/// assert_eq!((classes[0].category.name.as_str(), classes[0].ap), ("nut", None));
/// assert_eq!((classes[1].category.name.as_str(), classes[1].ap), ("screw", Some(0.0)));
/// # Ok::<(), sed_train::eval::EvalError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ClassSummary {
    /// The class.
    pub category: Category,
    /// AP over all IoU thresholds; `None` if no image has an object of this class.
    pub ap: Option<f64>,
    /// AP at IoU .50.
    pub ap50: Option<f64>,
}

impl CocoSummary {
    /// The names of the twelve numbers, in COCO's order.
    pub const NAMES: [&'static str; 12] =
        ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"];

    /// The twelve numbers, in COCO's order.
    pub fn values(&self) -> [Option<f64>; 12] {
        [
            self.ap,
            self.ap50,
            self.ap75,
            self.ap_small,
            self.ap_medium,
            self.ap_large,
            self.ar1,
            self.ar10,
            self.ar100,
            self.ar_small,
            self.ar_medium,
            self.ar_large,
        ]
    }

    /// An object with the twelve numbers by their [`NAMES`](Self::NAMES), and under `per_class` the AP of each class by its
    /// name; a number that is not defined is `null`. Of classes of one name all but the first carry their id as well.
    ///
    /// ```
    /// use sed_train::data::Category;
    /// use sed_train::eval::{CocoEvaluator, DetectionEvaluator, GroundTruth};
    ///
    /// let categories = vec![Category { id: 3, name: "nut".into() }];
    /// let truth = GroundTruth { image_ids: vec![1], categories, boxes: vec![] };
    /// let json = CocoEvaluator.evaluate_results(&truth, &[])?.to_json();
    /// // Without any object nothing is defined.
    /// assert_eq!(json["AP50"], serde_json::Value::Null);
    /// assert_eq!(json["per_class"].to_string(), r#"{"nut":null}"#);
    /// # Ok::<(), sed_train::eval::EvalError>(())
    /// ```
    pub fn to_json(&self) -> Value {
        let numbers =
            Self::NAMES.iter().zip(self.values()).map(|(name, value)| ((*name).to_owned(), value.into()));
        let classes = self.classes.iter().map(|class| (&class.category, class.ap));
        Value::Object(numbers.chain([("per_class".to_owned(), per_class(classes))]).collect())
    }

    /// A summary of twelve numbers in COCO's order.
    pub(super) fn new(values: [Option<f64>; 12], classes: Vec<ClassSummary>) -> Self {
        let [ap, ap50, ap75, ap_small, ap_medium, ap_large, ar1, ar10, ar100, ar_small, ar_medium, ar_large] =
            values;
        Self {
            ap,
            ap50,
            ap75,
            ap_small,
            ap_medium,
            ap_large,
            ar1,
            ar10,
            ar100,
            ar_small,
            ar_medium,
            ar_large,
            classes,
        }
    }
}

/// The numbers of classes by name; see [`CocoSummary::to_json`].
pub(super) fn per_class<'a>(classes: impl Iterator<Item = (&'a Category, Option<f64>)>) -> Value {
    let mut map = Map::new();
    for (category, value) in classes {
        let key = match map.contains_key(&category.name) {
            false => category.name.clone(),
            true => format!("{} (id {})", category.name, category.id),
        };
        map.insert(key, value.into());
    }
    Value::Object(map)
}
