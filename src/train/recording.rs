//! Records a training run: all its memory is known before anything is allocated.

use super::plan::Plan;
use super::samples::Watched;
use crate::Result;
use crate::config::{MatmulPrecision, ModelConfig, Precision, Recompute, Role, RunConfig, TrainConfig};
use crate::generate::Decoding;
use crate::gpu::{Class, DType, Profile, ReadbackRing, Recorder, Tensor, bytes_in_words};
use crate::kernels::Output;
use crate::kernels::loss_scale::LossScale;
use crate::kernels::norms::{GradientNorms, Statistics};
use crate::kernels::zeroth_order::{Stage, TwoPoint, two_point};
use crate::llama::{
    BatchInputs, Gradients, Llama, Loss, OnGradient, Parameter, ParameterGroup, record_loss, record_micro_step,
};
use crate::optim::{self, Directions, Group, GroupState, Perturbed, RecordUpdate, State, StepTensors};

/// Tokens reserved for a prompt before a text.
const PROMPT_ROOM: usize = 64;

/// Steps whose reports may be in flight at once.
pub(super) const RING_SLOTS: usize = 4;

/// A recorded run.
pub struct Recorded {
    /// The record: its memory table, and its allocation.
    pub recorder: Recorder,
    /// The model.
    pub llama: Llama,
    /// What the optimizer carries from step to step.
    pub states: Vec<State>,
    /// What the backward pass recomputes; nothing if there is no backward pass.
    pub recompute: Recompute,
    /// Precision of activations: `f32` or `f16`.
    pub precision: Precision,
    pub(super) inputs: BatchInputs,
    pub(super) eval_inputs: BatchInputs,
    /// Generates a text after an evaluation, if `eval.text_tokens` is set.
    pub(super) decoding: Option<Decoding>,
    /// `[3 + parameters]`: see [`Statistics`]; with a loss scale two more entries, [`LossScale::STATISTICS`].
    pub(super) statistics: Tensor,
    /// Parameters in the order in which their gradients become complete, with the index of each norm in the statistics.
    pub(super) norms: Vec<(usize, usize)>,
    /// When each gradient becomes complete in the plans of the first and of another micro-batch, in that order.
    pub(super) complete: Vec<Complete>,
    /// The losses `[1]` that a step sums over its micro-batches: one, or those at w + d and w − d.
    pub(super) losses: Vec<Tensor>,
    /// The tensors to sample for spectra.
    pub(super) watched: Vec<Watched>,
    /// `[1]` summed loss of an evaluation batch.
    pub(super) eval_loss: Tensor,
    /// `[4]` the `Step` of shaders/lib/step.wgsl.
    pub(super) step: Tensor,
}

/// When a gradient is complete.
#[derive(Clone, Copy, Debug)]
pub(super) struct Complete {
    /// The parameter's index.
    pub parameter: usize,
    /// The number of dispatches before that in [`Plan::FirstMicroBatch`] and in [`Plan::NextMicroBatch`].
    pub dispatches: [usize; 2],
}

impl Recorded {
    /// Bytes of optimizer state for the attention and feed-forward matrices of this model.
    pub fn linear_state_bytes(&self, model: &ModelConfig) -> u64 {
        let specs = model.parameters();
        // A state is named by its parameter and its kind.
        let is_linear = |state: &str| {
            let of = state.rsplit_once('.').map(|(of, _)| of);
            specs.iter().any(|spec| spec.role == Role::Linear && of == Some(&spec.name))
        };
        self.states.iter().filter(|state| is_linear(&state.name)).map(|state| state.tensor.bytes()).sum()
    }
}

/// Records training and evaluation for this configuration, with the least recomputation that its `train.recompute`
/// allows.
///
/// Errors: an optimizer that cannot update a parameter.
pub fn record_training(config: &RunConfig, profile: &Profile) -> Result<Recorded> {
    record_training_recomputing(config, profile, kinds(config)[0])
}

/// The kinds of recomputation this run may use, in the order to try them.
pub(super) fn kinds(config: &RunConfig) -> Vec<Recompute> {
    match config.optimizer.zeroth_order() {
        Some(_) => vec![Recompute::None],
        None => config.train.recompute.kinds(),
    }
}

/// The same with another kind of recomputation than the configuration's.
///
/// Errors: as [`record_training`].
pub fn record_training_recomputing(config: &RunConfig, profile: &Profile, recompute: Recompute) -> Result<Recorded> {
    record_training_scaled(config, profile, recompute, 1.0)
}

