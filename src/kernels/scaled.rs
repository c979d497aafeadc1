//! Matrices normalized without being rewritten: X = diag(r)·base·diag(c), where only r and c change.
//!
//! Several matrices of one shape may be stacked in one tensor. Every kernel here processes them together, each with its
//! own scalings and bit-identical to processing it alone.

use super::momentum::Average;
use super::{WORKGROUP_SIZE, flag, lane_width, lanes_within, of_width, reduction_lanes, reduction_rounds};
use crate::gpu::{Class, DType, Kernel, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    SCALE_ROWS = "scale_rows" + "reduce";
    SCALE_ROWS_VEC4 = "scale_rows_vec4" + "reduce_short";
    SCALE_COLUMNS = "scale_columns";
    WHOLE_PARTIAL = "whole_partial" + "reduce" + "scalar";
    WHOLE_PARTIAL_VEC4 = "whole_partial_vec4": "whole_partial" + "reduce" + "vec4";
    WHOLE_FACTOR = "whole_factor" + "reduce";
    SCALE_WHOLE = "scale_whole";
    ROW_NORMS = "row_norms" + "reduce" + "scalar";
    ROW_NORMS_VEC4 = "row_norms_vec4": "row_norms" + "reduce" + "vec4";
    DROP_ROWS = "drop_rows" + "reduce";
    STANDARDIZE = "standardize" + "reduce" + "scalar";
    STANDARDIZE_VEC4 = "standardize_vec4": "standardize" + "reduce" + "vec4";
    MATERIALIZE = "materialize" + "scalar";
    MATERIALIZE_VEC4 = "materialize_vec4": "materialize" + "vec4";
    APPLY_SCALED = "apply_scaled" + "step" + "scalar";
    APPLY_SCALED_VEC4 = "apply_scaled_vec4": "apply_scaled" + "step" + "vec4";
    APPLY_MOMENTUM = "apply_momentum" + "step" + "scalar";
    APPLY_MOMENTUM_VEC4 = "apply_momentum_vec4": "apply_momentum" + "step" + "vec4";
    CHANGE_PARTIAL = "change_partial" + "reduce";
    CHANGE_GATE = "change_gate" + "reduce";
}

/// Elements of a row that one lane of `scale_rows` can keep in registers.
const MAX_PER_LANE: usize = 64;
/// Largest workgroup under WebGPU's default limits.
const MAX_LANES: usize = 256;
/// Most partial sums per matrix.
const MAX_BLOCKS: usize = 256;

/// Widest matrix whose rows `scale_rows` can keep in registers.
pub const MAX_COLS: usize = MAX_PER_LANE * MAX_LANES;

/// diag(r)·base·diag(c), or its sign: m×n, r `[m]`, c `[n]`; a missing scaling is 1. Or a batch of B such matrices:
/// base `[B·m, n]`, r `[B·m]`, c `[B, n]`.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The matrix to scale.
    pub base: Tensor,
    /// Row scalings.
    pub r: Option<Tensor>,
    /// Column scalings.
    pub c: Option<Tensor>,
    /// Whether to take the sign of the result.
    pub sign: bool,
    /// Whether r and c must outlive the plan being recorded.
    pub across_plans: bool,
    /// B.
    batch: usize,
    /// Bound in place of a missing scaling, and never read: a row of the base.
    unread: Tensor,
}

/// The norm used by a whole-matrix scaling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeNorm {
    /// √Σx².
    Frobenius,
    /// max|x|.
    Max,
}

