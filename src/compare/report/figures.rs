//! The plots of the report, with captions that explain what to look for.

use super::super::record::{Curve, RunRecord};
use super::super::result::{Comparison, OptimizerResult, SweepPoint};
use super::super::sweep::LrFactors;
use super::plots::{Bar, Factors, Spot, Spreads, bars, factors, spots, spreads};
use crate::gpu::{byte_unit, bytes_in_words};
use crate::normalize::Entry;
use crate::plot::{Axis, Ink, Panel, SIZE, Scale, Series, escape, lines, short, standalone};
use crate::train::SpectrumRecord;

/// All plots, each with its caption.
pub(super) fn figures(found: &Comparison) -> String {
    let mut figures = Vec::new();
    figures.extend(losses(found));
    let linear = "the learning rate of the linear layers";
    figures.extend(sensitivity(found, &found.factors.linear, |at| at.linear, linear));
    figures.extend(sensitivity(found, &found.factors.rest, |at| at.rest, "the learning rates of the rest"));
    figures.extend(seeds(found));
    figures.push(state(found));
    figures.extend(state_and_loss(found).map(|svg| {
        let caption = "Left is less memory, low is more learned, over all seeds at the best factors. Fine-tuning \
                       runs are not shown: they start elsewhere.";
        figure("Optimizer state and validation loss", caption, &svg, "")
    }));
    figures.extend(update(found));
    figures.extend(spectra(found));
    format!("<h2>Plots</h2>\n<div class=\"figures\">\n{}</div>", figures.concat())
}

/// The optimizers with the runs at their best factors and first seed.
fn best_runs(found: &Comparison) -> Vec<(Ink, &OptimizerResult, &RunRecord)> {
    let run_of = |optimizer: &OptimizerResult| {
        let is_best = |run: &&RunRecord| {
            run.id.optimizer == optimizer.name
                && Some(run.id.factors) == optimizer.best_factors
                && run.id.seed == found.seeds[0]
        };
        found.runs.iter().find(is_best)
    };
    let optimizers = found.optimizers.iter().enumerate();
    optimizers.filter_map(|(index, optimizer)| Some((Ink(index), optimizer, run_of(optimizer)?))).collect()
}

/// Training and validation loss by step, by token and by second.
fn losses(found: &Comparison) -> Vec<String> {
    let best = best_runs(found);
    if best.is_empty() {
        return Vec::new();
    }
    let legend = legend(best.iter().map(|(ink, optimizer, _)| (*ink, optimizer.name.as_str())));
    let start = best.iter().filter_map(|(.., run)| run.training.loss.first().copied()).fold(0.0, f64::max);
    let cap = Some(1.1 * start).filter(|cap| *cap > 0.0);
    let window = (found.steps / 30).max(1) as usize;
    let smoothing = if window > 1 { format!(" Each point is the mean of {window} steps.") } else { String::new() };
    let seed = found.seeds[0];
    let plot = |over: Over, series: Vec<Series>| {
        let axis = Axis { x: over.unit().into(), y: "nats a token".into(), scale: Scale::Linear };
        lines(&axis, &series, cap, found.optimizers.len())
    };
    let of = |over: Over| {
        let training = best.iter().map(|(ink, _, run)| {
            let losses = smoothed(&run.training.loss, window);
            Series { ink: *ink, points: over.points(&run.training, &losses, found), marked: false }
        });
        let (name, look) = (over.name(), over.look());
        let learned = format!("Seed {seed}: {look}.{smoothing}");
        let held_out = format!("Seed {seed}, on held-out text: {look}. Each mark is an evaluation.");
        [
            figure(&format!("Training loss by {name}"), &learned, &plot(over, training.collect()), &legend),
            figure(
                &format!("Validation loss by {name}"),
                &held_out,
                &plot(over, validation(&best, over, found)),
                &legend,
            ),
        ]
    };
    [Over::Step, Over::Token, Over::Second].into_iter().flat_map(of).collect()
}

/// Loss on the held-out text at every evaluation of the best runs.
fn validation(best: &[(Ink, &OptimizerResult, &RunRecord)], over: Over, found: &Comparison) -> Vec<Series> {
    let series = |(ink, _, run): &(Ink, &OptimizerResult, &RunRecord)| {
        let points = over.points(&run.validation, &run.validation.loss, found);
        Series { ink: *ink, points, marked: true }
    };
    best.iter().map(series).collect()
}

