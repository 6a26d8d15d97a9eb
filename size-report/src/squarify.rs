//! Squarified treemaps (Bruls, Huizing, van Wijk, 2000): a rectangle divided by weight into pieces that are nearly square.
//!
//! The function is pure. The largest weight is in the top left corner, and the area of each piece is its share of the whole.

/// A rectangle; y grows downwards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Rect {
    pub(crate) x: f64,
    pub(crate) y: f64,
    pub(crate) width: f64,
    pub(crate) height: f64,
}

impl Rect {
    pub(crate) fn area(&self) -> f64 {
        self.width * self.height
    }

    /// Returns the ratio of the longer to the shorter side: 1 for a square.
    #[cfg(test)]
    fn aspect(&self) -> f64 {
        (self.width / self.height).max(self.height / self.width)
    }
}

/// Divides `whole` by `weights`: a rectangle for each, in their order. A weight of 0 has an empty one.
pub(crate) fn squarify(weights: &[u64], whole: Rect) -> Vec<Rect> {
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|index| std::cmp::Reverse(weights[*index]));
    let total: f64 = weights.iter().map(|weight| *weight as f64).sum();
    let scale = if total > 0.0 { whole.area() / total } else { 0.0 };
    let areas: Vec<f64> = order.iter().map(|index| weights[*index] as f64 * scale).collect();

    let mut rects = vec![Rect { x: whole.x, y: whole.y, ..Rect::default() }; weights.len()];
    let (mut rest, mut start) = (whole, 0);
    while start < areas.len() && areas[start] > 0.0 {
        let side = rest.width.min(rest.height);
        let end = row_end(&areas, start, side);
        let is_last = areas.get(end).is_none_or(|next| *next <= 0.0);
        for (index, rect) in order[start..end].iter().zip(take_row(&mut rest, &areas[start..end], is_last)) {
            rects[*index] = rect;
        }
        start = end;
    }
    rects
}

/// Returns the end of the row that begins at `start`: before the first area that would make its worst piece less square.
fn row_end(areas: &[f64], start: usize, side: f64) -> usize {
    let mut sum = areas[start];
    let mut end = start + 1;
    while let Some(next) = areas.get(end).filter(|next| **next > 0.0) {
        let (largest, smallest) = (areas[start], areas[end - 1]);
        if worst(largest, *next, sum + next, side) > worst(largest, smallest, sum, side) {
            break;
        }
        sum += next;
        end += 1;
    }
    end
}

/// Returns the worst aspect ratio in a row of areas that sum up to `sum`, placed along a side of this length.
fn worst(largest: f64, smallest: f64, sum: f64, side: f64) -> f64 {
    let (side, sum) = (side * side, sum * sum);
    (side * largest / sum).max(sum / (side * smallest))
}