/// The same with `factor` times the loss and its gradients: for a rank that takes a part of each batch on its own.
///
/// Errors: as [`record_training`].
pub(super) fn record_training_scaled(
    config: &RunConfig,
    profile: &Profile,
    recompute: Recompute,
    factor: f64,
) -> Result<Recorded> {
    let update = |rec: &mut Recorder, group: &Group<'_>, step: StepTensors<'_>| {
        optim::record_group(rec, &config.optimizer, group, step)
    };
    let lookahead = |rec: &mut Recorder, group: &Group<'_>, step: StepTensors<'_>| {
        optim::record_group_lookahead(rec, &config.optimizer, group, step)
    };
    if let Some(hyper) = config.optimizer.zeroth_order() {
        return record_zeroth_order(config, profile, hyper);
    }
    let row_wise = |role| config.optimizer.is_row_wise(role);
    let rules = Rules { lookahead: &lookahead, update: &update, row_wise: &row_wise, factor };
    record_all(config, profile, recompute, &rules)
}

/// The same with the caller's optimizer instead of the configuration's. It receives whole matrices, so a device whose
/// bindings are too small for one is refused.
pub fn record_training_with(
    config: &RunConfig,
    profile: &Profile,
    recompute: Recompute,
    record_update: &RecordUpdate<'_>,
) -> Result<Recorded> {
    let update = |rec: &mut Recorder, group: &Group<'_>, step: StepTensors<'_>| {
        group.parts(1).map(|one| record_update(rec, &one.only(), step)).collect()
    };
    let rules = Rules { lookahead: &|_, _, _| None, update: &update, row_wise: &|_| false, factor: 1.0 };
    record_all(config, profile, recompute, &rules)
}

/// Records the updates of parameters of one shape.
type RecordGroup<'a> = dyn Fn(&mut Recorder, &Group<'_>, StepTensors<'_>) -> Result<Vec<Vec<State>>> + 'a;

/// How to record an optimizer.
struct Rules<'a> {
    /// Before the forward pass of a step.
    lookahead: &'a dyn Fn(&mut Recorder, &Group<'_>, StepTensors<'_>) -> Option<GroupState>,
    /// Once gradients are complete; returns the states of each parameter.
    update: &'a RecordGroup<'a>,
    /// Whether updates of a role may be recorded for parts of a matrix.
    row_wise: &'a dyn Fn(Role) -> bool,
    /// On the loss and its gradients, beside the mean over a step's tokens.
    factor: f64,
}

fn record_all(config: &RunConfig, profile: &Profile, recompute: Recompute, rules: &Rules<'_>) -> Result<Recorded> {
    let gradients = if config.train.fused_update { Gradients::Transient } else { Gradients::Persistent };
    let precision = config.train.precision.on(profile)?;
    let mut recorded = Recorded::begin(config, profile, gradients, precision);
    let Recorded { recorder: rec, llama, inputs, statistics, step, norms, watched, complete, losses, .. } =
        &mut recorded;
    refuse_parts(rec, llama, rules.row_wise);
    let loss_scale = (precision == Precision::F16).then(|| {
        let (initial, growth) = (config.train.first_loss_scale(), config.train.loss_scale_growth);
        LossScale::new(rec, initial, growth)
    });
    // The loss is the first entry of the statistics; the scale makes it and its gradients means over the step.
    let shared = StepTensors { statistics, step };
    let (loss, scale) = (&losses[0], scale(config) * rules.factor);
    let micro = MicroStep { llama, inputs, loss, scale, recompute, loss_scale: loss_scale.as_ref() };
    let (states, order) = if config.train.fused_update {
        record_fused(rec, &micro, shared, rules)?
    } else {
        let (states, order) = record_separate(rec, &micro, shared, &config.train, rules)?;
        let parameters = order.iter().map(|gradient| gradient.parameter).collect();
        *complete = order;
        (states, parameters)
    };
    let mut states = in_order(llama, states);
    *watched = Watched::choose(rec, config, llama, &states, statistics);
    let measured: Vec<usize> = llama.groups.iter().flat_map(|group| &group.members).copied().collect();
    let place = |number| measured.iter().position(|&other| other == number).expect("a group's member");
    *norms = order.into_iter().map(|number| (number, Statistics::GRADIENTS + place(number))).collect();
    if let Some(LossScale { scale, inverse, counts, .. }) = loss_scale {
        let named = [("scale", scale), ("inverse", inverse), ("counts", counts)];
        states.extend(named.map(|(what, tensor)| State { name: format!("loss_scale.{what}"), tensor }));
    }
    (recorded.states, recorded.recompute) = (states, recompute);
    Ok(recorded)
}

