//! Sets of ids that mostly follow one another.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

/// A set of ids, of which each block of 64 consecutive ones takes as much memory as one.
#[derive(Debug, Clone, Default)]
pub(super) struct IdSet {
    /// The ids `64·k …` of the set, a bit each, by `k`.
    blocks: HashMap<u64, u64>,
}

impl IdSet {
    /// Adds an id; whether it was not yet there.
    pub fn insert(&mut self, id: u64) -> bool {
        let bit = 1 << (id % 64);
        match self.blocks.entry(id / 64) {
            Entry::Occupied(mut block) => {
                let before = block.get() & bit == 0;
                *block.get_mut() |= bit;
                before
            }
            Entry::Vacant(block) => {
                block.insert(bit);
                true
            }
        }
    }

    /// Whether an id is there.
    pub fn contains(&self, id: u64) -> bool {
        self.blocks.get(&(id / 64)).is_some_and(|block| block >> (id % 64) & 1 == 1)
    }
}

impl FromIterator<u64> for IdSet {
    fn from_iter<I: IntoIterator<Item = u64>>(ids: I) -> Self {
        let mut set = Self::default();
        ids.into_iter().for_each(|id| _ = set.insert(id));
        set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_there_once_they_are_added() {
        let mut set = IdSet::from_iter([0, 63, 64]);
        let ids = [0, 1, 62, 63, 64, 65, u64::MAX - 1, u64::MAX];
        assert_eq!(ids.map(|id| set.contains(id)), [true, false, false, true, true, false, false, false]);
        assert_eq!([0, 1, u64::MAX, u64::MAX].map(|id| set.insert(id)), [false, true, true, false]);
        assert!(set.contains(1) && set.contains(u64::MAX) && !set.contains(u64::MAX - 1));
    }
}
