//! MeZO (Malladi et al. 2023, arXiv 2305.17333, algorithm 1): the two losses of a step are taken at w + εz and w − εz, and
//! w moves along z by their difference. Nothing is kept: z is drawn again from the seed wherever it is wanted.
//!
//! A change is rounded to a multiple of a sixteenth of ε at most, and a weight to the spacing that single precision has
//! where the change leads, so that weights come back to the last bit.

use super::Perturbed;
use crate::config::MezoConfig;
use crate::gpu::Recorder;
use crate::kernels::zeroth_order::{PerturbConstants, perturb};
use crate::reference::random::stream;

/// One read and one write of W.
pub(super) fn record(rec: &mut Recorder, parameter: &Perturbed<'_>, hyper: &MezoConfig, lr: f64) {
    let constants = constants(hyper, lr, &parameter.weight.shape);
    perturb(rec, parameter.weight, [parameter.how, parameter.step.step], stream(parameter.name), constants);
}

/// Vectors, which are norms' gains and biases, do not decay, as in the authors' code.
pub(super) fn constants(hyper: &MezoConfig, lr: f64, shape: &[usize]) -> PerturbConstants {
    let weight_decay = if shape.len() > 1 { hyper.weight_decay } else { 0.0 };
    PerturbConstants { eps: hyper.eps, lr, weight_decay }
}
