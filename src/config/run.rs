//! The configuration of one training run.

use serde::Serialize;

use crate::gpu::{MAX_GROUPS, Profile};
use crate::kernels::loss_scale::LossScale;
use crate::optim::OptimizerConfig;
use crate::settings::{DataConfig, ModelConfig, ParameterSpec, Recompute, Section, Wire, check, did_you_mean};
use crate::{Error, Result};

/// One training run, with every value resolved.
///
/// There is no `Default`: the two default runs are `defaults/*.toml`, see [`RunDefaults`](super::RunDefaults).
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RunConfig {
    /// The model's sizes.
    pub model: ModelConfig,
    /// The training text.
    pub data: DataConfig,
    /// The update rules of the parameters.
    pub optimizer: OptimizerConfig,
    /// The learning-rate schedule.
    pub schedule: ScheduleConfig,
    /// Duration and batches.
    pub train: TrainConfig,
    /// When and on how much to evaluate.
    pub eval: EvalConfig,
    /// When to save checkpoints.
    pub checkpoint: CheckpointConfig,
    /// Which singular values to log.
    pub spectra: SpectraConfig,
    /// How several ranks share the run.
    pub distributed: DistributedConfig,
}

/// `[schedule]`: the learning rate over the run, relative to its peak.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ScheduleConfig {
    /// The shape after warm-up.
    pub kind: ScheduleKind,
    /// The fraction of the steps over which the rate rises linearly from 0.
    pub warmup_fraction: f64,
    /// The end of the cosine, as a fraction of the peak.
    pub min_lr_ratio: f64,
}

/// The shape of the learning rate after warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ScheduleKind {
    /// Half a cosine from the peak to `min_lr_ratio` of it.
    Cosine,
    /// The peak until the end.
    Constant,
}

/// `[train]`: duration and batches.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TrainConfig {
    /// Number of updates.
    pub steps: u64,
    /// Sequences per update.
    pub batch_size: usize,
    /// Sequences on the adapter at once; divides `batch_size`.
    pub micro_batch_size: usize,
    /// Tokens per sequence.
    pub sequence_length: usize,
    /// Determines the initial weights and the order of the text.
    pub seed: u64,
    /// The precision of activations.
    pub precision: Precision,
    /// In half precision: the initial factor on gradients of activations, a power of two. 0 means 64 for each token of
    /// a step, so that every token's loss is multiplied by 64.
    pub loss_scale: f64,
    /// Good steps in a row after which the loss scale doubles.
    pub loss_scale_growth: u32,
    /// The precision of f32 matrix products, as in PyTorch's `set_float32_matmul_precision`.
    pub float32_matmul_precision: MatmulPrecision,
    /// Whether to measure on a GPU, once before the first step, which variants of its matrix products are fastest.
    pub measure_variants: bool,
    /// The largest L2 norm of the gradient over all parameters, or the largest size along a direction of a zeroth-order
    /// step; 0 disables clipping.
    pub max_grad_norm: f64,
    /// Whether to update each parameter inside the backward pass, so that gradients share the memory of the largest
    /// one.
    pub fused_update: bool,
    /// What the backward pass recomputes instead of keeping it from the forward pass; results are bit-identical.
    pub recompute: RecomputePolicy,
    /// Directory of the model or run to start from; random weights if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub init_from: Option<String>,
}

/// The precision of activations, their gradients and products. Weights, their gradients, the optimizer, the residual
/// stream and all sums are in single precision.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Single precision.
    F32,
    /// Half precision, under a dynamic loss scale.
    F16,
    /// Half precision on a GPU that supports it.
    Auto,
}

impl Precision {
    /// Resolves to `f32` or `f16` on an adapter.
    ///
    /// Errors: `f16` on an adapter without half precision.
    pub fn on(self, profile: &Profile) -> Result<Self> {
        match self {
            Self::Auto if profile.f16 && !profile.software => Ok(Self::F16),
            Self::Auto | Self::F32 => Ok(Self::F32),
            Self::F16 if profile.f16 => Ok(Self::F16),
            Self::F16 => {
                let message = "f16 requires an adapter with half precision (`multinorm devices` lists shader-f16), and \
                               this one has none: use f32, or auto";
                Err(Error::config("train.precision", message))
            }
        }
    }

