//! Optimizers: a list of passes over a gradient, or one of the methods that are not such lists.
//!
//! Each rule is a function that records its update; what it carries from step to step is what it returns. Parameters of one
//! shape may be moved together, by a rule that can (`at_once`), to the bits of one by one.

mod adafactor;
mod adalomo;
mod adam_nonzero;
mod adamw;
mod apollo;
mod extrapolated_sgd;
mod fira;
mod galore;
mod group;
mod h_fac;
mod iterate;
mod lion;
mod mezo;
mod passes;
mod racs;
mod reference;
mod reference_directions;
mod sgd;
mod subzero;

pub use group::{Group, Kept};
pub use iterate::{Iterate, sequence};
pub use reference::{ReferenceUpdate, reference_pass};
pub use reference_directions::ReferenceDirections;

use crate::config::{MomentumPlacement, OptimizerConfig, Pass, PassProgram, Recipe, Role, Rule, rank_for};
use crate::gpu::{Class, DType, Recorder, Tensor};
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
        Self::named(rec, update.name, what, shape)
    }

    fn named(rec: &mut Recorder, parameter: &str, what: &str, shape: &[usize]) -> Self {
        let name = format!("{parameter}.{what}");
        Self { tensor: rec.persistent(Class::OptimizerState, DType::F32, name.clone(), shape), name }
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
fn check_rank(weight: &Tensor, name: &str, role: Role, rank: usize) -> Result<usize> {
    let small = weight.shape.iter().copied().min().unwrap_or(0);
    let rank = rank_for(rank, small);
    if rank <= small {
        return Ok(rank);
    }
    let message = format!("is {rank}, above the smaller side of {name} {:?}: set it to {small} or less", weight.shape);
    Err(Error::config(format!("{}.rank", section_of(role)), message))
}

/// Where a role's settings stand.
fn section_of(role: Role) -> &'static str {
    match role {
        Role::Linear | Role::Adapter => "optimizer",
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
    let mut kept = record_group_ahead(rec, config, &Group::of(update), step)?;
    kept.states.pop()
}

/// The same for parameters of one shape.
pub fn record_group_ahead(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    group: &Group<'_>,
    step: StepTensors<'_>,
) -> Option<Kept> {
    let Recipe { rule, lr } = config.recipe(group.role);
    match rule {
        Rule::ExtrapolatedSgd(hyper) => Some(extrapolated_sgd::record_ahead(rec, group, step, hyper, *lr)),
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
    Ok(record_group(rec, config, &Group::of(update), step)?.pop().unwrap_or_default())
}

/// Records the updates of parameters of one shape by the rule of their role, as many at once as the rule can; what each
/// carries from step to step, in their order.
///
/// Errors: a rule that cannot move parameters of this shape.
pub fn record_group(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    group: &Group<'_>,
    step: StepTensors<'_>,
) -> Result<Vec<Vec<State>>> {
    let Recipe { rule, lr } = config.recipe(group.role);
    let mut states = Vec::with_capacity(group.names.len());
    for some in group.parts(at_once(rule, group)) {
        let kept = match rule {
            Rule::Passes(program) => passes::record(rec, &some, step, program, *lr)?.into_iter().collect(),
            Rule::Adamw(hyper) => adamw::record(rec, &some, step, hyper, *lr).into(),
            Rule::ExtrapolatedSgd(hyper) => vec![extrapolated_sgd::record(rec, &some, step, hyper, *lr)],
            Rule::Lion(hyper) => vec![lion::record(rec, &some, step, hyper, *lr)],
            Rule::Sgd(hyper) => sgd::record(rec, &some, step, hyper, *lr).into_iter().collect(),
            _ => {
                states.push(record_one(rec, config, &some.only(), step)?);
                continue;
            }
        };
        states.extend(Kept::by_parameter(kept, some.names.len()));
    }
    Ok(states)
}

/// Bytes of scratch that the updates of several parameters may take together, where they take any.
const SCRATCH_BYTES: u64 = 64 << 20;

/// How many parameters of a group a rule moves at once.
fn at_once(rule: &Rule, group: &Group<'_>) -> usize {
    let all = group.names.len();
    match rule {
        Rule::Adamw(_) | Rule::ExtrapolatedSgd(_) | Rule::Lion(_) | Rule::Sgd(_) => all,
        Rule::Passes(program) => {
            let is_spectral = |pass: &Pass| matches!(pass, Pass::Spectral(_));
            // Each matrix settles in its own time, and Newton-Schulz steps are work enough for a device one by one.
            if program.tolerance > 0.0 || program.passes.iter().any(is_spectral) {
                return 1;
            }
            let bytes = group.gradient.bytes() / all as u64;
            // Column sums of blocks of eight rows, or several matrices.
            let scratch = if writes_matrices(program) { 2 * bytes } else { bytes / 8 + 1 };
            all.min((SCRATCH_BYTES / scratch).max(1) as usize)
        }
        _ => 1,
    }
}

/// Whether passes need room for matrices of the gradient's size.
fn writes_matrices(program: &PassProgram) -> bool {
    let momentum_before = program.momentum > 0.0 && program.momentum_placement == MomentumPlacement::Before;
    let last = program.passes.len() - 1;
    let writes = |(at, pass): (usize, &Pass)| match pass {
        Pass::Standardize => true,
        Pass::Sign => at < last || program.iterations > 1,
        _ => false,
    };
    momentum_before || program.passes.iter().enumerate().any(writes)
}

/// The rules that move one parameter at a time.
fn record_one(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    update: &Update<'_>,
    step: StepTensors<'_>,
) -> Result<Vec<State>> {
    let Recipe { rule, lr } = config.recipe(update.role);
    Ok(match rule {
        Rule::Adafactor(hyper) => adafactor::record(rec, update, step, hyper, *lr)?,
        Rule::Adalomo(hyper) => adalomo::record(rec, update, step, hyper, *lr)?,
        Rule::AdamNonzero(hyper) => adam_nonzero::record(rec, update, step, hyper, *lr).into(),
        Rule::Apollo(hyper) => apollo::record(rec, update, step, hyper, *lr)?,
        Rule::Fira(hyper) => fira::record(rec, update, step, hyper, *lr)?,
        Rule::Galore(hyper) => galore::record(rec, update, step, hyper, *lr)?,
        Rule::HFac(hyper) => h_fac::record(rec, update, step, hyper, *lr)?,
        Rule::Racs(hyper) => racs::record(rec, update, step, hyper, *lr)?,
        Rule::Adamw(_) | Rule::ExtrapolatedSgd(_) | Rule::Lion(_) | Rule::Passes(_) | Rule::Sgd(_) => {
            unreachable!("they move groups")
        }
        Rule::Adazeta(_) | Rule::Mezo(_) | Rule::Subzero(_) => {
            let message = "is a zeroth-order method, which takes losses and no gradient";
            return Err(Error::config(format!("{}.name", section_of(update.role)), message));
        }
    })
}

/// A parameter that a zeroth-order method moves.
#[derive(Clone, Copy, Debug)]
pub struct Perturbed<'a> {
    /// The parameter's name.
    pub name: &'a str,
    /// Which settings move it.
    pub role: Role,
    /// The weight.
    pub weight: &'a Tensor,
    /// `[4]`: where it goes, as [`crate::kernels::zeroth_order::two_point`] says.
    pub how: &'a Tensor,
    /// What all parameters share.
    pub step: StepTensors<'a>,
}

/// Records what a zeroth-order rule does at the beginning of a step, before a parameter first moves; what it keeps for
/// [`record_perturbation`] is what comes back.
///
/// Errors: a rule that takes a gradient, or that cannot move a parameter of this shape.
pub fn record_directions(
    rec: &mut Recorder,
    config: &OptimizerConfig,
    parameter: &Perturbed<'_>,
) -> Result<Vec<State>> {
    match &config.recipe(parameter.role).rule {
        Rule::Adazeta(_) | Rule::Mezo(_) => Ok(Vec::new()),
        Rule::Subzero(hyper) => subzero::prepare(rec, parameter, hyper),
        _ => {
            let message = "takes a gradient, and the rule of [optimizer] has none";
            Err(Error::config(format!("{}.name", section_of(parameter.role)), message))
        }
    }
}

/// Records one move of a parameter by its zeroth-order rule: to where a loss is taken, back, or an update.
///
/// # Panics
/// On a rule that [`record_directions`] refuses.
pub fn record_perturbation(rec: &mut Recorder, config: &OptimizerConfig, parameter: &Perturbed<'_>, states: &[State]) {
    let Recipe { rule, lr } = config.recipe(parameter.role);
    match rule {
        Rule::Adazeta(hyper) => mezo::record(rec, parameter, &hyper.mezo, *lr),
        Rule::Mezo(hyper) => mezo::record(rec, parameter, hyper, *lr),
        Rule::Subzero(hyper) => subzero::record(rec, parameter, states, hyper, *lr),
        _ => panic!("{rule:?} takes a gradient"),
    }
}
