use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use toml::Table;

use crate::train::Evaluation;

/// The version of the files' form.
const VERSION: u32 = 1;
/// What the last line starts with; the rest of it is the SHA-256 of all before it.
const SUM_LINE: &str = "# sha256 ";

/// How far a run has come.
///
/// ```
/// use sed_train::checkpoint::Progress;
///
/// let progress = Progress {
///     iteration: 12,
///     skipped_steps: 0,
///     silent_steps: 0,
///     seconds: 1.5,
///     row: [("loss".to_owned(), 0.25)].into(),
///     evaluations: vec![],
/// };
/// // As it stands in a manifest.
/// let text = toml::to_string(&progress)?;
/// assert_eq!(toml::from_str::<Progress>(&text)?, progress);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Batches that were used, those of skipped steps included.
    pub iteration: usize,
    /// Steps that were skipped one after another, up to the last.
    pub skipped_steps: usize,
    /// Steps one after another, up to the last, from which nothing was learned of the unlabeled images.
    pub silent_steps: usize,
    /// Wall time so far.
    pub seconds: f64,
    /// The scalars of the last step, which may not have reached the log.
    pub row: BTreeMap<String, f64>,
    /// The evaluations so far.
    pub evaluations: Vec<Evaluation>,
}

/// Size and sum of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileEntry {
    pub bytes: u64,
    pub sha256: String,
}

impl FileEntry {
    pub fn of(content: &[u8]) -> Self {
        Self { bytes: content.len() as u64, sha256: sum(content) }
    }
}

/// `manifest.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Manifest {
    version: u32,
    pub progress: Progress,
    pub identity: Table,
    pub files: BTreeMap<String, FileEntry>,
}

impl Manifest {
    pub fn new(progress: Progress, identity: Table, files: BTreeMap<String, FileEntry>) -> Self {
        Self { version: VERSION, progress, identity, files }
    }

    /// The text of the file.
    pub fn encode(&self) -> Result<String, toml::ser::Error> {
        // TOML, as its numbers are read back to the bit.
        let text = toml::to_string(self)?;
        Ok(format!("{text}{SUM_LINE}{}\n", sum(text.as_bytes())))
    }

    /// The manifest of a text, or what is wrong with it.
    pub fn decode(text: &str) -> Result<Self, String> {
        let start = text.rfind(SUM_LINE).ok_or("the last line with the sum is missing")?;
        let (body, last) = text.split_at(start);
        if last.trim_end().strip_prefix(SUM_LINE) != Some(sum(body.as_bytes()).as_str()) {
            return Err("its content does not match its sum".into());
        }
        let manifest: Self = toml::from_str(body).map_err(|error| error.message().to_owned())?;
        if manifest.version != VERSION {
            return Err(format!("version {} of the format, where {VERSION} is known", manifest.version));
        }
        Ok(manifest)
    }
}

fn sum(content: &[u8]) -> String {
    Sha256::digest(content).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::CocoSummary;

    fn evaluation(iteration: usize, ap: Option<f64>) -> Evaluation {
        let class = "[[classes]]\nap = 0.3\ncategory = { id = 3, name = 'a \"b\"' }";
        let summary = CocoSummary { ap, ..toml::from_str(class).unwrap() };
        Evaluation { iteration, student: summary.clone(), teacher: summary }
    }

    fn progress(evaluations: Vec<Evaluation>) -> Progress {
        Progress {
            iteration: 7,
            skipped_steps: 1,
            silent_steps: 2,
            seconds: 0.1,
            row: BTreeMap::from([("loss".into(), 1.0 / 3.0), ("head/x".into(), f64::INFINITY)]),
            evaluations,
        }
    }

    fn manifest() -> Manifest {
        let identity = "seed = '1'\n[train]\nburn_in = 3\nrate = 0.1\n".parse().unwrap();
        let evaluations = vec![evaluation(4, Some(0.1 + 0.2)), evaluation(6, None)];
        let files = BTreeMap::from([("student.bpk".into(), FileEntry::of(b"abc"))]);
        Manifest::new(progress(evaluations), identity, files)
    }

    #[test]
    fn every_number_comes_back_to_the_bit() {
        let text = manifest().encode().unwrap();
        assert_eq!(Manifest::decode(&text).unwrap(), manifest());
        // SHA-256 of "abc", FIPS 180-2.
        assert!(text.contains("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"));
    }

    #[test]
    fn any_changed_byte_and_any_cut_is_noticed() {
        let text = manifest().encode().unwrap();
        for position in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[position] ^= 1;
            let changed = String::from_utf8(bytes).unwrap();
            // The very last byte is the line's end.
            assert!(position == text.len() - 1 || Manifest::decode(&changed).is_err(), "byte {position}");
            assert!(
                position >= text.len() - 1 || Manifest::decode(&text[..position]).is_err(),
                "cut at {position}"
            );
        }
    }

    #[test]
    fn another_version_is_told() {
        let text = Manifest { version: 9, ..manifest() }.encode().unwrap();
        assert!(Manifest::decode(&text).unwrap_err().contains("version 9"));
    }
}