    /// The name in CONFIG.toml.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Auto => "auto",
        }
    }
}

/// The precision of f32 matrix products.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MatmulPrecision {
    /// Single precision throughout.
    Highest,
    /// On half-precision matrix units if the adapter has them, with each operand as a sum of two halves: errors are 3
    /// to 10 times those of single precision. Otherwise the same as `highest`.
    High,
}

/// What the backward pass recomputes. No effect for zeroth-order methods, which have no backward pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum RecomputePolicy {
    /// As little as fits in the device's memory. Adapters do not report how much they have: each kind is tried after
    /// the one before it runs out of memory.
    Auto,
    /// Always this kind.
    #[serde(untagged)]
    Always(Recompute),
}

impl RecomputePolicy {
    /// The kinds to try, in order.
    pub fn kinds(self) -> Vec<Recompute> {
        match self {
            Self::Auto => Recompute::ALL.to_vec(),
            Self::Always(kind) => vec![kind],
        }
    }

    fn of_word(word: &str) -> Option<Self> {
        let kind = Recompute::ALL.into_iter().find(|kind| kind.name() == word);
        if word == "auto" { Some(Self::Auto) } else { kind.map(Self::Always) }
    }
}

/// `[eval]`: when and on how much to evaluate.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EvalConfig {
    /// Steps between evaluations; 0 evaluates only at the end.
    pub every: u64,
    /// Maximum number of tokens per evaluation.
    pub max_tokens: usize,
    /// Sequences per batch.
    pub batch_size: usize,
    /// The prompt of the text that the model writes after each evaluation.
    pub prompt: String,
    /// Maximum number of tokens of that text after the prompt; 0 writes none.
    pub text_tokens: usize,
}

/// `[checkpoint]`: when to save.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckpointConfig {
    /// Steps between checkpoints; 0 saves only at the end.
    pub every: u64,
    /// How many of the newest checkpoints to keep.
    pub keep: usize,
}

/// `[spectra]`: the parameters whose gradients are followed through the optimizer's passes, singular value by singular
/// value.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SpectraConfig {
    /// Steps between spectra; 0 disables them.
    pub every: u64,
    /// Names of parameters; `*` matches anything.
    pub parameters: Vec<String>,
}

impl SpectraConfig {
    /// Whether this parameter is selected. Only matrices have singular values.
    pub fn watches(&self, parameter: &ParameterSpec) -> bool {
        parameter.shape.len() == 2 && self.parameters.iter().any(|pattern| matches(pattern, &parameter.name))
    }

    fn validate(&self, run: &RunConfig) -> Result<()> {
        check::fits_toml("spectra.every", self.every)?;
        if self.every == 0 {
            return Ok(());
        }
        let parameters = run.model.parameters();
        for pattern in &self.parameters {
            if !parameters.iter().any(|p| p.shape.len() == 2 && matches(pattern, &p.name)) {
                let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
                let hint = did_you_mean(pattern, &names);
                let hint = if hint.ends_with('?') { format!("; {hint}") } else { String::new() };
                let message = format!("no matrix of the model is called `{pattern}` (`*` matches anything){hint}");
                return Err(Error::config("spectra.parameters", message));
            }
        }
        if self.parameters.is_empty() {
            return Err(Error::config("spectra.parameters", "must name a parameter, or set spectra.every to 0"));
        }
        if run.train.fused_update {
            let message = "no gradient outlives its update with train.fused_update: set one of the two to 0 or false";
            return Err(Error::config("spectra.every", message));
        }
        Ok(())
    }

    pub(super) fn read(mut section: Section) -> Result<Self> {
        let config = Self { every: section.require("every")?, parameters: section.require("parameters")? };
        section.finish("unknown key")?;
        Ok(config)
    }
}

