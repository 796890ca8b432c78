/// Names that are listed.
const SHOWN: usize = 10;

/// The first ten names, and how many more there are.
pub(crate) fn list(names: &[&str]) -> String {
    let first = names.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(SHOWN) {
        0 => first,
        more => format!("{first} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_lists_are_cut() {
        assert_eq!(list(&["cat", "dog"]), "cat, dog");
        assert_eq!(list(&["x"; 10]), "x, x, x, x, x, x, x, x, x, x");
        assert_eq!(list(&["x"; 12]), "x, x, x, x, x, x, x, x, x, x and 2 more");
    }
}
