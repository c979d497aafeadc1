//! A matrix on its way through passes, drawn where it lies: nothing of its size comes to the host.

use std::sync::Arc;

use super::{plan_name, record_half_steps};
use crate::Result;
use crate::config::Pass;
use crate::gpu::{Class, Gpu, Picture, Recorder, Tensor, Workspace};
use crate::kernels::heat_map::heat_map;

/// Root mean squares at which a picture's colour is full.
const LIMIT: f64 = 3.0;
const GRADIENT: &str = "picture of the gradient";
const X: &str = "picture of X";

/// Pictures of a gradient and of what passes made of it, for a window on the same device.
pub struct Drawing {
    gpu: Arc<Gpu>,
    workspace: Workspace,
    gradient: Tensor,
    pixels: [Tensor; 2],
    pictures: [Picture; 2],
    n_passes: usize,
    iterations: usize,
}

impl Drawing {
    /// Room for a gradient `[m, n]`, `iterations` repetitions of `passes` (there may be none), and two pictures
    /// `[height, width]`.
    ///
    /// Errors: as [`super::HalfSteps::new`]. Panics on a width that is no multiple of [`Picture::ROW_PIXELS`].
    pub async fn new(
        gpu: Arc<Gpu>,
        shape: [usize; 2],
        passes: &[Pass],
        iterations: u32,
        size: [usize; 2],
    ) -> Result<Self> {
        let mut rec = Recorder::new(&gpu.profile);
        let gradient = rec.persistent(Class::Gradients, "gradient", &shape);
        let x = rec.persistent(Class::Scratch, "X", &shape);
        let pixels = ["pixels", "pixels of X"].map(|name| rec.persistent(Class::Scratch, name, &size));
        if !passes.is_empty() {
            record_half_steps(&mut rec, &gradient, &x, passes, iterations)?;
        }
        for (plan, matrix, pixels) in [(GRADIENT, &gradient, &pixels[0]), (X, &x, &pixels[1])] {
            rec.begin(plan);
            heat_map(&mut rec, matrix, pixels, LIMIT);
        }
        let workspace = rec.allocate(&gpu).await?;
        let pictures = [(); 2].map(|()| Picture::new(&gpu, size));
        let (n_passes, iterations) = (passes.len(), iterations as usize);
        Ok(Self { gpu, workspace, gradient, pixels, pictures, n_passes, iterations })
    }

    /// Where the gradient is to be copied to.
    pub fn target(&self) -> (&Workspace, &Tensor) {
        (&self.workspace, &self.gradient)
    }

    /// Takes a gradient `[m·n]` from the host.
    ///
    /// Panics on another length.
    pub fn write(&self, gradient: &[f32]) {
        self.workspace.write(&self.gpu, &self.gradient, gradient);
    }

    /// Draws the gradient, and X after so many passes, at most all of them; after none the second picture is the first.
    pub fn draw(&self, half_steps: usize) {
        let half_steps = half_steps.min(self.n_passes * self.iterations);
        self.workspace.run(&self.gpu, &[GRADIENT]);
        self.pictures[0].take(&self.gpu, &self.workspace, &self.pixels[0]);
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
