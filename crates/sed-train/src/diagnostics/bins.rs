/// Intervals of equal width.
///
/// With `w = (high − low)/n`, bin `i` holds the values in `[low + i·w, low + (i+1)·w)`; the last one holds `high` too.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bins {
    low: f64,
    high: f64,
    count: usize,
}

impl Bins {
    /// `count` bins from `low` to `high`.
    ///
    /// # Panics
    ///
    /// If there is no bin, or `low < high` does not hold for two finite numbers.
    pub fn new(low: f64, high: f64, count: usize) -> Self {
        assert!(
            count > 0 && low.is_finite() && high.is_finite() && low < high,
            "Bins: {count} bins from {low} to {high}"
        );
        Self { low, high, count }
    }

    /// The number of bins.
    pub fn len(&self) -> usize {
        self.count
    }

    /// The bounds of all bins, one more than there are bins, ascending.
    pub fn edges(&self) -> Vec<f64> {
        let edge = |i: usize| self.low + (self.high - self.low) * i as f64 / self.count as f64;
        (0..=self.count).map(edge).collect()
    }

    /// The bin that holds `value`; `None` outside the bins and for NaN.
    pub fn index(&self, value: f64) -> Option<usize> {
        if !(self.low..=self.high).contains(&value) {
            return None;
        }
        let position = (value - self.low) / (self.high - self.low) * self.count as f64;
        Some((position as usize).min(self.count - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bin_holds_its_lower_bound_and_the_last_one_the_upper_too() {
        let bins = Bins::new(1.0, 3.0, 4);
        assert_eq!((bins.len(), bins.edges()), (4, vec![1.0, 1.5, 2.0, 2.5, 3.0]));
        for (value, bin) in [(1.0, 0), (1.49, 0), (1.5, 1), (2.99, 3), (3.0, 3)] {
            assert_eq!(bins.index(value), Some(bin), "{value}");
        }
        for value in [0.99, 3.01, f64::NAN, f64::INFINITY] {
            assert_eq!(bins.index(value), None, "{value}");
        }
    }

    #[test]
    #[should_panic(expected = "0 bins from 0 to 1")]
    fn no_bins_are_refused() {
        Bins::new(0.0, 1.0, 0);
    }
}