/// Whether `name` matches the pattern, in which `*` matches any number of characters.
fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((before, after)) => name.strip_prefix(before).is_some_and(|rest| {
            (0..=rest.len()).filter(|&at| rest.is_char_boundary(at)).any(|at| matches(after, &rest[at..]))
        }),
    }
}

/// `[distributed]`: how several ranks share a run; without effect on one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DistributedConfig {
    /// How many of a step's micro-batches each rank takes.
    pub shares: Shares,
    /// The precision of gradients, and of differences of weights, between ranks.
    pub wire: Wire,
    /// Gradients that travel together, in units of 1024 bytes of f32.
    pub bucket_kib: usize,
    /// Steps between comparisons of the ranks' weights; 0 compares them at the end only.
    pub check_every: u64,
    /// Steps that each rank makes on its own between averages of the weights; 0 sums gradients in every step.
    pub local_steps: u64,
    /// With local steps, the learning rate of the outer step; 1 without momentum averages the weights.
    pub outer_lr: f64,
    /// The momentum of the outer step.
    pub outer_momentum: f64,
}

/// How micro-batches are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Shares {
    /// As many for each rank, as far as possible.
    Equal,
    /// In proportion to each rank's speed, measured before the first step.
    Measured,
}

impl DistributedConfig {
    fn validate(&self, run: &RunConfig) -> Result<()> {
        check::at_least_1("distributed.bucket_kib", self.bucket_kib as u64)?;
        check::fits_toml("distributed.bucket_kib", self.bucket_kib as u64)?;
        check::fits_toml("distributed.check_every", self.check_every)?;
        check::fits_toml("distributed.local_steps", self.local_steps)?;
        check::positive("distributed.outer_lr", self.outer_lr)?;
        check::from_0_below_1("distributed.outer_momentum", self.outer_momentum)?;
        if self.local_steps == 0 {
            return Ok(());
        }
        if run.optimizer.zeroth_order().is_some() {
            let message = "a zeroth-order method exchanges two numbers a step: set distributed.local_steps to 0";
            return Err(Error::config("distributed.local_steps", message));
        }
        // The weights are the run's only when they have been averaged.
        for (key, every) in [("eval.every", run.eval.every), ("checkpoint.every", run.checkpoint.every)] {
            if !every.is_multiple_of(self.local_steps) {
                let message = format!("{every} is no multiple of distributed.local_steps {}", self.local_steps);
                return Err(Error::config(key, message));
            }
        }
        Ok(())
    }

    pub(super) fn read(mut section: Section) -> Result<Self> {
        let shares = section.require::<String>("shares")?;
        let wire = section.require::<String>("wire")?;
        let config = Self {
            shares: match shares.as_str() {
                "equal" => Shares::Equal,
                "measured" => Shares::Measured,
                _ => return Err(section.error("shares", format!("must be equal or measured, got `{shares}`"))),
            },
            wire: match wire.as_str() {
                "f32" => Wire::F32,
                "f16" => Wire::F16,
                _ => return Err(section.error("wire", format!("must be f32 or f16, got `{wire}`"))),
            },
            bucket_kib: section.require("bucket_kib")?,
            check_every: section.require("check_every")?,
            local_steps: section.require("local_steps")?,
            outer_lr: section.require("outer_lr")?,
            outer_momentum: section.require("outer_momentum")?,
        };
        section.finish("unknown key")?;
        Ok(config)
    }
}

