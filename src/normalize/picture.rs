//! The effect of passes on a matrix, as an SVG file.

use super::report::{Entry, Report};
use crate::plot::{Axis, Ink, Panel, Scale, Series, lines, standalone};
use crate::spectrum::NOISE_FLOOR;

/// The deviation of rows and columns from balance after every half-step, with the predicted rate as a line, and the
/// singular values before and after if the report has them. The file follows the reader's light or dark theme.
pub fn picture(title: &str, report: &Report) -> String {
    let mut panels = vec![deviations(report)];
    panels.extend(spectrum(report));
    standalone(title, &panels)
}

fn deviations(report: &Report) -> Panel {
    let [rows, columns, rate] = [0, 1, 2].map(Ink);
    // The side that a pass has just made exact is omitted: its rounding errors would fill the plot.
    let points = |of: fn(&Entry) -> f64| -> Vec<(f64, f64)> {
        let entries = report.passes.iter().enumerate();
        entries.map(|(at, entry)| (at as f64, of(entry))).filter(|(_, deviation)| *deviation > NOISE_FLOOR).collect()
    };
    let mut series = vec![
        Series { ink: rows, points: points(|entry| entry.quantities.row_deviation_rms), marked: true },
        Series { ink: columns, points: points(|entry| entry.quantities.column_deviation_rms), marked: true },
    ];
    let mut legend = vec![(rows, "rows".to_owned()), (columns, "columns".to_owned())];
    if let Some((per_iteration, line)) = predicted(report) {
        series.push(Series { ink: rate, points: line, marked: false });
        legend.push((rate, format!("predicted rate {per_iteration:.3}")));
    }
    let axis =
        Axis { x: "half-steps, 0 is the gradient".into(), y: "|norm / target − 1|, rms".into(), scale: Scale::Log };
    Panel { title: "Distance from balance".into(), svg: lines(&axis, &series, None, 3), legend }
}

/// The rate, and a line with its slope through the deviation after the first iteration.
fn predicted(report: &Report) -> Option<(f64, Vec<(f64, f64)>)> {
    let rate = report.rate_predicted?;
    let first = report.passes.iter().rposition(|entry| entry.iteration == 1)?;
    let of = &report.passes[first].quantities;
    let from = of.row_deviation_rms.max(of.column_deviation_rms);
    let per_iteration = report.passes.iter().filter(|entry| entry.iteration == 1).count() as f64;
    let line = |at: usize| (at as f64, from * rate.powf((at - first) as f64 / per_iteration));
    let points: Vec<_> =
        (first..report.passes.len()).map(line).filter(|(_, deviation)| *deviation > NOISE_FLOOR).collect();
    (points.len() > 1).then_some((rate, points))
}

fn spectrum(report: &Report) -> Option<Panel> {
    let [m, n] = report.shape;
    let [first, last] = [report.passes.first()?, report.passes.last()?];
    let iteration_one = report.passes.iter().rfind(|entry| entry.iteration == 1)?;
    let mut shown = vec![("gradient, at rms 1".to_owned(), first)];
    if iteration_one.iteration != last.iteration {
        shown.push(("after the first iteration".to_owned(), iteration_one));
    }
    shown.push((format!("after iteration {}", last.iteration), last));
    let mut series = Vec::new();
    for (at, (_, entry)) in shown.iter().enumerate() {
        let values = &entry.quantities.spectrum.as_ref()?.singular_values;
        let largest = values.first().copied().unwrap_or(0.0);
        let unit = entry.quantities.frobenius * (m.max(n) as f64).sqrt();
        // Anything below float32's rounding of the largest is not a singular value of the matrix.
        let seen = values.iter().enumerate().filter(|(_, value)| **value > 1e-7 * largest);
        let points = seen.map(|(at, value)| ((at + 1) as f64, value / unit)).collect();
        series.push(Series { ink: Ink(at), points, marked: m.min(n) <= 16 });
    }
    let axis =
        Axis { x: "singular value, the largest first".into(), y: format!("σ / √{}", m.max(n)), scale: Scale::Log };
    let legend = shown.into_iter().enumerate().map(|(at, (name, _))| (Ink(at), name)).collect();
    Some(Panel { title: "Singular values".into(), svg: lines(&axis, &series, None, 3), legend })
}
