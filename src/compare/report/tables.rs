//! The report's text and tables.

use super::super::result::{Comparison, OptimizerResult, SweepPoint};
use super::super::statistics::Spread;
use super::super::sweep::{Edge, LrFactors, factor_words};
use super::super::throughput::ToReference;
use super::{duration, grouped};
use crate::gpu::bytes_in_words;
use crate::plot::{Ink, escape};

/// Shown where nothing was measured.
const NONE: &str = "–";

/// One row per optimizer, at its best factors.
pub(super) fn overview(found: &Comparison) -> String {
    let columns = [
        ("Best factor", "learning rate of the linear layers"),
        ("On the rest", "learning rate of the embedding"),
        ("Validation loss", "mean ± sd, nats a token"),
        ("Perplexity", ""),
        ("Optimizer state", "linear layers + rest"),
        ("Forward + backward", "passes a run"),
        ("Tokens/s", ""),
        ("Effective tokens/s", "by seed"),
        ("Steps", "to the reference’s loss"),
        ("Time", "to the reference’s loss"),
        ("Update", "share of a step"),
    ];
    let head = columns.map(|(name, unit)| format!("<th scope=\"col\">{name}<br/><small>{unit}</small></th>")).concat();
    let rows: String =
        found.optimizers.iter().enumerate().map(|(index, optimizer)| row(optimizer, Ink(index))).collect();
    format!(
        "<div class=\"scroll\"><table>\n<caption>Each optimizer at the pair of factors on its own learning rates that gave the \
         lowest final validation loss. Searched with seed {seed}: {searched}; where one rule moves all matrices, the \
         rest’s rate takes both factors. The reference is {reference}: steps and time are those until the validation \
         loss was first as low as {reference}’s final one, along a straight line between evaluations, and at the first evaluation at the earliest. Effective tokens a \
         second are all tokens of {reference}’s run over that time of training; each seed is held against {reference} at \
         that seed. {NONE} where nothing was measured.</caption>\n\
         <thead><tr><th scope=\"col\">Optimizer</th><th scope=\"col\" class=\"words\">Rule<br/><small>on the linear \
         layers, on the rest</small></th>{head}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>",
        seed = found.seeds[0],
        searched = escape(&found.factors.describe()),
        reference = escape(&found.reference),
    )
}

fn row(optimizer: &OptimizerResult, ink: Ink) -> String {
    let cell = |text: Option<String>| format!("<td>{}</td>", text.unwrap_or_else(|| NONE.into()));
    let cost = optimizer.cost;
    let to_reference = optimizer.to_reference.as_ref();
    let reached = to_reference.and_then(|to_reference| to_reference.mean);
    let [linear, rest] = factor_cells(optimizer);
    let cells = [
        linear,
        rest,
        cell(optimizer.eval_loss.map(spread)),
        cell(optimizer.perplexity.map(|perplexity| format!("{perplexity:.2}"))),
        cell(cost.map(|cost| {
            let [all, linear, rest] =
                [cost.state_bytes, cost.state_bytes_linear, cost.state_bytes_rest].map(bytes_in_words);
            format!("{all}<br/><small>{linear} + {rest}</small>")
        })),
        cell(Some(format!("{} + {}", grouped(optimizer.forward_passes), grouped(optimizer.backward_passes)))),
        cell(optimizer.tokens_per_sec.map(|speed| grouped(speed.round() as u64))),
        cell(to_reference.map(effective)),
        cell(reached.map(|reached| format!("{:.0}", reached.steps))),
        cell(reached.map(|reached| duration(reached.secs))),
        cell(cost.and_then(|cost| cost.update_share).map(|share| format!("{:.1} %", 100.0 * share))),
    ];
    format!(
        "<tr><th scope=\"row\">{} {}</th><td class=\"words\">{}<br/><small>rest: {}</small></td>{}</tr>\n",
        ink.swatch(),
        escape(&optimizer.name),
        escape(&optimizer.passes),
        if optimizer.rest == optimizer.passes { "the same".into() } else { escape(&optimizer.rest) },
        cells.concat()
    )
}

/// The best factor on either learning rate, with that rate and the edge of the sweep it is at.
fn factor_cells(optimizer: &OptimizerResult) -> [String; 2] {
    let edges = optimizer.best_at_edge;
    let cell = |factor: fn(LrFactors) -> f64, lr: Option<f64>, edge: Option<Edge>| {
        let Some((best, lr)) = optimizer.best_factors.zip(lr) else { return format!("<td>{NONE}</td>") };
        let edge = edge.map_or(String::new(), |edge| format!("<br/><small>the {} tried</small>", edge.describe()));
        format!("<td>{}<br/><small>{}</small>{edge}</td>", factor_words(factor(best)), rate(lr))
    };
    [
        cell(|best| best.linear, optimizer.best_lr, edges.linear),
        cell(|best| best.rest, optimizer.best_rest_lr, edges.rest),
    ]
}

