//! Any optimizer, applied to weights and gradients in caller-owned buffers.

use std::collections::HashSet;

use super::config::OptimizerConfig;
use super::record::{record, record_lookahead};
use super::update::{State, StepTensors, Update};
use crate::gpu::{Buffer, Class, CommandEncoder, DType, Gpu, Lent, Recorder, Schedule, Tensor, Workspace};
use crate::kernels::norms::{Statistics, gradient_statistics};
use crate::reference::random::word_of_seed;
use crate::settings::{Role, check};
use crate::{Error, Result};

/// The plan that runs before the gradients are taken.
const LOOKAHEAD: &str = "lookahead";
/// The plan of the update.
const UPDATE: &str = "update";

/// An optimizer from the catalog or from settings, before it knows its parameters.
///
/// ```no_run
/// # async fn f(gpu: &multinorm::gpu::Gpu, weight: multinorm::gpu::Buffer, gradient: multinorm::gpu::Buffer,
/// #     mut encoder: multinorm::gpu::CommandEncoder) -> multinorm::Result<()> {
/// use multinorm::config::Role;
/// use multinorm::optim::Optimizer;
///
/// let parameters: [(&str, &[usize], Role); 1] = [("w", &[512, 1376], Role::Linear)];
/// let mut sinkgd = Optimizer::named("sinkgd")?.for_parameters(gpu, &parameters).await?;
/// sinkgd.step(&mut encoder, &[(&weight, &gradient)], 1.0)?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Optimizer {
    config: OptimizerConfig,
    max_grad_norm: f64,
    seed: u64,
}

impl Optimizer {
    /// The optimizer of this name with its own learning rate and defaults.
    ///
    /// Errors: a name that is not in the catalog; as [`Optimizer::new`].
    pub fn named(name: &str) -> Result<Self> {
        Self::new(OptimizerConfig::named(name)?)
    }

    /// The optimizer specified by the `[optimizer]` of a CONFIG.toml.
    ///
    /// Errors: as [`OptimizerConfig::from_toml`] and [`Optimizer::new`].
    pub fn from_toml(text: &str) -> Result<Self> {
        Self::new(OptimizerConfig::from_toml(text)?)
    }

    /// An optimizer with these settings.
    ///
    /// Errors: settings for which an update would be undefined, or a zeroth-order method, which does not use gradients.
    pub fn new(config: OptimizerConfig) -> Result<Self> {
        config.validate()?;
        if config.zeroth_order().is_some() {
            let message = format!(
                "{} is a zeroth-order method: it takes losses at perturbed weights, not gradients",
                config.linear.rule.title()
            );
            return Err(Error::config("optimizer.name", message));
        }
        Ok(Self { config, max_grad_norm: 0.0, seed: 0 })
    }

    /// Clips the global gradient norm of each step to `max_norm`; 0 does not clip.
    ///
    /// With clipping the gradients are measured: from the first step with one that is not finite, weights and states
    /// stay unchanged.
    /// Errors: a limit below 0.
    pub fn with_max_grad_norm(self, max_norm: f64) -> Result<Self> {
        check::not_negative("max_grad_norm", max_norm)?;
        Ok(Self { max_grad_norm: max_norm, ..self })
    }

    /// Seeds the random numbers of methods that use them; the default is 0.
    pub fn with_seed(self, seed: u64) -> Self {
        Self { seed, ..self }
    }

