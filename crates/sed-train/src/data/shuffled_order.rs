//! In which order a dataset is visited.

use std::sync::{Arc, Mutex, PoisonError};

use super::{HostRng, Purpose};

/// Passes over `0..len`, each in an order of its own that depends on the seed, the purpose, the source and the pass alone.
pub(super) struct ShuffledOrder {
    seed: u64,
    purpose: Purpose,
    /// The number of what is visited, where several have the same purpose.
    source: u64,
    len: usize,
    /// The order computed last, with its pass: a saving, not a state. Four bytes an item, for a moment twice when a pass ends.
    last: Mutex<Option<(u64, Arc<Vec<u32>>)>>,
}

impl ShuffledOrder {
    /// # Panics
    ///
    /// If there are 2³² items or more.
    pub fn new(seed: u64, purpose: Purpose, source: u64, len: usize) -> Self {
        assert!(u32::try_from(len).is_ok(), "ShuffledOrder: {len} items");
        Self { seed, purpose, source, len, last: Mutex::new(None) }
    }

    /// The item at a position of the endless sequence of passes.
    ///
    /// # Panics
    ///
    /// If there are no items.
    pub fn item(&self, position: usize) -> usize {
        assert!(self.len > 0, "ShuffledOrder: no items");
        self.pass((position / self.len) as u64)[position % self.len] as usize
    }

    fn pass(&self, pass: u64) -> Arc<Vec<u32>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, order)) = last.as_ref()
            && *known == pass
        {
            return Arc::clone(order);
        }
        let mut order: Vec<u32> = (0..self.len as u32).collect();
        HostRng::new(self.seed, self.purpose, pass, self.source).shuffle(&mut order);
        let order = Arc::new(order);
        *last = Some((pass, Arc::clone(&order)));
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_pass_visits_everything_once_in_another_order() {
        let order = ShuffledOrder::new(3, Purpose::LabeledOrder, 0, 20);
        let pass = |n: usize| (n * 20..(n + 1) * 20).map(|p| order.item(p)).collect::<Vec<_>>();
        let (first, second) = (pass(0), pass(1));
        assert_ne!(first, second);
        for mut items in [first.clone(), second] {
            items.sort_unstable();
            assert_eq!(items, (0..20).collect::<Vec<_>>());
        }
        // Positions may be asked for in any order.
        assert_eq!(pass(0), first);
        assert_eq!(ShuffledOrder::new(3, Purpose::LabeledOrder, 0, 20).item(7), first[7]);
        let other = ShuffledOrder::new(3, Purpose::LabeledOrder, 1, 20);
        assert_ne!((0..20).map(|position| other.item(position)).collect::<Vec<_>>(), first);
    }
}
