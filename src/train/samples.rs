//! Samples gradients of a run for spectra; they arrive some steps late.

use crate::Result;
use crate::config::{Rule, RunConfig};
use crate::gpu::{Gpu, ReadbackRing, Recorder, Tensor, Workspace};
use crate::kernels::norms::Statistics;
use crate::llama::Llama;
use crate::optim::State;

/// Samples of one parameter that may be in flight at once.
const SLOTS: usize = 2;

/// One parameter's gradient and optimizer state, right after a step.
#[derive(Clone, Debug)]
pub struct GradientSample {
    /// After this step, counted from 1.
    pub step: u64,
    /// Hugging Face's name.
    pub parameter: String,
    /// [m, n].
    pub shape: [usize; 2],
    /// The rule that updates it.
    pub rule: Rule,
    /// `[m·n]` before clipping.
    pub gradient: Vec<f32>,
    /// The clip factor applied to the gradient.
    pub clip: f32,
    /// The state that the rule carries to the next step, each `[m·n]`: the momentum, or Adam's two moments.
    pub states: Vec<Vec<f32>>,
}

/// Which tensors of a record are sampled.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    parameter: String,
    shape: [usize; 2],
    rule: Rule,
    /// The parts of the gradient, then of each state.
    tensors: Vec<Vec<Tensor>>,
}

impl Watched {
    /// The parameters that the configuration names; counts their read-back buffers under scratch.
    pub(super) fn choose(
        rec: &mut Recorder,
        config: &RunConfig,
        llama: &Llama,
        states: &[State],
        statistics: &Tensor,
    ) -> Vec<Self> {
        if config.spectra.every == 0 {
            return Vec::new();
        }
        let chosen = llama.by_name().filter(|parts| config.spectra.watches(&parts[0].spec));
        let watched: Vec<Self> = chosen
            .map(|parts| {
                let spec = &parts[0].spec;
                let gradient: Vec<Tensor> = parts.iter().map(|part| part.gradient().clone()).collect();
                let states =
                    states_of(states, &spec.name).map(|parts| parts.iter().map(|part| part.tensor.clone()).collect());
                Self {
                    parameter: spec.name.clone(),
                    shape: [gradient.iter().map(|part| part.shape[0]).sum(), spec.shape[1]],
                    rule: config.optimizer.recipe(spec.role).rule.clone(),
                    tensors: std::iter::once(gradient).chain(states).collect(),
                }
            })
            .collect();
        let bytes = |tensor: &Tensor| ReadbackRing::bytes(tensor, SLOTS);
        let of_parameters: u64 = watched.iter().flat_map(|w| w.tensors.iter().flatten()).map(bytes).sum();
        rec.reserve_staging(of_parameters + bytes(&clip_of(statistics)));
        watched
    }
}

/// The states of a parameter: the parts of each.
pub(super) fn states_of<'a>(states: &'a [State], parameter: &str) -> impl Iterator<Item = &'a [State]> {
    let own = move |name: &str| name.strip_prefix(parameter).is_some_and(|what| what.starts_with('.'));
    by_name(states).filter(move |parts| own(&parts[0].name))
}

/// Groups adjacent parts into states.
pub(super) fn by_name(states: &[State]) -> impl Iterator<Item = &[State]> {
    states.chunk_by(|a, b| a.name == b.name)
}

fn clip_of(statistics: &Tensor) -> Tensor {
    statistics.rows(Statistics::CLIP..Statistics::CLIP + 1)
}

/// Reads samples back and hands them out when they arrive.
pub(super) struct GradientSampler {
    watched: Vec<Watched>,
    /// One per tensor of `watched`, in order.
    rings: Vec<ReadbackRing>,
    /// Sent last: when it arrives, the whole sample has.
    clip: ReadbackRing,
}

impl GradientSampler {
    pub(super) async fn new(gpu: &Gpu, watched: Vec<Watched>, statistics: &Tensor) -> Result<Self> {
        let mut rings = Vec::new();
        for tensor in watched.iter().flat_map(|w| w.tensors.iter().flatten()) {
            rings.push(ReadbackRing::new(gpu, tensor, SLOTS).await?);
        }
        Ok(Self { watched, rings, clip: ReadbackRing::new(gpu, &clip_of(statistics), SLOTS).await? })
    }

    pub(super) fn has_room(&self) -> bool {
        self.clip.has_room()
    }

    /// Whether nothing is in flight.
    pub(super) fn is_empty(&self) -> bool {
        self.clip.pending() == 0
    }

    /// Samples everything as it will be after what was submitted so far.
    pub(super) fn send(&mut self, gpu: &Gpu, workspace: &Workspace, step: u64) {
        for ring in &mut self.rings {
            ring.send(gpu, workspace, step);
        }
        self.clip.send(gpu, workspace, step);
    }

    /// The oldest samples, if they have arrived.
    pub(super) async fn try_take(&mut self, gpu: &Gpu) -> Result<Vec<GradientSample>> {
        match self.clip.try_take(gpu)? {
            Some((step, clip)) => self.gather(gpu, step, clip[0]).await,
            None => Ok(Vec::new()),
        }
    }

    /// Waits for the oldest samples; empty if none are in flight.
    pub(super) async fn take(&mut self, gpu: &Gpu) -> Result<Vec<GradientSample>> {
        match self.clip.take(gpu).await? {
            Some((step, clip)) => self.gather(gpu, step, clip[0]).await,
            None => Ok(Vec::new()),
        }
    }

    async fn gather(&mut self, gpu: &Gpu, step: u64, clip: f32) -> Result<Vec<GradientSample>> {
        let mut samples = Vec::with_capacity(self.watched.len());
        let mut rings = self.rings.iter_mut();
        for Watched { parameter, shape, rule, tensors } in &self.watched {
            let mut values = Vec::with_capacity(tensors.len());
            for parts in tensors {
                let mut whole = Vec::new();
                for ring in rings.by_ref().take(parts.len()) {
                    let (_, mut copy) = ring.take(gpu).await?.expect("sent before the clip factor");
                    whole.append(&mut copy);
                }
                values.push(whole);
            }
            let mut values = values.into_iter();
            let gradient = values.next().expect("a gradient");
            let (parameter, rule) = (parameter.clone(), rule.clone());
            samples.push(GradientSample {
                step,
                parameter,
                shape: *shape,
                rule,
                gradient,
                clip,
                states: values.collect(),
            });
        }
        Ok(samples)
    }
}
