//! A dynamic loss scale (Micikevicius et al., 2018, "Mixed Precision Training"): gradients of activations are multiplied by
//! a power of two so that half precision holds them, and those of parameters are divided by it where they are written.

use crate::gpu::{Class, DType, Recorder, Tensor, kernels};

kernels! {
    BEGIN_STEP = "begin_step" + "halt";
    LOSS_SCALE = "loss_scale" + "halt";
}

/// The scale and what it follows from, from step to step.
#[derive(Clone, Debug)]
pub struct LossScale {
    /// `[1]`: a power of two.
    pub scale: Tensor,
    /// `[1]`: 1 / scale.
    pub inverse: Tensor,
    /// `[2]`: good steps since the scale last changed, and steps skipped.
    pub counts: Tensor,
    growth: u32,
}

impl LossScale {
    /// The least: an overflow under it halts the run.
    pub const LEAST: f64 = 1.0 / 16384.0;
    /// The largest.
    pub const MOST: f64 = (1_u64 << 40) as f64;
    /// Numbers that it adds to a step's statistics: the scale of the next step, and steps skipped so far.
    pub const STATISTICS: usize = 2;

    /// Whether it may be so much: a power of two within its bounds.
    pub fn may_be(scale: f64) -> bool {
        let is_power = scale.to_bits().trailing_zeros() >= f64::MANTISSA_DIGITS - 1;
        is_power && (Self::LEAST..=Self::MOST).contains(&scale)
    }

    /// One that begins at `initial` and doubles after `growth` good steps in a row.
    ///
    /// # Panics
    /// On what it [may not be](Self::may_be).
    pub fn new(rec: &mut Recorder, initial: f64, growth: u32) -> Self {
        assert!(Self::may_be(initial), "a loss scale of {initial}");
        let mut number = |name: &str, values: &[f32]| rec.initialized(Class::Scratch, name, &[values.len()], values);
        Self {
            scale: number("loss scale", &[initial as f32]),
            inverse: number("inverse loss scale", &[(1.0 / initial) as f32]),
            counts: number("steps under the loss scale", &[0.0, 0.0]),
            growth,
        }
    }

    /// At the beginning of a step: its number counts updates, not the steps that were skipped.
    pub fn begin_step(&self, rec: &mut Recorder, statistics: &Tensor, step: &Tensor) {
        assert_eq!(step.dtype, DType::U32, "begin_step");
        rec.dispatch(&BEGIN_STEP, &[&self.counts, statistics, step], &[], [1, 1, 1]);
    }

    /// When the clip factor is known: the scale of the next step. It and the number of steps skipped are the last numbers of
    /// the statistics.
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
