//! A dynamic loss scale (Micikevicius et al., 2018, "Mixed Precision Training"): gradients of activations are
//! multiplied by a power of two so that they fit half precision, and gradients of parameters are divided by it when
//! written.

use crate::gpu::{Class, DType, Recorder, Tensor, kernels};

kernels! {
    BEGIN_STEP = "begin_step" + "halt";
    LOSS_SCALE = "loss_scale" + "halt";
}

/// The scale and its state, kept between steps.
#[derive(Clone, Debug)]
pub struct LossScale {
    /// `[1]`: a power of two.
    pub scale: Tensor,
    /// `[1]`: 1 / scale.
    pub inverse: Tensor,
    /// `[2]`: good steps since the scale last changed, and skipped steps.
    pub counts: Tensor,
    growth: u32,
}

impl LossScale {
    /// Smallest scale: an overflow at it halts the run.
    pub const LEAST: f64 = 1.0 / 16384.0;
    /// Largest scale.
    pub const MOST: f64 = (1_u64 << 40) as f64;
    /// Entries it appends to a step's statistics: the next step's scale, and the number of skipped steps so far.
    pub const STATISTICS: usize = 2;

    /// Whether `scale` is allowed: a power of two within the bounds.
    pub fn is_valid(scale: f64) -> bool {
        let is_power = scale.to_bits().trailing_zeros() >= f64::MANTISSA_DIGITS - 1;
        is_power && (Self::LEAST..=Self::MOST).contains(&scale)
    }

    /// A scale that starts at `initial` and doubles after `growth` good steps in a row.
    ///
    /// # Panics
    /// If `initial` is [not allowed](Self::is_valid).
    pub fn new(rec: &mut Recorder, initial: f64, growth: u32) -> Self {
        assert!(Self::is_valid(initial), "a loss scale of {initial}");
        let mut number = |name: &str, values: &[f32]| rec.initialized(Class::Scratch, name, &[values.len()], values);
        Self {
            scale: number("loss scale", &[initial as f32]),
            inverse: number("inverse loss scale", &[(1.0 / initial) as f32]),
            counts: number("steps under the loss scale", &[0.0, 0.0]),
            growth,
        }
    }

    /// Starts a step: sets its number to count updates, not skipped steps.
    pub fn begin_step(&self, rec: &mut Recorder, statistics: &Tensor, step: &Tensor) {
        assert_eq!(step.dtype, DType::U32, "begin_step");
        rec.dispatch(&BEGIN_STEP, &[&self.counts, statistics, step], &[], [1, 1, 1]);
    }

    /// Sets the next step's scale, once the clip factor is known. The scale and the number of skipped steps are the
    /// last entries of the statistics.
    pub fn end_step(&self, rec: &mut Recorder, statistics: &Tensor) {
        let constants = [
            ("GROWTH", f64::from(self.growth)),
            ("LEAST", Self::LEAST),
            ("MOST", Self::MOST),
            ("AT", (statistics.len() - Self::STATISTICS) as f64),
        ];
        rec.dispatch(&LOSS_SCALE, &[statistics, &self.scale, &self.inverse, &self.counts], &constants, [1, 1, 1]);
    }
}
