//! What a comparison found: the document `compare.json`.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::cost::Cost;
use super::plan::{Plan, RunId, shared_settings};
use super::record::{Outcome, RunRecord};
use super::statistics::Spread;
use crate::Result;
use crate::config::{OptimizerConfig, Role};
use crate::train::{SpectrumRecord, forward_passes};

/// Everything that was measured, and on what.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    /// Name and version of this program.
    pub program: String,
    /// The command as it was typed.
    pub command: String,
    /// The adapter's name.
    pub adapter: String,
    /// Backend, driver and version.
    pub driver: String,
    /// Whether the adapter is a program on the CPU.
    pub software_adapter: bool,
    /// Whether every planned run has ended.
    pub complete: bool,
    /// Runs that have ended.
    pub runs_done: usize,
    /// Runs of the whole plan.
    pub runs_planned: usize,
    /// The text.
    pub corpus: Corpus,
    /// Parameters of the model.
    pub parameters: usize,
    /// Those of attention and feed-forward, which the passes move.
    pub parameters_linear: usize,
    /// Steps of each run.
    pub steps: u64,
    /// Tokens of each step.
    pub tokens_per_step: usize,
    /// Tokens of each run.
    pub tokens_per_run: u64,
    /// Factors on every learning rate.
    pub factors: Vec<f64>,
    /// Seeds; the factor is chosen at the first.
    pub seeds: Vec<u64>,
    /// The optimizer whose final validation loss the others are timed against.
    pub reference: String,
    /// When a difference counts as noise.
    pub noise_rule: &'static str,
    /// Nats a token of a bigram table on the validation tokens.
    pub baseline_bigram_loss: Option<f64>,
    /// The configuration that all runs share.
    pub config: Value,
    /// In the order of the command.
    pub optimizers: Vec<OptimizerResult>,
    /// What the zeroth-order ones begin with, once it is there.
    pub fine_tuned_from: Option<Start>,
    /// Those, which are not compared with the others.
    pub fine_tuned: Vec<OptimizerResult>,
    /// Every run that has ended, with its curves.
    pub runs: Vec<RunRecord>,
}

/// The run with whose weights others begin.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Start {
    /// Which one.
    #[serde(flatten)]
    pub run: RunId,
    /// Its final validation loss, nats a token.
    pub eval_loss: f64,
}

/// The text that all runs read.
#[derive(Clone, Debug, Serialize)]
pub struct Corpus {
    /// Its name.
    pub name: String,
    /// Its terms of use.
    pub license: String,
    /// Tokens to learn from.
    pub training_tokens: usize,
    /// Tokens held out.
    pub validation_tokens: usize,
    /// How they were held out.
    pub split: String,
}

/// One optimizer at its best factor, over the seeds.
#[derive(Clone, Debug, Serialize)]
pub struct OptimizerResult {
    /// Name of the catalog.
    pub name: String,
    /// What moves the linear layers: `row, column × 5`.
    pub passes: String,
    /// What moves embedding, head and norms.
    pub rest: String,
    /// Every setting at the best factor; at the optimizer's own rates where none is known.
    pub settings: OptimizerConfig,
    /// Final validation loss against the factor, at the first seed.
    pub sweep: Vec<SweepPoint>,
    /// The factor of the lowest final validation loss.
    pub best_factor: Option<f64>,
    /// Whether that is the smallest or largest of several factors, so that the best may lie outside.
    pub best_at_edge: bool,
    /// Peak learning rate of the linear layers at the best factor.
    pub best_lr: Option<f64>,
    /// Final validation loss over the seeds, nats a token.
    pub eval_loss: Option<Spread>,
    /// Lowest validation loss of each run, over the seeds.
    pub best_eval_loss: Option<Spread>,
    /// exp of the mean final validation loss.
    pub perplexity: Option<f64>,
    /// Seeds at the best factor that diverged.
    pub diverged_seeds: Vec<u64>,
    /// Tokens a second of training, evaluations and checkpoints aside; the mean over the seeds.
    pub tokens_per_sec: Option<f64>,
    /// Seconds of training of one run; the mean over the seeds.
    pub train_secs: Option<f64>,
    /// Forward passes of one run, over the tokens of a step each.
    pub forward_passes: u64,
    /// Its backward passes.
    pub backward_passes: u64,
    /// Memory and time of the update.
    pub cost: Option<Cost>,
    /// A gradient at the end of the best run at the first seed, before and after every pass.
    pub spectrum: Option<SpectrumRecord>,
    /// When the reference's final loss was reached; none where a seed never reached it.
    pub to_reference: Option<ToReference>,
    /// From the reference's final validation loss, or from where a fine-tuner began; none for the reference itself.
    pub difference: Option<Difference>,
    /// What the difference says, in words.
    pub verdict: String,
}