impl Recorded {
    /// What every run has, and its evaluation plan.
    fn begin(config: &RunConfig, profile: &Profile, gradients: Gradients, precision: Precision) -> Self {
        let mut recorder = Recorder::new(profile);
        // The difference of two losses needs full precision.
        recorder.profile.splits_f32 =
            gradients != Gradients::None && config.train.float32_matmul_precision == MatmulPrecision::High;
        let rec = &mut recorder;
        let llama = Llama::new(rec, &config.model, gradients);
        let train = &config.train;
        let inputs = BatchInputs::new(rec, &llama, train.micro_batch_size, train.sequence_length);
        let eval_inputs = BatchInputs::new(rec, &llama, config.eval.batch_size, train.sequence_length);
        let norms = if gradients == Gradients::None { 0 } else { llama.parameters.len() };
        let of_scale = if precision == Precision::F16 { LossScale::STATISTICS } else { 0 };
        let n_statistics = Statistics::GRADIENTS + norms + of_scale;
        let statistics = rec.persistent(Class::Scratch, DType::F32, "statistics", &[n_statistics]);
        let eval_loss = rec.persistent(Class::Scratch, DType::F32, "evaluation loss", &[1]);
        let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
        rec.reserve_staging(ReadbackRing::bytes(&statistics, RING_SLOTS) + ReadbackRing::bytes(&eval_loss, RING_SLOTS));
        rec.begin(Plan::Evaluate);
        record_loss(rec, &llama, &eval_inputs, Loss { sum: &eval_loss, scale: 1.0, output: Output::Write });
        let positions = config.model.max_position_embeddings.min(PROMPT_ROOM + config.eval.text_tokens);
        let decoding = (config.eval.text_tokens > 0).then(|| Decoding::record(rec, &llama, positions));
        let (states, watched, norms, complete) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let losses = vec![statistics.rows(Statistics::LOSS..Statistics::LOSS + 1)];
        Self {
            recorder,
            llama,
            states,
            recompute: Recompute::None,
            precision,
            inputs,
            eval_inputs,
            decoding,
            statistics,
            norms,
            complete,
            losses,
            watched,
            eval_loss,
            step,
        }
    }
}

/// The factor that turns a sum over a step's tokens into their mean.
fn scale(config: &RunConfig) -> f64 {
    1.0 / config.train.tokens_per_step() as f64
}

/// Two losses per direction, and no backward pass: the model has no gradients.
fn record_zeroth_order(config: &RunConfig, profile: &Profile, hyper: Directions) -> Result<Recorded> {
    let mut recorded = Recorded::begin(config, profile, Gradients::None, Precision::F32);
    let Recorded { recorder: rec, llama, inputs, statistics, step, .. } = &mut recorded;
    refuse_parts(rec, llama, |role| config.optimizer.is_row_wise(role));
    let [plus, minus] =
        ["loss at w + d", "loss at w - d"].map(|name| rec.persistent(Class::Scratch, DType::F32, name, &[1]));
    let along = rec.persistent(Class::Scratch, DType::F32, "gradients along directions", &[hyper.queries as usize]);
    let how = rec.persistent(Class::Scratch, DType::U32, "move", &[4]);
    let shared = StepTensors { statistics, step };
    let (eps, max_norm) = (hyper.eps, config.train.max_grad_norm);
    let two = TwoPoint { losses: [&plus, &minus], along: &along, statistics, how: &how, eps, max_norm };
    let perturbed: Vec<Perturbed<'_>> = llama
        .trained()
        .map(|Parameter { spec, rows, weight, .. }| Perturbed {
            name: &spec.name,
            role: spec.role,
            weight,
            first: rows.as_ref().map_or(0, |rows| rows.start * spec.shape[1]),
            how: &how,
            step: shared,
        })
        .collect();
    let loss_of = |rec: &mut Recorder, sum: &Tensor, output: Output| {
        record_loss(rec, llama, inputs, Loss { sum, scale: scale(config), output });
    };

    rec.begin(Plan::FirstAtPlus);
    let states = perturbed
        .iter()
        .map(|parameter| optim::record_directions(rec, &config.optimizer, parameter))
        .collect::<Result<Vec<_>>>()?;
    let go = |rec: &mut Recorder, stage: Stage| {
        two_point(rec, shared.step, two, stage);
        for (parameter, states) in perturbed.iter().zip(&states) {
            optim::record_perturbation(rec, &config.optimizer, parameter, states);
        }
    };
    go(rec, Stage::Plus);
    loss_of(rec, &plus, Output::Write);
    rec.begin(Plan::FirstAtMinus);
    go(rec, Stage::Minus);
    loss_of(rec, &minus, Output::Write);
    if config.train.n_micro_batches() > 1 {
        rec.begin(Plan::NextMicroBatch);
        loss_of(rec, &plus, Output::Accumulate);
        rec.begin(Plan::NextAtMinus);
        loss_of(rec, &minus, Output::Accumulate);
    }
    rec.begin(Plan::Back);
    go(rec, Stage::Back);
    if hyper.queries > 1 {
        rec.begin(Plan::Along);
        go(rec, Stage::Along);
    }
    recorded.states = states.into_iter().flatten().collect();
    recorded.losses = vec![plus, minus];
    Ok(recorded)
}