impl RunConfig {
    /// CONFIG.toml with every value resolved: loading it gives this run again.
    ///
    /// # Panics
    /// If [`validate`](Self::validate) rejects the run for a number that TOML cannot represent.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("a valid run can be written as TOML")
    }

    /// The same run with another optimizer, and with its adapters if it trains any.
    pub fn with_optimizer(mut self, optimizer: OptimizerConfig) -> Self {
        self.model.adapter = optimizer.adapter();
        self.optimizer = optimizer;
        self
    }

    /// Rejects invalid values and values that contradict each other.
    pub fn validate(&self) -> Result<()> {
        self.model.validate()?;
        self.data.validate()?;
        self.optimizer.validate()?;
        self.schedule.validate()?;
        self.train.validate()?;
        self.eval.validate()?;
        self.checkpoint.validate()?;
        self.spectra.validate(self)?;
        self.distributed.validate(self)?;
        self.validate_zeroth_order()?;
        let [sequence, longest] = [self.train.sequence_length, self.model.max_position_embeddings];
        if sequence > longest {
            let message = format!("{sequence} is longer than the model's max_position_embeddings {longest}");
            return Err(Error::config("train.sequence_length", message));
        }
        if self.eval.max_tokens < sequence {
            let message = format!("{} is less than one sequence of {sequence} tokens", self.eval.max_tokens);
            return Err(Error::config("eval.max_tokens", message));
        }
        Ok(())
    }

    /// Makes every path absolute, so that a run's config.toml repeats it from any directory.
    ///
    /// Errors: the current directory no longer exists.
    #[cfg(not(target_arch = "wasm32"))]
    pub fn make_paths_absolute(&mut self) -> Result<()> {
        if let Some(from) = &mut self.train.init_from {
            *from = std::path::absolute(&from).map_err(Error::io("find", &*from))?.display().to_string();
        }
        self.data.make_paths_absolute()
    }

    fn validate_zeroth_order(&self) -> Result<()> {
        if self.model.adapter != self.optimizer.adapter() {
            let message = "only adazeta trains adapters";
            return Err(Error::config("optimizer.name", message));
        }
        if self.optimizer.zeroth_order().is_none() {
            return Ok(());
        }
        if self.train.precision == Precision::F16 {
            let message = "a zeroth-order method subtracts two losses, which needs single precision: use f32 or auto";
            return Err(Error::config("train.precision", message));
        }
        if self.train.fused_update {
            let message = "a zeroth-order method has no backward pass to update in: set it to false";
            return Err(Error::config("train.fused_update", message));
        }
        if self.spectra.every > 0 {
            let message = "a zeroth-order method makes no gradients to look into: set it to 0";
            return Err(Error::config("spectra.every", message));
        }
        Ok(())
    }
}

impl ScheduleConfig {
    fn validate(&self) -> Result<()> {
        check::from_0_to_1("schedule.warmup_fraction", self.warmup_fraction)?;
        check::from_0_to_1("schedule.min_lr_ratio", self.min_lr_ratio)
    }

    pub(super) fn read(mut section: Section) -> Result<Self> {
        let kind = section.require::<String>("kind")?;
        let config = Self {
            kind: match kind.as_str() {
                "cosine" => ScheduleKind::Cosine,
                "constant" => ScheduleKind::Constant,
                _ => return Err(section.error("kind", format!("must be cosine or constant, got `{kind}`"))),
            },
            warmup_fraction: section.require("warmup_fraction")?,
            min_lr_ratio: section.require("min_lr_ratio")?,
        };
        section.finish("unknown key")?;
        Ok(config)
    }
}

/// Limits sequences at once: attention uses at least one workgroup per sequence, along its own dispatch dimension.
fn check_sequences(key: &str, n: usize) -> Result<()> {
    if n > MAX_GROUPS as usize {
        return Err(Error::config(
            key,
            format!("must be at most {MAX_GROUPS}, the workgroups of one dispatch, got {n}"),
        ));
    }
    Ok(())
}

impl TrainConfig {
    /// Micro-batches per update.
    pub fn n_micro_batches(&self) -> usize {
        self.batch_size / self.micro_batch_size
    }

    /// Tokens per update.
    pub fn tokens_per_step(&self) -> usize {
        self.batch_size * self.sequence_length
    }