/// One factor of the sweep.
#[derive(Clone, Debug, Serialize)]
pub struct SweepPoint {
    /// On every learning rate.
    pub factor: f64,
    /// Peak learning rate of the linear layers.
    pub lr: f64,
    /// Final validation loss; none where the run diverged or has not ended.
    pub eval_loss: Option<f64>,
    /// What went wrong, where the run diverged.
    pub diverged: Option<String>,
}

/// How soon the reference's final validation loss was reached, by the evaluations of the run: the mean over the seeds,
/// each against the reference at the same seed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct ToReference {
    /// Steps.
    pub steps: f64,
    /// Seconds of training.
    pub secs: f64,
    /// Effective throughput: all tokens of the reference's run over these seconds (arXiv 2502.07752, table 2).
    pub tokens_per_sec: f64,
}

/// Mean final validation loss less the reference's.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// Nats a token; below 0 is better than the reference.
    pub nats: f64,
    /// The largest difference that counts as noise; none with one seed.
    pub noise: Option<f64>,
    /// Whether it counts as noise; none with one seed.
    pub is_noise: Option<bool>,
}

/// See [`Spread::noise`].
const NOISE_RULE: &str =
    "|difference of means| ≤ 2·√(s₁²/n₁ + s₂²/n₂) is noise; with one seed differences are not tested";

/// What a document needs beside the runs.
pub(super) struct About<'a> {
    pub plan: &'a Plan,
    pub command: &'a str,
    pub adapter: &'a str,
    pub driver: &'a str,
    pub software_adapter: bool,
    pub corpus: Corpus,
}

/// What is known by now; runs that the plan does not ask for (any more) are left out.
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
            let first = RunId { optimizer: name.clone(), factor: 1.0, seed: train.seed };
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

/// The factor of the lowest final validation loss at the first seed, by what has ended.
pub(super) fn best_factor(plan: &Plan, records: &[RunRecord], optimizer: &str) -> Option<f64> {
    Found { plan, records }.best_factor(optimizer)
}

struct Found<'a> {
    plan: &'a Plan,
    records: &'a [RunRecord],
}

