//! From which source, and in which order, unlabeled images are drawn.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use super::invalid_config::require;
use super::shards::{ShardOrder, Window};
use super::shuffled_order::ShuffledOrder;
use super::{HostRng, InvalidConfig, Purpose, UnlabeledImage};

/// A part of the unlabeled images, and how often it is drawn from.
///
/// ```
/// use sed_train::data::{AugmentConfig, LoaderConfig, SourceShare, TrainLoader, UnlabeledSet};
/// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
/// # let dir = tempfile::tempdir()?;
/// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
/// # let (day, night) = (unlabeled.clone(), unlabeled);
/// # let night = UnlabeledSet {
/// #     images: night.images.into_iter().map(|mut image| { image.key.insert_str(0, "night/"); image }).collect(),
/// # };
///
/// // Three images by day are drawn for each one by night.
/// let shares = [&day, &night].map(UnlabeledSet::len);
/// let config = LoaderConfig {
///     unlabeled_batch: 4,
///     unlabeled_sources: vec![
///         SourceShare { images: shares[0], weight: 3 },
///         SourceShare { images: shares[1], weight: 1 },
///     ],
///     ..LoaderConfig::default()
/// };
/// let augment = AugmentConfig { image_size: 32, ..AugmentConfig::default() };
/// let loader = TrainLoader::new(labeled, UnlabeledSet::concat([day, night]), augment, config)?;
/// let keys = loader.batch(5)?.unlabeled.unwrap().keys;
/// assert_eq!(keys.iter().filter(|key| key.starts_with("night/")).count(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SourceShare {
    /// Its number of images.
    pub images: usize,
    /// Its draws among as many as the weights of all sources add up to.
    pub weight: u32,
}

impl SourceShare {
    /// What the weights of all sources add up to at most.
    ///
    /// ```
    /// use sed_train::data::{AugmentConfig, LoaderConfig, SourceShare, TrainLoader};
    /// # mod setup { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/doc/scenes.rs")); }
    /// # let dir = tempfile::tempdir()?;
    /// # let setup::Sets { labeled, unlabeled, .. } = setup::sets(dir.path())?;
    ///
    /// // `labeled` and `unlabeled` have four images each.
    /// let share = SourceShare { images: unlabeled.len(), weight: u32::MAX };
    /// assert!(u64::from(share.weight) > SourceShare::MAX_WEIGHTS);
    /// let config = LoaderConfig { unlabeled_sources: vec![share], ..LoaderConfig::default() };
    /// assert!(TrainLoader::new(labeled, unlabeled, AugmentConfig::default(), config).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const MAX_WEIGHTS: u64 = 65_536;

    /// Whether these sources divide `images` images, each has some, and all weights are positive.
    pub(super) fn validate(sources: &[Self], images: usize) -> Result<(), InvalidConfig> {
        if sources.is_empty() {
            return Ok(());
        }
        let field = "loader.unlabeled_sources";
        for source in sources {
            require(source.weight > 0, field, source.weight, "weights must be at least 1")?;
            require(source.images > 0, field, source.images, "each source must have images")?;
        }
        let sum: u64 = sources.iter().map(|source| u64::from(source.weight)).sum();
        require(sum <= Self::MAX_WEIGHTS, field, sum, "weights must add up to at most 65536")?;
        let total = sources.iter().fold(0_usize, |sum, source| sum.saturating_add(source.images));
        require(total == images, field, total, "the sources must have all unlabeled images between them")
    }
}

/// Which unlabeled image is drawn at a position of the endless sequence of draws; a function of the seed, the sources and the
/// position alone.
///
/// Draws come in blocks of `W = Σ w_s`. A block has `w_s` draws of source `s`, mixed in an order that depends on the seed and the
/// block, so that after each block the shares are exact. The draws of a source go through it in passes of their own, every image once
/// a pass: its draw number `k` at position `p` is `w_s · ⌊p / W⌋` plus its draws earlier in the block. (Our design.)
pub(super) struct UnlabeledOrder {
    seed: u64,
    sources: Vec<Source>,
    /// The sources of a block, not mixed yet: `W` entries.
    block: Vec<usize>,
    /// The block mixed last, with its number: a saving, not a state.
    last: Mutex<Option<(u64, Arc<[usize]>)>>,
}

struct Source {
    /// Where its images begin among all.
    first: usize,
    weight: usize,
    order: Order,
}

/// The passes of a source.
enum Order {
    /// Over files, all of them mixed.
    Files(ShuffledOrder),
    /// Over shards.
    Shards(ShardOrder),
}

/// The number of an image, and what it is read with where it lies in a shard.
pub(super) type Draw = (usize, Option<Arc<Window>>);

impl Source {
    fn draw(&self, position: usize) -> Draw {
        match &self.order {
            Order::Files(order) => (self.first + order.item(position), None),
            Order::Shards(order) => {
                let (image, window) = order.draw(position);
                (image, Some(window))
            }
        }
    }
}

