//! The results of a comparison: the document `compare.json`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::cost::Cost;
use super::plan::{Plan, RunId, shared_settings};
use super::record::{Outcome, RunRecord};
use super::statistics::Spread;
use super::sweep::{Edges, LrFactors, LrSweep, factor_words};
use super::throughput::ToReference;
use crate::Result;
use crate::config::{OptimizerConfig, Role};
use crate::train::{SpectrumRecord, forward_passes};

/// Everything that was measured, and the conditions.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Name and version of this program.
    pub program: String,
    /// The command line as typed.
    pub command: String,
    /// The adapter's name.
    pub adapter: String,
    /// Backend, driver and version.
    pub driver: String,
    /// Whether the adapter is a software adapter.
    pub software_adapter: bool,
    /// Whether every planned run has ended.
    pub complete: bool,
    /// Number of runs that have ended.
    pub runs_done: usize,
    /// Number of runs in the whole plan.
    pub runs_planned: usize,
    /// The text.
    pub corpus: Corpus,
    /// Number of model parameters.
    pub parameters: usize,
    /// Those of attention and feed-forward, which the passes update.
    pub parameters_linear: usize,
    /// Steps per run.
    pub steps: u64,
    /// Tokens per step.
    pub tokens_per_step: usize,
    /// Tokens per run.
    pub tokens_per_run: u64,
    /// The factors on learning rates that were searched, in all combinations.
    pub factors: LrSweep,
    /// Seeds; the factors are chosen with the first.
    pub seeds: Vec<u64>,
    /// The reference, against whose final validation loss the others are timed: Adam, else AdamW, else the first
    /// optimizer.
    pub reference: String,
    /// The rule for when a difference counts as noise.
    pub noise_rule: &'static str,
    /// Loss of a bigram table on the validation tokens, in nats per token.
    pub baseline_bigram_loss: Option<f64>,
    /// The configuration shared by all runs.
    pub config: Value,
    /// In the order of the command.
    pub optimizers: Vec<OptimizerResult>,
    /// The starting point of the zeroth-order optimizers, once it exists.
    pub fine_tuned_from: Option<Start>,
    /// The fine-tuning optimizers, which are not compared with the others.
    pub fine_tuned: Vec<OptimizerResult>,
    /// Every run that has ended, with its curves.
    pub runs: Vec<RunRecord>,
}

/// The run whose weights others start from.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// The run.
    #[serde(flatten)]
    pub run: RunId,
    /// Its final validation loss, in nats per token.
    pub eval_loss: f64,
}

/// The text that all runs read.
#[derive(Clone, Debug, Serialize)]
pub struct Corpus {
    /// Its name.
    pub name: String,
    /// Its license.
    pub license: String,
    /// Training tokens.
    pub training_tokens: usize,
    /// Held-out tokens.
    pub validation_tokens: usize,
    /// How they were held out.
    pub split: String,
}