/// The loss on the held-out text by step, as a standalone file; `None` before a run has ended.
pub(in crate::compare) fn picture(found: &Comparison) -> Option<String> {
    let best = best_runs(found);
    let axis = Axis { x: Over::Step.unit().into(), y: "nats a token".into(), scale: Scale::Linear };
    let panel = Panel {
        title: format!("Validation loss on {}, seed {}", found.corpus.name, found.seeds[0]),
        svg: lines(&axis, &validation(&best, Over::Step, found), None, found.optimizers.len()),
        legend: best.iter().map(|(ink, optimizer, _)| (*ink, optimizer.name.clone())).collect(),
    };
    (!best.is_empty()).then(|| standalone(&panel.title.clone(), &[panel]))
}

/// The x axis of a loss curve.
#[derive(Clone, Copy)]
enum Over {
    Step,
    Token,
    Second,
}

impl Over {
    fn name(self) -> &'static str {
        match self {
            Self::Step => "step",
            Self::Token => "token",
            Self::Second => "second of training",
        }
    }

    fn unit(self) -> &'static str {
        match self {
            Self::Step => "steps",
            Self::Token => "tokens",
            Self::Second => "seconds of training",
        }
    }

    /// What to look for.
    fn look(self) -> &'static str {
        match self {
            Self::Step => "the lower curve learned more from the same number of updates",
            Self::Token => "the lower curve learned more from the same amount of text",
            Self::Second => "the lower curve learned more in the same time, on this adapter",
        }
    }

    fn points(self, curve: &Curve, losses: &[f64], found: &Comparison) -> Vec<(f64, f64)> {
        let x = |index: usize| match self {
            Self::Step => curve.step[index] as f64,
            Self::Token => curve.step[index] as f64 * found.tokens_per_step as f64,
            Self::Second => curve.secs[index],
        };
        losses.iter().enumerate().map(|(index, &loss)| (x(index), loss)).collect()
    }
}

/// Final loss against the factor on one of the two learning rates, at the best factor on the other.
fn sensitivity(found: &Comparison, all: &[f64], factor_of: fn(LrFactors) -> f64, rate: &str) -> Option<String> {
    let of = |(index, optimizer): (usize, &OptimizerResult)| {
        let (losses, diverged) = along(&optimizer.sweep, all, factor_of);
        Factors { ink: Ink(index), losses, diverged }
    };
    let optimizers: Vec<Factors> =
        found.optimizers.iter().enumerate().map(of).filter(|factors| !factors.losses.is_empty()).collect();
    if all.len() < 2 || optimizers.is_empty() {
        return None;
    }
    let named = optimizers.iter().map(|factors| (factors.ink, found.optimizers[factors.ink.0].name.as_str()));
    let is_grid = found.factors.linear.len() > 1 && found.factors.rest.len() > 1;
    let (other, runs) = if is_grid {
        ("Each point is the lowest loss over the factors on the other rate. ", "factors with which every run diverged")
    } else {
        ("", "runs that diverged")
    };
    Some(figure(
        &format!("Sensitivity to {rate}"),
        &format!(
            "{other}A flat curve forgives a wrong rate. A lowest point at the left or right end says that the sweep was \
             too narrow. Crosses at the upper edge are {runs}."
        ),
        &factors(all, &optimizers, &format!("factor on {rate}"), found.optimizers.len()),
        &legend(named),
    ))
}

/// The lowest loss at each of these factors, and the factors at which all runs diverged.
fn along(sweep: &[SweepPoint], all: &[f64], factor_of: fn(LrFactors) -> f64) -> (Vec<(f64, f64)>, Vec<f64>) {
    let at = |factor: f64| sweep.iter().filter(move |point| factor_of(point.factors) == factor);
    let lowest = |&factor: &f64| {
        let losses = at(factor).filter_map(|point| point.eval_loss);
        Some((factor, losses.min_by(f64::total_cmp)?))
    };
    let all_diverged = |factor: &f64| at(*factor).next().is_some() && at(*factor).all(|point| point.diverged.is_some());
    (all.iter().filter_map(lowest).collect(), all.iter().copied().filter(all_diverged).collect())
}

