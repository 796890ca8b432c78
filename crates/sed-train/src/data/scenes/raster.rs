//! Filling of outlines on a grid finer than the pixels.

use super::shapes::Outline;

/// A square image whose pixels are each divided into `n × n` samples; a sample belongs to the first
/// figure that covers it, so figures are drawn from front to back.
pub(super) struct Canvas {
    image_size: usize,
    samples: usize,
    /// One entry a sample, row by row: the figure's number plus one, or zero.
    owners: Vec<u16>,
}

/// The samples of one row that a figure covers.
pub(super) struct Span {
    row: usize,
    start: usize,
    end: usize,
}

impl Canvas {
    pub fn new(image_size: usize, samples: usize) -> Self {
        let side = image_size * samples;
        Self { image_size, samples, owners: vec![0; side * side] }
    }

    fn side(&self) -> usize {
        self.image_size * self.samples
    }

    /// The samples within the image whose centers are inside the figure.
    pub fn spans(&self, outline: &Outline) -> Vec<Span> {
        let (side, n) = (self.side() as f32, self.samples as f32);
        let [_, top, _, bottom] = outline.bounds();
        let first = (top * n - 0.5).ceil().clamp(0.0, side) as usize;
        let last = (bottom * n - 0.5).ceil().clamp(0.0, side) as usize;
        let mut spans = Vec::new();
        let mut crossings = Vec::new();
        for row in first..last {
            let y = (row as f32 + 0.5) / n;
            crossings.clear();
            for contour in &outline.contours {
                for (i, b) in contour.iter().enumerate() {
                    let a = contour[(i + contour.len() - 1) % contour.len()];
                    if (a[1] <= y) != (b[1] <= y) {
                        crossings.push(a[0] + (b[0] - a[0]) * (y - a[1]) / (b[1] - a[1]));
                    }
                }
            }
            crossings.sort_unstable_by(f32::total_cmp);
            for pair in crossings.chunks_exact(2) {
                let column = |x: f32| (x * n - 0.5).ceil().clamp(0.0, side) as usize;
                let (start, end) = (column(pair[0]), column(pair[1]));
                if start < end {
                    spans.push(Span { row, start, end });
                }
            }
        }
        spans
    }

    /// How many samples the spans cover, and how many of them no figure owns yet.
    pub fn count(&self, spans: &[Span]) -> (usize, usize) {
        let side = self.side();
        let total = spans.iter().map(|span| span.end - span.start).sum();
        let row_free = |span: &Span| {
            let owners = &self.owners[span.row * side + span.start..span.row * side + span.end];
            owners.iter().filter(|&&owner| owner == 0).count()
        };
        (total, spans.iter().map(row_free).sum())
    }

    /// Gives the samples that nobody owns yet to a figure.
    pub fn claim(&mut self, spans: &[Span], figure: usize) {
        let side = self.side();
        let name = u16::try_from(figure + 1).expect("a scene has fewer than 65535 figures");
        for span in spans {
            for owner in &mut self.owners[span.row * side + span.start..span.row * side + span.end] {
                if *owner == 0 {
                    *owner = name;
                }
            }
        }
    }

    /// Calls `visit(figure, share)` for each figure seen in a pixel and, as `None`, for the
    /// background; the shares sum to 1.
    pub fn shares(&self, x: usize, y: usize, mut visit: impl FnMut(Option<usize>, f32)) {
        let (n, side) = (self.samples, self.side());
        let weight = 1.0 / (n * n) as f32;
        // Runs of equal owners are reported together: nearly all pixels lie within one figure.
        let mut run = (self.owners[y * n * side + x * n], 0);
        for row in y * n..(y + 1) * n {
            for &owner in &self.owners[row * side + x * n..row * side + (x + 1) * n] {
                if owner != run.0 {
                    visit(figure(run.0), run.1 as f32 * weight);
                    run = (owner, 0);
                }
                run.1 += 1;
            }
        }
        visit(figure(run.0), run.1 as f32 * weight);
    }
}

fn figure(owner: u16) -> Option<usize> {
    owner.checked_sub(1).map(usize::from)
}

#[cfg(test)]
mod tests {
    use super::super::shapes::ShapeClass;
    use super::*;

    fn area(class: ShapeClass, size: f32) -> f32 {
        let canvas = Canvas::new(128, 3);
        let outline = class.outline().placed(1.0, 0.0, size, [64.0, 64.0]);
        canvas.count(&canvas.spans(&outline)).0 as f32 / 9.0
    }

    #[test]
    fn covered_areas_are_those_of_the_figures() {
        // Radius 40. Sampling errs by less than a sample along the outline: 250 px long, 1/3 px
        // wide, mostly cancelling; 1 % is ten times what is seen.
        let disc = std::f32::consts::PI * 1600.0;
        assert!((area(ShapeClass::Disc, 80.0) / disc - 1.0).abs() < 0.01);
        assert!((area(ShapeClass::Ring, 80.0) / (disc * (1.0 - 0.55 * 0.55)) - 1.0).abs() < 0.01);
        // Five unit squares of side 24 less the corners: bars 80 long and 24 wide, counted once where they cross.
        assert!((area(ShapeClass::Cross, 80.0) / (2.0 * 80.0 * 24.0 - 24.0 * 24.0) - 1.0).abs() < 0.01);
    }

    #[test]
    fn the_front_figure_keeps_its_samples() {
        let mut canvas = Canvas::new(16, 2);
        let square =
            |x: f32| Outline { contours: vec![vec![[x, 4.0], [x + 8.0, 4.0], [x + 8.0, 12.0], [x, 12.0]]] };
        let front = canvas.spans(&square(2.0));
        assert_eq!(canvas.count(&front), (256, 256));
        canvas.claim(&front, 0);
        // Shares x from 6 to 10 with the front one: half of it.
        let back = canvas.spans(&square(6.0));
        assert_eq!(canvas.count(&back), (256, 128));
        canvas.claim(&back, 1);
        let seen = |x, y| {
            let mut seen = Vec::new();
            canvas.shares(x, y, |figure, share| seen.push((figure, share)));
            seen
        };
        assert_eq!(seen(8, 8), [(Some(0), 1.0)]);
        assert_eq!(seen(12, 8), [(Some(1), 1.0)]);
        assert_eq!(seen(0, 0), [(None, 1.0)]);
    }

    #[test]
    fn shares_of_a_pixel_sum_to_one_and_a_half_covered_pixel_is_half_seen() {
        let mut canvas = Canvas::new(4, 2);
        let half = Outline { contours: vec![vec![[0.0, 0.0], [1.5, 0.0], [1.5, 4.0], [0.0, 4.0]]] };
        let spans = canvas.spans(&half);
        canvas.claim(&spans, 0);
        let (mut figure, mut background) = (0.0, 0.0);
        canvas
            .shares(1, 1, |who, share| *(if who.is_some() { &mut figure } else { &mut background }) += share);
        assert_eq!((figure, background), (0.5, 0.5));
    }

    #[test]
    fn figures_outside_the_image_cover_nothing() {
        let canvas = Canvas::new(16, 3);
        let outside = ShapeClass::Star.outline().placed(1.0, 0.5, 10.0, [40.0, -30.0]);
        assert!(canvas.spans(&outside).is_empty());
    }
}