/// One optimizer at its best factors, over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct OptimizerResult {
    /// The name in the catalog.
    pub name: String,
    /// The rule for the linear layers: `row, column × 5`.
    pub passes: String,
    /// The rule for embedding, head and norms.
    pub rest: String,
    /// Whether one rule updates all matrices, so that the rest's learning rate takes both factors: see [`LrFactors`].
    pub one_rule: bool,
    /// Every setting at the best factors; at the optimizer's own rates if they are not known.
    pub settings: OptimizerConfig,
    /// Final validation loss of every pair of factors, with the first seed.
    pub sweep: Vec<SweepPoint>,
    /// The factors with the lowest final validation loss.
    pub best_factors: Option<LrFactors>,
    /// Which of them is at an edge of its sweep, so that the best may be outside.
    pub best_at_edge: Edges,
    /// Peak learning rate of the linear layers at the best factors.
    pub best_lr: Option<f64>,
    /// Peak learning rate of the embedding at the best factors.
    pub best_rest_lr: Option<f64>,
    /// Final validation loss over the seeds, in nats per token.
    pub eval_loss: Option<Spread>,
    /// Lowest validation loss of each run, over the seeds.
    pub best_eval_loss: Option<Spread>,
    /// exp of the mean final validation loss.
    pub perplexity: Option<f64>,
    /// Seeds at the best factors that diverged.
    pub diverged_seeds: Vec<u64>,
    /// Tokens per second of training, without evaluations and checkpoints; the mean over the seeds.
    pub tokens_per_sec: Option<f64>,
    /// When the reference's final validation loss was reached, and the resulting effective throughput; `None` before
    /// the reference has one, and for fine-tuning optimizers.
    pub to_reference: Option<ToReference>,
    /// Seconds of training per run; the mean over the seeds.
    pub train_secs: Option<f64>,
    /// Forward passes per run, each over the tokens of a step.
    pub forward_passes: u64,
    /// Backward passes per run.
    pub backward_passes: u64,
    /// Memory and time of the update.
    pub cost: Option<Cost>,
    /// A gradient from the end of the best run with the first seed, before and after every pass.
    pub spectrum: Option<SpectrumRecord>,
    /// The difference from the reference's final validation loss, or from a fine-tuning run's initial loss; `None` for
    /// the reference itself.
    pub difference: Option<Difference>,
    /// The difference in words.
    pub verdict: String,
}

/// One pair of factors of the sweep.
#[derive(Clone, Debug, Serialize)]
pub struct SweepPoint {
    /// Factors on the optimizer's own learning rates.
    pub factors: LrFactors,
    /// Peak learning rate of the linear layers.
    pub lr: f64,
    /// Peak learning rate of the embedding.
    pub rest_lr: f64,
    /// Final validation loss; `None` if the run diverged or has not ended.
    pub eval_loss: Option<f64>,
    /// What went wrong, if the run diverged.
    pub diverged: Option<String>,
}

/// Mean final validation loss minus the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Nats per token; negative is better than the reference.
    pub nats: f64,
    /// The largest difference that counts as noise; `None` with one seed.
    pub noise: Option<f64>,
    /// Whether the difference counts as noise; `None` with one seed.
    pub is_noise: Option<bool>,
}

impl OptimizerResult {
    /// Remarks on the verdict, one sentence each.
    pub fn remarks(&self, reference: &str) -> Vec<String> {
        let mut remarks = Vec::new();
        if let Some(best) = self.best_factors {
            let edges = self.best_at_edge;
            let sides = [
                (edges.linear, best.linear, "the linear layers' learning rate"),
                (edges.rest, best.rest, "the rest's learning rate"),
            ];
            for (edge, factor, rate) in sides {
                let Some(edge) = edge else { continue };
                remarks.push(format!(
                    "Its best factor on {rate}, {}, is the {} that was tried: a better one may lie beyond.",
                    factor_words(factor),
                    edge.describe()
                ));
            }
        }
        if let Some(reached) = &self.to_reference {
            let never: Vec<u64> = reached.never().collect();
            if never.len() == reached.seeds.len() {
                remarks.push(format!("It never reached {reference}'s final validation loss."));
            } else if !never.is_empty() {
                let seeds = seed_words(&never);
                remarks.push(format!(
                    "With {seeds} it never reached {reference}'s final validation loss, so that no mean of effective \
                     tokens a second is given."
                ));
            }
        }
        if !self.diverged_seeds.is_empty() {
            let seeds = seed_words(&self.diverged_seeds);
            remarks.push(format!("At those factors it diverged with {seeds}, which the mean leaves out."));
        }
        remarks
    }
}

/// `seed 1`, `seeds 1, 2`.
fn seed_words(seeds: &[u64]) -> String {
    let list: Vec<String> = seeds.iter().map(u64::to_string).collect();
    format!("{} {}", if seeds.len() == 1 { "seed" } else { "seeds" }, list.join(", "))
}