    /// Allocates zeroed states and scratch memory for parameters with these names, shapes (`[m, n]` or `[n]`) and
    /// roles.
    ///
    /// Errors: a parameter that the optimizer cannot update, a duplicate name, or too little memory.
    pub async fn for_parameters<'g>(self, gpu: &'g Gpu, parameters: &[(&str, &[usize], Role)]) -> Result<Stepper<'g>> {
        check_parameters(parameters)?;
        let mut rec = Recorder::new(&gpu.profile);
        let slots: Vec<Slot> = parameters.iter().map(|(name, shape, _)| Slot::new(&mut rec, name, shape)).collect();
        let measured = if self.max_grad_norm > 0.0 { slots.len() } else { 0 };
        let statistics = rec.persistent(Class::Scratch, DType::F32, "statistics", &[Statistics::GRADIENTS + measured]);
        let step = rec.persistent(Class::Scratch, DType::U32, "step", &[4]);
        let shared = StepTensors { statistics: &statistics, step: &step };
        let updates: Vec<Update<'_>> =
            slots.iter().zip(parameters).map(|(slot, (_, _, role))| slot.update(*role)).collect();

        rec.begin(LOOKAHEAD);
        let lookahead: Vec<Option<State>> =
            updates.iter().map(|update| record_lookahead(&mut rec, &self.config, update, shared)).collect();
        rec.begin(UPDATE);
        if self.max_grad_norm > 0.0 {
            let gradients: Vec<Tensor> = slots.iter().map(|slot| slot.gradient.clone()).collect();
            gradient_statistics(&mut rec, &gradients, &statistics, self.max_grad_norm);
        }
        let mut states = Vec::new();
        for (update, lookahead) in updates.iter().zip(&lookahead) {
            states.extend(record(
                &mut rec,
                &self.config,
                &Update { lookahead: lookahead.as_ref(), ..*update },
                shared,
            )?);
        }
        let looks_ahead = rec.n_dispatches(LOOKAHEAD) > 0;
        let workspace = rec.allocate(gpu).await?;
        workspace.write(gpu, &statistics.rows(Statistics::CLIP..Statistics::CLIP + 1), &[1.0f32]);
        let (seed, measures, went_ahead, steps) = (self.seed, measured > 0, false, 0);
        Ok(Stepper { gpu, workspace, slots, states, statistics, step, seed, measures, looks_ahead, went_ahead, steps })
    }
}

/// An optimizer with its parameters' states, which updates their weights step by step.
pub struct Stepper<'g> {
    gpu: &'g Gpu,
    workspace: Workspace,
    slots: Vec<Slot>,
    states: Vec<State>,
    statistics: Tensor,
    step: Tensor,
    seed: u64,
    /// Whether gradients are measured.
    measures: bool,
    /// Whether weights move before the gradients are taken.
    looks_ahead: bool,
    went_ahead: bool,
    steps: u32,
}

/// A parameter's tensors, to be backed by the caller's buffers.
struct Slot {
    name: String,
    weight: Tensor,
    /// Name of the gradient in messages.
    its_gradient: String,
    gradient: Tensor,
}

impl Slot {
    fn new(rec: &mut Recorder, name: &str, shape: &[usize]) -> Self {
        let its_gradient = format!("the gradient of {name}");
        let weight = rec.lent(Class::Parameters, DType::F32, name, shape);
        let gradient = rec.lent(Class::Gradients, DType::F32, its_gradient.as_str(), shape);
        Self { name: name.to_owned(), weight, its_gradient, gradient }
    }

    fn update(&self, role: Role) -> Update<'_> {
        Update { name: &self.name, role, weight: &self.weight, gradient: &self.gradient, lookahead: None }
    }

    fn lend_weight<'a>(&'a self, buffer: &'a Buffer) -> Lent<'a> {
        Lent { what: &self.name, tensor: &self.weight, buffer }
    }

    fn lend_gradient<'a>(&'a self, buffer: &'a Buffer) -> Lent<'a> {
        Lent { what: &self.its_gradient, tensor: &self.gradient, buffer }
    }
}