struct MicroStep<'a> {
    llama: &'a Llama,
    inputs: &'a BatchInputs,
    loss: &'a Tensor,
    scale: f64,
    recompute: Recompute,
    loss_scale: Option<&'a LossScale>,
}

impl MicroStep<'_> {
    fn record(&self, rec: &mut Recorder, output: Output, on_gradient: &mut OnGradient<'_>) -> Result<()> {
        let loss = Loss { sum: self.loss, scale: self.scale, output };
        record_micro_step(rec, self.llama, self.inputs, loss, self.recompute, self.loss_scale, on_gradient)
    }

    /// Records the start of a step.
    fn begin(&self, rec: &mut Recorder, shared: StepTensors<'_>) {
        rec.begin(Plan::FirstMicroBatch);
        if let Some(loss_scale) = self.loss_scale {
            loss_scale.begin_step(rec, shared.statistics, shared.step);
        }
    }

    /// Completes the statistics of a step from its norms, and updates the loss scale accordingly.
    fn finish(&self, rec: &mut Recorder, norms: &GradientNorms, statistics: &Tensor, max_norm: f64) {
        let of_gradients = Statistics::GRADIENTS + self.llama.parameters.len();
        norms.finish(rec, &statistics.rows(0..of_gradients), max_norm);
        if let Some(loss_scale) = self.loss_scale {
            loss_scale.end_step(rec, statistics);
        }
    }
}

/// The states of each parameter, and the parameters' indices in the order in which their gradients become complete.
type Updates = (Vec<Vec<State>>, Vec<usize>);

/// All micro-batches' gradients first, then their norms, then the updates, with parameters of one shape together.
fn record_separate(
    rec: &mut Recorder,
    micro: &MicroStep<'_>,
    shared: StepTensors<'_>,
    train: &TrainConfig,
    rules: &Rules<'_>,
) -> Result<(Vec<Vec<State>>, Vec<Complete>)> {
    let llama = micro.llama;
    let groups = groups(llama);
    let mut order: Vec<Complete> = Vec::new();
    micro.begin(rec, shared);
    let lookahead: Vec<Option<GroupState>> = groups.iter().map(|group| (rules.lookahead)(rec, group, shared)).collect();
    micro.record(rec, Output::Write, &mut |rec, parameter| {
        order.push(Complete { parameter: number(llama, parameter), dispatches: [rec.n_recorded(); 2] });
        Ok(())
    })?;
    if train.n_micro_batches() > 1 {
        rec.begin(Plan::NextMicroBatch);
        let mut gradients = order.iter_mut();
        micro.record(rec, Output::Accumulate, &mut |rec, _| {
            gradients.next().expect("the gradients of the first micro-batch").dispatches[1] = rec.n_recorded();
            Ok(())
        })?;
    }
    rec.begin(Plan::Update);
    let norms = GradientNorms::new(rec, llama.parameters.len(), micro.loss_scale.is_some());
    let mut first = 0;
    for ParameterGroup { members, gradient, .. } in &llama.groups {
        norms.measure_all(rec, first, members.len(), gradient);
        first += members.len();
    }
    norms.gather(rec);
    micro.finish(rec, &norms, shared.statistics, train.max_grad_norm);
    let mut states = vec![Vec::new(); llama.parameters.len()];
    for ((group, lookahead), ParameterGroup { members, .. }) in groups.into_iter().zip(lookahead).zip(&llama.groups) {
        let kept = (rules.update)(rec, &Group { lookahead, ..group }, shared)?;
        for (&member, kept) in members.iter().zip(kept) {
            states[member] = kept;
        }
    }
    Ok((states, order))
}

