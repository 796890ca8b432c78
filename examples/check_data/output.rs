//! The report as text.

use std::fmt::Write;

use sed::train::data::{
    DataProblem, PolicyMode,
    check::{CheckReport, Overlap, Part},
};

use crate::options::Options;

/// All that there is to say, a part after another.
pub fn text(report: &CheckReport, options: &Options) -> String {
    let mut out = String::new();
    for part in &report.parts {
        describe(&mut out, part, options);
    }
    for overlap in &report.overlaps {
        describe_overlap(&mut out, overlap);
    }
    for (part, classes) in [("training", &report.only_in_train), ("validation", &report.only_in_validation)] {
        if !classes.is_empty() {
            line(&mut out, &format!("classes of the {part} annotations alone: {}", classes.join(", ")));
        }
    }
    line(
        &mut out,
        &match (report.is_refused(), report.num_problems()) {
            (false, _) => "nothing that a training would refuse".to_owned(),
            (true, problems) => {
                format!("{problems} problems: a training under the policy strict refuses this data")
            }
        },
    );
    out
}

fn line(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn describe(out: &mut String, part: &Part, options: &Options) {
    line(out, &format!("{}: {}", part.name, part.path.display()));
    if let Some(error) = &part.fatal {
        line(out, &format!("  cannot be read: {error}"));
    }
    if part.classes.is_empty() {
        line(out, &format!("  {} images", part.images));
    } else {
        line(
            out,
            &format!(
                "  {} images, {} of them without objects; {} objects, {} crowd or difficult regions; {} boxes clipped",
                part.images, part.background, part.objects, part.crowds, part.clipped
            ),
        );
        let classes = part.classes.iter().map(|class| format!("{} {}", class.name, class.objects));
        line(out, &format!("  objects by class: {}", classes.collect::<Vec<_>>().join(", ")));
        let empty: Vec<_> = part.empty_classes().collect();
        if !empty.is_empty() {
            line(out, &format!("  warning: no object of {}", empty.join(", ")));
        }
        if let Some([least, median, largest]) = part.sizes.range {
            let sizes = &part.sizes;
            line(
                out,
                &format!(
                    "  sizes: {} small, {} medium, {} large; side of an object {least:.1} to {largest:.1} px, median {median:.1}",
                    sizes.small, sizes.medium, sizes.large
                ),
            );
        }
    }
    if part.report.is_clean() {
        return;
    }
    line(out, &format!("  {} problems:", part.report.num_problems()));
    let shown = &part.report.problems[..part.report.problems.len().min(options.show)];
    table(out, shown, options.policy);
    if shown.len() < part.report.num_problems() {
        line(out, &format!("  … and {} more", part.report.num_problems() - shown.len()));
    }
}

/// One row a problem, the columns as wide as they need to be.
fn table(out: &mut String, problems: &[DataProblem], policy: Option<PolicyMode>) {
    let modes = policy.map_or(PolicyMode::ALL.to_vec(), |mode| vec![mode]);
    let mut rows = vec![["file", "image", "annotation", "field", "reason"].map(str::to_owned).to_vec()];
    rows[0].extend(modes.iter().map(|mode| mode.name().to_owned()));
    for problem in problems {
        let id = |id: Option<u64>| id.map_or("–".to_owned(), |id| id.to_string());
        let mut row = vec![
            problem.file.display().to_string(),
            id(problem.image),
            id(problem.annotation),
            problem.field.clone(),
            problem.reason.clone(),
        ];
        row.extend(modes.iter().map(|&mode| problem.action(mode)));
        rows.push(row);
    }
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for row in &rows {
        let mut text = String::from(" ");
        for (cell, width) in row.iter().zip(&widths) {
            // Writing to a string does not fail.
            let _ = write!(text, " {cell:width$} ");
        }
        line(out, text.trim_end());
    }
}

fn describe_overlap(out: &mut String, overlap: &Overlap) {
    let part = format!("{} {}", overlap.part, overlap.path.display());
    if overlap.same_content > 0 {
        line(out, &format!("warning: {} images of {part} are validation images too:", overlap.same_content));
        for (one, other) in &overlap.pairs {
            line(out, &format!("  {} = {}", one.display(), other.display()));
        }
    }
    if overlap.same_name > 0 {
        line(
            out,
            &format!(
                "note: {} other images of {part} have the name of a validation image",
                overlap.same_name
            ),
        );
    }
}
