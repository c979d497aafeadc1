//! Optimizers: a list of passes over a gradient, or one of the methods that are not such lists.
//!
//! Each rule is a function that records its update; what it carries from step to step is what it returns.

mod adamw;
mod passes;
mod sgd;

use crate::Result;
use crate::config::{OptimizerConfig, Role, Rule};
use crate::gpu::{Class, Recorder, Tensor};

/// A parameter that is to be updated.
#[derive(Clone, Copy, Debug)]
pub struct Update<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Which rule moves it.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// Its gradient.
    pub gradient: &'a Tensor,
}

/// What all updates of a step share.
#[derive(Clone, Copy, Debug)]
pub struct StepTensors<'a> {
    /// Loss, clip factor and norms: see [`crate::kernels::norms::Place`].
    pub statistics: &'a Tensor,
    /// The `Step` of shaders/lib/step.wgsl, 4 words.
    pub step: &'a Tensor,
}

/// What an optimizer carries from one step to the next; zero before the first.
#[derive(Clone, Debug)]
pub struct State {
    /// `PARAMETER.exp_avg` and the like: PyTorch's names.
    pub name: String,
    /// The tensor.
    pub tensor: Tensor,
}

/// Records the update of every parameter by its rule: `config.rule` for linear layers, `config.rest` for the others.
///
/// Errors: a rule that cannot move a parameter of this shape.
pub fn record(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    updates: &[Update<'_>],
    step: StepTensors<'_>,
) -> Result<Vec<State>> {
    let mut states = Vec::new();
    for update in updates {
        let linear = update.role == Role::Linear;
        let (rule, lr) = if linear { (&config.rule, config.lr) } else { (&config.rest, config.rest_lr) };
        match rule {
            Rule::Passes(program) => passes::record(rec, update, step, program, lr)?,
            Rule::Adamw(hyper) => states.extend(adamw::record(rec, update, step, hyper, lr)),
            Rule::Sgd(hyper) => states.extend(sgd::record(rec, update, step, hyper, lr)),
        }
    }
    Ok(states)
}

fn state(rec: &mut Recorder, update: &Update<'_>, what: &str) -> State {
    let name = format!("{}.{what}", update.name);
    State { tensor: rec.persistent(Class::OptimizerState, name.clone(), &update.weight.shape), name }
}
