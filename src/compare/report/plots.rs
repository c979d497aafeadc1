//! The plots specific to a comparison: factors, spreads, bars and spots, each as one SVG element.

use std::ops::Range;

use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;
use plotters::style::FontTransform;

use super::super::statistics::Spread;
use super::super::sweep::factor_words;
use crate::plot::{
    Area, Drawn, FOREGROUND, GRID, Ink, NUMBERS, SIZE, Ticks, chart, drawn, font, mark, mesh, padded, short,
};

/// Final losses of one optimizer over the factors.
pub(super) struct Factors {
    pub ink: Ink,
    pub losses: Vec<(f64, f64)>,
    pub diverged: Vec<f64>,
}

/// Final losses of one optimizer over the seeds.
pub(super) struct Spreads {
    pub ink: Ink,
    pub name: String,
    pub spread: Spread,
    pub values: Vec<f64>,
}

/// One number of one optimizer.
pub(super) struct Bar {
    pub ink: Ink,
    pub name: String,
    pub value: f64,
    /// The number with its unit.
    pub words: String,
}

/// Loss against the factor on the learning rate, on a logarithmic axis.
pub(super) fn factors(all: &[f64], optimizers: &[Factors], x_words: &str, n_inks: usize) -> String {
    let losses = || optimizers.iter().flat_map(|factors| &factors.losses).map(|point| point.1);
    let y = padded(losses());
    let top = y.end;
    let places: Vec<f64> = all.iter().map(|factor| factor.ln()).collect();
    let x = padded(places.iter().copied());
    drawn(n_inks, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(10)
            .margin_top(16)
            .x_label_area_size(48)
            .y_label_area_size(64)
            .build_cartesian_2d(Ticks { range: x, at: places.clone() }, y)?;
        let words = |place: &f64| {
            let of = places.iter().position(|other| other == place);
            of.map_or(String::new(), |index| format!("× {}", factor_words(all[index])))
        };
        let digits = |value: &f64| format!("{value:.2}");
        mesh!(chart)
            .x_desc(x_words)
            .y_desc("final validation loss, nats a token")
            .x_label_formatter(&words)
            .y_label_formatter(&digits)
            .draw()?;
        for Factors { ink, losses, diverged } in optimizers {
            let points: Vec<_> = losses.iter().map(|&(factor, loss)| (factor.ln(), loss)).collect();
            chart.draw_series(LineSeries::new(points.iter().copied(), ink.key().stroke_width(2)))?;
            mark(&mut chart, *ink, &points)?;
            let lost = diverged.iter().map(|factor| Cross::new((factor.ln(), top), 6, ink.key().stroke_width(3)));
            chart.draw_series(lost)?;
        }
        Ok(())
    })
}

/// Every seed, their mean, and one standard deviation to either side; one row per optimizer.
pub(super) fn spreads(rows: &[Spreads], n_inks: usize) -> String {
    let reach = |row: &Spreads| {
        let sd = row.spread.sd.unwrap_or(0.0);
        [row.spread.mean - sd, row.spread.mean + sd].into_iter().chain(row.values.clone())
    };
    let x = padded(rows.iter().flat_map(reach));
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    drawn(n_inks, |area| {
        let mut chart =
            by_name(area, x, &names, "final validation loss, nats a token", &|value| format!("{value:.3}"))?;
        for (index, Spreads { ink, spread, values, .. }) in rows.iter().enumerate() {
            let (y, style) = (row_center(index), ink.key().stroke_width(3));
            let sd = spread.sd.unwrap_or(0.0);
            let line = |points: Vec<(f64, f64)>| PathElement::new(points, style);
            chart.draw_series([
                line(vec![(spread.mean - sd, y), (spread.mean + sd, y)]),
                line(vec![(spread.mean, y - 0.25), (spread.mean, y + 0.25)]),
            ])?;
            let points: Vec<_> = values.iter().map(|&value| (value, y)).collect();
            mark(&mut chart, *ink, &points)?;
        }
        Ok(())
    })
}

/// One bar per optimizer, with its number at the end.
pub(super) fn bars(unit: &str, rows: &[Bar], tick: &dyn Fn(f64) -> String, n_inks: usize) -> String {
    let largest = rows.iter().map(|row| row.value).fold(0.0, f64::max);
    // Room for the number at the end of the longest bar.
    let x = 0.0..if largest > 0.0 { 1.25 * largest } else { 1.0 };
    let names: Vec<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    drawn(n_inks, |area| {
        let mut chart = by_name(area, x, &names, unit, tick)?;
        for (index, Bar { ink, value, words, .. }) in rows.iter().enumerate() {
            let y = row_center(index);
            chart.draw_series([Rectangle::new([(0.0, y - 0.3), (*value, y + 0.3)], ink.key().filled())])?;
            let number = EmptyElement::at((*value, y)) + Text::new(words.clone(), (6, -8), font());
            chart.draw_series([number])?;
        }
        Ok(())
    })
}

/// Two numbers of one optimizer.
pub(super) struct Spot {
    pub ink: Ink,
    pub name: String,
    pub at: (f64, f64),
}

