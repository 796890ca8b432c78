//! The methods that the trainer knows.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// What is learned from the unlabeled images.
///
/// ```
/// use sed_train::train::Method;
///
/// assert_eq!("dense-teacher".parse(), Ok(Method::DenseTeacher));
/// assert_eq!(Method::Sed.name(), "sed");
/// let unlabeled = Method::ALL.into_iter().filter(|method| method.is_semi_supervised());
/// assert_eq!(unlabeled.count(), 6);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// Nothing: the labeled images alone. The teacher is then the average of the weights.
    Supervised,
    /// The teacher's detections above a threshold are true objects:
    /// [`PseudoLabels`](sed_core::pseudo_labels::PseudoLabels).
    PseudoLabel,
    /// Such pseudo-labels, learned on the full and on the half-size view. A detector that matches boxes to anchors by size
    /// finds those of the half view one level below, as PseCo shifts them.
    MultiView,
    /// The teacher's outputs as soft labels on all anchors alike:
    /// [`ObjectiveConfig::soft_labels`](sed_core::objective::ObjectiveConfig::soft_labels).
    SoftLabel,
    /// The teacher's scores as targets on the surest anchors:
    /// [`DenseTeacherLoss`](sed_core::losses::DenseTeacherLoss).
    DenseTeacher,
    /// Consistency with the mirror image, without a teacher:
    /// [`FlipConsistency`](sed_core::losses::FlipConsistency).
    Csd,
    /// Scale-Equivalent Distillation: [`Objective`](sed_core::objective::Objective).
    Sed,
}

impl Method {
    /// All methods, the supervised one first and SED last.
    pub const ALL: [Self; 7] = [
        Self::Supervised,
        Self::PseudoLabel,
        Self::MultiView,
        Self::SoftLabel,
        Self::DenseTeacher,
        Self::Csd,
        Self::Sed,
    ];

    /// The name, as in configurations and on command lines.
    pub fn name(self) -> &'static str {
        match self {
            Self::Supervised => "supervised",
            Self::PseudoLabel => "pseudo-label",
            Self::MultiView => "multi-view",
            Self::SoftLabel => "soft-label",
            Self::DenseTeacher => "dense-teacher",
            Self::Csd => "csd",
            Self::Sed => "sed",
        }
    }

    /// Whether it reads unlabeled images.
    pub fn is_semi_supervised(self) -> bool {
        self != Self::Supervised
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that no method has.
///
/// ```
/// use sed_train::train::Method;
///
/// let error = "mean-teacher".parse::<Method>().unwrap_err();
/// assert_eq!(error.name, "mean-teacher");
/// assert!(error.to_string().ends_with("there are supervised, pseudo-label, multi-view, soft-label, \
///                                      dense-teacher, csd, sed"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no method is named {name:?}; there are {}", Method::ALL.map(Method::name).join(", "))]
pub struct UnknownMethod {
    /// The name.
    pub name: String,
}

impl FromStr for Method {
    type Err = UnknownMethod;

    fn from_str(name: &str) -> Result<Self, UnknownMethod> {
        let found = Self::ALL.into_iter().find(|method| method.name() == name);
        found.ok_or_else(|| UnknownMethod { name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_configurations() {
        for method in Method::ALL {
            assert_eq!(method.name().parse(), Ok(method));
            assert_eq!(serde_json::to_string(&method).unwrap(), format!("\"{method}\""));
        }
        let error = "fixmatch".parse::<Method>().unwrap_err().to_string();
        assert!(error.contains("\"fixmatch\"") && error.contains("pseudo-label"), "{error}");
    }
}
