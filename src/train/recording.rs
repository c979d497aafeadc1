//! What a training run records: known, with all its memory, before anything is allocated.

use super::samples::Watched;
use crate::Result;
use crate::config::{RunConfig, TrainConfig};
use crate::gpu::{Class, Profile, ReadbackRing, Recorder, Tensor};
use crate::kernels::Output;
use crate::kernels::norms::{GradientNorms, Place, gradient_statistics};
use crate::llama::{BatchInputs, Gradients, Llama, Parameter, record_loss, record_micro_step};
use crate::optim::{self, RecordUpdate, State, StepTensors, Update};

/// Plan of a step's first micro-batch: gradients are written; with fused updates, of the whole step.
pub(super) const FIRST: &str = "first micro-batch";
/// Plan of its other micro-batches: gradients accumulate.
pub(super) const NEXT: &str = "next micro-batch";
/// Plan that turns gradients into an update.
pub(super) const UPDATE: &str = "update";
/// Plan of one batch of an evaluation.
pub(super) const EVALUATE: &str = "evaluate";

/// Steps whose numbers may be on their way back at once.
pub(super) const RING_SLOTS: usize = 4;

/// A recorded run.
pub struct Recorded {
    /// The record: its memory table, and what it becomes when allocated.
    pub recorder: Recorder,
    /// The model.
    pub llama: Llama,
    /// What the optimizer carries from step to step.
    pub states: Vec<State>,
    pub(super) inputs: BatchInputs,
    pub(super) eval_inputs: BatchInputs,
    /// `[3 + parameters]`: see [`Place`].
    pub(super) statistics: Tensor,
    /// What spectra are made of.
    pub(super) watched: Vec<Watched>,
    /// `[1]` summed loss of an evaluation's batch.
    pub(super) eval_loss: Tensor,
    /// `[4]` the `Step` of shaders/lib/step.wgsl.
    pub(super) step: Tensor,
}

/// Records training and evaluation for this configuration.
///
/// Errors: an optimizer that cannot move a parameter.
pub fn record_training(config: &RunConfig, profile: &Profile) -> Result<Recorded> {
    let update = |rec: &mut Recorder, update: &Update<'_>, step: StepTensors<'_>| {
        optim::record(rec, &config.optimizer, update, step)
    };
    let ahead = |rec: &mut Recorder, update: &Update<'_>, step: StepTensors<'_>| {
        optim::record_ahead(rec, &config.optimizer, update, step)
    };
    record_all(config, profile, &Rules { ahead: &ahead, update: &update })
}

/// The same with an optimizer of the caller's instead of the configuration's.
pub fn record_training_with(
    config: &RunConfig,
    profile: &Profile,
    record_update: &RecordUpdate<'_>,
) -> Result<Recorded> {
    record_all(config, profile, &Rules { ahead: &|_, _, _| None, update: record_update })
}

/// What is recorded of an optimizer.
struct Rules<'a> {
    /// Before the forward pass of a step.
    ahead: &'a dyn Fn(&mut Recorder, &Update<'_>, StepTensors<'_>) -> Option<State>,
    /// When a gradient is whole.
    update: &'a RecordUpdate<'a>,
}

fn record_all(config: &RunConfig, profile: &Profile, rules: &Rules<'_>) -> Result<Recorded> {
    let mut recorder = Recorder::new(profile);
    let rec = &mut recorder;
    let gradients = if config.train.fused_update { Gradients::Passing } else { Gradients::Kept };
    let llama = Llama::new(rec, &config.model, gradients);
    let train = &config.train;
    let inputs = BatchInputs::new(rec, &llama, train.micro_batch_size, train.sequence_length);
    let eval_inputs = BatchInputs::new(rec, &llama, config.eval.batch_size, train.sequence_length);
    let statistics = rec.persistent(Class::Scratch, "statistics", &[Place::GRADIENTS + llama.parameters.len()]);
    let eval_loss = rec.persistent(Class::Scratch, "evaluation loss", &[1]);
    let step = rec.persistent(Class::Scratch, "step", &[4]);
    rec.reserve_staging(ReadbackRing::bytes(&statistics, RING_SLOTS) + ReadbackRing::bytes(&eval_loss, RING_SLOTS));

    // The loss is the first number of the statistics, and the scale makes it and its gradients means over the step.
    let scale = 1.0 / config.train.tokens_per_step() as f64;
    let loss = statistics.rows(0..1);
    let shared = StepTensors { statistics: &statistics, step: &step };
    let micro = MicroStep { llama: &llama, inputs: &inputs, loss: &loss, scale };
    let states = if config.train.fused_update {
        record_fused(rec, &micro, shared, rules)?
    } else {
        record_separate(rec, &micro, shared, &config.train, rules)?
    };
    let watched = Watched::choose(rec, config, &llama.parameters, &states, &statistics);
    rec.begin(EVALUATE);
    record_loss(rec, &llama, &eval_inputs, &eval_loss, 1.0, Output::Write);
    Ok(Recorded { recorder, llama, states, inputs, eval_inputs, statistics, watched, eval_loss, step })
}

