//! What must not change when a run goes on.

use toml::{Table, Value};

use super::CheckpointError;

/// Compares two identities of a run, tables of settings and fingerprints.
///
/// # Errors
///
/// Names the first key, in alphabetic order, whose value differs or that one of them lacks.
///
/// ```
/// use sed_train::checkpoint::require_same;
///
/// let was = toml::toml! { train = { burn_in = 100, decay = 0.99 } };
/// let now = toml::toml! { train = { burn_in = 200, decay = 0.99 } };
/// let error = require_same(&was, &now).unwrap_err();
/// assert_eq!(error.to_string(), "cannot resume: `train.burn_in` was 100 when the run began and is 200 now");
/// ```
pub fn require_same(was: &Table, now: &Table) -> Result<(), CheckpointError> {
    compare("", was, now)
}

fn compare(prefix: &str, was: &Table, now: &Table) -> Result<(), CheckpointError> {
    let mut keys: Vec<&String> = was.keys().chain(now.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (was.get(key), now.get(key)) {
            (Some(Value::Table(was)), Some(Value::Table(now))) => compare(&path, was, now)?,
            (was, now) if was.map(same_bits) == now.map(same_bits) => {}
            (was, now) => {
                return Err(CheckpointError::Changed { key: path, was: shown(was), now: shown(now) });
            }
        }
    }
    Ok(())
}

/// A value's text: numbers that are no numbers equal themselves there.
fn same_bits(value: &Value) -> String {
    value.to_string()
}

fn shown(value: Option<&Value>) -> String {
    let Some(value) = value else { return "absent".into() };
    let text = value.to_string();
    match text.char_indices().nth(80) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(text: &str) -> Table {
        text.parse().unwrap()
    }

    #[test]
    fn the_first_key_that_differs_is_named() {
        let was = table("a = 1\n[b]\nc = [1, 2]\nd = nan\n[b.e]\nf = 'x'");
        require_same(&was, &was.clone()).unwrap();
        for (now, key) in [
            ("a = 2\n[b]\nc = [1, 2]\nd = nan\n[b.e]\nf = 'x'", "`a` was 1 when the run began and is 2 now"),
            ("a = 1\n[b]\nc = [1, 3]\nd = nan\n[b.e]\nf = 'x'", "`b.c` was [1, 2]"),
            ("a = 1\n[b]\nc = [1, 2]\nd = nan\n[b.e]\nf = 'y'", "`b.e.f` was \"x\""),
            ("a = 1\n[b]\nc = [1, 2]\nd = nan", "is absent now"),
            ("a = 1\nb = 3", "`b` was"),
            ("a = 1\ng = 0\n[b]\nc = [1, 2]\nd = nan\n[b.e]\nf = 'x'", "`g` was absent"),
        ] {
            let error = require_same(&was, &table(now)).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
