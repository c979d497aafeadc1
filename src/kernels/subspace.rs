//! Subspaces of a gradient, those of its leading singular vectors among them, and Adam in them: GaLore's, Fira's, APOLLO's.

use super::random::gaussian;
use super::scaled::{Scaled, flag, row_norms};
use super::{LANES, Output, log_decay, matmul, reduction_lanes};
use crate::gpu::{Class, Kernel, Recorder, Tensor, grid, kernel};

pub(super) const KERNELS: &[Kernel] = &[
    kernel!("interval_gate", "step"),
    kernel!("orthonormalize_rows", "reduce"),
    kernel!("jacobi_rows", "reduce"),
    kernel!("select_basis", "reduce"),
    kernel!("subspace_moments", "reduce", "step"),
    kernel!("subtract"),
];

/// Directions beyond the rank that the search keeps, and its power iterations (Halko, Martinsson & Tropp 2011,
/// arXiv 0909.4061, section 4.5 and algorithm 4.4).
const OVERSAMPLING: usize = 8;
const POWER_ITERATIONS: usize = 3;
/// Rotations of every pair; they converge quadratically.
const SWEEPS: usize = 12;

/// Every `interval` steps from the first on, fills `basis` `[smaller side, r]` with the leading singular vectors of
/// `gradient` m×n along its smaller side, the first first.
///
/// A randomized search, exact where r + 8 reaches the smaller side; all of it on the device, and left out by the device
/// in all other steps.
pub fn renew_basis(
    rec: &mut Recorder,
    gradient: &Tensor,
    basis: &Tensor,
    [statistics, step]: [&Tensor; 2],
    interval: u32,
    stream: u32,
) {
    let [m, n] = [gradient.shape[0], gradient.shape[1]];
    let (small, large, rank) = (m.min(n), m.max(n), basis.shape[1]);
    assert_eq!(basis.shape[0], small, "a basis {:?} of a gradient {m}×{n}", basis.shape);
    let k = small.min(rank + OVERSAMPLING);
    let y = rec.transient(Class::Scratch, "search basis", &[k, small]);
    let z = rec.transient(Class::Scratch, "search image", &[k, large]);
    // Rows along the smaller side to rows along the larger one, and back.
    let out = |rec: &mut Recorder, y: &Tensor, z: &Tensor| match m >= n {
        true => matmul::nt(rec, y, gradient, z, Output::Write),
        false => matmul::nn(rec, y, gradient, z, Output::Write),
    };
    let back = |rec: &mut Recorder, z: &Tensor, y: &Tensor| match m >= n {
        true => matmul::nn(rec, z, gradient, y, Output::Write),
        false => matmul::nt(rec, z, gradient, y, Output::Write),
    };
    rec.gated(&KERNELS[0], &[statistics, step], &[("INTERVAL", interval.into())], |rec| {
        gaussian(rec, &z, step, 1.0, stream, 1);
        back(rec, &z, &y);
        for _ in 0..POWER_ITERATIONS {
            orthonormalize(rec, &y);
            out(rec, &y, &z);
            back(rec, &z, &y);
        }
        orthonormalize(rec, &y);
        out(rec, &y, &z);
        let sizes = [("ROWS", k as f64), ("COLS", large as f64), ("Y_COLS", small as f64)];
        let constants = [&sizes[..], &[("SWEEPS", SWEEPS as f64), one_workgroup(rec)]].concat();
        rec.dispatch(&KERNELS[2], &[&z, &y], &constants, [1, 1, 1]);
        let norms = row_norms(rec, &Scaled::new(&z));
        let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
        let constants = [("ROWS", k as f64), ("COLS", small as f64), ("RANK", rank as f64), lanes];
        rec.dispatch(&KERNELS[3], &[&y, &norms, basis], &constants, grid(k));
    });
}

/// The rows of y to orthonormal ones, in place.
fn orthonormalize(rec: &mut Recorder, y: &Tensor) {
    let constants = [("ROWS", y.shape[0] as f64), ("COLS", y.shape[1] as f64), one_workgroup(rec)];
    rec.dispatch(&KERNELS[1], &[y], &constants, [1, 1, 1]);
}

