//! Optimizers: a list of passes over a gradient, or one of the methods that are not such lists.
//!
//! Each rule is a function that records its update; what it carries from step to step is what it returns.

mod adamw;
mod iterate;
mod lion;
mod passes;
mod reference;
mod sgd;

pub use iterate::{Iterate, sequence};
pub use reference::{ReferenceUpdate, reference_pass};

use crate::Result;
use crate::config::{OptimizerConfig, Recipe, Role, Rule};
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

impl State {
    /// State of the weight's shape, `PARAMETER.what`.
    pub fn like_weight(rec: &mut Recorder, update: &Update<'_>, what: &str) -> Self {
        let name = format!("{}.{what}", update.name);
        Self { tensor: rec.persistent(Class::OptimizerState, name.clone(), &update.weight.shape), name }
    }
}

/// A function that records the update of one parameter and returns what it carries from step to step.
pub type RecordUpdate<'a> = dyn Fn(&mut Recorder, &Update<'_>, StepTensors<'_>) -> Result<Vec<State>> + 'a;

/// Records the update of one parameter by the rule of its role.
///
/// Errors: a rule that cannot move a parameter of this shape.
pub fn record(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    update: &Update<'_>,
    step: StepTensors<'_>,
) -> Result<Vec<State>> {
    let Recipe { rule, lr } = config.recipe(update.role);
    Ok(match rule {
        Rule::Passes(program) => passes::record(rec, update, step, program, *lr)?.into_iter().collect(),
        Rule::Adamw(hyper) => adamw::record(rec, update, step, hyper, *lr).into(),
        Rule::Lion(hyper) => vec![lion::record(rec, update, step, hyper, *lr)],
        Rule::Sgd(hyper) => sgd::record(rec, update, step, hyper, *lr).into_iter().collect(),
    })
}
