//! A matrix on its way through passes, drawn where it lies: nothing of its size comes to the host.

use std::sync::Arc;

use super::{plan_name, record_half_steps};
use crate::Result;
use crate::config::{MomentumPlacement, PassProgram, Rule};
use crate::gpu::{Class, DType, Gpu, Picture, Recorder, Tensor, Workspace};
use crate::kernels::heat_map::heat_map;
use crate::kernels::momentum::{Average, average};
use crate::kernels::norms::Place;

/// Root mean squares at which a picture's colour is full.
const LIMIT: f64 = 3.0;
const GRADIENT: &str = "picture of the gradient";
const X: &str = "picture of X";
const AHEAD: &str = "momentum";
const AVERAGED: &str = "picture of the momentum";

/// Pictures of a gradient and of what a rule's passes made of it, for a window on the same device.
///
/// Half-steps are counted as in [`crate::train::SpectrumRecord`]: a momentum before the passes is the first of them. What
/// follows the passes, such as a momentum after them, is not drawn, and rows below a threshold are not dropped; a rule that is no list of passes has none.
pub struct Drawing {
    gpu: Arc<Gpu>,
    workspace: Workspace,
    gradient: Tensor,
    momentum: Option<Momentum>,
    pixels: [Tensor; 2],
    pictures: [Picture; 2],
    n_passes: usize,
    iterations: usize,
}

/// Tensors of a drawing that a trainer fills.
pub(crate) struct Targets<'a> {
    /// `[m, n]`.
    pub gradient: &'a Tensor,
    /// Where the rule puts a momentum before the passes: the buffer as it is after the step, `[m, n]`, and what the
    /// gradient was multiplied by before it went into it.
    pub momentum_and_clip: Option<(&'a Tensor, Tensor)>,
}

/// A momentum before the passes.
struct Momentum {
    /// As it is after the step, `[m, n]`.
    buffer: Tensor,
    /// The clip factor's place is the only one that is read.
    statistics: Tensor,
    /// Whether a look-ahead must be made of it and the gradient.
    nesterov: bool,
}

impl Drawing {
    /// Room for a gradient `[m, n]`, what `rule` makes of it, and two pictures `[height, width]`.
    ///
    /// Errors: as [`super::HalfSteps::new`]. Panics on a width that is no multiple of [`Picture::ROW_PIXELS`].
    pub async fn new(gpu: Arc<Gpu>, shape: [usize; 2], rule: &Rule, size: [usize; 2]) -> Result<Self> {
        let (passes, iterations) = match rule {
            Rule::Passes(PassProgram { passes, iterations, .. }) => (&passes[..], *iterations),
            _ => (&[][..], 0),
        };
        let mut rec = Recorder::new(&gpu.profile);
        let gradient = rec.persistent(Class::Gradients, DType::F32, "gradient", &shape);
        let x = rec.persistent(Class::Scratch, DType::F32, "X", &shape);
        let pixels = ["pixels", "pixels of X"].map(|name| rec.persistent(Class::Scratch, DType::U32, name, &size));
        let (momentum, start) = match rule {
            Rule::Passes(program)
                if program.momentum > 0.0 && program.momentum_placement == MomentumPlacement::Before =>
            {
                let (momentum, start) = record_momentum(&mut rec, program, &gradient);
                rec.begin(AVERAGED);
                heat_map(&mut rec, &start, &pixels[1], LIMIT);
                (Some(momentum), start)
            }
            _ => (None, gradient.clone()),
        };
        if !passes.is_empty() {
            record_half_steps(&mut rec, &start, &x, passes, iterations)?;
        }
        for (plan, matrix, pixels) in [(GRADIENT, &gradient, &pixels[0]), (X, &x, &pixels[1])] {
            rec.begin(plan);
            heat_map(&mut rec, matrix, pixels, LIMIT);
        }
        let workspace = rec.allocate(&gpu).await?;
        let pictures = [(); 2].map(|()| Picture::new(&gpu, size));
        let (n_passes, iterations) = (passes.len(), iterations as usize);
        Ok(Self { gpu, workspace, gradient, momentum, pixels, pictures, n_passes, iterations })
    }

    /// Where a trainer's numbers go.
    pub(crate) fn targets(&self) -> (&Workspace, Targets<'_>) {
        let momentum_and_clip = self.momentum.as_ref().map(|momentum| {
            let clip = momentum.statistics.rows(Place::CLIP..Place::CLIP + 1);
            (&momentum.buffer, clip)
        });
        (&self.workspace, Targets { gradient: &self.gradient, momentum_and_clip })
    }

    /// Takes a gradient `[m·n]` from the host.
    ///
    /// Panics on another length.
    pub fn write(&self, gradient: &[f32]) {
        self.workspace.write(&self.gpu, &self.gradient, gradient);
    }

    /// Draws the gradient, and X after so many half-steps, at most all of them; after none the second picture is the
    /// first. A momentum must be given anew before each call.
    pub fn draw(&self, half_steps: usize) {
        self.workspace.run(&self.gpu, &[GRADIENT]);
        self.pictures[0].take(&self.gpu, &self.workspace, &self.pixels[0]);
        let mut half_steps = half_steps;
        if let Some(momentum) = &self.momentum
            && half_steps > 0
        {
            if momentum.nesterov {
                self.workspace.run(&self.gpu, &[AHEAD]);
            }
            half_steps -= 1;
            if half_steps == 0 || self.n_passes == 0 {
                self.workspace.run(&self.gpu, &[AVERAGED]);
                self.pictures[1].take(&self.gpu, &self.workspace, &self.pixels[1]);
                return;
            }
        }
        let half_steps = half_steps.min(self.n_passes * self.iterations);
        if half_steps == 0 {
            self.pictures[1].take(&self.gpu, &self.workspace, &self.pixels[0]);
            return;
        }
        for step in 0..half_steps {
            let round = (step / self.n_passes).min(1);
            self.workspace.run(&self.gpu, &[&plan_name(round, step % self.n_passes)]);
        }
        self.workspace.run(&self.gpu, &[X]);
        self.pictures[1].take(&self.gpu, &self.workspace, &self.pixels[1]);
    }

    /// The gradient's picture and X's.
    pub fn pictures(&self) -> &[Picture; 2] {
        &self.pictures
    }

    /// The pixels of both pictures as they were last drawn, rgba8, for tests.
    ///
    /// Errors: a device that fails.
    pub async fn pixels(&self) -> Result<[Vec<u32>; 2]> {
        let [gradient, x] = &self.pixels;
        Ok([self.workspace.read(&self.gpu, gradient).await?, self.workspace.read(&self.gpu, x).await?])
    }
}

/// What goes into the passes: the momentum itself, or the look-ahead that the plan [`AHEAD`] makes.
fn record_momentum(rec: &mut Recorder, program: &PassProgram, gradient: &Tensor) -> (Momentum, Tensor) {
    let buffer = rec.persistent(Class::Scratch, DType::F32, "momentum", &gradient.shape);
    let statistics = rec.persistent(Class::Scratch, DType::F32, "statistics", &[Place::GRADIENTS]);
    let nesterov = program.nesterov;
    let start = if nesterov {
        let ahead = rec.persistent(Class::Scratch, DType::F32, "momentum and gradient", &gradient.shape);
        rec.begin(AHEAD);
        // Averaged in once more, the gradient gives β·M + (1 − β)·G of an M that has it already.
        average(rec, gradient, &buffer, &ahead, &statistics, Average { beta: program.momentum, nesterov: false });
        ahead
    } else {
        buffer.clone()
    };
    (Momentum { buffer, statistics, nesterov }, start)
}
