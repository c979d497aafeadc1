//! Matrices that are normalized without being written: X = diag(r)·base·diag(c), of which only r and c change.

use super::momentum::Average;
use super::{LANES, reduction_lanes};
use crate::gpu::{Class, DType, Profile, Recorder, Tensor, grid, kernels};

kernels! {
    SCALE_ROWS = "scale_rows" + "reduce";
    SCALE_COLUMNS = "scale_columns";
    WHOLE_PARTIAL = "whole_partial" + "reduce";
    WHOLE_FACTOR = "whole_factor" + "reduce";
    SCALE_WHOLE = "scale_whole";
    ROW_NORMS = "row_norms" + "reduce";
    DROP_ROWS = "drop_rows" + "reduce";
    STANDARDIZE = "standardize" + "reduce";
    MATERIALIZE = "materialize";
    APPLY_SCALED = "apply_scaled" + "step";
    APPLY_MOMENTUM = "apply_momentum" + "step";
    CHANGE_PARTIAL = "change_partial" + "reduce";
    CHANGE_GATE = "change_gate" + "reduce";
}

/// Elements of a row that one lane of `scale_rows` keeps in registers.
const MAX_PER_LANE: usize = 64;
/// Invocations of a workgroup under WebGPU's default limits.
const MAX_LANES: usize = 256;
/// Partial sums at most.
const MAX_BLOCKS: usize = 256;

/// Columns of the widest matrix whose rows `scale_rows` can keep in registers.
pub const MAX_COLS: usize = MAX_PER_LANE * MAX_LANES;

/// diag(r)·base·diag(c), or its sign: m×n, r `[m]`, c `[n]`; what is not there is 1.
#[derive(Clone, Debug)]
pub struct Scaled {
    /// The matrix that is read.
    pub base: Tensor,
    /// Row scalings.
    pub r: Option<Tensor>,
    /// Column scalings.
    pub c: Option<Tensor>,
    /// Whether the sign of it all is meant.
    pub sign: bool,
    /// Whether r and c outlive the plan that is being recorded.
    pub across_plans: bool,
    /// Bound where a scaling is not there, and not read: a row of the base.
    unread: Tensor,
}

/// Which norm a whole-matrix scaling is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WholeNorm {
    /// √Σx².
    Frobenius,
    /// max|x|.
    Max,
}

/// Hyper-parameters of the step along a normalized gradient.
#[derive(Clone, Copy, Debug)]
pub struct StepConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// What the matrix is multiplied by.
    pub scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

impl Scaled {
    /// The matrix as it is. A vector `[n]` is a matrix of one row.
    pub fn new(base: &Tensor) -> Self {
        let base = match base.shape[..] {
            [_, _] => base.clone(),
            [n] => base.reshaped(&[1, n]),
            _ => panic!("a matrix is wanted, got {:?}", base.shape),
        };
        Self { unread: base.rows(0..1), base, r: None, c: None, sign: false, across_plans: false }
    }

    /// [m, n].
    pub fn shape(&self) -> [usize; 2] {
        [self.base.shape[0], self.base.shape[1]]
    }

    fn rows(&self) -> (&'static str, f64) {
        ("ROWS", self.shape()[0] as f64)
    }

    fn cols(&self) -> (&'static str, f64) {
        ("COLS", self.shape()[1] as f64)
    }

