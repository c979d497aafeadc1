//! APOLLO: factors for the channels of a gradient, from what Adam makes of its projection.

use super::{flag, reduction_lanes};
use crate::gpu::{Class, DType, Recorder, Tensor, kernels};

kernels! {
    APOLLO_FACTORS = "apollo_factors" + "reduce";
}

/// Factors `[channels]` from squared norms `[channels, 2]` of a step and of what it was made from; one for all if `whole`;
/// the clip factor is in them.
pub fn channel_factors(rec: &mut Recorder, sums: &Tensor, statistics: &Tensor, whole: bool) -> Tensor {
    let channels = sums.shape[0];
    let factors = rec.transient(Class::Scratch, DType::F32, "channel factors", &[channels]);
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [("CHANNELS", channels as f64), flag("WHOLE", whole), lanes];
    rec.dispatch(&APOLLO_FACTORS, &[sums, statistics, &factors], &constants, [1, 1, 1]);
    factors
}
