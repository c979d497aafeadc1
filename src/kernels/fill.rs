//! Fills a tensor with a constant.

use super::{REAL_LANES, widest};
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    FILL = "fill" + "vec4";
    FILL_SCALAR = "fill_scalar": "fill" + "scalar";
}

/// y = value.
pub fn fill(rec: &mut Recorder, y: &Tensor, value: f32) {
    let (kernel, len) = widest([&FILL, &FILL_SCALAR], y.len());
    let constants = [("LEN", len as f64), ("VALUE", value.into())];
    rec.dispatch(kernel, &[y], &constants, grid(len.div_ceil(REAL_LANES)));
}