    pub(super) fn flags(&self) -> [(&'static str, f64); 2] {
        [flag("HAS_ROWS", self.r.is_some()), flag("HAS_COLS", self.c.is_some())]
    }

    pub(super) fn sign_flag(&self) -> (&'static str, f64) {
        flag("SIGN", self.sign)
    }

    /// What is bound for base, r and c.
    pub(super) fn bindings(&self) -> [&Tensor; 3] {
        [&self.base, self.r.as_ref().unwrap_or(&self.unread), self.c.as_ref().unwrap_or(&self.unread)]
    }

    /// A tensor that lives as long as this matrix.
    pub fn room(&self, rec: &mut Recorder, name: &str, shape: &[usize]) -> Tensor {
        if self.across_plans {
            rec.persistent(Class::Scratch, DType::F32, name, shape)
        } else {
            rec.transient(Class::Scratch, DType::F32, name, shape)
        }
    }

    /// Room for r, if there is none yet; and whether there was none.
    fn begin_rows(&mut self, rec: &mut Recorder) -> (Tensor, bool) {
        let begin = self.r.is_none();
        let r = self.r.take().unwrap_or_else(|| self.room(rec, "row scaling", &self.shape()[..1]));
        self.r = Some(r.clone());
        (r, begin)
    }
}

/// How a kernel that keeps a row in registers and sums columns over blocks of rows is spread over a matrix.
pub(super) struct RowBlocks {
    /// Lanes of a workgroup.
    pub lanes: usize,
    /// Rows of a workgroup.
    pub block: usize,
    /// Workgroups.
    pub blocks: usize,
}

impl RowBlocks {
    /// Panics for more than [`MAX_COLS`] columns.
    pub fn of(profile: &Profile, [rows, cols]: [usize; 2]) -> Self {
        assert!(cols <= MAX_COLS, "{cols} columns are above {MAX_COLS}");
        let least = if profile.software { 8 } else { 64 };
        let lanes = cols.div_ceil(MAX_PER_LANE).next_power_of_two().max(least);
        let block = rows.div_ceil(MAX_BLOCKS).max(8);
        Self { lanes, block, blocks: rows.div_ceil(block) }
    }
}

pub(super) fn flag(name: &'static str, value: bool) -> (&'static str, f64) {
    (name, f64::from(u8::from(value)))
}

/// A row pass, a column pass, or a row pass and the column pass after it, in one read of the base.
///
/// Panics for more than [`MAX_COLS`] columns and for a pending sign.
pub fn scale_rows_and_columns(rec: &mut Recorder, x: &mut Scaled, row: bool, column: bool) {
    assert!(!x.sign, "a sign is not scaled without being written");
    let [rows, cols] = x.shape();
    let RowBlocks { lanes, block, blocks } = RowBlocks::of(&rec.profile, [rows, cols]);
    // Columns alone: their squares are summed over rows that were scaled into range first.
    if !row && x.r.is_none() {
        scale_whole(rec, x, WholeNorm::Max, 1.0);
    }
    let (r, begin_rows) = x.begin_rows(rec);
    let constants = [
        x.rows(),
        x.cols(),
        ("BLOCK", block as f64),
        flag("BEGIN_ROWS", begin_rows),
        flag("BEGIN_COLS", x.c.is_none()),
        flag("ROW_PASS", row),
        flag("COLUMN_SUMS", column),
        ("WG", lanes as f64),
    ];
    let partial = rec.transient(Class::Scratch, DType::F32, "column partial sums", &[blocks, cols]);
    let [base, _, c] = x.bindings();
    rec.dispatch(&SCALE_ROWS, &[base, c, &r, &partial], &constants, grid(blocks));
    if column {
        let c = x.c.take().unwrap_or_else(|| x.room(rec, "column scaling", &[cols]));
        let constants = [("ROWS", rows as f64), ("COLS", cols as f64), ("BLOCKS", blocks as f64)];
        rec.dispatch(&SCALE_COLUMNS, &[&partial, &c], &constants, [cols.div_ceil(LANES) as u32, 1, 1]);
        x.c = Some(c);
    }
}

/// factor `[1]` = target / ‖X‖, or 0 for a zero matrix.
pub fn whole_factor(rec: &mut Recorder, x: &Scaled, norm: WholeNorm, target: f64) -> Tensor {
    assert!(!x.sign, "the norm of a sign is not measured without writing it");
    let lanes = reduction_lanes(&rec.profile) as f64;
    let len = x.base.len();
    let block = len.div_ceil(MAX_BLOCKS).max(64);
    let blocks = len.div_ceil(block);
    let partial = rec.transient(Class::Scratch, DType::F32, "norm partial sums", &[blocks, 2]);
    let [has_rows, has_cols] = x.flags();
    let constants = [x.rows(), x.cols(), ("BLOCK", block as f64), has_rows, has_cols, ("WG", lanes)];
    let [base, r, c] = x.bindings();
    rec.dispatch(&WHOLE_PARTIAL, &[base, r, c, &partial], &constants, grid(blocks));
    let factor = rec.transient(Class::Scratch, DType::F32, "whole factor", &[1]);
    let maximum = flag("MAXIMUM", norm == WholeNorm::Max);
    let constants = [("BLOCKS", blocks as f64), ("TARGET", target), maximum, ("WG", lanes)];
    rec.dispatch(&WHOLE_FACTOR, &[&partial, &factor], &constants, [1, 1, 1]);
    factor
}

/// The whole matrix to a norm of `target`, in its row scalings.
pub fn scale_whole(rec: &mut Recorder, x: &mut Scaled, norm: WholeNorm, target: f64) {
    let factor = whole_factor(rec, x, norm, target);
    multiply(rec, x, &factor, None);
}

/// The whole matrix times factor `[1]` over divisor `[1]`, in its row scalings; a divisor of 0 makes it zero.
pub fn multiply(rec: &mut Recorder, x: &mut Scaled, factor: &Tensor, divisor: Option<&Tensor>) {
    assert!(!x.sign, "a sign is not scaled without being written");
    let (r, begin) = x.begin_rows(rec);
    let constants = [x.rows(), flag("BEGIN_ROWS", begin), flag("HAS_DIVISOR", divisor.is_some())];
    let groups = [r.len().div_ceil(LANES) as u32, 1, 1];
    rec.dispatch(&SCALE_WHOLE, &[factor, divisor.unwrap_or(factor), &r], &constants, groups);
}

/// The norm of every row, `[m]`.
pub fn row_norms(rec: &mut Recorder, x: &Scaled) -> Tensor {
    let [rows, _] = x.shape();
    let norms = rec.transient(Class::Scratch, DType::F32, "row norms", &[rows]);
    let [has_rows, has_cols] = x.flags();
    let [base, r, c] = x.bindings();
    let constants = [x.rows(), x.cols(), has_rows, has_cols, ("WG", reduction_lanes(&rec.profile) as f64)];
    rec.dispatch(&ROW_NORMS, &[base, r, c, &norms], &constants, grid(rows));
    norms
}

/// Rows whose norm is at most `threshold` times the mean row norm become zero and stay so.
pub fn drop_rows(rec: &mut Recorder, x: &mut Scaled, threshold: f64) {
    let lanes = reduction_lanes(&rec.profile) as f64;
    let norms = row_norms(rec, x);
    let (r, begin) = x.begin_rows(rec);
    let constants = [x.rows(), ("THRESHOLD", threshold), flag("BEGIN_ROWS", begin), ("WG", lanes)];
    rec.dispatch(&DROP_ROWS, &[&norms, &r], &constants, [1, 1, 1]);
}

/// Every row minus its mean, over its standard deviation, into `y` `[m, n]`.
pub fn standardize(rec: &mut Recorder, x: &Scaled, y: &Tensor) {
    assert!(!x.sign, "a sign is standardized after it is written");
    assert_eq!(y.shape, x.base.shape, "standardize");
    let [has_rows, has_cols] = x.flags();
    let [base, r, c] = x.bindings();
    let constants = [x.rows(), x.cols(), has_rows, has_cols, ("WG", reduction_lanes(&rec.profile) as f64)];
    rec.dispatch(&STANDARDIZE, &[base, r, c, y], &constants, grid(x.shape()[0]));
}

/// The matrix itself, into `y` `[m, n]`.
pub fn materialize(rec: &mut Recorder, x: &Scaled, y: &Tensor) {
    assert_eq!(y.len(), x.base.len(), "materialize");
    let [has_rows, has_cols] = x.flags();
    let [base, r, c] = x.bindings();
    let constants = [x.rows(), x.cols(), has_rows, has_cols, x.sign_flag()];
    rec.dispatch(&MATERIALIZE, &[base, r, c, y], &constants, grid(y.len().div_ceil(LANES)));
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
    let [has_rows, has_cols] = x.flags();
    let [lr, scale, decay] = hyper.constants();
    let constants = [x.rows(), x.cols(), lr, scale, decay, has_rows, has_cols, x.sign_flag()];
    let [base, r, c] = x.bindings();
    let bindings = [weight, base, r, c, statistics, step];
    rec.dispatch(&APPLY_SCALED, &bindings, &constants, grid(weight.len().div_ceil(LANES)));
}

/// M ← β·M + (1 − β)·X, and the step along M, or with Nesterov's look-ahead along β·M + (1 − β)·X; both in place.
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
    assert_eq!(weight.shape, momentum.shape, "apply_momentum");
    let [has_rows, has_cols] = x.flags();
    let [lr, scale, decay] = hyper.constants();
    let [beta, rest, nesterov] = average.constants();
    let constants = [x.rows(), x.cols(), lr, scale, decay, beta, rest, nesterov, has_rows, has_cols, x.sign_flag()];
    let [base, r, c] = x.bindings();
    let bindings = [weight, momentum, base, r, c, statistics, step];
    rec.dispatch(&APPLY_MOMENTUM, &bindings, &constants, grid(weight.len().div_ceil(LANES)));
}

/// How far an iteration moved X: sums of squares `[blocks]`, for [`while_changing`].
pub fn change(rec: &mut Recorder, x: &Scaled, before: &Scaled, partial: &Tensor) {
    assert!(!x.sign && !before.sign, "a sign is compared after it is written");
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

/// Partial sums of [`change`] for a matrix of `len` elements.
pub fn change_blocks(len: usize) -> usize {
    len.div_ceil(len.div_ceil(MAX_BLOCKS).max(64))
}

/// Records `body`, which runs if the last change was above `tolerance`, root mean square over `len` elements.
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
