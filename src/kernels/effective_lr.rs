//! Steps whose length the device computes: two rates `[2]`, one for the learning rate and one for the update.

use super::scaled::{Scaled, WholeNorm, whole_factor};
use super::{WORKGROUP_SIZE, flag, log_decay};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    UPDATE_RATES = "update_rates" + "step";
    GROWTH_LIMIT = "growth_limit" + "step";
    APPLY_EFFECTIVE_LR = "apply_effective_lr" + "step";
}

/// How Adafactor and related methods compute their rates.
#[derive(Clone, Copy, Debug)]
pub struct RateConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Updates with a larger root mean square are scaled down to this one.
    pub clip_threshold: f64,
    /// Whether the rate is at most 1/√t.
    pub relative: bool,
    /// If set, the rate is multiplied by the weight's root mean square, which counts as at least this.
    pub least_rms: Option<f64>,
}

/// How the norm-growth limiter computes its rates.
#[derive(Clone, Copy, Debug)]
pub struct LimitConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// γ.
    pub growth_limit: f64,
    /// Added to the last norm, which is a divisor.
    pub eps: f64,
    /// β₁ and β₂ of Adam's bias corrections, if the rate includes them.
    pub corrected: Option<[f64; 2]>,
}

/// Rates for an update U = `x` of `weight`.
pub fn update_rates(rec: &mut Recorder, x: &Scaled, weight: &Tensor, step: &Tensor, hyper: RateConstants) -> Tensor {
    let root = (weight.len() as f64).sqrt();
    let over_rms = whole_factor(rec, x, WholeNorm::Frobenius, root);
    let over_weight = match hyper.least_rms {
        Some(_) => whole_factor(rec, &Scaled::new(weight), WholeNorm::Frobenius, root),
        None => over_rms.clone(),
    };
    let rates = rec.transient(Class::Scratch, DType::F32, "rates", &[2]);
    let constants = [
        ("LR", hyper.lr),
        ("THRESHOLD", hyper.clip_threshold),
        flag("RELATIVE", hyper.relative),
        flag("SCALED", hyper.least_rms.is_some()),
        ("LEAST_RMS", hyper.least_rms.unwrap_or(0.0)),
    ];
    rec.dispatch(&UPDATE_RATES, &[&over_rms, &over_weight, &rates, step], &constants, [1, 1, 1]);
    rates
}

/// Rates for an update `x` whose norm may grow by at most a factor per step; `last` `[1]` is the norm of the previous
/// update.
pub fn growth_limit(
    rec: &mut Recorder,
    x: &Scaled,
    last: &Tensor,
    statistics: &Tensor,
    step: &Tensor,
    hyper: LimitConstants,
) -> Tensor {
    let over_norm = whole_factor(rec, x, WholeNorm::Frobenius, 1.0);
    let rates = rec.transient(Class::Scratch, DType::F32, "rates", &[2]);
    let logarithms = hyper.corrected.unwrap_or([0.5; 2]).map(log_decay);
    let constants = [
        ("LR", hyper.lr),
        ("GAMMA", hyper.growth_limit),
        ("EPS", hyper.eps),
        flag("CORRECTED", hyper.corrected.is_some()),
        ("LOG_BETA1", logarithms[0]),
        ("LOG_BETA2", logarithms[1]),
    ];
    rec.dispatch(&GROWTH_LIMIT, &[&over_norm, statistics, last, &rates, step], &constants, [1, 1, 1]);
    rates
}

/// w −= rate · (`rates[1]` · scale · X + weight_decay · w), where rate is `rates[0]` times the schedule, in place.
pub fn apply_effective_lr(
    rec: &mut Recorder,
    x: &Scaled,
    weight: &Tensor,
    rates: &Tensor,
    [statistics, step]: [&Tensor; 2],
    [scale, weight_decay]: [f64; 2],
) {
    assert_eq!(weight.len(), x.base.len(), "apply_effective_lr: weight {:?}, X {:?}", weight.shape, x.base.shape);
    let [rows, cols] = x.shape();
    let [has_rows, has_cols] = x.flags();
    let constants = [
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("SCALE", scale),
        ("WEIGHT_DECAY", weight_decay),
        has_rows,
        has_cols,
    ];
    let [base, r, c] = x.bindings();
    let bindings = [weight, base, r, c, rates, statistics, step];
    rec.dispatch(&APPLY_EFFECTIVE_LR, &bindings, &constants, grid(weight.len().div_ceil(WORKGROUP_SIZE)));
}