/// Singular values of one gradient, and of each optimizer's step for its own gradient, at the end of the best run.
fn spectra(found: &Comparison) -> Vec<String> {
    let known = || {
        let optimizers = found.optimizers.iter().enumerate();
        optimizers.filter_map(|(index, optimizer)| Some((Ink(index), &optimizer.name, optimizer.spectrum.as_ref()?)))
    };
    let Some((.., first)) = known().next() else { return Vec::new() };
    let [m, n] = first.shape;
    let plot = |which: fn(&SpectrumRecord) -> Option<&Entry>| {
        let series = known().filter_map(|(ink, _, record)| {
            let of = which(record)?;
            let values = &of.quantities.spectrum.as_ref()?.singular_values;
            // Scaled to root mean square 1, so that scale does not hide shape: a whitened matrix then has all singular
            // values at 1.
            let unit = of.quantities.frobenius * (m.max(n) as f64).sqrt();
            let points = values.iter().enumerate().map(|(at, value)| ((at + 1) as f64, value / unit)).collect();
            Some(Series { ink, points, marked: false })
        });
        let axis =
            Axis {
                x: "singular value, the largest first".into(), y: format!("σ / √{}", m.max(n)), scale: Scale::Log
            };
        lines(&axis, &series.collect::<Vec<_>>(), None, found.optimizers.len())
    };
    let legend = legend(known().map(|(ink, name, _)| (ink, name.as_str())));
    let of = format!(
        "{} ({m}×{n}), seed {}, after the last step, at a root mean square of 1",
        first.parameter, found.seeds[0]
    );
    let gradient = format!("{of}. A line that falls steeply says that few directions hold most of the gradient.");
    let step = format!(
        "{of}: momentum and passes done, the learning rate left out. A flat line at 1 moves the weights as far in every \
         direction; a line like the gradient's own follows its few large ones."
    );
    vec![
        figure("Spectrum of the gradient", &gradient, &plot(|record| record.passes.first()), &legend),
        figure("Spectrum of the step", &step, &plot(|record| record.passes.last()), &legend),
    ]
}

fn seeds(found: &Comparison) -> Option<String> {
    if found.seeds.len() < 2 {
        return None;
    }
    let losses = |optimizer: &OptimizerResult| {
        let at_best = found
            .runs
            .iter()
            .filter(|run| run.id.optimizer == optimizer.name && Some(run.id.factors) == optimizer.best_factors);
        at_best.filter_map(RunRecord::final_eval_loss).collect::<Vec<_>>()
    };
    let rows: Vec<Spreads> = found
        .optimizers
        .iter()
        .enumerate()
        .filter_map(|(index, optimizer)| {
            let (name, spread) = (optimizer.name.clone(), optimizer.eval_loss?);
            Some(Spreads { ink: Ink(index), name, spread, values: losses(optimizer) })
        })
        .collect();
    (!rows.is_empty()).then(|| {
        figure(
            "Final validation loss over the seeds",
            "Marks are seeds, the upright line is their mean, and the bar reaches one standard deviation to either side. \
             Bars that overlap widely say that the order may be chance.",
            &spreads(&rows, found.optimizers.len()),
            "",
        )
    })
}

fn state(found: &Comparison) -> String {
    let largest = found.optimizers.iter().filter_map(|optimizer| optimizer.cost).map(|cost| cost.state_bytes).max();
    let (unit, bytes_of_unit) = byte_unit(largest.unwrap_or(0));
    let rows = bars_of(found, |optimizer| {
        let kept = optimizer.cost?.state_bytes;
        Some((kept as f64 / bytes_of_unit, bytes_in_words(kept)))
    });
    figure(
        "Optimizer state",
        "From one step to the next, beside the weights. What a stateless list of passes still keeps is Adam’s, for \
         embedding, head and norms; the table above splits it.",
        &bars(unit, &rows, &short, found.optimizers.len()),
        "",
    )
}

/// State against final loss; `None` until both are known for two optimizers.
fn state_and_loss(found: &Comparison) -> Option<String> {
    let known = |optimizer: &OptimizerResult| Some((optimizer.cost?.state_bytes, optimizer.eval_loss?.mean));
    let largest = found.optimizers.iter().filter_map(|optimizer| Some(known(optimizer)?.0)).max()?;
    let (unit, bytes_of_unit) = byte_unit(largest);
    let spot = |(index, optimizer): (usize, &OptimizerResult)| {
        let (bytes, loss) = known(optimizer)?;
        Some(Spot { ink: Ink(index), name: optimizer.name.clone(), at: (bytes as f64 / bytes_of_unit, loss) })
    };
    let all: Vec<Spot> = found.optimizers.iter().enumerate().filter_map(spot).collect();
    (all.len() > 1).then(|| spots(&format!("optimizer state, {unit}"), &all, found.optimizers.len()))
}