/// A marker for each optimizer, with its name next to it.
pub(super) fn spots(x_words: &str, spots: &[Spot], n_inks: usize) -> String {
    let widest = spots.iter().map(|spot| spot.at.0).fold(0.0, f64::max);
    let x = -0.04 * widest..if widest > 0.0 { 1.16 * widest } else { 1.0 };
    let y = padded(spots.iter().map(|spot| spot.at.1));
    drawn(n_inks, |area| {
        let mut chart = chart(area, NUMBERS).build_cartesian_2d(x, y)?;
        let words = |value: &f64| short(*value);
        let digits = |value: &f64| format!("{value:.2}");
        mesh!(chart)
            .x_desc(x_words)
            .y_desc("final validation loss, nats a token")
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&words)
            .y_label_formatter(&digits)
            .draw()?;
        let places: Vec<(i32, i32)> = spots.iter().map(|spot| chart.backend_coord(&spot.at)).collect();
        let style = ("sans-serif", LABEL_SIZE).into_font().transform(FontTransform::None).color(&FOREGROUND);
        for ((spot, place), label) in spots.iter().zip(&places).zip(labels(spots, &places)) {
            area.draw(&PathElement::new(vec![*place, label.near(*place)], GRID))?;
            mark(&mut chart, spot.ink, &[spot.at])?;
            area.draw(&Text::new(spot.name.clone(), (label.left, label.top), style.clone()))?;
        }
        Ok(())
    })
}

const LABEL_SIZE: i32 = 13;

/// The position of a name, in pixels.
#[derive(Clone, Copy)]
struct Label {
    left: i32,
    top: i32,
    width: i32,
}

impl Label {
    fn overlaps(&self, other: &Self) -> bool {
        let apart = |a: i32, a_len: i32, b: i32, b_len: i32| a + a_len <= b || b + b_len <= a;
        !apart(self.left, self.width, other.left, other.width) && !apart(self.top, LABEL_SIZE, other.top, LABEL_SIZE)
    }

    /// The point on its edge nearest to a position.
    fn near(&self, (x, y): (i32, i32)) -> (i32, i32) {
        (x.clamp(self.left - 2, self.left + self.width + 2), y.clamp(self.top + 1, self.top + LABEL_SIZE - 1))
    }
}

/// A position for each name next to its marker, nearest first, that covers no marker and no other name.
fn labels(spots: &[Spot], places: &[(i32, i32)]) -> Vec<Label> {
    const MARK: i32 = 6;
    let marks = places.iter().map(|&(x, y)| Label { left: x - MARK, top: y - LABEL_SIZE / 2, width: 2 * MARK });
    let mut taken: Vec<Label> = marks.collect();
    let mut found = Vec::with_capacity(spots.len());
    for (spot, &(x, y)) in spots.iter().zip(places) {
        // About eight pixels per letter, so that no name is cut off.
        let width = 8 * spot.name.chars().count() as i32;
        let inside = |label: &Label| {
            label.left > 66 && label.left + width < SIZE.0 as i32 && label.top > 0 && label.top < SIZE.1 as i32 - 70
        };
        let beside = |distance: i32| {
            let rises = (0..=distance / 4).flat_map(|rise| [-4 * rise, 4 * rise]);
            rises.flat_map(move |rise| {
                let top = y - LABEL_SIZE / 2 + rise;
                [x + MARK + 4 + distance, x - MARK - 4 - distance - width].map(|left| Label { left, top, width })
            })
        };
        let free = (0..60)
            .flat_map(|step| beside(4 * step))
            .find(|label| inside(label) && !taken.iter().any(|other| label.overlaps(other)));
        let label = free.unwrap_or(Label { left: x + MARK + 4, top: y - LABEL_SIZE / 2, width });
        taken.push(label);
        found.push(label);
    }
    found
}

/// A chart with a row for each name, the first at the top, and numbers along the bottom.
fn by_name<'a, 'b>(
    area: &Area<'a>,
    x: Range<f64>,
    names: &[&str],
    x_words: &str,
    tick: &dyn Fn(f64) -> String,
) -> Drawn<ChartContext<'b, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Ticks>>> {
    let longest = names.iter().map(|name| name.chars().count()).max().unwrap_or(0) as u32;
    let rows = Ticks { range: -(names.len().max(1) as f64)..0.0, at: (0..names.len()).map(row_center).collect() };
    let mut chart = chart(area, 24 + 9 * longest).build_cartesian_2d(x, rows)?;
    let name = |y: &f64| names.get((-y - 0.5).round() as usize).copied().unwrap_or_default().to_owned();
    let words = |value: &f64| tick(*value);
    mesh!(chart)
        .disable_y_mesh()
        .x_desc(x_words)
        .x_labels(5)
        .y_labels(names.len())
        .y_label_formatter(&name)
        .x_label_formatter(&words)
        .draw()?;
    Ok(chart)
}

/// The middle of a row; rows have height 1 and go down from 0.
fn row_center(index: usize) -> f64 {
    -(index as f64) - 0.5
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::short;

    #[test]
    fn plots_of_nothing_are_drawn() {
        assert!(bars("bytes", &[], &|value| short(value), 1).contains("</svg>"));
        assert!(spreads(&[], 1).contains("</svg>"));
        assert!(spots("bytes", &[], 1).contains("</svg>"));
    }

    #[test]
    fn names_of_spots_that_lie_close_cover_no_other() {
        let spot = |at: usize| Spot { ink: Ink(at), name: format!("optimizer {at}"), at: (0.0, 5.0) };
        let all: Vec<Spot> = (0..12).map(spot).collect();
        let places: Vec<(i32, i32)> = (0..12).map(|at| (200 + at, 150 + 2 * at)).collect();
        let found = labels(&all, &places);
        for (index, label) in found.iter().enumerate() {
            assert!(found[..index].iter().all(|other| !label.overlaps(other)), "{index}");
        }
        assert!(spots("bytes", &all, 12).contains("optimizer 11"));
    }
}
