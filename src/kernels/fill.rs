//! A constant in every element.

use super::LANES;
use crate::gpu::{Kernel, Recorder, Tensor, grid, kernel};

pub(super) const KERNELS: &[Kernel] = &[kernel!("fill")];

/// y = value.
pub fn fill(rec: &mut Recorder, y: &Tensor, value: f32) {
    let constants = [("LEN", y.len() as f64), ("VALUE", value.into())];
    rec.dispatch(&KERNELS[0], &[y], &constants, grid(y.len().div_ceil(LANES)));
}
