//! A constant in every element.

use super::LANES;
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    FILL = "fill";
}

/// y = value.
pub fn fill(rec: &mut Recorder, y: &Tensor, value: f32) {
    let constants = [("LEN", y.len() as f64), ("VALUE", value.into())];
    rec.dispatch(&FILL, &[y], &constants, grid(y.len().div_ceil(LANES)));
}
