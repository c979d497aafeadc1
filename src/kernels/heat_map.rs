//! A matrix as a picture.

use super::LANES;
use super::scaled::{Scaled, WholeNorm, whole_factor};
use crate::gpu::{Recorder, Tensor, grid, kernels};

kernels! {
    HEAT_MAP = "heat_map";
}

/// pixels `[height, width]`, rgba8: each the element of x `[m, n]` of largest magnitude under it, blue above zero and
/// vermilion below, as a share of `limit` times the root mean square; zero is transparent, and alpha is multiplied in.
pub fn heat_map(rec: &mut Recorder, x: &Tensor, pixels: &Tensor, limit: f64) {
    let [rows, cols] = x.shape[..] else { panic!("a matrix is wanted, got {:?}", x.shape) };
    let [height, width] = pixels.shape[..] else { panic!("pixels are [height, width], got {:?}", pixels.shape) };
    let factor = whole_factor(rec, &Scaled::new(x), WholeNorm::Frobenius, (x.len() as f64).sqrt());
    let constants = [
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("HEIGHT", height as f64),
        ("WIDTH", width as f64),
        ("LIMIT", limit),
    ];
    rec.dispatch(&HEAT_MAP, &[x, &factor, pixels], &constants, grid(pixels.len().div_ceil(LANES)));
}