impl<'a> Found<'a> {
    fn run(&self, id: &RunId) -> Option<&'a RunRecord> {
        self.records.iter().find(|run| run.id == *id)
    }

    fn sweep(&self, optimizer: &str) -> impl Iterator<Item = RunId> {
        self.plan.sweep().filter(move |id| id.optimizer == optimizer)
    }

    fn best_factor(&self, optimizer: &str) -> Option<f64> {
        let finished = self.sweep(optimizer).filter_map(|id| Some((id.factor, self.run(&id)?.final_eval_loss()?)));
        finished.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(factor, _)| factor)
    }

    /// The runs at the best factor that have ended, the first seed first.
    fn at_best(&self, optimizer: &str) -> Vec<&'a RunRecord> {
        let best = self.best_factor(optimizer).into_iter();
        best.flat_map(|factor| self.plan.seeds_at(optimizer, factor)).filter_map(|id| self.run(&id)).collect()
    }

    /// The runs of the plan that have ended, optimizer by optimizer.
    fn asked(&self) -> Vec<&'a RunRecord> {
        let of = |name: &String| {
            let sweep = self.sweep(name).filter_map(|id| self.run(&id));
            sweep.chain(self.at_best(name).into_iter().skip(1)).collect::<Vec<_>>()
        };
        self.plan.all().flat_map(of).collect()
    }

    fn is_swept(&self, optimizer: &str) -> bool {
        self.sweep(optimizer).all(|id| self.run(&id).is_some())
    }

    /// At every factor.
    fn reference_diverged(&self) -> bool {
        let reference = self.plan.reference();
        self.is_swept(reference) && self.best_factor(reference).is_none()
    }

    fn is_complete(&self) -> bool {
        let seeded =
            |name: &str| self.best_factor(name).is_none() || self.at_best(name).len() as u64 == self.plan.n_seeds;
        // Nothing can begin with what the reference did not learn.
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
        let best_factor = self.best_factor(name);
        let settings = own.clone().with_lr_factor(best_factor.unwrap_or(1.0));
        let runs = self.at_best(name);
        let finished: Vec<_> = runs.iter().copied().filter(|run| run.is_finished()).collect();
        let spread = |of: &dyn Fn(&RunRecord) -> Option<f64>| {
            Spread::of(&finished.iter().filter_map(|run| of(run)).collect::<Vec<_>>())
        };
        let tokens = self.plan.config.train.tokens_per_step() as f64 * self.plan.config.train.steps as f64;
        let train_secs = spread(&|run| Some(run.train_secs())).map(|secs| secs.mean);
        let eval_loss = spread(&RunRecord::final_eval_loss);
        let difference = (name != reference).then(|| self.difference(eval_loss, reference)).flatten();
        let factors = &self.plan.factors;
        // Of half a sweep the best is at an edge as a matter of course.
        let swept = factors.len() > 1 && self.is_swept(name);
        let at_edge = |best: f64| swept && (best == factors[0] || best == factors[factors.len() - 1]);
        Ok(OptimizerResult {
            name: name.to_owned(),
            passes: own.linear.rule.words(),
            rest: rest_words(&own),
            sweep: self.sweep(name).map(|id| self.sweep_point(&id, own.linear.lr)).collect(),
            best_factor,
            best_at_edge: best_factor.is_some_and(at_edge),
            best_lr: best_factor.map(|factor| own.linear.lr * factor),
            eval_loss,
            best_eval_loss: spread(&RunRecord::best_eval_loss),
            perplexity: eval_loss.map(|loss| loss.mean.exp()),
            diverged_seeds: runs.iter().filter(|run| !run.is_finished()).map(|run| run.id.seed).collect(),
            tokens_per_sec: train_secs.filter(|secs| *secs > 0.0).map(|secs| tokens / secs),
            train_secs,
            forward_passes,
            backward_passes: if own.zeroth_order().is_some() { 0 } else { self.plan.config.train.steps },
            cost,
            spectrum: None,
            to_reference: self.to_reference(&finished, reference, tokens),
            verdict: self.verdict(name, reference, eval_loss, difference),
            difference,
            settings,
        })
    }

    /// What a fine-tuner has made of the weights that it began with.
    fn since(&self, tuned: OptimizerResult, start: Option<&Start>) -> OptimizerResult {
        let nats = tuned.eval_loss.zip(start).map(|(loss, start)| loss.mean - start.eval_loss);
        let verdict = match (nats, start) {
            (Some(nats), Some(start)) => {
                let side = if nats < 0.0 { "below" } else { "above" };
                format!(
                    "{:.4} nats {side} the {:.4} of {}, with which it began",
                    nats.abs(),
                    start.eval_loss,
                    start.run
                )
            }
            _ if self.reference_diverged() => {
                format!("nothing to begin with: {} diverged at every factor", self.plan.reference())
            }
            _ => tuned.verdict,
        };
        let difference = nats.map(|nats| Difference { nats, noise: None, is_noise: None });
        OptimizerResult { to_reference: None, difference, verdict, ..tuned }
    }

    fn sweep_point(&self, id: &RunId, own_lr: f64) -> SweepPoint {
        let run = self.run(id);
        SweepPoint {
            factor: id.factor,
            lr: own_lr * id.factor,
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

    fn to_reference(&self, finished: &[&RunRecord], reference: &str, tokens: f64) -> Option<ToReference> {
        let references = self.at_best(reference);
        let of_seed = |run: &&RunRecord| {
            let reference = references.iter().find(|other| other.id.seed == run.id.seed)?;
            run.reaches(reference.final_eval_loss()?)
        };
        let reached: Vec<(u64, f64)> = finished.iter().map(of_seed).collect::<Option<_>>()?;
        let mean = |of: &dyn Fn(&(u64, f64)) -> f64| Spread::of(&reached.iter().map(of).collect::<Vec<_>>());
        let steps = mean(&|(step, _)| *step as f64)?.mean;
        let secs = mean(&|(_, secs)| *secs)?.mean;
        Some(ToReference { steps, secs, tokens_per_sec: tokens / secs })
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

/// What moves the rest, role by role where they differ.
fn rest_words(config: &OptimizerConfig) -> String {
    let of = |role: Role| config.recipe(role).rule.words();
    let (embedding, head, norm) = (of(Role::Embedding), of(Role::Head), of(Role::Norm));
    if embedding == head && head == norm {
        return embedding;
    }
    format!("embedding: {embedding}; head: {head}; norms: {norm}")
}
