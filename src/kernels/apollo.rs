//! APOLLO: per-channel factors for a gradient, from Adam's step on its projection.

use super::{flag, reduction_lanes};
use crate::gpu::{Class, DType, Recorder, Tensor, kernels};

kernels! {
    APOLLO_FACTORS = "apollo_factors" + "reduce";
}

/// Factors `[channels]` from the squared norms `[channels, 2]` of a step and of the projected gradient behind it; a
/// single factor for all channels if `whole`. They include the clip factor.
pub fn channel_factors(rec: &mut Recorder, sums: &Tensor, statistics: &Tensor, whole: bool) -> Tensor {
    let channels = sums.shape[0];
    let factors = rec.transient(Class::Scratch, DType::F32, "channel factors", &[channels]);
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [("CHANNELS", channels as f64), flag("WHOLE", whole), lanes];
    rec.dispatch(&APOLLO_FACTORS, &[sums, statistics, &factors], &constants, [1, 1, 1]);
    factors
}
