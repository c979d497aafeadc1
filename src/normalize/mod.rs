//! Runs a list of passes over one matrix, half-step by half-step, and reports what each does to it.
//!
//! The passes are those of the optimizers: while they only scale rows and columns, X is stored as two vectors besides
//! the gradient, and the final X is bit-identical to what a training step multiplies by its learning rate.

#[cfg(not(target_arch = "wasm32"))]
mod files;
mod matrix;
#[cfg(all(feature = "plots", not(target_arch = "wasm32")))]
mod picture;
mod report;

#[cfg(not(target_arch = "wasm32"))]
pub use files::{check_folder, check_out, read_matrix, write_matrix};
pub use matrix::{Matrix, gaussian};
#[cfg(all(feature = "plots", not(target_arch = "wasm32")))]
pub use picture::picture;
pub use report::{Entry, Options, Report, normalize};

use crate::Result;
use crate::config::Pass;
use crate::gpu::{Class, DType, Gpu, Recorder, Tensor, Workspace};
use crate::kernels::scaled::{self, Scaled};
use crate::optim::Iterate;

/// Passes over a matrix on the device, one at a time.
pub struct HalfSteps<'a> {
    gpu: &'a Gpu,
    workspace: Workspace,
    passes: Vec<Pass>,
    iterations: u32,
    /// X after the last half-step, [m, n].
    x: Tensor,
    n_done: usize,
}

/// X after one pass.
#[derive(Clone, Debug, PartialEq)]
pub struct HalfStep {
    /// The pass.
    pub pass: Pass,
    /// The repetition of the list, counted from 1.
    pub iteration: u32,
    /// Whether it is the last pass of its iteration.
    pub ends_iteration: bool,
    /// X, [m, n] in row-major order.
    pub x: Vec<f32>,
}

impl<'a> HalfSteps<'a> {
    /// Records and allocates `iterations` repetitions of `passes` over `matrix`.
    ///
    /// Memory does not grow with the iterations: the second one is recorded and replayed for all later ones. Errors:
    /// the matrix is too wide for the passes, or too large for the adapter.
    ///
    /// # Panics
    /// If the list of passes is empty.
    pub async fn new(gpu: &'a Gpu, matrix: &Matrix, passes: &[Pass], iterations: u32) -> Result<Self> {
        assert!(!passes.is_empty(), "a list of passes is not empty");
        let mut rec = Recorder::new(&gpu.profile);
        let gradient = rec.persistent(Class::Gradients, DType::F32, matrix.name(), &matrix.shape());
        let x = rec.persistent(Class::Scratch, DType::F32, "X", &matrix.shape());
        record_half_steps(&mut rec, &gradient, &x, passes, iterations)?;
        let workspace = rec.allocate(gpu).await?;
        workspace.write(gpu, &gradient, matrix.values());
        Ok(Self { gpu, workspace, passes: passes.to_vec(), iterations, x, n_done: 0 })
    }

    /// Runs the next pass and reads X back; `None` after the last.
    pub async fn advance(&mut self) -> Result<Option<HalfStep>> {
        let [round, at] = [self.n_done / self.passes.len(), self.n_done % self.passes.len()];
        if round == self.iterations as usize {
            return Ok(None);
        }
        self.workspace.run(self.gpu, &[&plan_name(round.min(1), at)]);
        self.n_done += 1;
        Ok(Some(HalfStep {
            pass: self.passes[at],
            iteration: round as u32 + 1,
            ends_iteration: at + 1 == self.passes.len(),
            x: self.workspace.read(self.gpu, &self.x).await?,
        }))
    }
}

/// Records a plan for every pass of the first and of the second iteration, which is replayed for all later ones; each
/// plan leaves X in `x`.
fn record_half_steps(
    rec: &mut Recorder,
    gradient: &Tensor,
    x: &Tensor,
    passes: &[Pass],
    iterations: u32,
) -> Result<()> {
    let mut iterate = Iterate::across_plans(gradient)?;
    let mut start = None;
    for round in 0..iterations.min(2) as usize {
        for (at, &pass) in passes.iter().enumerate() {
            rec.begin(plan_name(round, at));
            iterate.passes(rec, &[pass]);
            iterate.materialize_into(rec, x);
        }
        // A materialized X is in a different place after each iteration; moving it to one place allows a single
        // recording.
        if iterate.x.base != *gradient || iterate.x.sign {
            let start =
                start.get_or_insert_with(|| rec.persistent(Class::Scratch, DType::F32, "X before", &gradient.shape));
            scaled::materialize(rec, &Scaled::new(x), start);
            iterate = Iterate::across_plans(start)?;
        }
    }
    Ok(())
}

/// The name of the plan for pass `at` in the first iteration, or in a later one.
fn plan_name(round: usize, at: usize) -> String {
    format!("{} iteration, pass {at}", ["first", "later"][round])
}