/// See [`Spread::noise`].
const NOISE_RULE: &str =
    "|difference of means| ≤ 2·√(s₁²/n₁ + s₂²/n₂) is noise; with one seed differences are not tested";

/// The context that a document needs besides the runs.
pub(super) struct About<'a> {
    pub plan: &'a Plan,
    pub command: &'a str,
    pub adapter: &'a str,
    pub driver: &'a str,
    pub software_adapter: bool,
    pub corpus: Corpus,
}

/// The results so far; runs that the plan does not (or no longer) include are omitted.
pub(super) fn comparison(
    about: &About<'_>,
    records: &[RunRecord],
    costs: &BTreeMap<String, Cost>,
    spectra: &BTreeMap<String, SpectrumRecord>,
    start: Option<RunId>,
) -> Result<Comparison> {
    let plan = about.plan;
    let (train, model) = (&plan.config.train, &plan.config.model);
    let found = Found { plan, records };
    let asked = found.asked();
    let reference = plan.reference();
    let results = |names: &[String]| -> Result<Vec<OptimizerResult>> {
        let of = |name: &String| {
            let spectrum = spectra.get(name).cloned();
            let first = RunId { optimizer: name.clone(), factors: LrFactors::OWN, seed: train.seed };
            let forward_passes = forward_passes(&plan.run_config(&first)?, about.corpus.training_tokens);
            let result = found.optimizer(name, reference, costs.get(name).copied(), forward_passes)?;
            Ok(OptimizerResult { spectrum, ..result })
        };
        names.iter().map(of).collect()
    };
    let fine_tuned_from = start.and_then(|run| {
        let eval_loss = found.run(&run)?.final_eval_loss()?;
        Some(Start { run, eval_loss })
    });
    let fine_tuned = results(&plan.fine_tuners)?;
    let fine_tuned = fine_tuned.into_iter().map(|tuned| found.since(tuned, fine_tuned_from.as_ref())).collect();
    let linear = model.parameters().into_iter().filter(|spec| spec.role == Role::Linear);
    Ok(Comparison {
        program: format!("{} {}", env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION")),
        command: about.command.to_owned(),
        adapter: about.adapter.to_owned(),
        driver: about.driver.to_owned(),
        software_adapter: about.software_adapter,
        complete: found.is_complete(),
        runs_done: asked.len(),
        runs_planned: plan.n_runs(),
        corpus: about.corpus.clone(),
        parameters: model.n_parameters(),
        parameters_linear: linear.map(|spec| spec.n_elements()).sum(),
        steps: train.steps,
        tokens_per_step: train.tokens_per_step(),
        tokens_per_run: train.steps * train.tokens_per_step() as u64,
        factors: plan.factors.clone(),
        seeds: plan.seeds().collect(),
        reference: reference.to_owned(),
        noise_rule: NOISE_RULE,
        baseline_bigram_loss: asked.iter().find_map(|run| match run.outcome {
            Outcome::Finished { baseline_bigram_loss, .. } => Some(baseline_bigram_loss),
            Outcome::Diverged { .. } => None,
        }),
        config: shared_settings(&plan.config),
        optimizers: results(&plan.optimizers)?,
        fine_tuned_from,
        fine_tuned,
        runs: asked.into_iter().cloned().collect(),
    })
}

/// The factors with the lowest final validation loss with the first seed, among the runs that have ended.
pub(super) fn best_factors(plan: &Plan, records: &[RunRecord], optimizer: &str) -> Option<LrFactors> {
    Found { plan, records }.best_factors(optimizer)
}

struct Found<'a> {
    plan: &'a Plan,
    records: &'a [RunRecord],
}

