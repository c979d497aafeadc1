//! Curves on shared axes.

use std::ops::Range;

use plotters::prelude::*;

use super::{Ink, NUMBERS, Ticks, chart, drawn, mark, mesh, padded, short};

/// Axis labels and scale.
pub struct Axis {
    /// The label of the horizontal axis.
    pub x: String,
    /// The label of the vertical axis.
    pub y: String,
    /// The scale of the vertical axis.
    pub scale: Scale,
}

/// The scale of the vertical axis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// Linear.
    Linear,
    /// Logarithmic; values that are not above 0 are omitted.
    Log,
}

/// One curve.
pub struct Series {
    /// How it is drawn; several may share an ink.
    pub ink: Ink,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
    /// Whether every point has a marker.
    pub marked: bool,
}

/// Curves on shared axes as one SVG element, with inks below `n_inks`. Values above `cap` are drawn at its height, so
/// that one spike does not flatten everything else.
pub fn lines(axis: &Axis, series: &[Series], cap: Option<f64>, n_inks: usize) -> String {
    let place = |y: f64| {
        let y = cap.map_or(y, |cap| y.min(cap));
        match axis.scale {
            Scale::Linear => Some(y),
            Scale::Log => (y > 0.0).then(|| y.log10()),
        }
    };
    let points = |series: &Series| -> Vec<(f64, f64)> {
        series.points.iter().filter_map(|&(x, y)| Some((x, place(y)?))).collect()
    };
    let placed: Vec<Vec<(f64, f64)>> = series.iter().map(points).collect();
    let all = || placed.iter().flatten();
    let whole = all().all(|point| point.0.fract() == 0.0);
    let x = 0.0..all().map(|point| point.0).fold(0.0, f64::max).max(f64::MIN_POSITIVE);
    let y = padded(all().map(|point| point.1));
    let x_at = even_ticks(&x, 6.0, if whole { 1.0 } else { 0.0 });
    let at = match axis.scale {
        Scale::Linear => even_ticks(&y, 6.0, 0.0),
        Scale::Log => log_ticks(&y),
    };
    let decimals = decimals(&at);
    drawn(n_inks, |area| {
        let mut chart =
            chart(area, NUMBERS).build_cartesian_2d(Ticks { range: x, at: x_at }, Ticks { range: y, at })?;
        let words = |value: &f64| short(*value);
        let digits = |value: &f64| match axis.scale {
            Scale::Linear => format!("{value:.decimals$}"),
            Scale::Log => power_words(*value),
        };
        mesh!(chart).x_desc(&axis.x).y_desc(&axis.y).x_label_formatter(&words).y_label_formatter(&digits).draw()?;
        for (Series { ink, marked, .. }, points) in series.iter().zip(&placed) {
            let points: Vec<_> = thinned(points).copied().collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), ink.key().stroke_width(2)))?;
            if *marked && points.len() <= 40 {
                mark(&mut chart, *ink, &points)?;
            }
        }
        Ok(())
    })
}

/// Ticks at 1, 2 or 5 times a power of ten, with at most `most` steps of at least `least` between them.
pub(super) fn even_ticks(range: &Range<f64>, most: f64, least: f64) -> Vec<f64> {
    let step = ((range.end - range.start) / most).max(least).max(1e-300);
    let power = 10f64.powf(step.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|times| times * power).into_iter().find(|s| *s >= step).unwrap_or(step);
    let first = (range.start / step).ceil() as i64;
    (first..=(range.end / step).floor() as i64).map(|at| at as f64 * step).collect()
}

/// Decimals that distinguish neighbouring ticks, at least two.
fn decimals(at: &[f64]) -> usize {
    let nearest = at.windows(2).map(|pair| pair[1] - pair[0]).fold(1.0, f64::min);
    (-nearest.log10() - 1e-6).ceil().clamp(2.0, 9.0) as usize
}