    /// The initial factor on gradients of activations in half precision.
    pub fn first_loss_scale(&self) -> f64 {
        let of_tokens = 64.0 * self.tokens_per_step().next_power_of_two() as f64;
        if self.loss_scale == 0.0 { of_tokens.min(LossScale::MOST) } else { self.loss_scale }
    }

    fn validate(&self) -> Result<()> {
        check::at_least_1("train.steps", self.steps)?;
        check::at_least_1("train.batch_size", self.batch_size as u64)?;
        check::at_least_1("train.micro_batch_size", self.micro_batch_size as u64)?;
        check::at_least_1("train.sequence_length", self.sequence_length as u64)?;
        check_sequences("train.micro_batch_size", self.micro_batch_size)?;
        let [batch, micro] = [self.batch_size, self.micro_batch_size];
        if !batch.is_multiple_of(micro) {
            let message = format!("micro_batch_size {micro} does not divide batch_size {batch}");
            return Err(Error::config("train.micro_batch_size", message));
        }
        check::fits_toml("train.steps", self.steps)?;
        check::fits_toml("train.seed", self.seed)?;
        check::fits_toml("train.batch_size", batch as u64)?;
        check::not_negative("train.max_grad_norm", self.max_grad_norm)?;
        if self.loss_scale != 0.0 && !LossScale::is_valid(self.loss_scale) {
            let [least, most] = [LossScale::LEAST, LossScale::MOST];
            let message = format!("must be 0 or a power of two from {least} to {most}, got {}", self.loss_scale);
            return Err(Error::config("train.loss_scale", message));
        }
        check::at_least_1("train.loss_scale_growth", self.loss_scale_growth.into())?;
        if self.fused_update && self.n_micro_batches() > 1 {
            let message = format!(
                "updates inside the backward pass, so that gradients cannot be summed over {} micro-batches: set \
                 train.micro_batch_size to {batch}, or fused_update to false",
                self.n_micro_batches()
            );
            return Err(Error::config("train.fused_update", message));
        }
        if self.fused_update && self.max_grad_norm > 0.0 {
            let message = "updates before the norm of all gradients is known: set train.max_grad_norm to 0";
            return Err(Error::config("train.fused_update", message));
        }
        Ok(())
    }

    /// `fused`: whether to update inside the backward pass if the user does not say.
    pub(super) fn read(mut section: Section, fused: bool) -> Result<Self> {
        let precision = section.require::<String>("precision")?;
        let mut config = Self {
            steps: section.require("steps")?,
            batch_size: section.require("batch_size")?,
            micro_batch_size: section.require("micro_batch_size")?,
            sequence_length: section.require("sequence_length")?,
            seed: section.require("seed")?,
            precision: match precision.as_str() {
                "f32" => Precision::F32,
                "f16" => Precision::F16,
                "auto" => Precision::Auto,
                _ => return Err(section.error("precision", format!("must be f32, f16 or auto, got `{precision}`"))),
            },
            loss_scale: section.require("loss_scale")?,
            loss_scale_growth: section.require("loss_scale_growth")?,
            float32_matmul_precision: match section.require::<String>("float32_matmul_precision")?.as_str() {
                "highest" => MatmulPrecision::Highest,
                "high" => MatmulPrecision::High,
                other => {
                    let message = format!("must be highest or high, got `{other}`");
                    return Err(section.error("float32_matmul_precision", message));
                }
            },
            measure_variants: section.require("measure_variants")?,
            max_grad_norm: section.require("max_grad_norm")?,
            fused_update: section.require("fused_update")?,
            recompute: {
                let word = section.require::<String>("recompute")?;
                let wrong = || format!("must be none, attention, layer or auto, got `{word}`");
                RecomputePolicy::of_word(&word).ok_or_else(|| section.error("recompute", wrong()))?
            },
            init_from: section.get("init_from")?,
        };
        section.finish("unknown key")?;
        // A batch_size given alone must not fail because of a micro_batch_size that the user never wrote.
        if section.is_default("micro_batch_size") {
            config.micro_batch_size = greatest_common_divisor(config.micro_batch_size, config.batch_size);
        }
        if fused && section.is_default("fused_update") {
            config.fused_update = true;
            if section.is_default("micro_batch_size") {
                config.micro_batch_size = config.batch_size; // gradients cannot be summed
            }
        }
        Ok(config)
    }
}

