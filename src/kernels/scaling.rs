//! The diagonal passes in scaling-vector form: X = diag(r)·G·diag(c) is never stored, only r and c are.

use super::LANES;
use crate::gpu::{Class, Kernel, Recorder, Tensor, grid, kernel};

pub(super) const KERNELS: &[Kernel] =
    &[kernel!("scale_rows", "reduce"), kernel!("scale_columns"), kernel!("apply_scaled", "step")];

/// Elements of a row that one lane keeps in registers.
const MAX_PER_LANE: usize = 64;
/// Invocations of a workgroup under WebGPU's default limits.
const MAX_LANES: usize = 256;
/// Partial column sums at most.
const MAX_BLOCKS: usize = 256;

/// Columns of the widest matrix whose rows the kernel can keep in registers.
pub const MAX_COLS: usize = MAX_PER_LANE * MAX_LANES;

/// Hyper-parameters of the step along a normalized gradient.
#[derive(Clone, Copy, Debug)]
pub struct StepConstants {
    /// Learning rate before the schedule.
    pub lr: f64,
    /// The paper's α.
    pub scale: f64,
    /// Decoupled weight decay.
    pub weight_decay: f64,
}

/// The scaling vectors of one gradient while its passes are recorded.
pub struct Scaling {
    gradient: Tensor,
    /// `[m]`.
    pub r: Tensor,
    /// `[n]`.
    pub c: Tensor,
    partial: Tensor,
    block: usize,
    lanes: usize,
    has_rows: bool,
    has_cols: bool,
}

impl Scaling {
    /// r and c of a gradient `[m, n]`, both still 1. Panics if n is above [`MAX_COLS`].
    pub fn new(rec: &mut Recorder, gradient: &Tensor) -> Self {
        let [rows, cols] = gradient.shape[..] else { panic!("a matrix is wanted, got {:?}", gradient.shape) };
        assert!(cols <= MAX_COLS, "{cols} columns are above {MAX_COLS}");
        let least = if rec.profile.software { 8 } else { 64 };
        let block = rows.div_ceil(MAX_BLOCKS).max(8);
        Self {
            gradient: gradient.clone(),
            r: rec.transient(Class::Scratch, "row scaling", &[rows]),
            c: rec.transient(Class::Scratch, "column scaling", &[cols]),
            partial: rec.transient(Class::Scratch, "column partial sums", &[rows.div_ceil(block), cols]),
            block,
            lanes: cols.div_ceil(MAX_PER_LANE).next_power_of_two().max(least),
            has_rows: false,
            has_cols: false,
        }
    }

    /// A row pass, a column pass, or a row pass and the column pass after it, in one read of G.
    pub fn pass(&mut self, rec: &mut Recorder, row: bool, column: bool) {
        let [rows, cols] = self.gradient.shape[..] else { unreachable!("checked by new") };
        let flag = |value: bool| f64::from(u8::from(value));
        let constants = [
            ("ROWS", rows as f64),
            ("COLS", cols as f64),
            ("BLOCK", self.block as f64),
            ("BEGIN_ROWS", flag(!self.has_rows)),
            ("BEGIN_COLS", flag(!self.has_cols)),
            ("ROW_PASS", flag(row)),
            ("COLUMN_SUMS", flag(column)),
            ("WG", self.lanes as f64),
        ];
        let blocks = rows.div_ceil(self.block);
        let bindings = [&self.gradient, &self.c, &self.r, &self.partial];
        rec.dispatch(&KERNELS[0], &bindings, &constants, grid(blocks));
        self.has_rows = true; // also without a row pass the kernel has written r
        if column {
            let constants = [("ROWS", rows as f64), ("COLS", cols as f64), ("BLOCKS", blocks as f64)];
            rec.dispatch(&KERNELS[1], &[&self.partial, &self.c], &constants, [cols.div_ceil(LANES) as u32, 1, 1]);
            self.has_cols = true;
        }
    }

    /// w −= lr · (scale · diag(r)·G·diag(c) + weight_decay · w), in place.
    pub fn apply(&self, rec: &mut Recorder, weight: &Tensor, statistics: &Tensor, step: &Tensor, hyper: StepConstants) {
        let [rows, cols] = self.gradient.shape[..] else { unreachable!("checked by new") };
        assert_eq!(weight.shape, self.gradient.shape, "apply_scaled");
        let constants = [
            ("ROWS", rows as f64),
            ("COLS", cols as f64),
            ("LR", hyper.lr),
            ("SCALE", hyper.scale),
            ("WEIGHT_DECAY", hyper.weight_decay),
            ("HAS_COLS", f64::from(u8::from(self.has_cols))),
        ];
        let bindings = [weight, &self.gradient, &self.r, &self.c, statistics, step];
        rec.dispatch(&KERNELS[2], &bindings, &constants, grid((rows * cols).div_ceil(LANES)));
    }
}