/// The same as a standalone file.
pub(in crate::compare) fn picture_of_state(found: &Comparison) -> Option<String> {
    let title = format!("Optimizer state and validation loss on {}", found.corpus.name);
    let svg = state_and_loss(found)?;
    Some(standalone(&title.clone(), &[Panel { title, svg, legend: Vec::new() }]))
}

fn update(found: &Comparison) -> Option<String> {
    let rows = bars_of(found, |optimizer| {
        let share = optimizer.cost?.update_share?;
        Some((100.0 * share, format!("{:.1} %", 100.0 * share)))
    });
    (!rows.is_empty()).then(|| {
        figure(
            "The update’s share of a step",
            "Time on the device, kernel by kernel, in a trainer of its own. A share that is small here may be large for \
             a model with fewer tokens in a step.",
            &bars("percent of a step", &rows, &|value| format!("{value:.1}"), found.optimizers.len()),
            "",
        )
    })
}

fn bars_of(found: &Comparison, of: impl Fn(&OptimizerResult) -> Option<(f64, String)>) -> Vec<Bar> {
    let bar = |(index, optimizer): (usize, &OptimizerResult)| {
        let (value, words) = of(optimizer)?;
        Some(Bar { ink: Ink(index), name: optimizer.name.clone(), value, words })
    };
    found.optimizers.iter().enumerate().filter_map(bar).collect()
}

/// The moving average over `window` values, because batches differ from one another more than optimizers do.
fn smoothed(losses: &[f64], window: usize) -> Vec<f64> {
    let mean = |end: usize| {
        let last = &losses[(end + 1).saturating_sub(window)..=end];
        last.iter().sum::<f64>() / last.len() as f64
    };
    (0..losses.len()).map(mean).collect()
}

fn legend<'a>(series: impl Iterator<Item = (Ink, &'a str)>) -> String {
    let item = |(ink, name): (Ink, &str)| format!("<li>{} {}</li>", ink.swatch(), escape(name));
    format!("<ul class=\"legend\">{}</ul>\n", series.map(item).collect::<String>())
}

/// A plot with its title, legend and caption, which also serve as its accessible text.
fn figure(title: &str, caption: &str, svg: &str, legend: &str) -> String {
    let id: String = title.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    let inner = svg.split_once('>').expect("an svg element").1;
    let (width, height) = SIZE;
    let (title, caption) = (escape(title), escape(caption));
    format!(
        "<figure>\n<svg class=\"plot\" viewBox=\"0 0 {width} {height}\" xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" \
         aria-labelledby=\"{id}-title {id}-desc\">\n<title id=\"{id}-title\">{title}</title>\
         <desc id=\"{id}-desc\">{caption}</desc>{inner}\n{legend}\
         <figcaption><strong>{title}.</strong> {caption}</figcaption>\n</figure>\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn smoothing_is_the_mean_of_the_last_few() {
        assert_eq!(smoothed(&[4.0, 2.0, 3.0, 7.0], 3), [4.0, 3.0, 3.0, 4.0]);
        assert_eq!(smoothed(&[4.0, 2.0], 1), [4.0, 2.0]);
        assert!(smoothed(&[], 5).is_empty());
    }

    #[test]
    fn a_curve_over_one_factor_has_the_best_of_the_other() {
        let point = |linear: f64, rest: f64, eval_loss: Option<f64>| SweepPoint {
            factors: LrFactors { linear, rest },
            lr: linear,
            rest_lr: rest,
            eval_loss,
            diverged: eval_loss.is_none().then(|| "step 2".into()),
        };
        let grid = [
            point(1.0, 0.1, Some(5.0)),
            point(2.0, 0.1, Some(4.0)),
            point(4.0, 0.1, None),
            point(1.0, 1.0, Some(3.0)),
            point(2.0, 1.0, None),
            point(4.0, 1.0, None),
        ];
        let linear = along(&grid, &[1.0, 2.0, 4.0], |at| at.linear);
        assert_eq!(linear, (vec![(1.0, 3.0), (2.0, 4.0)], vec![4.0]));
        assert_eq!(along(&grid, &[0.1, 1.0], |at| at.rest), (vec![(0.1, 4.0), (1.0, 3.0)], vec![]));
    }
}