/// Powers of ten, at most nine of them; with fewer than two in range also 2 and 5 times them, and if even those are too
/// few, evenly spaced round numbers.
pub(super) fn log_ticks(range: &Range<f64>) -> Vec<f64> {
    let (low, high) = (range.start.floor() as i64, range.end.ceil() as i64);
    let within = |at: &f64| range.contains(at);
    let powers: Vec<f64> = (low..=high).map(|power| power as f64).filter(within).collect();
    if powers.len() < 2 {
        let marks = [1.0f64, 2.0, 5.0].map(f64::log10);
        let at: Vec<f64> =
            (low..=high).flat_map(|power| marks.map(|mark| power as f64 + mark)).filter(within).collect();
        let values = 10f64.powf(range.start)..10f64.powf(range.end);
        return if at.len() < 2 { even_ticks(&values, 6.0, 0.0).into_iter().map(f64::log10).collect() } else { at };
    }
    let stride = powers.len().div_ceil(9);
    powers.into_iter().step_by(stride).collect()
}

/// The number with this logarithm: `1e-4`, `0.2`, `10`.
pub(super) fn power_words(log: f64) -> String {
    let value = 10f64.powf(log);
    match log {
        log if log < -2.5 => format!("{value:.0e}"),
        log if log < 0.0 => short((value * 1e3).round() / 1e3),
        _ => short(value),
    }
}

/// At most about 300 points, including the last: more than a plot of this width can show.
fn thinned(points: &[(f64, f64)]) -> impl Iterator<Item = &(f64, f64)> {
    let stride = points.len().div_ceil(300).max(1);
    points.iter().rev().step_by(stride).collect::<Vec<_>>().into_iter().rev()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_numbers_within_the_range() {
        let near = |got: Vec<f64>, want: &[f64]| {
            assert!(got.len() == want.len() && got.iter().zip(want).all(|(a, b)| (a - b).abs() < 1e-9), "{got:?}");
        };
        near(even_ticks(&(0.3..2.1), 6.0, 0.0), &[0.5, 1.0, 1.5, 2.0]);
        near(even_ticks(&(0.0..2.0), 6.0, 1.0), &[0.0, 1.0, 2.0]);
        near(log_ticks(&(-6.2..-2.9)), &[-6.0, -5.0, -4.0, -3.0]);
        near(log_ticks(&(-0.5..0.4)), &[0.5f64.log10(), 0.0, 2f64.log10()]);
        near(log_ticks(&(0.26f64.log10()..0.42f64.log10())), &[0.3, 0.35, 0.4].map(f64::log10));
        assert!(log_ticks(&(-300.0..0.0)).len() <= 9);
        let told = |ticks: [f64; 3]| decimals(&ticks);
        assert_eq!([told([1.0, 2.0, 3.0]), told([0.29, 0.3, 0.31]), told([-0.002, 0.0, 0.002])], [2, 2, 3]);
        assert_eq!([-6.0, -1.0, 0.0, 2f64.log10(), 3.0].map(power_words), ["1e-6", "0.1", "1", "2", "1k"]);
    }

    #[test]
    fn thinning_keeps_the_last_point() {
        let points: Vec<(f64, f64)> = (0..1001).map(|i| (f64::from(i), 0.0)).collect();
        let kept: Vec<f64> = thinned(&points).map(|point| point.0).collect();
        assert!(kept.len() <= 300 && kept.last() == Some(&1000.0) && kept.is_sorted(), "{kept:?}");
    }

    #[test]
    fn plots_of_nothing_and_of_one_point_are_drawn() {
        for scale in [Scale::Linear, Scale::Log] {
            let axis = Axis { x: "steps".into(), y: "nats".into(), scale };
            let one = |points| vec![Series { ink: Ink(0), points, marked: true }];
            for series in [vec![], one(vec![]), one(vec![(1.0, 2.0)]), one(vec![(1.0, 1e30), (2.0, 0.0)])] {
                assert!(lines(&axis, &series, Some(5.0), 1).contains("</svg>"));
            }
        }
    }

    #[test]
    fn no_stand_in_colour_is_left() {
        let series: Vec<Series> =
            (0..13).map(|i| Series { ink: Ink(i), points: vec![(1.0, 2.0), (2.0, i as f64)], marked: true }).collect();
        let axis = Axis { x: "steps".into(), y: "nats".into(), scale: Scale::Linear };
        let svg = lines(&axis, &series, None, 13);
        assert!(!svg.contains("\"#"), "{svg}");
        assert!(svg.contains("var(--ink-6)") && svg.contains("stroke-dasharray=\"7 3\""));
        assert!(svg.contains("currentColor") && svg.contains("var(--grid)"));
    }
}
