//! Records updates by role, for every method.

use super::config::OptimizerConfig;
use super::group::{Group, GroupState};
use super::rule::Recipe;
use super::shared::section_of;
use super::update::{Parameter, Perturbed, State, StepTensors, Update};
use crate::gpu::Recorder;
use crate::{Error, Result};

/// A function that records the update of one parameter and returns the state it carries between steps.
pub type RecordUpdate<'a> = dyn Fn(&mut Recorder, &Update<'_>, StepTensors<'_>) -> Result<Vec<State>> + 'a;

/// Records what the rule of a parameter's role does before a step's forward pass, if anything; call it at the start of
/// the step. Pass the returned state to [`record`] as [`Update::lookahead`]; `record` returns it with the others.
pub fn record_lookahead(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    update: &Update<'_>,
    step: StepTensors<'_>,
) -> Option<State> {
    let mut kept = record_group_lookahead(rec, config, &Group::of(update), step)?;
    kept.states.pop()
}

/// The same for parameters of one shape.
pub fn record_group_lookahead(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    group: &Group<'_>,
    step: StepTensors<'_>,
) -> Option<GroupState> {
    let Recipe { rule, lr } = config.recipe(group.role);
    rule.method().record_lookahead(rec, group, step, *lr)
}

/// Records the update of one parameter by the rule of its role.
///
/// Errors: a rule that cannot update a parameter of this shape.
pub fn record(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    update: &Update<'_>,
    step: StepTensors<'_>,
) -> Result<Vec<State>> {
    Ok(record_group(rec, config, &Group::of(update), step)?.pop().unwrap_or_default())
}

/// Records the updates of parameters of one shape by the rule of their role, as many together as the rule can; returns
/// each parameter's states, in order.
///
/// Errors: a rule that cannot update parameters of this shape.
pub fn record_group(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    group: &Group<'_>,
    step: StepTensors<'_>,
) -> Result<Vec<Vec<State>>> {
    let Recipe { rule, lr } = config.recipe(group.role);
    let method = rule.method();
    let specs = method.state(&group.parameter())?;
    let mut states = Vec::with_capacity(group.names.len());
    for some in group.parts(method.parameters_per_update(group.names.len(), group.bytes_each())) {
        let kept: Vec<GroupState> = match &some.lookahead {
            Some(made) => vec![made.clone()],
            None => specs.iter().map(|spec| some.state(rec, spec)).collect(),
        };
        method.record(rec, &some, &kept, step, *lr)?;
        states.extend(GroupState::by_parameter(&kept, some.names.len()));
    }
    Ok(states)
}

/// Records what a zeroth-order rule does at the start of a step, before a parameter first moves; returns the states it
/// keeps for [`record_perturbation`].
///
/// Errors: a rule that takes a gradient, or that cannot update a parameter of this shape.
pub fn record_directions(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    parameter: &Perturbed<'_>,
) -> Result<Vec<State>> {
    let Perturbed { name, role, weight, .. } = *parameter;
    let rule = &config.recipe(role).rule;
    let Some(on_losses) = rule.on_losses() else {
        let message = "takes a gradient, and the rule of [optimizer] has none";
        return Err(Error::config(format!("{}.name", section_of(role)), message));
    };
    let specs = rule.state(&Parameter { name, role, shape: &weight.shape })?;
    let states: Vec<State> = specs.iter().map(|spec| State::named(rec, name, spec.what, &spec.shape)).collect();
    on_losses.prepare(rec, parameter, &states);
    Ok(states)
}

/// Records one move of a parameter by its zeroth-order rule: to where a loss is taken, back, or an update.
///
/// # Panics
/// If [`record_directions`] rejects the rule.
pub fn record_perturbation(rec: &mut Recorder, config: &OptimizerConfig, parameter: &Perturbed<'_>, states: &[State]) {
    let Recipe { rule, lr } = config.recipe(parameter.role);
    let on_losses = rule.on_losses().unwrap_or_else(|| panic!("{rule:?} takes a gradient"));
    on_losses.record_move(rec, parameter, states, *lr);
}
