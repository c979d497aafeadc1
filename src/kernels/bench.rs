//! The adapter's peak rates, against which other kernels' speeds are reported.

use crate::gpu::{Need, Recorder, Tensor, grid, kernels};

kernels! {
    BENCH_COPY = "bench_copy";
    BENCH_FMA = "bench_fma";
    BENCH_MATRIX_UNITS = "bench_matrix_units", needs Need::F16, Need::Subgroups(32), Need::MatrixUnits;
}

/// Workgroup size of the first two kernels.
const WORKGROUP_SIZE: usize = 256;

/// y = x, in vec4s: reads as many bytes as it writes.
pub fn copy(rec: &mut Recorder, x: &Tensor, y: &Tensor) {
    assert_eq!(x.len(), y.len(), "a copy of {:?} to {:?}", x.shape, y.shape);
    assert!(x.len().is_multiple_of(4), "a copy of {:?} by vec4s", x.shape);
    let vec4s = x.len() / 4;
    rec.dispatch(&BENCH_COPY, &[x, y], &[("LEN", vec4s as f64)], grid(vec4s.div_ceil(WORKGROUP_SIZE)));
}

/// y `[n, 4]` = sums of eight numbers, each the result of 4 · rounds updates s ← s·a + b; x is `[2, 4]`: a and b.
pub fn fma(rec: &mut Recorder, x: &Tensor, y: &Tensor, rounds: u32) {
    assert_eq!((&x.shape[..], y.shape[1..].iter().product()), (&[2, 4][..], 4), "multiply-adds into {:?}", y.shape);
    let len = y.len() / 4;
    let groups = len.div_ceil(WORKGROUP_SIZE) as u32;
    rec.dispatch(&BENCH_FMA, &[x, y], &[("ROUNDS", rounds.into()), ("LEN", len as f64)], [groups, 1, 1]);
    rec.flops(u64::from(groups) * WORKGROUP_SIZE as u64 * u64::from(rounds) * 4 * 8 * 4 * 2);
}

/// y `[subgroups, 2, 4, 16, 16]` = rounds · a·b for each of two matrices a `[2, 16, 16]` and four b `[4, 16, 16]` in
/// f16.
pub fn matrix_units(rec: &mut Recorder, a: &Tensor, b: &Tensor, y: &Tensor, rounds: u32) {
    let subgroups = y.shape[0];
    assert_eq!([a.len(), b.len(), y.len()], [512, 1024, subgroups * 2048], "matrix units into {:?}", y.shape);
    assert!(subgroups.is_multiple_of(4), "{subgroups} subgroups, four to a workgroup");
    rec.dispatch(&BENCH_MATRIX_UNITS, &[a, b, y], &[("ROUNDS", rounds.into())], [subgroups as u32 / 4, 1, 1]);
    rec.flops(subgroups as u64 * u64::from(rounds) * 8 * 2 * 16 * 16 * 16);
}
