//! Subspaces of a gradient, those of its leading singular vectors among them, and Adam in them: GaLore's, Fira's, APOLLO's.

use super::random::gaussian;
use super::scaled::{Scaled, flag, materialize, row_norms};
use super::{LANES, Output, log_decay, matmul, reduction_lanes};
use crate::gpu::{Class, Kernel, Recorder, Tensor, grid, kernel};

pub(super) const KERNELS: &[Kernel] = &[
    kernel!("interval_gate", "step"),
    kernel!("orthonormalize_rows", "reduce"),
    kernel!("jacobi_gram"),
    kernel!("select_basis", "reduce"),
    kernel!("subspace_moments", "reduce", "step"),
    kernel!("subtract"),
];

/// Directions beyond the rank that the search keeps, and its power iterations (Halko, Martinsson & Tropp 2011,
/// arXiv 0909.4061, section 4.5 and algorithm 4.4).
const OVERSAMPLING: usize = 8;
const POWER_ITERATIONS: usize = 3;
/// Rotations of every pair, which converge quadratically, in two passes: single precision leaves of a gram matrix what is
/// above a root of its precision, and the second one, of rows that are nearly orthogonal, is exact in all sizes (Demmel &
/// Veselić 1992, doi 10.1137/0613074).
const SWEEPS: [usize; 2] = [9, 6];
/// Rows that shaders/jacobi_gram.wgsl has room for.
const MAX_ROTATED: usize = 2048;
/// The largest rank of a basis that [`renew_basis`] finds.
pub const MAX_RANK: usize = MAX_ROTATED - OVERSAMPLING;

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
        let (mut y, mut z) = (y.clone(), z.clone());
        for sweeps in SWEEPS {
            (y, z) = orthogonalize(rec, &y, &z, sweeps);
        }
        let norms = row_norms(rec, &Scaled::new(&z));
        let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
        let constants = [("ROWS", k as f64), ("COLS", small as f64), ("RANK", rank as f64), lanes];
        rec.dispatch(&KERNELS[3], &[&y, &norms, basis], &constants, grid(k));
    });
}

/// The rows of z, turned among each other until they are orthogonal, and those of y along with them.
fn orthogonalize(rec: &mut Recorder, y: &Tensor, z: &Tensor, sweeps: usize) -> (Tensor, Tensor) {
    let k = y.shape[0];
    assert!(k <= MAX_ROTATED, "{k} rows, there is room for {MAX_ROTATED}");
    let [gram, rotation] =
        ["gram of rows", "rotation of rows"].map(|name| rec.transient(Class::Scratch, name, &[k, k]));
    matmul::nt(rec, z, z, &gram, Output::Write);
    let alone = Alone::of(rec);
    // Of a round: the turns, all pairs of rows, and a lane's pairs of columns.
    let pairs = k.div_ceil(2);
    let round = pairs.div_ceil(alone.lanes) * (2 + k) + pairs * (1 + k.div_ceil(alone.lanes)) + 1;
    let rounds = sweeps * (2 * pairs - 1);
    let start = (k * k).div_ceil(alone.lanes);
    for (first, last) in alone.cut(rounds, |at| round + if at == 0 { start } else { 0 }) {
        let constants = [("ROWS", k as f64), ("FIRST", first as f64), ("LAST", last as f64), alone.constant()];
        rec.dispatch(&KERNELS[2], &[&gram, &rotation], &constants, [1, 1, 1]);
    }
    let mut turned = |x: &Tensor| {
        let y = rec.transient(Class::Scratch, "turned rows", &x.shape);
        matmul::nn(rec, &rotation, x, &y, Output::Write);
        y
    };
    (turned(y), turned(z))
}

/// The rows of y to orthonormal ones, in place.
fn orthonormalize(rec: &mut Recorder, y: &Tensor) {
    let [rows, cols] = [y.shape[0], y.shape[1]];
    let block = Alone::of(rec).block;
    for first in (0..rows).step_by(block) {
        let own = y.rows(first..rows.min(first + block));
        if first == 0 {
            orthonormalize_block(rec, &own);
            continue;
        }
        // As often as within a block: what rounding leaves of a row in the span of others is a direction in the end.
        let before = y.rows(0..first);
        for _ in 0..3 {
            let shares = rec.transient(Class::Scratch, "shares of rows", &[own.shape[0], first]);
            matmul::nt(rec, &own, &before, &shares, Output::Write);
            let rest = rec.transient(Class::Scratch, "rest of rows", &[own.shape[0], cols]);
            matmul::nn(rec, &shares, &before, &rest, Output::Write);
            subtract(rec, &own, &rest, 1.0);
            materialize(rec, &Scaled::new(&rest), &own);
            orthonormalize_block(rec, &own);
        }
    }
}

/// The same by one workgroup.
fn orthonormalize_block(rec: &mut Recorder, y: &Tensor) {
    let alone = Alone::of(rec);
    let [rows, cols] = [y.shape[0], y.shape[1]];
    // A look at a whole row, and a reduction.
    let look = cols.div_ceil(alone.lanes);
    let reduction = alone.lanes.ilog2() as usize;
    let row = |row: usize| 3 * (2 * look + reduction + row * (2 * look + reduction + 1)) + 2 * look + reduction + 1;
    for (first, last) in alone.cut(rows, row) {
        let constants = [("FIRST", first as f64), ("LAST", last as f64), ("COLS", cols as f64), alone.constant()];
        rec.dispatch(&KERNELS[1], &[y], &constants, [1, 1, 1]);
    }
}

/// How a workgroup works alone.
struct Alone {
    lanes: usize,
    /// Rows that it makes orthonormal; from one to the next a binding may begin.
    block: usize,
    /// See [`crate::gpu::Profile::loop_rounds`].
    loop_rounds: usize,
}

impl Alone {
    fn of(rec: &Recorder) -> Self {
        let (lanes, block) = if rec.profile.software { (8, 64) } else { (256, 256) };
        Self { lanes, block, loop_rounds: rec.profile.loop_rounds }
    }

    fn constant(&self) -> (&'static str, f64) {
        ("WG", self.lanes as f64)
    }

    /// 0..n in pieces, each of as many rounds of loops as one dispatch may take; what takes more alone stands alone.
    fn cut(&self, n: usize, rounds_of: impl Fn(usize) -> usize) -> Vec<(usize, usize)> {
        let (mut pieces, mut first, mut sum) = (Vec::new(), 0, 0);
        for at in 0..n {
            let own = rounds_of(at);
            if at > first && sum + own > self.loop_rounds {
                pieces.push((first, at));
                (first, sum) = (at, 0);
            }
            sum += own;
        }
        pieces.push((first, n));
        pieces
    }
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
