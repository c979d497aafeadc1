//! Subspaces of a gradient, such as that of its leading singular vectors, and Adam in them: for GaLore, Fira and
//! APOLLO.

use super::random::gaussian;
use super::scaled::{Scaled, materialize, row_norms};
use super::{Output, WORKGROUP_SIZE, flag, log_decay, matmul, reduction_lanes};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    INTERVAL_GATE = "interval_gate" + "step";
    UNIT_ROWS = "unit_rows" + "reduce";
    IDENTITY = "identity";
    NEXT_ROUND = "next_round";
    ELIMINATE = "eliminate";
    JACOBI_TURNS = "jacobi_turns";
    JACOBI_ROTATE = "jacobi_rotate";
    SELECT_BASIS = "select_basis" + "reduce";
    SUBSPACE_MOMENTS = "subspace_moments" + "reduce" + "step";
    SUBTRACT = "subtract";
}

/// Factorizations per [`orthonormalize`]: between multiplications by the gradient, and for final rows.
const FACTORS_BETWEEN: usize = 2;
const FACTORS: usize = 4;
/// Extra directions beyond the rank, and power iterations, of the search (Halko, Martinsson & Tropp 2011, arXiv
/// 0909.4061, section 4.5 and algorithm 4.4).
const OVERSAMPLING: usize = 8;
const POWER_ITERATIONS: usize = 3;
/// Sweeps over all pairs, which converge quadratically, in two passes. In single precision a gram matrix resolves only
/// what is above a root of its precision; the second pass, on nearly orthogonal rows, is accurate at all scales (Demmel
/// & Veselić 1992, doi 10.1137/0613074).
const SWEEPS: [usize; 2] = [9, 6];

/// Every `interval` steps, starting with the first, fills `basis` `[smaller side, r]` with the leading singular vectors
/// of `gradient` m×n along its smaller side, leading vector first.
///
/// A randomized search, exact if r + 8 reaches the smaller side; runs entirely on the device.
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
    // Maps rows along the smaller side to rows along the larger one, and back.
    let out = |rec: &mut Recorder, y: &Tensor| {
        let z = rec.transient(Class::Scratch, DType::F32, "search image", &[k, large]);
        match m >= n {
            true => matmul::nt(rec, y, gradient, &z, Output::Write),
            false => matmul::nn(rec, y, gradient, &z, Output::Write),
        }
        z
    };
    let back = |rec: &mut Recorder, z: &Tensor| {
        let y = rec.transient(Class::Scratch, DType::F32, "search basis", &[k, small]);
        match m >= n {
            true => matmul::nn(rec, z, gradient, &y, Output::Write),
            false => matmul::nt(rec, z, gradient, &y, Output::Write),
        }
        y
    };
    rec.every_n_steps(interval, |rec| {
        let mut z = rec.transient(Class::Scratch, DType::F32, "random image", &[k, large]);
        gaussian(rec, &z, step, 1.0, stream, 1);
        for _ in 0..POWER_ITERATIONS {
            let y = back(rec, &z);
            let y = orthonormalize(rec, y, FACTORS_BETWEEN);
            z = out(rec, &y);
        }
        let y = back(rec, &z);
        let mut y = orthonormalize(rec, y, FACTORS);
        z = out(rec, &y);
        for sweeps in SWEEPS {
            (y, z) = orthogonalize(rec, &y, &z, sweeps);
        }
        let norms = row_norms(rec, &Scaled::new(&z));
        let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
        let constants = [("ROWS", k as f64), ("COLS", small as f64), ("RANK", rank as f64), lanes];
        when_due(rec, [statistics, step], interval, |rec| {
            rec.dispatch(&SELECT_BASIS, &[&y, &norms, basis], &constants, grid(k));
        });
    });
}

/// Records the end of a renewal; `body` does not run if the run was halted, or in a replay without a step.
fn when_due(rec: &mut Recorder, shared: [&Tensor; 2], interval: u32, body: impl FnOnce(&mut Recorder)) {
    rec.gated(&INTERVAL_GATE, &shared, &[("INTERVAL", interval.into())], body);
}