impl UnlabeledOrder {
    /// The order of `images` in these sources, which must be valid; without sources all images are one. Those in shards are mixed
    /// `buffer` at a time.
    pub fn new(seed: u64, sources: &[SourceShare], images: &[UnlabeledImage], buffer: usize) -> Self {
        let whole = [SourceShare { images: images.len(), weight: 1 }];
        let shares = if sources.is_empty() { whole.as_slice() } else { sources };
        let mut first = 0;
        let (mut sources, mut block) = (Vec::new(), Vec::new());
        for (number, share) in shares.iter().enumerate() {
            let own = &images[first..first + share.images];
            let order = match ShardOrder::new(seed, number as u64, first, own, buffer) {
                Some(order) => Order::Shards(order),
                None => {
                    let order =
                        ShuffledOrder::new(seed, Purpose::UnlabeledOrder, number as u64, share.images);
                    Order::Files(order)
                }
            };
            let weight = share.weight as usize;
            sources.push(Source { first, weight, order });
            block.extend(std::iter::repeat_n(number, weight));
            first += share.images;
        }
        Self { seed, sources, block, last: Mutex::new(None) }
    }

    /// The image at a position.
    ///
    /// # Panics
    ///
    /// If there are no images.
    pub fn draw(&self, position: usize) -> Draw {
        // One source needs no blocks, and this is the usual case: nothing is drawn for each image.
        if let [only] = self.sources.as_slice() {
            return only.draw(position);
        }
        let (number, at) = (position / self.block.len(), position % self.block.len());
        let block = self.mixed(number as u64);
        let source = &self.sources[block[at]];
        let earlier = block[..at].iter().filter(|&&other| other == block[at]).count();
        source.draw(number * source.weight + earlier)
    }

    fn mixed(&self, number: u64) -> Arc<[usize]> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, block)) = last.as_ref()
            && *known == number
        {
            return Arc::clone(block);
        }
        let mut block = self.block.clone();
        HostRng::new(self.seed, Purpose::UnlabeledSource, number, 0).shuffle(&mut block);
        let block: Arc<[usize]> = block.into();
        *last = Some((number, Arc::clone(&block)));
        block
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARES: [SourceShare; 3] = [
        SourceShare { images: 10, weight: 1 },
        SourceShare { images: 4, weight: 3 },
        SourceShare { images: 7, weight: 2 },
    ];

    fn files(count: usize) -> Vec<UnlabeledImage> {
        (0..count).map(|i| UnlabeledImage::file(i.to_string(), i.to_string())).collect()
    }

    fn source(item: usize) -> usize {
        [0..10, 10..14, 14..21].iter().position(|images| images.contains(&item)).unwrap()
    }

    #[test]
    fn each_block_has_the_shares_of_the_weights() {
        let order = UnlabeledOrder::new(5, &SHARES, &files(21), 10);
        let drawn: Vec<usize> = (0..600).map(|position| source(order.draw(position).0)).collect();
        for block in drawn.chunks(6) {
            let counts = [0, 1, 2].map(|source| block.iter().filter(|&&other| other == source).count());
            assert_eq!(counts, [1, 3, 2]);
        }
        // The order within a block is mixed, not the same each time.
        assert_ne!(drawn[..6], drawn[6..12]);
    }

    #[test]
    fn each_source_goes_through_all_its_images_before_any_comes_again() {
        let order = UnlabeledOrder::new(5, &SHARES, &files(21), 10);
        let items: Vec<usize> = (0..840).map(|position| order.draw(position).0).collect();
        for (number, images) in [(0, 0..10), (1, 10..14), (2, 14..21)] {
            let own: Vec<usize> = items.iter().copied().filter(|&item| source(item) == number).collect();
            assert_eq!(own.len(), 140 * SHARES[number].weight as usize);
            let passes: Vec<&[usize]> = own.chunks_exact(images.len()).collect();
            for pass in &passes {
                let mut pass = pass.to_vec();
                pass.sort_unstable();
                assert_eq!(pass, images.clone().collect::<Vec<_>>());
            }
            assert_ne!(passes[0], passes[1], "source {number}");
        }
    }

    #[test]
    fn a_position_is_the_same_whatever_was_asked_before() {
        let order = UnlabeledOrder::new(9, &SHARES, &files(21), 10);
        let forward: Vec<usize> = (0..100).map(|position| order.draw(position).0).collect();
        for position in [73, 5, 99, 0, 42] {
            assert_eq!(UnlabeledOrder::new(9, &SHARES, &files(21), 10).draw(position).0, forward[position]);
            assert_eq!(order.draw(position).0, forward[position]);
        }
        let other = UnlabeledOrder::new(10, &SHARES, &files(21), 10);
        assert_ne!((0..100).map(|position| other.draw(position).0).collect::<Vec<_>>(), forward);
    }

    #[test]
    fn one_source_is_as_no_sources() {
        let plain = ShuffledOrder::new(3, Purpose::UnlabeledOrder, 0, 13);
        let whole = [SourceShare { images: 13, weight: 7 }];
        for order in
            [UnlabeledOrder::new(3, &[], &files(13), 10), UnlabeledOrder::new(3, &whole, &files(13), 10)]
        {
            assert!((0..60).all(|position| order.draw(position).0 == plain.item(position)));
        }
    }

    #[test]
    fn sources_that_do_not_fit_are_refused() {
        SourceShare::validate(&[], 21).unwrap();
        SourceShare::validate(&SHARES, 21).unwrap();
        let share = |images, weight| SourceShare { images, weight };
        for (sources, rule) in [
            ([share(10, 0), share(11, 1)], "weights must be at least 1"),
            ([share(0, 1), share(21, 1)], "each source must have images"),
            ([share(10, 1), share(10, 1)], "all unlabeled images between them"),
            ([share(10, 65_536), share(11, 1)], "at most 65536"),
        ] {
            let error = SourceShare::validate(&sources, 21).unwrap_err().to_string();
            assert!(error.starts_with("loader.unlabeled_sources = ") && error.contains(rule), "{error}");
        }
    }
}