impl Stepper<'_> {
    /// Records one step: updates every weight, a row-major f32 matrix, with its gradient, at its learning rate times
    /// `lr_factor`. The pairs of weight and gradient are in parameter order.
    ///
    /// Errors: a wrong number of pairs; a buffer without STORAGE usage, too small, or given twice; a factor below 0; a
    /// missing call of [`Stepper::lookahead`] before the gradients were taken.
    pub fn step(
        &mut self,
        encoder: &mut CommandEncoder,
        weights_and_gradients: &[(&Buffer, &Buffer)],
        lr_factor: f64,
    ) -> Result<()> {
        self.check_count(weights_and_gradients.len(), "pairs of weight and gradient")?;
        if self.looks_ahead && !self.went_ahead {
            let message =
                "the optimizer moves weights before a step's gradients are taken: call `lookahead` before that";
            return Err(Error::config("step", message));
        }
        self.replay(encoder, UPDATE, lr_factor, |slots| {
            let pairs = slots.iter().zip(weights_and_gradients);
            pairs
                .flat_map(|(slot, (weight, gradient))| [slot.lend_weight(weight), slot.lend_gradient(gradient)])
                .collect()
        })?;
        (self.steps, self.went_ahead) = (self.steps + 1, false);
        Ok(())
    }

    /// Records what the optimizer does to weights before a step's gradients are taken; in the catalog only
    /// extrapolated-sgd does anything. The factor is that of the step.
    ///
    /// Errors: as [`Stepper::step`].
    pub fn lookahead(&mut self, encoder: &mut CommandEncoder, weights: &[&Buffer], lr_factor: f64) -> Result<()> {
        self.check_count(weights.len(), "weights")?;
        if self.looks_ahead && !self.went_ahead {
            self.replay(encoder, LOOKAHEAD, lr_factor, |slots| {
                slots.iter().zip(weights).map(|(slot, weight)| slot.lend_weight(weight)).collect()
            })?;
        }
        self.went_ahead = true;
        Ok(())
    }

    /// Names (PyTorch's, after the parameter's: `w.exp_avg`) and shapes of the state carried between steps.
    pub fn states(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.states.iter().map(|state| (state.name.as_str(), &state.tensor.shape[..]))
    }

    /// Reads a state after all submitted work.
    ///
    /// Errors: an unknown state, or a lost device.
    pub async fn read_state(&self, name: &str) -> Result<Vec<f32>> {
        self.workspace.read(self.gpu, self.state(name)?).await
    }

    /// Replaces the contents of a state, before anything submitted later.
    ///
    /// Errors: an unknown state, or a wrong number of elements.
    pub fn write_state(&self, name: &str, values: &[f32]) -> Result<()> {
        let tensor = self.state(name)?;
        if values.len() != tensor.len() {
            let message = format!("has shape {:?}, and {} numbers are given", tensor.shape, values.len());
            return Err(Error::config(name, message));
        }
        self.workspace.write(self.gpu, tensor, values);
        Ok(())
    }

    /// Number of recorded steps.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Resumes after `steps` steps: with the states from then, the next step is the one that followed.
    pub fn resume_after(&mut self, steps: u32) {
        self.steps = steps;
    }

    /// The global L2 norm of the last submitted step's gradients, before clipping; `None` without clipping. If it is
    /// not finite, neither that step nor any later one changes anything.
    ///
    /// Errors: a lost device.
    pub async fn gradient_norm(&self) -> Result<Option<f32>> {
        if !self.measures {
            return Ok(None);
        }
        let statistics: Vec<f32> = self.workspace.read(self.gpu, &self.statistics).await?;
        Ok(Some(statistics[Statistics::NORM]))
    }

    /// Records one plan of a step with the buffers that `lend` assigns to the slots.
    fn replay<'a>(
        &'a mut self,
        encoder: &mut CommandEncoder,
        plan: &str,
        lr_factor: f64,
        lend: impl FnOnce(&'a [Slot]) -> Vec<Lent<'a>>,
    ) -> Result<()> {
        check::not_negative("lr_factor", lr_factor)?;
        let Self { gpu, workspace, slots, step, seed, steps, .. } = self;
        // Through the encoder, because several steps may be submitted together.
        workspace.encode_write(gpu, encoder, step, &[(lr_factor as f32).to_bits(), *steps + 1, word_of_seed(*seed), 0]);
        workspace.encode(gpu, encoder, plan, Schedule::Step((*steps).into()), &lend(slots))?;
        gpu.check()
    }

    fn check_count(&self, given: usize, what: &str) -> Result<()> {
        if given == self.slots.len() {
            return Ok(());
        }
        let names: Vec<&str> = self.slots.iter().map(|slot| slot.name.as_str()).collect();
        let message = format!("{given} {what} are given, and the parameters are {}", names.join(", "));
        Err(Error::config("step", message))
    }

    fn state(&self, name: &str) -> Result<&Tensor> {
        let found = self.states.iter().find(|state| state.name == name);
        found.map(|state| &state.tensor).ok_or_else(|| {
            let names: Vec<&str> = self.states().map(|(name, _)| name).collect();
            let known = if names.is_empty() { "there are none".to_owned() } else { names.join(", ") };
            Error::config(name, format!("the optimizer keeps no such state; known: {known}"))
        })
    }
}

fn check_parameters(parameters: &[(&str, &[usize], Role)]) -> Result<()> {
    if parameters.is_empty() {
        return Err(Error::config("parameters", "there are none to update"));
    }
    let mut names = HashSet::new();
    for (name, shape, _) in parameters {
        if !names.insert(name) {
            return Err(Error::config(*name, "two parameters have this name"));
        }
        if !matches!(shape.len(), 1 | 2) || shape.contains(&0) {
            let message = format!("has shape {shape:?}: must be a matrix [m, n] or a vector [n]");
            return Err(Error::config(*name, message));
        }
    }
    Ok(())
}