/// The rows of z, rotated among each other until orthogonal, and the rows of y rotated along with them.
fn orthogonalize(rec: &mut Recorder, y: &Tensor, z: &Tensor, sweeps: usize) -> (Tensor, Tensor) {
    let k = y.shape[0];
    let pairs = k.div_ceil(2);
    let turns = rec.transient(Class::Scratch, DType::F32, "turns of pairs", &[pairs, 4]);
    let Combination { gram, combination: rotation, round } = Combination::new(rec, z);
    let (rows, lanes) = (("ROWS", k as f64), ("WG", reduction_lanes(&rec.profile) as f64));
    rec.repeated(sweeps * (2 * pairs - 1), |rec| {
        rec.dispatch(&JACOBI_TURNS, &[&gram, &round, &turns], &[rows, lanes], [1, 1, 1]);
        let groups = [pairs.div_ceil(WORKGROUP_SIZE) as u32, pairs as u32, 1];
        rec.dispatch(&JACOBI_ROTATE, &[&turns, &gram, &rotation], &[rows], groups);
    });
    let mut turned = |x: &Tensor| {
        let y = rec.transient(Class::Scratch, DType::F32, "turned rows", &x.shape);
        matmul::nn(rec, &rotation, x, &y, Output::Write);
        y
    };
    (turned(y), turned(z))
}

/// Orthonormal rows, the first n of which span at least the first n rows of y: those of Gram–Schmidt, signs included. A
/// zero row stays zero.
///
/// Uses the Cholesky factor of the gram matrix, `factors` times over, to handle rows of any condition number (Fukaya et
/// al. 2020, doi 10.1137/18M1218212, who shift the matrix where we omit pivots). Each factorization resolves directions
/// a hundred times smaller, down to rounding error, which is as good as any direction.
fn orthonormalize(rec: &mut Recorder, y: Tensor, factors: usize) -> Tensor {
    let mut y = y;
    for _ in 0..factors {
        unit_rows(rec, &y);
        y = without_those_before(rec, &y);
    }
    unit_rows(rec, &y);
    y
}

/// Each row of y, of length 1, minus its projection onto the span of the rows before it.
fn without_those_before(rec: &mut Recorder, y: &Tensor) -> Tensor {
    let k = y.shape[0];
    let Combination { gram, combination, round } = Combination::new(rec, y);
    rec.repeated(k - 1, |rec| {
        rec.dispatch(&NEXT_ROUND, &[&round], &[], [1, 1, 1]);
        rec.dispatch(&ELIMINATE, &[&round, &gram, &combination], &[("ROWS", k as f64)], [k as u32, 1, 1]);
    });
    let rest = rec.transient(Class::Scratch, DType::F32, "rows without those before", &y.shape);
    matmul::nn(rec, &combination, y, &rest, Output::Write);
    rest
}

/// Builds a new set of k rows as combinations of another.
struct Combination {
    /// `[k, k]`, gram matrix of the rows.
    gram: Tensor,
    /// `[k, k]`, initially the identity.
    combination: Tensor,
    /// `[1]`, initially 0.
    round: Tensor,
}

impl Combination {
    fn new(rec: &mut Recorder, y: &Tensor) -> Self {
        let k = y.shape[0];
        let [gram, combination] = ["gram of rows", "combination of rows"]
            .map(|name| rec.transient(Class::Scratch, DType::F32, name, &[k, k]));
        let round = rec.transient(Class::Scratch, DType::U32, "round", &[1]);
        matmul::nt(rec, y, y, &gram, Output::Write);
        rec.dispatch(&IDENTITY, &[&combination, &round], &[("ROWS", k as f64)], grid((k * k).div_ceil(WORKGROUP_SIZE)));
        Self { gram, combination, round }
    }
}

/// Scales rows to length 1, in place.
fn unit_rows(rec: &mut Recorder, y: &Tensor) {
    let [rows, cols] = [y.shape[0], y.shape[1]];
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    rec.dispatch(&UNIT_ROWS, &[y], &[("ROWS", rows as f64), ("COLS", cols as f64), lanes], grid(rows));
}