/// Each update as soon as its gradient is complete: the plan [`Plan::FirstMicroBatch`] is the whole step.
///
/// Only a gradient's own update checks it: the first that is not finite stops that update and all later ones, but
/// parameters earlier in the backward pass have already moved.
fn record_fused(
    rec: &mut Recorder,
    micro: &MicroStep<'_>,
    shared: StepTensors<'_>,
    rules: &Rules<'_>,
) -> Result<Updates> {
    let llama = micro.llama;
    let groups = groups(llama);
    let norms = GradientNorms::new(rec, llama.parameters.len(), micro.loss_scale.is_some());
    let mut states = vec![Vec::new(); llama.parameters.len()];
    let mut order = Vec::new();
    micro.begin(rec, shared);
    let lookahead: Vec<Option<GroupState>> = groups.iter().map(|group| (rules.lookahead)(rec, group, shared)).collect();
    micro.record(rec, Output::Write, &mut |rec, parameter| {
        let number = number(llama, parameter);
        // A transient gradient is in a group of its own.
        let own = llama.groups.iter().position(|group| group.members == [number]).expect("a group of each");
        let group = Group { lookahead: lookahead[own].clone(), ..groups[own].clone() };
        norms.measure(rec, own, parameter.gradient());
        norms.check(rec, own, shared.statistics);
        states[number] = (rules.update)(rec, &group, shared)?.pop().unwrap_or_default();
        order.push(number);
        Ok(())
    })?;
    micro.finish(rec, &norms, shared.statistics, 0.0);
    Ok((states, order))
}

fn number(llama: &Llama, parameter: &Parameter) -> usize {
    let number = llama.parameters.iter().position(|other| other.weight == parameter.weight);
    number.expect("a parameter of this model")
}

/// Refuses a split matrix whose update must see all of its rows.
fn refuse_parts(rec: &mut Recorder, llama: &Llama, row_wise: impl Fn(Role) -> bool) {
    let mut parts = llama.trained().filter(|parameter| parameter.rows.is_some());
    if let Some(Parameter { spec, .. }) = parts.find(|part| !row_wise(part.spec.role)) {
        let (name, largest) = (&spec.name, bytes_in_words(rec.profile.max_binding_bytes));
        let key = match spec.role {
            Role::Embedding => "optimizer.embedding.name",
            Role::Head => "optimizer.head.name",
            _ => "optimizer.name",
        };
        rec.refuse(format!(
            "bindings of {largest} hold a part of {name} at a time, and its update reads all rows: choose one that updates \
             each row separately (`--set {key}=adamw`)"
        ));
    }
}

/// The states in parameter order, so that a checkpoint does not depend on the update mode; parts of one state are
/// adjacent.
fn in_order(llama: &Llama, states: Vec<Vec<State>>) -> Vec<State> {
    let mut of_parts = states.into_iter().map(Vec::into_iter);
    let mut all = Vec::new();
    for parts in llama.by_name() {
        let mut own: Vec<_> = of_parts.by_ref().take(parts.len()).flat_map(Iterator::enumerate).collect();
        own.sort_by_key(|(which, _)| *which);
        all.extend(own.into_iter().map(|(_, state)| state));
    }
    all
}

/// What to update together.
fn groups(llama: &Llama) -> Vec<Group<'_>> {
    let group = |ParameterGroup { members, weight, gradient }: &ParameterGroup| {
        let spec = &llama.parameters[members[0]].spec;
        Group {
            names: members.iter().map(|&member| llama.parameters[member].spec.name.as_str()).collect(),
            role: spec.role,
            shape: spec.shape.clone().into(),
            weight: weight.clone(),
            gradient: gradient.clone(),
            lookahead: None,
        }
    };
    llama.groups.iter().map(group).collect()
}
