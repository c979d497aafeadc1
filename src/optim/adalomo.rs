//! AdaLomo (Lv et al. 2023, arXiv 2310.10195, algorithm 1): Adafactor's second moment, every matrix's update normalized
//! by itself, so that it can be made as soon as its gradient is whole. The configuration then runs updates inside the
//! backward pass, and no gradient of the whole model is ever held.

use super::{State, StepTensors, Update, adafactor};
use crate::Result;
use crate::config::AdalomoConfig;
use crate::gpu::Recorder;

/// As [`adafactor::record`].
pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &AdalomoConfig,
    lr: f64,
) -> Result<Vec<State>> {
    adafactor::record(rec, update, step, &hyper.as_adafactor(), lr)
}