/// Hyperparameters of a step along a normalized gradient.
#[derive(Clone, Copy, Debug)]
pub struct StepConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// Factor on the matrix.
    pub scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Scaled {
    /// The unscaled matrix. A vector `[n]` is a matrix of one row.
    pub fn new(base: &Tensor) -> Self {
        let base = match base.shape[..] {
            [_, _] => base.clone(),
            [n] => base.reshaped(&[1, n]),
            _ => panic!("expected a matrix, got {:?}", base.shape),
        };
        Self::batch(&base, 1, [base.shape[0], base.shape[1]])
    }

    /// `batch` matrices m×n, stacked in `base`.
    pub fn batch(base: &Tensor, batch: usize, [m, n]: [usize; 2]) -> Self {
        let base = base.reshaped(&[batch * m, n]);
        Self { unread: base.rows(0..1), base, r: None, c: None, sign: false, across_plans: false, batch }
    }

    /// [m, n] of each matrix.
    pub fn shape(&self) -> [usize; 2] {
        [self.base.shape[0] / self.batch, self.base.shape[1]]
    }

    /// Number of matrices.
    pub fn n_matrices(&self) -> usize {
        self.batch
    }

    /// An unscaled batch of the same shape.
    pub fn like(&self, base: &Tensor) -> Self {
        Self { across_plans: self.across_plans, ..Self::batch(base, self.batch, self.shape()) }
    }

    fn rows(&self) -> (&'static str, f64) {
        ("ROWS", self.shape()[0] as f64)
    }

    fn cols(&self) -> (&'static str, f64) {
        ("COLS", self.shape()[1] as f64)
    }

    fn matrices(&self) -> (&'static str, f64) {
        ("MATRICES", self.batch as f64)
    }

    /// Numbers per lane, and the extents for a kernel on Reals, with columns counted in Reals.
    fn reals(&self, rec: &Recorder) -> (usize, [(&'static str, f64); 3]) {
        let cols = self.shape()[1];
        let width = lane_width(&rec.profile, cols);
        (width, [self.matrices(), self.rows(), ("COLS", (cols / width) as f64)])
    }

    /// Records a kernel with one Real of the matrices per lane.
    fn element_wise(
        &self,
        rec: &mut Recorder,
        forms: [&'static Kernel; 2],
        bindings: &[&Tensor],
        constants: &[(&'static str, f64)],
    ) {
        let (width, extents) = self.reals(rec);
        let constants = [&extents, &self.flags()[..], &[self.sign_flag()], constants].concat();
        rec.dispatch(
            of_width(width, forms),
            bindings,
            &constants,
            grid((self.base.len() / width).div_ceil(WORKGROUP_SIZE)),
        );
    }

    /// Records a kernel with one workgroup per row.
    fn row_wise(&self, rec: &mut Recorder, forms: [&'static Kernel; 2], written: &Tensor) {
        let (width, extents) = self.reals(rec);
        let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
        let constants = [&extents, &self.flags()[..], &[lanes]].concat();
        let [base, r, c] = self.bindings();
        rec.dispatch(of_width(width, forms), &[base, r, c, written], &constants, grid(self.base.shape[0]));
    }

    pub(super) fn flags(&self) -> [(&'static str, f64); 2] {
        [flag("HAS_ROWS", self.r.is_some()), flag("HAS_COLS", self.c.is_some())]
    }

    pub(super) fn sign_flag(&self) -> (&'static str, f64) {
        flag("SIGN", self.sign)
    }

    /// The bindings for base, r and c.
    pub(super) fn bindings(&self) -> [&Tensor; 3] {
        [&self.base, self.r.as_ref().unwrap_or(&self.unread), self.c.as_ref().unwrap_or(&self.unread)]
    }

    /// A tensor with this matrix's lifetime.
    pub fn room(&self, rec: &mut Recorder, name: &str, shape: &[usize]) -> Tensor {
        if self.across_plans {
            rec.persistent(Class::Scratch, DType::F32, name, shape)
        } else {
            rec.transient(Class::Scratch, DType::F32, name, shape)
        }
    }

    /// The shape of a tensor with one entry per column.
    fn of_columns(&self) -> Vec<usize> {
        let cols = self.shape()[1];
        if self.batch == 1 { vec![cols] } else { vec![self.batch, cols] }
    }

    /// r, allocated if missing, and whether it was missing.
    fn begin_rows(&mut self, rec: &mut Recorder) -> (Tensor, bool) {
        let begin = self.r.is_none();
        let r = self.r.take().unwrap_or_else(|| self.room(rec, "row scaling", &self.base.shape[..1]));
        self.r = Some(r.clone());
        (r, begin)
    }
}

/// How a kernel that keeps a row in registers and sums columns over blocks of rows divides a matrix.
pub(super) struct RowBlocks {
    /// Workgroup size.
    pub lanes: usize,
    /// Rows per workgroup.
    pub block: usize,
    /// Workgroups.
    pub blocks: usize,
}

impl RowBlocks {
    /// Panics if there are more than [`MAX_COLS`] columns.
    pub fn of(profile: &Profile, [rows, cols]: [usize; 2]) -> Self {
        assert!(cols <= MAX_COLS, "{cols} columns are above {MAX_COLS}");
        let least = if profile.software { 8 } else { 64 };
        let least = cols.div_ceil(MAX_PER_LANE).next_power_of_two().max(least);
        let block = rows.div_ceil(MAX_BLOCKS).max(8);
        // Each row is scanned three times and reduced twice.
        let lanes = lanes_within(profile, least, |lanes| {
            block * (1 + 3 * cols.div_ceil(lanes) + 2 * reduction_rounds(lanes)) + 2 * cols.div_ceil(lanes)
        });
        Self { lanes, block, blocks: rows.div_ceil(block) }
    }
}

/// A row pass, a column pass, or a row pass followed by a column pass, in one read of the base.
///
/// Panics if there are more than [`MAX_COLS`] columns or a pending sign.
pub fn scale_rows_and_columns(rec: &mut Recorder, x: &mut Scaled, row: bool, column: bool) {
    assert!(!x.sign, "a sign is not scaled without being written");
    let [rows, cols] = x.shape();
    let RowBlocks { mut lanes, block, blocks } = RowBlocks::of(&rec.profile, [rows, cols]);
    let (width, extents) = x.reals(rec);
    if width == 4 {
        lanes = vec4_lanes(cols / 4);
    }
    // A column pass alone sums squares over rows that are first scaled into range.
    if !row && x.r.is_none() {
        scale_whole(rec, x, WholeNorm::Max, 1.0);
    }
    let (r, begin_rows) = x.begin_rows(rec);
    let mut constants = vec![
        extents[0],
        extents[1],
        extents[2],
        ("BLOCK", block as f64),
        ("BLOCKS", blocks as f64),
        flag("BEGIN_ROWS", begin_rows),
        flag("BEGIN_COLS", x.c.is_none()),
        flag("ROW_PASS", row),
        flag("COLUMN_SUMS", column),
        ("WG", lanes as f64),
    ];
    if width == 1 && !rec.profile.software {
        constants.push(("PER_LANE", cols.div_ceil(lanes) as f64));
    }
    let partial = rec.transient(Class::Scratch, DType::F32, "column partial sums", &[x.batch * blocks, cols]);
    let [base, _, c] = x.bindings();
    let kernel = of_width(width, [&SCALE_ROWS_VEC4, &SCALE_ROWS]);
    rec.dispatch(kernel, &[base, c, &r, &partial], &constants, grid(x.batch * blocks));
    if column {
        let c = x.c.take().unwrap_or_else(|| x.room(rec, "column scaling", &x.of_columns()));
        // Long columns of partial sums dominate on a GPU, so several lanes share one.
        let [lanes, slices] = if rec.profile.software { [WORKGROUP_SIZE, 1] } else { [256, 8] };
        let constants = [
            x.matrices(),
            x.rows(),
            x.cols(),
            ("BLOCKS", blocks as f64),
            ("LANES", lanes as f64),
            ("SLICES", slices as f64),
        ];
        rec.dispatch(&SCALE_COLUMNS, &[&partial, &c], &constants, grid((x.batch * cols).div_ceil(lanes / slices)));
        x.c = Some(c);
    }
}

/// Workgroup size of `scale_rows_vec4` for `cols` vec4s per row: about four per lane, because a lane with more cannot
/// prefetch.
fn vec4_lanes(cols: usize) -> usize {
    cols.div_ceil(4).next_power_of_two().clamp(32, MAX_LANES)
}

/// factor `[B]` = target / ‖X‖, or 0 for a zero matrix.
pub fn whole_factor(rec: &mut Recorder, x: &Scaled, norm: WholeNorm, target: f64) -> Tensor {
    assert!(!x.sign, "the norm of a sign is not measured without writing it");
    let lanes = reduction_lanes(&rec.profile) as f64;
    let (width, extents) = x.reals(rec);
    let len = x.base.len() / x.batch / width;
    let block = len.div_ceil(MAX_BLOCKS).max(64);
    let blocks = len.div_ceil(block);
    let partial = rec.transient(Class::Scratch, DType::F32, "norm partial sums", &[x.batch * blocks, 2]);
    let of_block = lanes_within(&rec.profile, reduction_lanes(&rec.profile), |lanes| {
        2 * block.div_ceil(lanes) + 2 * reduction_rounds(lanes)
    });
    let blocked = [("BLOCK", block as f64), ("BLOCKS", blocks as f64), ("WG", of_block as f64)];
    let constants = [&extents, &x.flags()[..], &blocked].concat();
    let [base, r, c] = x.bindings();
    let kernel = of_width(width, [&WHOLE_PARTIAL_VEC4, &WHOLE_PARTIAL]);
    rec.dispatch(kernel, &[base, r, c, &partial], &constants, grid(x.batch * blocks));
    let factor = rec.transient(Class::Scratch, DType::F32, "whole factor", &[x.batch]);
    let maximum = flag("MAXIMUM", norm == WholeNorm::Max);
    let constants = [("BLOCKS", blocks as f64), ("TARGET", target), maximum, ("WG", lanes)];
    rec.dispatch(&WHOLE_FACTOR, &[&partial, &factor], &constants, [x.batch as u32, 1, 1]);
    factor
}

/// Scales the whole matrix to a norm of `target`, through its row scalings.
pub fn scale_whole(rec: &mut Recorder, x: &mut Scaled, norm: WholeNorm, target: f64) {
    let factor = whole_factor(rec, x, norm, target);
    multiply(rec, x, &factor, None);
}

/// Multiplies the whole matrix by factor `[B]` over divisor `[B]`, through its row scalings; a divisor of 0 makes it
/// zero.
pub fn multiply(rec: &mut Recorder, x: &mut Scaled, factor: &Tensor, divisor: Option<&Tensor>) {
    assert!(!x.sign, "a sign is not scaled without being written");
    let (r, begin) = x.begin_rows(rec);
    let constants = [x.matrices(), x.rows(), flag("BEGIN_ROWS", begin), flag("HAS_DIVISOR", divisor.is_some())];
    let groups = [r.len().div_ceil(WORKGROUP_SIZE) as u32, 1, 1];
    rec.dispatch(&SCALE_WHOLE, &[factor, divisor.unwrap_or(factor), &r], &constants, groups);
}

/// The norm of every row, `[B·m]`.
pub fn row_norms(rec: &mut Recorder, x: &Scaled) -> Tensor {
    let norms = rec.transient(Class::Scratch, DType::F32, "row norms", &x.base.shape[..1]);
    x.row_wise(rec, [&ROW_NORMS_VEC4, &ROW_NORMS], &norms);
    norms
}

/// Zeroes rows whose norm is at most `threshold` times the mean row norm; they stay zero.
pub fn drop_rows(rec: &mut Recorder, x: &mut Scaled, threshold: f64) {
    let lanes = reduction_lanes(&rec.profile) as f64;
    let norms = row_norms(rec, x);
    let (r, begin) = x.begin_rows(rec);
    let constants = [x.rows(), ("THRESHOLD", threshold), flag("BEGIN_ROWS", begin), ("WG", lanes)];
    rec.dispatch(&DROP_ROWS, &[&norms, &r], &constants, [x.batch as u32, 1, 1]);
}

/// Writes every row minus its mean, over its standard deviation, to `y` `[B·m, n]`.
pub fn standardize(rec: &mut Recorder, x: &Scaled, y: &Tensor) {
    assert!(!x.sign, "a sign is standardized after it is written");
    assert_eq!(y.shape, x.base.shape, "standardize");
    x.row_wise(rec, [&STANDARDIZE_VEC4, &STANDARDIZE], y);
}

/// Writes the matrix to `y`, which has as many elements.
pub fn materialize(rec: &mut Recorder, x: &Scaled, y: &Tensor) {
    assert_eq!(y.len(), x.base.len(), "materialize");
    let [base, r, c] = x.bindings();
    x.element_wise(rec, [&MATERIALIZE_VEC4, &MATERIALIZE], &[base, r, c, y], &[]);
}

/// w −= lr · (scale · X + weight_decay · w), in place.
pub fn apply(
    rec: &mut Recorder,
    x: &Scaled,
    weight: &Tensor,
    statistics: &Tensor,
    step: &Tensor,
    hyper: StepConstants,
) {
    assert_eq!(weight.len(), x.base.len(), "apply_scaled: weight {:?}, X {:?}", weight.shape, x.base.shape);
    let [base, r, c] = x.bindings();
    let bindings = [weight, base, r, c, statistics, step];
    x.element_wise(rec, [&APPLY_SCALED_VEC4, &APPLY_SCALED], &bindings, &hyper.constants());
}

/// M ← β·M + (1 − β)·X, and the step along M, or with Nesterov momentum along β·M + (1 − β)·X; both in place.
pub fn apply_momentum(
    rec: &mut Recorder,
    x: &Scaled,
    [weight, momentum]: [&Tensor; 2],
    statistics: &Tensor,
    step: &Tensor,
    hyper: StepConstants,
    average: Average,
) {
    assert_eq!(weight.len(), x.base.len(), "apply_momentum: weight {:?}, X {:?}", weight.shape, x.base.shape);
    assert_eq!(weight.len(), momentum.len(), "apply_momentum");
    let constants = [hyper.constants(), average.constants()].concat();
    let [base, r, c] = x.bindings();
    let bindings = [weight, momentum, base, r, c, statistics, step];
    x.element_wise(rec, [&APPLY_MOMENTUM_VEC4, &APPLY_MOMENTUM], &bindings, &constants);
}

/// How far an iteration changed X: sums of squares `[blocks]`, for [`while_changing`].
pub fn change(rec: &mut Recorder, x: &Scaled, before: &Scaled, partial: &Tensor) {
    assert!(!x.sign && !before.sign, "a sign is compared after it is written");
    assert_eq!(x.batch, 1, "matrices settle one by one");
    let len = x.base.len();
    let blocks = partial.len();
    let had = [flag("HAD_ROWS", before.r.is_some()), flag("HAD_COLS", before.c.is_some())];
    let [has_rows, has_cols] = x.flags();
    let block = ("BLOCK", len.div_ceil(blocks) as f64);
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [x.rows(), x.cols(), block, has_rows, has_cols, had[0], had[1], lanes];
    let ([g, r, c], [h, q, d]) = (x.bindings(), before.bindings());
    rec.dispatch(&CHANGE_PARTIAL, &[g, r, c, h, q, d, partial], &constants, grid(blocks));
}

/// Number of partial sums of [`change`] for a matrix of `len` elements.
pub fn change_blocks(len: usize) -> usize {
    len.div_ceil(len.div_ceil(MAX_BLOCKS).max(64))
}

/// Records `body`, which runs if the last change was above `tolerance`, as a root mean square over `len` elements.
pub fn while_changing(
    rec: &mut Recorder,
    partial: &Tensor,
    len: usize,
    tolerance: f64,
    body: impl FnOnce(&mut Recorder),
) {
    let lanes = ("WG", reduction_lanes(&rec.profile) as f64);
    let constants = [("BLOCKS", partial.len() as f64), ("LEN", len as f64), ("TOLERANCE", tolerance), lanes];
    rec.gated(&CHANGE_GATE, &[partial], &constants, body);
}

impl StepConstants {
    fn constants(&self) -> [(&'static str, f64); 3] {
        [("LR", self.lr), ("SCALE", self.scale), ("WEIGHT_DECAY", self.weight_decay)]
    }
}