/// The mean, and below it each seed's value if there are several.
fn effective(to_reference: &ToReference) -> String {
    let words = |speed: Option<f64>| speed.map_or("never".to_owned(), |speed| grouped(speed.round() as u64));
    let seeds = to_reference.seeds.iter();
    let seeds = seeds.map(|of_seed| words(of_seed.reached.map(|reached| reached.effective_tokens_per_sec)));
    let seeds: Vec<String> = seeds.collect();
    let mean = match to_reference.mean {
        Some(mean) => words(Some(mean.effective_tokens_per_sec)),
        None if to_reference.never().count() == seeds.len() => return words(None),
        None => NONE.to_owned(),
    };
    if seeds.len() == 1 { mean } else { format!("{mean}<br/><small>{}</small>", seeds.join("; ")) }
}

/// The fine-tuning optimizers, with the loss they started from.
pub(super) fn fine_tuning(found: &Comparison) -> String {
    if found.fine_tuned.is_empty() {
        return String::new();
    }
    let cell = |text: Option<String>| format!("<td>{}</td>", text.unwrap_or_else(|| NONE.into()));
    let row = |optimizer: &OptimizerResult| {
        let [linear, rest] = factor_cells(optimizer);
        let cells = [
            linear,
            rest,
            cell(found.fine_tuned_from.as_ref().map(|start| format!("{:.4}", start.eval_loss))),
            cell(optimizer.eval_loss.map(spread)),
            cell(optimizer.difference.map(|difference| format!("{:+.4}", difference.nats))),
            cell(Some(grouped(optimizer.forward_passes))),
            cell(optimizer.cost.map(|cost| bytes_in_words(cost.state_bytes))),
            cell(optimizer.tokens_per_sec.map(|speed| grouped(speed.round() as u64))),
        ];
        format!("<tr><th scope=\"row\">{}</th>{}</tr>\n", escape(&optimizer.name), cells.concat())
    };
    let columns = [
        ("Best factor", "learning rate of the linear layers"),
        ("On the rest", "learning rate of the embedding"),
        ("Before", "validation loss"),
        ("After", "mean ± sd, nats a token"),
        ("Change", "nats a token"),
        ("Forward passes", "a run"),
        ("Optimizer state", ""),
        ("Tokens/s", ""),
    ];
    let head = columns.map(|(name, unit)| format!("<th scope=\"col\">{name}<br/><small>{unit}</small></th>")).concat();
    let start =
        found.fine_tuned_from.as_ref().map_or("the reference’s best run".to_owned(), |start| start.run.to_string());
    format!(
        "<h2>Fine-tuning without gradients</h2>\n<div class=\"scroll\"><table>\n<caption>Zeroth-order optimizers \
         use losses and no gradient; they fine-tune a trained model, and start from the last weights of {}. A step \
         takes its forward passes over the same tokens as a step of the others, and no backward pass.</caption>\n\
         <thead><tr><th scope=\"col\">Optimizer</th>{head}</tr></thead>\n<tbody>\n{}</tbody>\n</table></div>",
        escape(&start),
        found.fine_tuned.iter().map(row).collect::<String>()
    )
}

/// A sentence per optimizer: its difference from the reference, and remarks.
pub(super) fn verdicts(found: &Comparison) -> String {
    let sentence = |optimizer: &OptimizerResult| {
        let mut text = format!("<strong>{}</strong>: {}.", escape(&optimizer.name), escape(&optimizer.verdict));
        for remark in optimizer.remarks(&found.reference) {
            text += &format!(" {}", escape(&remark));
        }
        format!("<li>{text}</li>\n")
    };
    format!(
        "<h2>What the differences say</h2>\n<ul>\n{}</ul>\n<p class=\"quiet\">The rule: {}.</p>",
        found.optimizers.iter().chain(&found.fine_tuned).map(sentence).collect::<String>(),
        escape(found.noise_rule)
    )
}