impl<'a> Found<'a> {
    fn run(&self, id: &RunId) -> Option<&'a RunRecord> {
        self.records.iter().find(|run| run.id == *id)
    }

    fn best_factors(&self, optimizer: &str) -> Option<LrFactors> {
        let sweep = self.plan.sweep_of(optimizer).into_iter();
        let finished = sweep.filter_map(|id| Some((id.factors, self.run(&id)?.final_eval_loss()?)));
        finished.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(factors, _)| factors)
    }

    /// The runs at the best factors that have ended, in order of seeds.
    fn at_best(&self, optimizer: &str) -> Vec<&'a RunRecord> {
        let best = self.best_factors(optimizer).into_iter();
        best.flat_map(|factors| self.plan.seeds_at(optimizer, factors)).filter_map(|id| self.run(&id)).collect()
    }

    /// The runs of the plan that have ended, optimizer by optimizer.
    fn asked(&self) -> Vec<&'a RunRecord> {
        let of = |name: &String| {
            let sweep = self.plan.sweep_of(name).into_iter().filter_map(|id| self.run(&id));
            sweep.chain(self.at_best(name).into_iter().skip(1)).collect::<Vec<_>>()
        };
        self.plan.all().flat_map(of).collect()
    }

    fn is_swept(&self, optimizer: &str) -> bool {
        self.plan.sweep_of(optimizer).iter().all(|id| self.run(id).is_some())
    }

    /// Whether the reference diverged at every pair of factors.
    fn reference_diverged(&self) -> bool {
        let reference = self.plan.reference();
        self.is_swept(reference) && self.best_factors(reference).is_none()
    }

    fn is_complete(&self) -> bool {
        let seeded =
            |name: &str| self.best_factors(name).is_none() || self.at_best(name).len() as u64 == self.plan.n_seeds;
        // If the reference learned nothing, there is nothing to start from.
        let nothing_to_tune = self.reference_diverged();
        let ended = |name: &String| self.is_swept(name) && seeded(name);
        self.plan.optimizers.iter().all(ended) && (nothing_to_tune || self.plan.fine_tuners.iter().all(ended))
    }

    fn optimizer(
        &self,
        name: &str,
        reference: &str,
        cost: Option<Cost>,
        forward_passes: u64,
    ) -> Result<OptimizerResult> {
        let own = OptimizerConfig::named(name)?;
        let best_factors = self.best_factors(name);
        let settings = best_factors.unwrap_or(LrFactors::OWN).on(own.clone());
        let runs = self.at_best(name);
        let finished: Vec<_> = runs.iter().copied().filter(|run| run.is_finished()).collect();
        let spread = |of: &dyn Fn(&RunRecord) -> Option<f64>| {
            Spread::of(&finished.iter().filter_map(|run| of(run)).collect::<Vec<_>>())
        };
        let tokens = self.plan.config.train.tokens_per_step() as f64 * self.plan.config.train.steps as f64;
        // Like effective throughput: the mean of speeds, not the speed at the mean time.
        let speed = |run: &RunRecord| Some(run.train_secs()).filter(|secs| *secs > 0.0).map(|secs| tokens / secs);
        let eval_loss = spread(&RunRecord::final_eval_loss);
        let difference = (name != reference).then(|| self.difference(eval_loss, reference)).flatten();
        // In half a sweep the best is naturally at an edge.
        let swept = best_factors.filter(|_| self.is_swept(name));
        let best_at_edge = swept.map(|best| self.plan.factors_of(name).edges(best)).unwrap_or_default();
        Ok(OptimizerResult {
            name: name.to_owned(),
            passes: own.linear.rule.describe(),
            rest: rest_words(&own),
            one_rule: own.has_one_rule(),
            sweep: self.plan.sweep_of(name).iter().map(|id| self.sweep_point(id, &own)).collect(),
            best_factors,
            best_at_edge,
            best_lr: best_factors.map(|_| settings.linear.lr),
            best_rest_lr: best_factors.map(|_| settings.embedding.lr),
            eval_loss,
            best_eval_loss: spread(&RunRecord::best_eval_loss),
            perplexity: eval_loss.map(|loss| loss.mean.exp()),
            diverged_seeds: runs.iter().filter(|run| !run.is_finished()).map(|run| run.id.seed).collect(),
            tokens_per_sec: spread(&speed).map(|speed| speed.mean),
            train_secs: spread(&|run| Some(run.train_secs())).map(|secs| secs.mean),
            forward_passes,
            backward_passes: if own.zeroth_order().is_some() { 0 } else { self.plan.config.train.steps },
            cost,
            spectrum: None,
            to_reference: ToReference::of(&runs, &self.at_best(reference), tokens),
            verdict: self.verdict(name, reference, eval_loss, difference),
            difference,
            settings,
        })
    }

    /// The change since the weights that a fine-tuning run started from.
    fn since(&self, tuned: OptimizerResult, start: Option<&Start>) -> OptimizerResult {
        let nats = tuned.eval_loss.zip(start).map(|(loss, start)| loss.mean - start.eval_loss);
        let verdict = match (nats, start) {
            (Some(nats), Some(start)) => {
                let side = if nats < 0.0 { "below" } else { "above" };
                format!(
                    "{:.4} nats {side} the {:.4} of {}, from which it started",
                    nats.abs(),
                    start.eval_loss,
                    start.run
                )
            }
            _ if self.reference_diverged() => {
                format!("nothing to start from: {} diverged at every factor", self.plan.reference())
            }
            _ => tuned.verdict,
        };
        let difference = nats.map(|nats| Difference { nats, noise: None, is_noise: None });
        OptimizerResult { to_reference: None, difference, verdict, ..tuned }
    }

    fn sweep_point(&self, id: &RunId, own: &OptimizerConfig) -> SweepPoint {
        let run = self.run(id);
        let moved = id.factors.on(own.clone());
        SweepPoint {
            factors: id.factors,
            lr: moved.linear.lr,
            rest_lr: moved.embedding.lr,
            eval_loss: run.and_then(RunRecord::final_eval_loss),
            diverged: run.and_then(|run| match &run.outcome {
                Outcome::Diverged { message } => Some(message.clone()),
                Outcome::Finished { .. } => None,
            }),
        }
    }

    fn final_spread(&self, optimizer: &str) -> Option<Spread> {
        Spread::of(&self.at_best(optimizer).into_iter().filter_map(RunRecord::final_eval_loss).collect::<Vec<_>>())
    }

    fn difference(&self, eval_loss: Option<Spread>, reference: &str) -> Option<Difference> {
        let (own, other) = (eval_loss?, self.final_spread(reference)?);
        let (nats, noise) = (own.mean - other.mean, own.noise(&other));
        Some(Difference { nats, noise, is_noise: noise.map(|noise| nats.abs() <= noise) })
    }

    fn verdict(&self, name: &str, reference: &str, loss: Option<Spread>, difference: Option<Difference>) -> String {
        if loss.is_none() {
            return if self.is_swept(name) { "diverged at every factor" } else { "not run yet" }.into();
        }
        if name == reference {
            return "the reference".into();
        }
        let Some(Difference { nats, noise, is_noise }) = difference else {
            return format!("{reference} has not finished: nothing to compare with");
        };
        let side = if nats < 0.0 { "below" } else { "above" };
        let distance = format!("{:.4} nats {side} {reference}", nats.abs());
        match noise.zip(is_noise) {
            None => format!("{distance}; one seed: differences are not tested"),
            Some((noise, true)) => format!("{distance}, inside the noise of the seeds (up to {noise:.4})"),
            Some((noise, false)) => format!("{distance}, outside the noise of the seeds (up to {noise:.4})"),
        }
    }
}

/// The rules for the rest, listed by role if they differ.
fn rest_words(config: &OptimizerConfig) -> String {
    let of = |role: Role| config.recipe(role).rule.describe();
    let (embedding, head, norm) = (of(Role::Embedding), of(Role::Head), of(Role::Norm));
    if embedding == head && head == norm {
        return embedding;
    }
    format!("embedding: {embedding}; head: {head}; norms: {norm}")
}