struct MicroStep<'a> {
    llama: &'a Llama,
    inputs: &'a BatchInputs,
    loss: &'a Tensor,
    scale: f64,
}

/// Gradients of every micro-batch first, then their norms, then the updates.
fn record_separate(
    rec: &mut Recorder,
    &MicroStep { llama, inputs, loss, scale }: &MicroStep<'_>,
    shared: StepTensors<'_>,
    train: &TrainConfig,
    rules: &Rules<'_>,
) -> Result<Vec<State>> {
    let keep = &mut |_: &mut Recorder, _: &Parameter| Ok(());
    rec.begin(FIRST);
    let ahead = record_ahead(rec, llama, shared, rules);
    record_micro_step(rec, llama, inputs, loss, scale, Output::Write, keep)?;
    if train.n_micro_batches() > 1 {
        rec.begin(NEXT);
        record_micro_step(rec, llama, inputs, loss, scale, Output::Accumulate, keep)?;
    }
    rec.begin(UPDATE);
    let gradients: Vec<Tensor> = llama.parameters.iter().map(|p| p.gradient().clone()).collect();
    gradient_statistics(rec, &gradients, shared.statistics, train.max_grad_norm);
    let mut states = Vec::new();
    for (parameter, ahead) in llama.parameters.iter().zip(&ahead) {
        states.extend((rules.update)(rec, &update_of(parameter, ahead.as_ref()), shared)?);
    }
    Ok(states)
}

/// Each update as soon as its gradient is whole: the plan [`FIRST`] is the whole step.
fn record_fused(
    rec: &mut Recorder,
    &MicroStep { llama, inputs, loss, scale }: &MicroStep<'_>,
    shared: StepTensors<'_>,
    rules: &Rules<'_>,
) -> Result<Vec<State>> {
    let norms = GradientNorms::new(rec, llama.parameters.len());
    let mut states: Vec<Vec<State>> = vec![Vec::new(); llama.parameters.len()];
    rec.begin(FIRST);
    let ahead = record_ahead(rec, llama, shared, rules);
    record_micro_step(rec, llama, inputs, loss, scale, Output::Write, &mut |rec, parameter| {
        let place = llama.parameters.iter().position(|p| p.spec.name == parameter.spec.name);
        let index = place.expect("a parameter of this model");
        norms.measure(rec, index, parameter.gradient());
        norms.check(rec, index, shared.statistics);
        states[index] = (rules.update)(rec, &update_of(parameter, ahead[index].as_ref()), shared)?;
        Ok(())
    })?;
    norms.finish(rec, shared.statistics, 0.0);
    // In the order of the parameters, so that a checkpoint does not show which way it was made.
    Ok(states.into_iter().flatten().collect())
}

/// What rules do before the forward pass, for each parameter.
fn record_ahead(rec: &mut Recorder, llama: &Llama, shared: StepTensors<'_>, rules: &Rules<'_>) -> Vec<Option<State>> {
    llama.parameters.iter().map(|parameter| (rules.ahead)(rec, &update_of(parameter, None), shared)).collect()
}

fn update_of<'a>(parameter: &'a Parameter, ahead: Option<&'a State>) -> Update<'a> {
    let Parameter { spec, weight, .. } = parameter;
    Update { name: &spec.name, role: spec.role, weight, gradient: parameter.gradient(), ahead }
}
