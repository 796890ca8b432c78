//! What is compared: methods, and SED with some of its settings changed.

use std::str::FromStr;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use sed::train::train::Method;

use crate::options::Options;

/// A method with settings of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Variant {
    /// The name of its row and its folder.
    pub name: String,
    /// The method.
    pub method: Method,
    /// `key=value`, laid over the settings of the comparison.
    pub sets: Vec<String>,
}

impl Variant {
    fn new(name: &str, method: Method, sets: &[&str]) -> Self {
        Self { name: name.to_string(), method, sets: sets.iter().map(ToString::to_string).collect() }
    }

    fn of_method(method: Method) -> Self {
        Self::new(method.name(), method, &[])
    }
}

impl FromStr for Variant {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (name, rest) = text.split_once('=').context("want NAME=METHOD:KEY=VALUE,…")?;
        let (method, sets) = rest.split_once(':').unwrap_or((rest, ""));
        // The name is a folder of the run folder, and the program hands it to itself between colons.
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            bail!("the name {name:?} may have letters, digits, '-', '_' and '.', the latter not first");
        }
        Ok(Self {
            name: name.to_string(),
            method: method.parse()?,
            sets: split_outside_brackets(sets).into_iter().filter(|set| !set.is_empty()).collect(),
        })
    }
}

/// The parts between commas, but for commas within brackets: `a=[1,2],b=3`.
fn split_outside_brackets(text: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut depth = 0;
    for c in text.chars() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => depth -= 1,
            _ => {}
        }
        match (c, parts.last_mut()) {
            (',', _) if depth == 0 => parts.push(String::new()),
            (_, Some(last)) => last.push(c),
            (_, None) => {}
        }
    }
    parts
}

/// `--ablation`: a group of variants of SED.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Ablation {
    /// Labels alone, with scale consistency, with distillation, with both, and with re-weighting.
    Parts,
    /// Which view the scale consistency teaches.
    Targets,
    /// γ, one weight an anchor or a class, and what the sums are divided by.
    Reweighting,
    /// The distance of two boxes, and its weight.
    Boxes,
    /// The levels that are compared across scales.
    Levels,
    /// The decay of the teacher's average.
    Decay,
    /// λ_s and λ_d.
    Lambda,
}

const NO_REWEIGHTING: &str = "train.objective.reweight.gamma=0";

impl Ablation {
    /// Its variants.
    fn variants(self) -> Vec<Variant> {
        let sed = |name: &str, sets: &[&str]| Variant::new(name, Method::Sed, sets);
        match self {
            Self::Parts => vec![
                Variant::of_method(Method::Supervised),
                sed("scale", &["train.objective.distill_weight=0", NO_REWEIGHTING]),
                sed("distill", &["train.objective.scale_weight=0", NO_REWEIGHTING]),
                sed("scale-distill", &[NO_REWEIGHTING]),
                sed("scale-distill-reweight", &[]),
            ],
            Self::Targets => vec![
                sed("both-views", &["train.objective.scale_targets=both_views"]),
                sed("full-view", &["train.objective.scale_targets=full_view"]),
                sed("no-scale", &["train.objective.scale_weight=0"]),
            ],
            Self::Reweighting => vec![
                sed("gamma-0", &[NO_REWEIGHTING]),
                sed("gamma-0.5", &["train.objective.reweight.gamma=0.5"]),
                sed("gamma-1", &[]),
                sed("gamma-2", &["train.objective.reweight.gamma=2"]),
                sed("per-class", &["train.objective.reweight.granularity=per_class"]),
                sed("boxes-uniform", &["train.objective.reweight.boxes=uniform"]),
                sed("over-weights", &["train.objective.reweight.normalizer=weight_sum"]),
                // The mean over all anchors is smaller by their number over that of objects.
                sed(
                    "over-anchors",
                    &[
                        "train.objective.reweight.normalizer=anchor_count",
                        "train.objective.scale_weight=50",
                        "train.objective.distill_weight=200",
                    ],
                ),
            ],
            Self::Boxes => vec![
                sed("l2", &[]),
                sed("squared-l2", &["train.objective.box_norm={kind=\"squared_l2\"}"]),
                sed("smooth-l1", &["train.objective.box_norm={kind=\"smooth_l1\",beta=0.1}"]),
                sed("no-boxes", &["train.objective.box_weight=0"]),
                sed("boxes-0.5", &["train.objective.box_weight=0.5"]),
            ],
            Self::Levels => vec![
                sed("all-levels", &[]),
                sed("p3", &["model.scale_levels=[3]"]),
                sed("p4", &["model.scale_levels=[4]"]),
                sed("p3-p4", &["model.scale_levels=[3,4]"]),
            ],
            Self::Decay => vec![
                sed("decay-0.9", &["train.teacher.decay=0.9"]),
                sed("decay-0.99", &["train.teacher.decay=0.99"]),
                sed("decay-0.995", &["train.teacher.decay=0.995"]),
                sed("decay-0.999", &["train.teacher.decay=0.999"]),
            ],
            Self::Lambda => [(0.25, 1.0), (0.5, 2.0), (1.0, 2.0), (0.5, 4.0), (2.0, 8.0)]
                .map(|(scale, distill)| {
                    let sets = [
                        format!("train.objective.scale_weight={scale:?}"),
                        format!("train.objective.distill_weight={distill:?}"),
                    ];
                    sed(&format!("lambda-{scale}-{distill}"), &[&sets[0], &sets[1]])
                })
                .into(),
        }
    }
}

/// All rows of the comparison, in order.
pub fn variants(options: &Options) -> Result<Vec<Variant>> {
    let mut all: Vec<Variant> = options.ablation.iter().flat_map(|group| group.variants()).collect();
    // Methods that are asked for, or all where nothing is.
    if all.is_empty() && options.variant.is_empty() || !options.args.method.is_empty() {
        let methods = options.args.methods(&Method::ALL);
        all.splice(0..0, methods.into_iter().map(Variant::of_method));
    }
    all.extend(options.variant.iter().cloned());
    let mut unique: Vec<Variant> = Vec::new();
    for variant in all {
        match unique.iter().find(|other| other.name == variant.name) {
            None => unique.push(variant),
            Some(other) if *other == variant => {}
            Some(_) => bail!("two variants are named {}", variant.name),
        }
    }
    Ok(unique)
}