/// Every pair of factors of every optimizer: a row for each factor on the rest's learning rate.
pub(super) fn sweep(found: &Comparison) -> String {
    let factors = found.factors.linear.iter();
    let head: String = factors.map(|factor| format!("<th scope=\"col\">× {}</th>", factor_words(*factor))).collect();
    let rows = |optimizer: &OptimizerResult| {
        let row = |points: &[SweepPoint]| {
            let cells: String = points.iter().map(|point| sweep_cell(point, optimizer.best_factors)).collect();
            let rest = factor_words(points[0].factors.rest);
            format!("<tr><th scope=\"row\">{}</th><td>× {rest}</td>{cells}</tr>\n", escape(&optimizer.name))
        };
        optimizer.sweep.chunk_by(|a, b| a.factors.rest == b.factors.rest).map(row).collect::<String>()
    };
    format!(
        "<h2>Every pair of factors</h2>\n<div class=\"scroll\"><table>\n<caption>Final validation loss with seed {} and, \
         below it, the peak learning rates of the linear layers and of the embedding; each optimizer’s lowest loss in \
         bold. Columns are factors on the learning rate of the linear layers.</caption>\n\
         <thead><tr><th scope=\"col\">Optimizer</th><th scope=\"col\">On the rest</th>{head}</tr></thead>\n\
         <tbody>\n{}</tbody>\n</table></div>",
        found.seeds[0],
        found.optimizers.iter().chain(&found.fine_tuned).map(rows).collect::<String>()
    )
}

fn sweep_cell(point: &SweepPoint, best: Option<LrFactors>) -> String {
    let loss = match (&point.diverged, point.eval_loss) {
        (Some(message), _) => format!("<span title=\"{}\">diverged</span>", escape(message)),
        (None, Some(loss)) if best == Some(point.factors) => format!("<strong>{loss:.4}</strong>"),
        (None, Some(loss)) => format!("{loss:.4}"),
        (None, None) => NONE.into(),
    };
    format!("<td>{loss}<br/><small>{}; {}</small></td>", rate(point.lr), rate(point.rest_lr))
}

/// The conditions of the measurement, and how to repeat it.
pub(super) fn conditions(found: &Comparison) -> String {
    let kind = if found.software_adapter { "a program on the CPU" } else { "a GPU" };
    let seeds: Vec<String> = found.seeds.iter().map(u64::to_string).collect();
    let corpus = &found.corpus;
    let every = match found.config["eval"]["every"].as_u64() {
        Some(0) | None => "the end".to_owned(),
        Some(every) => format!("every {every} steps and the end"),
    };
    let baseline = found.baseline_bigram_loss.map_or(NONE.into(), |loss| format!("{loss:.4} nats a token"));
    let lines = [
        ("Adapter", format!("{} ({kind}); {}", found.adapter, found.driver)),
        ("Program", found.program.clone()),
        ("Corpus", format!("{}; licence: {}", corpus.name, corpus.license.lines().next().unwrap_or("unknown"))),
        (
            "Tokens",
            format!(
                "{} to learn from, {} held out ({}); each run sees {} in {} steps of {}",
                grouped(corpus.training_tokens as u64),
                grouped(corpus.validation_tokens as u64),
                corpus.split,
                grouped(found.tokens_per_run),
                grouped(found.steps),
                grouped(found.tokens_per_step as u64)
            ),
        ),
        (
            "Model",
            format!(
                "{} parameters, {} of them in linear layers",
                grouped(found.parameters as u64),
                grouped(found.parameters_linear as u64)
            ),
        ),
        ("Evaluated", format!("at {every}")),
        ("Bigram baseline", baseline),
        ("Learning rates", format!("{} an optimizer, with seed {}", found.factors.describe(), seeds[0])),
        ("Seeds", format!("{}; all of them only at the best pair of factors", seeds.join(", "))),
        ("Command", found.command.clone()),
    ];
    let list: String = lines.map(|(name, text)| format!("<dt>{name}</dt><dd>{}</dd>\n", escape(&text))).concat();
    let config = serde_json::to_string_pretty(&found.config).expect("plain data can be written as JSON");
    format!(
        "<h2>Conditions</h2>\n<dl>\n{list}</dl>\n<p class=\"quiet\">With one seed all optimizers start from the same \
         weights and read the same batches. Seconds are those of training, without evaluations and checkpoints; on a \
         machine that does other work they include that work.</p>\n\
         <details><summary>The configuration that all runs share</summary><pre>{}</pre></details>",
        escape(&config)
    )
}

fn spread(loss: Spread) -> String {
    let n = if loss.n == 1 { "1 seed".into() } else { format!("{} seeds", loss.n) };
    match loss.sd {
        Some(sd) => format!("{:.4} ± {sd:.4}<br/><small>{n}</small>", loss.mean),
        None => format!("{:.4}<br/><small>{n}</small>", loss.mean),
    }
}

/// `0.01`, `2.441e-4`.
fn rate(lr: f64) -> String {
    let plain = format!("{lr}");
    if plain.len() <= 6 { plain } else { format!("{lr:.3e}") }
}
