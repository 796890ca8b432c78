//! In which order images in shards are visited.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Window;
use crate::data::{HostRng, Purpose, UnlabeledImage};

/// Windows that are remembered: threads that prepare batches may be in two at a time.
const KEPT: usize = 2;

/// Passes over images of which stretches lie in one file each.
///
/// In each pass the stretches come in a random order, and what then follows one another is cut into windows of equal length (the
/// last may be shorter) whose images are drawn in a random order. So a window is read in sequence, and a position of the endless sequence
/// of draws is a function of seed, source and position alone. (Our design; the customary shuffle buffer depends on all draws before.)
pub(in crate::data) struct ShardOrder {
    seed: u64,
    source: u64,
    /// The number of the source's first image among all.
    first: usize,
    /// Where each stretch begins, and the end of the last, counted from `first`.
    bounds: Vec<u32>,
    window: usize,
    pass: Mutex<Option<(u64, Arc<Pass>)>>,
    windows: Mutex<VecDeque<(u64, usize, Arc<Window>)>>,
}

/// The stretches in the order of a pass.
struct Pass {
    order: Vec<u32>,
    /// Images before each of them.
    before: Vec<u32>,
}

impl ShardOrder {
    /// The order of `images`, of which the first has the number `first`; `None` if none lies in a shard.
    ///
    /// # Panics
    ///
    /// If there are 2³² images or more, or the window is 0.
    pub fn new(
        seed: u64,
        source: u64,
        first: usize,
        images: &[UnlabeledImage],
        window: usize,
    ) -> Option<Self> {
        assert!(u32::try_from(images.len()).is_ok(), "ShardOrder: {} images", images.len());
        assert!(window > 0, "ShardOrder: windows of 0 images");
        if images.iter().all(|image| image.span.is_none()) {
            return None;
        }
        let together =
            |a: &UnlabeledImage, b: &UnlabeledImage| a.span.is_some() && b.span.is_some() && a.path == b.path;
        let mut bounds = vec![0];
        for stretch in images.chunk_by(together) {
            bounds.push(bounds[bounds.len() - 1] + stretch.len() as u32);
        }
        Some(Self { seed, source, first, bounds, window, pass: Mutex::default(), windows: Mutex::default() })
    }

    fn len(&self) -> usize {
        self.bounds[self.bounds.len() - 1] as usize
    }

    /// The image at a position of the endless sequence of passes, and the window that it is drawn from.
    pub fn draw(&self, position: usize) -> (usize, Arc<Window>) {
        let (pass, at) = ((position / self.len()) as u64, position % self.len());
        let (number, within) = (at / self.window, at % self.window);
        let window = self.window(pass, number);
        (window.drawn[within] as usize, window)
    }

    fn window(&self, pass: u64, number: usize) -> Arc<Window> {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let known = windows.iter().find(|(of, known, _)| (*of, *known) == (pass, number));
        if let Some((.., window)) = known {
            return Arc::clone(window);
        }
        let start = number * self.window;
        let sequence = self.sequence(pass, start..(start + self.window).min(self.len()));
        let mut drawn = sequence.clone();
        let stream = (pass << 32) | number as u64;
        HostRng::new(self.seed, Purpose::ShardWindow, stream, self.source).shuffle(&mut drawn);
        let window = Arc::new(Window::new(sequence, drawn));
        if windows.len() == KEPT {
            windows.pop_front();
        }
        windows.push_back((pass, number, Arc::clone(&window)));
        window
    }

    /// The numbers of images that follow one another in a pass.
    fn sequence(&self, pass: u64, range: Range<usize>) -> Vec<u32> {
        let pass = self.pass(pass);
        let mut at = pass.before.partition_point(|&before| before as usize <= range.start) - 1;
        let mut images = Vec::with_capacity(range.len());
        let mut position = range.start;
        while position < range.end {
            let stretch = pass.order[at] as usize;
            let (begin, end) = (self.bounds[stretch] as usize, self.bounds[stretch + 1] as usize);
            let from = begin + position - pass.before[at] as usize;
            let to = end.min(from + range.end - position);
            images.extend((from..to).map(|image| (self.first + image) as u32));
            position += to - from;
            at += 1;
        }
        images
    }

