//! Adam whose second moment does not begin at 0 (Abuduweili & Liu 2024, arXiv 2412.02153): from the squared gradients of
//! the first batches, or from random numbers. As in the authors' code it is Adam in all else: v is corrected as if it had
//! begun at 0, so that the first steps are small, and vectors have no random start.

use super::{State, StepTensors, Update};
use crate::config::{AdamNonzeroConfig, SecondMomentStart};
use crate::gpu::Recorder;
use crate::kernels::adam_nonzero::{AdamNonzeroConstants, adam_nonzero};
use crate::reference::random::stream;

pub(super) fn record(
    rec: &mut Recorder,
    update: &Update<'_>,
    step: StepTensors<'_>,
    hyper: &AdamNonzeroConfig,
    lr: f64,
) -> [State; 2] {
    let states = ["exp_avg", "exp_avg_sq"].map(|what| State::like_weight(rec, update, what));
    let AdamNonzeroConfig { beta1, beta2, eps, weight_decay, bias_correction, .. } = *hyper;
    let (start, batches) = match hyper.start {
        SecondMomentStart::Data => (hyper.start_scale, hyper.start_batches),
        SecondMomentStart::Random => {
            // Fan-in and fan-out; a vector has none.
            let start = match update.weight.shape[..] {
                [m, n] => 2.0 * hyper.start_scale / (m + n) as f64,
                _ => 0.0,
            };
            (start, 0)
        }
    };
    let stream = stream(update.name);
    let constants =
        AdamNonzeroConstants { lr, beta1, beta2, eps, weight_decay, start, batches, stream, bias_correction };
    let moments = [&states[0].tensor, &states[1].tensor];
    adam_nonzero(rec, update.weight, update.gradient, moments, [step.statistics, step.step], constants);
    states
}
