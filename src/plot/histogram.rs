//! Histograms.

use std::collections::BTreeMap;

use plotters::prelude::*;

use super::lines::{even_ticks, log_ticks, power_words};
use super::{Ink, NUMBERS, Ticks, chart, drawn, mesh, short};

/// One outline.
pub struct Bins {
    /// How it is drawn.
    pub ink: Ink,
    /// The count of each bin of width 1, by its left end; a missing bin is empty.
    pub counts: BTreeMap<i32, u64>,
}

/// A vertical line across the plot.
pub struct Bound {
    /// How it is drawn; several may share an ink.
    pub ink: Ink,
    /// Its position on the horizontal axis.
    pub at: f64,
}

/// Overlaid histogram outlines as one SVG element, with inks below `n_inks`. Counts are on a logarithmic axis, so that
/// small counts are visible next to large ones; the outline of an empty bin is on the axis.
pub fn histogram([x_words, y_words]: [&str; 2], series: &[Bins], bounds: &[Bound], n_inks: usize) -> String {
    /// The logarithm of one half: where an empty bin is drawn.
    const NONE: f64 = -0.301;
    let places = || {
        let ends = series.iter().flat_map(|bins| bins.counts.keys().flat_map(|&left| [left, left + 1]));
        ends.map(f64::from).chain(bounds.iter().map(|bound| bound.at))
    };
    let (low, high) = places().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), at| (low.min(at), high.max(at)));
    let x = if low > high { 0.0..1.0 } else { low - 1.0..high + 1.0 };
    let x_at = even_ticks(&x, 10.0, 1.0);
    let largest = series.iter().flat_map(|bins| bins.counts.values()).copied().max().unwrap_or(1);
    let y = NONE..(1.5 * largest.max(2) as f64).log10();
    let y_at = log_ticks(&y);
    drawn(n_inks, |area| {
        let mut chart = chart(area, NUMBERS)
            .build_cartesian_2d(Ticks { range: x, at: x_at }, Ticks { range: y.clone(), at: y_at })?;
        let words = |value: &f64| short(*value);
        let powers = |value: &f64| power_words(*value);
        mesh!(chart).x_desc(x_words).y_desc(y_words).x_label_formatter(&words).y_label_formatter(&powers).draw()?;
        for Bound { ink, at } in bounds {
            chart.draw_series(LineSeries::new([(*at, y.start), (*at, y.end)], ink.key().stroke_width(1)))?;
        }
        for Bins { ink, counts } in series {
            let points = outline(counts).map(|(at, count)| {
                let height = if count == 0 { NONE } else { (count as f64).log10() };
                (f64::from(at), height)
            });
            chart.draw_series(LineSeries::new(points, ink.key().stroke_width(2)))?;
        }
        Ok(())
    })
}

/// The corners from the first bin's lower left to the last bin's lower right.
fn outline(counts: &BTreeMap<i32, u64>) -> impl Iterator<Item = (i32, u64)> {
    let ends = counts.first_key_value().zip(counts.last_key_value()).map(|((&first, _), (&last, _))| [first, last]);
    ends.into_iter().flat_map(|[first, last]| {
        let tops = (first..=last).flat_map(|left| {
            let count = counts.get(&left).copied().unwrap_or(0);
            [(left, count), (left + 1, count)]
        });
        [(first, 0)].into_iter().chain(tops).chain([(last + 1, 0)])
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outline_goes_down_to_the_axis_where_a_bin_is_empty() {
        let corners: Vec<_> = outline(&BTreeMap::from([(-3, 5), (-1, 2)])).collect();
        assert_eq!(corners, [(-3, 0), (-3, 5), (-2, 5), (-2, 0), (-1, 0), (-1, 2), (0, 2), (0, 0)]);
        assert_eq!(outline(&BTreeMap::new()).count(), 0);
    }

    #[test]
    fn histograms_of_nothing_and_of_one_number_are_drawn() {
        for counts in [BTreeMap::new(), BTreeMap::from([(-40, 1)])] {
            let bounds = [Bound { ink: Ink(1), at: -14.0 }];
            let svg = histogram(["exponent", "numbers"], &[Bins { ink: Ink(0), counts }], &bounds, 2);
            assert!(svg.contains("var(--ink-1)") && !svg.contains("\"#"), "{svg}");
        }
        assert!(histogram(["exponent", "numbers"], &[], &[], 0).contains("</svg>"));
    }
}
