//! Optimizers: a list of passes over a gradient, or one of the methods that are not such lists.
//!
//! Each rule is a function that records its update; what it carries from step to step is what it returns.

mod adafactor;
mod adalomo;
mod adam_nonzero;
mod adamw;
mod apollo;
mod extrapolated_sgd;
mod fira;
mod galore;
mod h_fac;
mod iterate;
mod lion;
mod passes;
mod racs;
mod reference;
mod sgd;

pub use iterate::{Iterate, sequence};
pub use reference::{ReferenceUpdate, reference_pass};

use crate::config::{OptimizerConfig, Recipe, Role, Rule, rank_for};
use crate::gpu::{Class, Recorder, Tensor};
use crate::kernels::scaled::MAX_COLS;
use crate::{Error, Result};

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
    /// What [`record_ahead`] returned for it.
    pub ahead: Option<&'a State>,
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
        Self::new(rec, update, what, &update.weight.shape)
    }

    /// State of another shape, `PARAMETER.what`.
    pub fn new(rec: &mut Recorder, update: &Update<'_>, what: &str, shape: &[usize]) -> Self {
        let name = format!("{}.{what}", update.name);
        Self { tensor: rec.persistent(Class::OptimizerState, name.clone(), shape), name }
    }
}

/// [m, n] of a matrix.
///
/// Errors: a vector; `what` says what the rule does with a matrix.
fn check_matrix(update: &Update<'_>, what: &str) -> Result<[usize; 2]> {
    match update.weight.shape[..] {
        [m, n] => Ok([m, n]),
        _ => {
            let section = section_of(update.role);
            let message =
                format!("{what}; {} of shape {:?} is none: give {section} another", update.name, update.weight.shape);
            Err(Error::config(format!("{section}.name"), message))
        }
    }
}

/// Errors: more columns than a workgroup keeps in registers.
fn check_width(update: &Update<'_>) -> Result<()> {
    let n = update.weight.shape.last().copied().unwrap_or(0);
    if n <= MAX_COLS {
        return Ok(());
    }
    let message = format!("{} has {n} columns; this rule takes at most {MAX_COLS}", update.name);
    Err(Error::TooLarge(message))
}

/// The rank of a matrix's subspace.
///
/// Errors: one above the smaller side.
fn check_rank(update: &Update<'_>, rank: usize) -> Result<usize> {
    let small = update.weight.shape.iter().copied().min().unwrap_or(0);
    let rank = rank_for(rank, small);
    if rank <= small {
        return Ok(rank);
    }
    let message = format!(
        "is {rank}, above the smaller side of {} {:?}: set it to {small} or less",
        update.name, update.weight.shape
    );
    Err(Error::config(format!("{}.rank", section_of(update.role)), message))
}

/// Where a role's settings stand.
fn section_of(role: Role) -> &'static str {
    match role {
        Role::Linear => "optimizer",
        Role::Embedding => "optimizer.embedding",
        Role::Head => "optimizer.head",
        Role::Norm => "optimizer.norm",
    }
}

/// A function that records the update of one parameter and returns what it carries from step to step.
pub type RecordUpdate<'a> = dyn Fn(&mut Recorder, &Update<'_>, StepTensors<'_>) -> Result<Vec<State>> + 'a;

/// Records what the rule of a parameter's role does before a step's forward pass, if it does anything: at the beginning of
/// the step. The state that comes back is handed to [`record`] as [`Update::ahead`], and returned by it.
pub fn record_ahead(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    update: &Update<'_>,
    step: StepTensors<'_>,
) -> Option<State> {
    let Recipe { rule, lr } = config.recipe(update.role);
    match rule {
        Rule::ExtrapolatedSgd(hyper) => Some(extrapolated_sgd::record_ahead(rec, update, step, hyper, *lr)),
        _ => None,
    }
}

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
        Rule::Adafactor(hyper) => adafactor::record(rec, update, step, hyper, *lr)?,
        Rule::Adalomo(hyper) => adalomo::record(rec, update, step, hyper, *lr)?,
        Rule::AdamNonzero(hyper) => adam_nonzero::record(rec, update, step, hyper, *lr).into(),
        Rule::Apollo(hyper) => apollo::record(rec, update, step, hyper, *lr)?,
        Rule::ExtrapolatedSgd(hyper) => vec![extrapolated_sgd::record(rec, update, step, hyper, *lr)],
        Rule::Fira(hyper) => fira::record(rec, update, step, hyper, *lr)?,
        Rule::Galore(hyper) => galore::record(rec, update, step, hyper, *lr)?,
        Rule::HFac(hyper) => h_fac::record(rec, update, step, hyper, *lr)?,
        Rule::Racs(hyper) => racs::record(rec, update, step, hyper, *lr)?,
        Rule::Adamw(hyper) => adamw::record(rec, update, step, hyper, *lr).into(),
        Rule::Lion(hyper) => vec![lion::record(rec, update, step, hyper, *lr)],
        Rule::Sgd(hyper) => sgd::record(rec, update, step, hyper, *lr).into_iter().collect(),
    })
}