impl EvalConfig {
    fn validate(&self) -> Result<()> {
        check::fits_toml("eval.every", self.every)?;
        check::at_least_1("eval.max_tokens", self.max_tokens as u64)?;
        check::fits_toml("eval.max_tokens", self.max_tokens as u64)?;
        check::at_least_1("eval.batch_size", self.batch_size as u64)?;
        check::fits_toml("eval.text_tokens", self.text_tokens as u64)?;
        if self.prompt.is_empty() {
            return Err(Error::config("eval.prompt", "must have at least one word, such as \"It was\""));
        }
        check_sequences("eval.batch_size", self.batch_size)
    }

    pub(super) fn read(mut section: Section) -> Result<Self> {
        let config = Self {
            every: section.require("every")?,
            max_tokens: section.require("max_tokens")?,
            batch_size: section.require("batch_size")?,
            prompt: section.require("prompt")?,
            text_tokens: section.require("text_tokens")?,
        };
        section.finish("unknown key")?;
        Ok(config)
    }
}

impl CheckpointConfig {
    fn validate(&self) -> Result<()> {
        check::fits_toml("checkpoint.every", self.every)?;
        check::at_least_1("checkpoint.keep", self.keep as u64)?;
        check::fits_toml("checkpoint.keep", self.keep as u64)
    }

    pub(super) fn read(mut section: Section) -> Result<Self> {
        let config = Self { every: section.require("every")?, keep: section.require("keep")? };
        section.finish("unknown key")?;
        Ok(config)
    }
}