    fn pass(&self, number: u64) -> Arc<Pass> {
        let mut last = self.pass.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, pass)) = last.as_ref()
            && *known == number
        {
            return Arc::clone(pass);
        }
        let mut order: Vec<u32> = (0..self.bounds.len() as u32 - 1).collect();
        HostRng::new(self.seed, Purpose::UnlabeledOrder, number, self.source).shuffle(&mut order);
        let mut sum = 0;
        let before = order.iter().map(|&stretch| {
            let before = sum;
            sum += self.bounds[stretch as usize + 1] - self.bounds[stretch as usize];
            before
        });
        let before = before.collect();
        let pass = Arc::new(Pass { order, before });
        *last = Some((number, Arc::clone(&pass)));
        pass
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::FileSpan;

    /// Shards of these lengths, and plain files for zeros.
    fn images(lengths: &[usize]) -> Vec<UnlabeledImage> {
        let mut images = Vec::new();
        for (shard, &length) in lengths.iter().enumerate() {
            let path = format!("{shard}.tar");
            let member = |i: usize| UnlabeledImage {
                key: format!("{path}/{i}"),
                path: path.clone().into(),
                span: Some(FileSpan { offset: i as u64 * 1024, length: 1 }),
            };
            match length {
                0 => images.push(UnlabeledImage::file(format!("{shard}"), format!("{shard}.png"))),
                _ => images.extend((0..length).map(member)),
            }
        }
        images
    }

    fn order(lengths: &[usize], window: usize) -> ShardOrder {
        ShardOrder::new(3, 1, 100, &images(lengths), window).unwrap()
    }

    #[test]
    fn each_pass_draws_every_image_once_in_another_order() {
        for window in [1, 4, 7, 100] {
            let lengths = [5, 0, 9, 0, 0, 1, 8];
            let order = order(&lengths, window);
            let n = images(&lengths).len();
            let pass = |p: usize| (p * n..(p + 1) * n).map(|at| order.draw(at).0).collect::<Vec<_>>();
            let (first, second) = (pass(0), pass(1));
            assert_ne!(first, second, "windows of {window}");
            for drawn in [first, second] {
                let mut drawn = drawn;
                drawn.sort_unstable();
                assert_eq!(drawn, (100..100 + n).collect::<Vec<_>>(), "windows of {window}");
            }
        }
    }

    #[test]
    fn a_window_is_a_stretch_of_shards_in_their_own_order() {
        let order = order(&[10, 10, 10], 5);
        for number in 0..6 {
            let (_, window) = order.draw(5 * number);
            let shard = (window.sequence[0] - 100) / 10;
            let start = window.sequence[0];
            assert_eq!(
                window.sequence,
                (start..start + 5).collect::<Vec<_>>(),
                "window {number}, shard {shard}"
            );
            let mut drawn: Vec<u32> = (0..5).map(|at| order.draw(5 * number + at).0 as u32).collect();
            assert_eq!(drawn, window.drawn);
            drawn.sort_unstable();
            assert_eq!(drawn, window.sequence);
        }
        // Both the shards and the images of a window are mixed.
        let all: Vec<usize> = (0..30).map(|at| order.draw(at).0).collect();
        assert!((0..6).any(|w| !all[5 * w..5 * w + 5].is_sorted()));
        let passes: Vec<u32> = (0..8).map(|pass| order.sequence(pass, 0..1)[0]).collect();
        assert!(passes.iter().any(|&start| start != passes[0]), "{passes:?}");
    }

    #[test]
    fn a_position_is_the_same_whatever_was_asked_before() {
        let lengths = [40, 0, 25, 60];
        let forward = order(&lengths, 16);
        let drawn: Vec<usize> = (0..300).map(|at| forward.draw(at).0).collect();
        let backward = order(&lengths, 16);
        for at in (0..300).rev() {
            assert_eq!(backward.draw(at).0, drawn[at], "position {at}");
        }
        assert!(ShardOrder::new(3, 1, 0, &images(&[0, 0]), 16).is_none());
    }
}