/// Every `interval` steps, starting with the first, fills `basis` `[r, n]` with random orthonormal rows.
pub fn random_basis(rec: &mut Recorder, basis: &Tensor, [statistics, step]: [&Tensor; 2], interval: u32, stream: u32) {
    let [rows, cols] = [basis.shape[0], basis.shape[1]];
    assert!(rows <= cols, "{rows} orthonormal rows of {cols}");
    rec.every_n_steps(interval, |rec| {
        let y = rec.transient(Class::Scratch, DType::F32, "random basis", &[rows, cols]);
        gaussian(rec, &y, step, 1.0, stream, interval);
        let y = orthonormalize(rec, y, FACTORS);
        when_due(rec, [statistics, step], interval, |rec| materialize(rec, &Scaled::new(&y), basis));
    });
}

/// The gradient m×n in the coordinates of `basis`, `[larger side, r]`: one row per channel.
pub fn project(rec: &mut Recorder, gradient: &Tensor, basis: &Tensor) -> Tensor {
    let [m, n] = [gradient.shape[0], gradient.shape[1]];
    let projected = rec.transient(Class::Scratch, DType::F32, "projected gradient", &[m.max(n), basis.shape[1]]);
    if m >= n {
        matmul::nn(rec, gradient, basis, &projected, Output::Write);
    } else {
        matmul::tn(rec, gradient, basis, &projected, Output::Write);
    }
    projected
}

/// The matrix m×n with these coordinates.
pub fn project_back(rec: &mut Recorder, projected: &Tensor, basis: &Tensor, shape @ [m, n]: [usize; 2]) -> Tensor {
    let whole = rec.transient(Class::Scratch, DType::F32, "projected back", &shape);
    if m >= n {
        matmul::nt(rec, projected, basis, &whole, Output::Write);
    } else {
        matmul::nt(rec, basis, projected, &whole, Output::Write);
    }
    whole
}

/// Hyperparameters of Adam in a subspace.
#[derive(Clone, Copy, Debug)]
pub struct SubspaceConstants {
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

/// Updates the moments `[channels, r]` in place; returns squared norms `[channels, 2]` of the step without bias
/// corrections and of the projected gradient. Writes the bias-corrected step to `direction`, if given.
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
    let unwritten = rec.transient(Class::Scratch, DType::F32, "no direction", &[1]);
    let direction = direction.unwrap_or(&unwritten);
    let sums = rec.transient(Class::Scratch, DType::F32, "channel sums", &[channels, 2]);
    let lanes = reduction_lanes(&rec.profile).min(rank.next_power_of_two());
    let [log1, log2] = [hyper.beta1, hyper.beta2].map(log_decay);
    let constants = [
        ("CHANNELS", channels as f64),
        ("RANK", rank as f64),
        ("BETA1", hyper.beta1),
        ("BETA2", hyper.beta2),
        ("ONE_MINUS_BETA1", 1.0 - hyper.beta1),
        ("ONE_MINUS_BETA2", 1.0 - hyper.beta2),
        ("LOG_BETA1", log1),
        ("LOG_BETA2", log2),
        ("EPS", hyper.eps),
        wanted,
        ("WG", lanes as f64),
    ];
    let bindings = [projected, statistics, moments[0], moments[1], direction, &sums, step];
    rec.dispatch(&SUBSPACE_MOMENTS, &bindings, &constants, grid(channels));
    sums
}

/// y ← x − scale·y.
pub fn subtract(rec: &mut Recorder, x: &Tensor, y: &Tensor, scale: f64) {
    assert_eq!(x.len(), y.len(), "subtract: x {:?}, y {:?}", x.shape, y.shape);
    let len = x.len();
    rec.dispatch(&SUBTRACT, &[x, y], &[("LEN", len as f64), ("SCALE", scale)], grid(len.div_ceil(WORKGROUP_SIZE)));
}