/// Lanes of a workgroup that works alone.
fn one_workgroup(rec: &Recorder) -> (&'static str, f64) {
    ("WG", if rec.profile.software { 8.0 } else { 256.0 })
}

/// Every `interval` steps from the first on, fills the rows of `basis` `[r, n]` with orthonormal random ones.
pub fn random_basis(rec: &mut Recorder, basis: &Tensor, [statistics, step]: [&Tensor; 2], interval: u32, stream: u32) {
    let [rows, cols] = [basis.shape[0], basis.shape[1]];
    assert!(rows <= cols, "{rows} orthonormal rows of {cols}");
    rec.gated(&KERNELS[0], &[statistics, step], &[("INTERVAL", interval.into())], |rec| {
        gaussian(rec, basis, step, 1.0, stream, interval);
        orthonormalize(rec, basis);
    });
}

/// The gradient m×n in the coordinates of `basis`, `[larger side, r]`: a row for each channel.
pub fn project(rec: &mut Recorder, gradient: &Tensor, basis: &Tensor) -> Tensor {
    let [m, n] = [gradient.shape[0], gradient.shape[1]];
    let projected = rec.transient(Class::Scratch, "projected gradient", &[m.max(n), basis.shape[1]]);
    if m >= n {
        matmul::nn(rec, gradient, basis, &projected, Output::Write);
    } else {
        matmul::tn(rec, gradient, basis, &projected, Output::Write);
    }
    projected
}

/// A matrix m×n from its coordinates.
pub fn project_back(rec: &mut Recorder, projected: &Tensor, basis: &Tensor, shape @ [m, n]: [usize; 2]) -> Tensor {
    let whole = rec.transient(Class::Scratch, "projected back", &shape);
    if m >= n {
        matmul::nt(rec, projected, basis, &whole, Output::Write);
    } else {
        matmul::nt(rec, basis, projected, &whole, Output::Write);
    }
    whole
}

/// Hyper-parameters of Adam in a subspace.
#[derive(Clone, Copy, Debug)]
pub struct SubspaceConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// Moments `[channels, r]` in place; squared norms of the step without bias corrections and of the projected gradient,
/// `[channels, 2]`. The step with them goes to `direction`, if it is wanted.
pub fn moments(
    rec: &mut Recorder,
    projected: &Tensor,
    moments: [&Tensor; 2],
    [statistics, step]: [&Tensor; 2],
    hyper: SubspaceConstants,
    direction: Option<&Tensor>,
) -> Tensor {
    let [channels, rank] = [projected.shape[0], projected.shape[1]];
    let wanted = flag("DIRECTION", direction.is_some());
    let unwritten = rec.transient(Class::Scratch, "no direction", &[1]);
    let direction = direction.unwrap_or(&unwritten);
    let sums = rec.transient(Class::Scratch, "channel sums", &[channels, 2]);
    let lanes = reduction_lanes(&rec.profile).min(rank.next_power_of_two());
    let [log1, log2] = [hyper.beta1, hyper.beta2].map(log_decay);
    let constants = [
        ("CHANNELS", channels as f64),
        ("RANK", rank as f64),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("REST1", 1.0 - hyper.beta1),
        ("REST2", 1.0 - hyper.beta2),
        ("LOG_BETA1", log1),
        ("LOG_BETA2", log2),
        ("EPS", hyper.eps),
        wanted,
        ("WG", lanes as f64),
    ];
    let bindings = [projected, statistics, moments[0], moments[1], direction, &sums, step];
    rec.dispatch(&KERNELS[4], &bindings, &constants, grid(channels));
    sums
}

/// y ← x − scale·y.
pub fn subtract(rec: &mut Recorder, x: &Tensor, y: &Tensor, scale: f64) {
    assert_eq!(x.len(), y.len(), "subtract: x {:?}, y {:?}", x.shape, y.shape);
    let len = x.len();
    rec.dispatch(&KERNELS[5], &[x, y], &[("LEN", len as f64), ("SCALE", scale)], grid(len.div_ceil(LANES)));
}
