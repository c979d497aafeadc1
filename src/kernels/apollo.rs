//! APOLLO: Adam's moments of a projected gradient, and the factors that they make for the gradient itself.

use super::reduction_lanes;
use super::scaled::flag;
use crate::gpu::{Class, Kernel, Recorder, Tensor, grid, kernel};

pub(super) const KERNELS: &[Kernel] =
    &[kernel!("apollo_moments", "reduce", "step"), kernel!("apollo_factors", "reduce")];

/// Hyper-parameters of the moments.
#[derive(Clone, Copy, Debug)]
pub struct MomentConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// One factor for all channels.
    pub whole: bool,
}

/// Factors `[channels]` of a gradient whose projection is `projected` `[channels, r]`; the moments, of its shape, in place;
/// the clip factor is in them.
pub fn channel_factors(
    rec: &mut Recorder,
    projected: &Tensor,
    moments: [&Tensor; 2],
    statistics: &Tensor,
    hyper: MomentConstants,
) -> Tensor {
    let [channels, rank] = [projected.shape[0], projected.shape[1]];
    let sums = rec.transient(Class::Scratch, "channel sums", &[channels, 2]);
    let lanes = reduction_lanes(&rec.profile).min(rank.next_power_of_two());
    let constants = [
        ("CHANNELS", channels as f64),
        ("RANK", rank as f64),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("REST1", 1.0 - hyper.beta1),
        ("REST2", 1.0 - hyper.beta2),
        ("EPS", hyper.eps),
        ("WG", lanes as f64),
    ];
    let bindings = [projected, statistics, moments[0], moments[1], &sums];
    rec.dispatch(&KERNELS[0], &bindings, &constants, grid(channels));
    factors_of(rec, &sums, statistics, hyper.whole)
}

/// Factors `[channels]` from squared norms `[channels, 2]` of a step and of what it was made from, the clip factor in them.
pub fn factors_of(rec: &mut Recorder, sums: &Tensor, statistics: &Tensor, whole: bool) -> Tensor {
    let channels = sums.shape[0];
    let factors = rec.transient(Class::Scratch, "channel factors", &[channels]);
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [("CHANNELS", channels as f64), flag("WHOLE", whole), lanes];
    rec.dispatch(&KERNELS[1], &[sums, statistics, &factors], &constants, [1, 1, 1]);
    factors
}