fn greatest_common_divisor(a: usize, b: usize) -> usize {
    if b == 0 { a } else { greatest_common_divisor(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RunDefaults;

    fn load(sets: &[&str]) -> Result<RunConfig> {
        let sets: Vec<String> = sets.iter().map(|&set| set.to_owned()).collect();
        RunConfig::load(None, &sets, RunDefaults::Software)
    }

    #[test]
    fn refuses_what_cannot_be() {
        let cases: [(&[&str], &str); 33] = [
            (&["data.source=[]"], "data.source: must name a text"),
            (&["data.tokenizer=''"], "data.tokenizer: must be bytes, bpe"),
            (&["data.text_field=''"], "data.text_field: must name"),
            (&["data.validation_fraction=1"], "data.validation_fraction: must be above 0 and below 1, got 1"),
            (&["schedule.kind=cosin"], "--set schedule.kind: must be cosine or constant, got `cosin`"),
            (&["schedule.warmup_fraction=1.5"], "schedule.warmup_fraction: must lie between 0 and 1, got 1.5"),
            (&["schedule.min_lr_ratio=nan"], "schedule.min_lr_ratio: must lie between 0 and 1, got NaN"),
            (&["train.steps=0"], "train.steps: must be at least 1"),
            (&["train.batch_size=0"], "train.batch_size: must be at least 1"),
            (&["train.micro_batch_size=0"], "train.micro_batch_size: must be at least 1"),
            (&["train.batch_size=8", "train.micro_batch_size=3"], "micro_batch_size 3 does not divide batch_size 8"),
            (&["train.sequence_length=0"], "train.sequence_length: must be at least 1"),
            (
                &["model.preset=tiny", "train.sequence_length=1025"],
                "1025 is longer than the model's max_position_embeddings 1024",
            ),
            (&["train.precision=f64"], "--set train.precision: must be f32, f16 or auto, got `f64`"),
            (&["train.loss_scale=3"], "train.loss_scale: must be 0 or a power of two from"),
            (
                &["train.float32_matmul_precision=medium"],
                "--set train.float32_matmul_precision: must be highest or high, got `medium`",
            ),
            (&["train.recompute=all"], "--set train.recompute: must be none, attention, layer or auto, got `all`"),
            (&["train.recompute=true"], "--set train.recompute: expected a string, got true"),
            (&["train.max_grad_norm=-1"], "train.max_grad_norm: must be finite and at least 0, got -1"),
            (
                &["train.fused_update=true", "train.batch_size=8", "train.micro_batch_size=2"],
                "train.fused_update: updates inside the backward pass, so that gradients cannot be summed over 4",
            ),
            (
                &["train.fused_update=true", "train.max_grad_norm=1"],
                "train.fused_update: updates before the norm of all gradients is known: set train.max_grad_norm to 0",
            ),
            (&["eval.max_tokens=7", "train.sequence_length=8"], "eval.max_tokens: 7 is less than one sequence of 8"),
            (&["eval.batch_size=0"], "eval.batch_size: must be at least 1"),
            (&["eval.batch_size=65536"], "eval.batch_size: must be at most 65535"),
            (
                &["train.batch_size=65536", "train.micro_batch_size=65536"],
                "train.micro_batch_size: must be at most 65535",
            ),
            (
                &["spectra.every=5", "spectra.parameters=['model.layers.0.self_atn.q_proj.weight']"],
                "spectra.parameters: no matrix of the model is called `model.layers.0.self_atn.q_proj.weight` (`*` \
                 matches anything); did you mean `model.layers.0.self_attn.q_proj.weight`?",
            ),
            (&["spectra.every=5", "spectra.parameters=['model.norm.weight']"], "no matrix of the model is called"),
            (&["spectra.every=5", "spectra.parameters=[]"], "spectra.parameters: must name a parameter"),
            (
                &["spectra.every=5", "train.fused_update=true"],
                "spectra.every: no gradient outlives its update with train.fused_update",
            ),
            (&["checkpoint.keep=0"], "checkpoint.keep: must be at least 1"),
            (
                &["model.preset=tiny", "model.num_attention_heads=3"],
                "hidden_size 128 is not divisible by num_attention_heads 3",
            ),
            (&["optimizer.rest.lr=inf"], "optimizer.rest.lr: must be finite"),
            (&["train.seed=-1"], "--set train.seed: expected a whole number that is not negative, got -1"),
        ];
        for (sets, expected) in cases {
            let message = load(sets).expect_err(expected).to_string();
            assert!(message.contains(expected), "{sets:?}: {message}");
        }
        let mut run = load(&[]).unwrap();
        run.train.seed = u64::MAX;
        assert!(run.validate().unwrap_err().to_string().contains("train.seed: must be at most 9223372036854775807"));
    }

    #[test]
    fn a_star_stands_for_anything() {
        let cases = [("a.b", "a.b", true), ("a.b", "a.bc", false), ("*", "", true), ("a*c", "abcbc", true)];
        let more = [("*.q_*.weight", "l.0.q_proj.weight", true), ("a*b*", "acb", true), ("a*b", "acbd", false)];
        for (pattern, name, expected) in cases.into_iter().chain(more) {
            assert_eq!(matches(pattern, name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn a_default_micro_batch_follows_the_batch() {
        for (batch, micro) in [(1, 1), (6, 2), (16, 8)] {
            let mut section = Section::new("train");
            let text = "steps=1\nmicro_batch_size=8\nsequence_length=1\nseed=0\nprecision='f32'\nloss_scale=0\nloss_scale_growth=500\nfloat32_matmul_precision='high'\nmeasure_variants=true\nmax_grad_norm=0\nfused_update=false\nrecompute='auto'";
            for (key, value) in text.parse::<toml::Table>().unwrap() {
                section.put(key, value, crate::settings::Origin::Defaults);
            }
            section.put("batch_size".into(), batch.into(), crate::settings::Origin::Set);
            let train = TrainConfig::read(section, false).unwrap();
            assert_eq!((train.micro_batch_size, train.n_micro_batches()), (micro, batch as usize / micro));
        }
    }
}