/// Cuts a row off the shorter side of `rest`; the last row gets all of the rest, so that rounding leaves no gap.
fn take_row(rest: &mut Rect, areas: &[f64], is_last: bool) -> Vec<Rect> {
    let sum: f64 = areas.iter().sum();
    let is_column = rest.width >= rest.height;
    let (side, depth) = if is_column { (rest.height, rest.width) } else { (rest.width, rest.height) };
    let thickness = if is_last { depth } else { (sum / side).min(depth) };
    let mut position = 0.0;
    let mut rects = Vec::new();
    for area in areas {
        let length = side * area / sum;
        rects.push(if is_column {
            Rect { x: rest.x, y: rest.y + position, width: thickness, height: length }
        } else {
            Rect { x: rest.x + position, y: rest.y, width: length, height: thickness }
        });
        position += length;
    }
    if is_column {
        (rest.x, rest.width) = (rest.x + thickness, depth - thickness);
    } else {
        (rest.y, rest.height) = (rest.y + thickness, depth - thickness);
    }
    rects
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Rect = Rect { x: 10.0, y: 20.0, width: 600.0, height: 400.0 };

    /// Tolerance for the rounding of f64 at these sizes.
    const NEARLY: f64 = 1e-6;

    /// Checks that areas are shares, that all rectangles are inside the whole, and that none overlap.
    fn check(weights: &[u64], rects: &[Rect]) {
        assert_eq!(weights.len(), rects.len());
        let total: u64 = weights.iter().sum();
        for (weight, rect) in weights.iter().zip(rects) {
            let share = *weight as f64 / total as f64 * WHOLE.area();
            assert!((rect.area() - share).abs() < NEARLY, "{weight}: {rect:?}");
            assert!(rect.x >= WHOLE.x - NEARLY && rect.x + rect.width <= WHOLE.x + WHOLE.width + NEARLY, "{rect:?}");
            assert!(rect.y >= WHOLE.y - NEARLY && rect.y + rect.height <= WHOLE.y + WHOLE.height + NEARLY, "{rect:?}");
        }
        for (index, one) in rects.iter().enumerate() {
            for other in &rects[..index] {
                let width = (one.x + one.width).min(other.x + other.width) - one.x.max(other.x);
                let height = (one.y + one.height).min(other.y + other.height) - one.y.max(other.y);
                assert!(width < NEARLY || height < NEARLY, "{one:?} overlaps {other:?}");
            }
        }
        let sum: f64 = rects.iter().map(Rect::area).sum();
        assert!((sum - WHOLE.area()).abs() < NEARLY, "{sum}");
    }

    #[test]
    fn the_example_of_the_paper() {
        // Figure 3 of the paper: 6, 6, 4, 3, 2, 2, 1 in a rectangle of 6 by 4.
        let whole = Rect { x: 0.0, y: 0.0, width: 6.0, height: 4.0 };
        let rects = squarify(&[6, 6, 4, 3, 2, 2, 1], whole);
        let expected = [
            (0.0, 0.0, 3.0, 2.0),
            (0.0, 2.0, 3.0, 2.0),
            (3.0, 0.0, 12.0 / 7.0, 7.0 / 3.0),
            (3.0 + 12.0 / 7.0, 0.0, 9.0 / 7.0, 7.0 / 3.0),
            (3.0, 7.0 / 3.0, 1.2, 5.0 / 3.0),
            (4.2, 7.0 / 3.0, 1.2, 5.0 / 3.0),
            (5.4, 7.0 / 3.0, 0.6, 5.0 / 3.0),
        ];
        for (rect, (x, y, width, height)) in rects.iter().zip(expected) {
            let differences = [rect.x - x, rect.y - y, rect.width - width, rect.height - height];
            assert!(differences.iter().all(|difference| difference.abs() < NEARLY), "{rect:?}: {differences:?}");
        }
    }

    #[test]
    fn no_weights_and_one() {
        assert_eq!(squarify(&[], WHOLE), []);
        assert_eq!(squarify(&[7], WHOLE), [WHOLE]);
        let empty = Rect { width: 0.0, height: 0.0, ..WHOLE };
        assert_eq!(squarify(&[0], WHOLE), [empty]);
        assert_eq!(squarify(&[0, 7, 0], WHOLE), [empty, WHOLE, empty]);
    }

    #[test]
    fn the_order_of_the_weights_is_kept_and_the_largest_is_top_left() {
        let rects = squarify(&[1, 9, 3, 3], WHOLE);
        check(&[1, 9, 3, 3], &rects);
        assert_eq!((rects[1].x, rects[1].y), (WHOLE.x, WHOLE.y));
    }

    #[test]
    fn equal_weights_are_nearly_square() {
        for count in 2..200 {
            let weights = vec![5; count];
            let rects = squarify(&weights, WHOLE);
            check(&weights, &rects);
            let worst = rects.iter().map(Rect::aspect).fold(1.0, f64::max);
            assert!(worst < 3.0, "{count}: {worst}");
        }
    }

    #[test]
    fn many_tiny_weights_beside_a_large_one_are_not_slivers() {
        let weights = [vec![1_000_000], vec![3; 1000], vec![1; 1000]].concat();
        let rects = squarify(&weights, WHOLE);
        check(&weights, &rects);
        let worst = rects[1..].iter().map(Rect::aspect).fold(1.0, f64::max);
        assert!(worst < 8.0, "{worst}");
    }

    #[test]
    fn random_weights_do_not_overlap_and_fill_the_whole() {
        let mut state = 1u64;
        let mut random = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407); // Knuth's MMIX
            (state >> 33) % below
        };
        for _ in 0..200 {
            let count = 1 + random(60);
            let weights: Vec<u64> = (0..count).map(|_| 1 + random(4000) * random(2)).collect();
            check(&weights, &squarify(&weights, WHOLE));
        }
    }
}
