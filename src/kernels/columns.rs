//! Copies a range of columns between a matrix and a narrower one.

use super::{REAL_LANES, of_type};
use crate::gpu::{Need, Recorder, Tensor, grid, kernels};

kernels! {
    COPY_COLUMNS = "copy_columns", with (Stored = "vec4<f32>");
    COPY_COLUMNS_SCALAR = "copy_columns_scalar": "copy_columns", with (Stored = "f32");
    COPY_COLUMNS_HALF = "copy_columns_half": "copy_columns", with (Stored = "vec4<f16>"), needs Need::F16;
    COPY_COLUMNS_HALF_SCALAR = "copy_columns_half_scalar": "copy_columns", with (Stored = "f16"), needs Need::F16;
}

/// part `[N, p]` = the columns of whole `[N, m]` starting at `first`, same type.
pub fn take_columns(rec: &mut Recorder, whole: &Tensor, first: usize, part: &Tensor) {
    copy_columns(rec, (whole, first), (part, 0));
}

/// The columns of whole `[N, m]` starting at `first` = part `[N, p]`, same type; other columns are unchanged.
pub fn put_columns(rec: &mut Recorder, part: &Tensor, whole: &Tensor, first: usize) {
    copy_columns(rec, (part, 0), (whole, first));
}

/// y\[:, y_first..\] = x\[:, x_first..\], as many columns as the narrower matrix has.
fn copy_columns(rec: &mut Recorder, (x, x_first): (&Tensor, usize), (y, y_first): (&Tensor, usize)) {
    let ([rows, x_cols], [y_rows, y_cols]) = (sides(x), sides(y));
    let cols = x_cols.min(y_cols);
    assert!(
        (rows, x.dtype) == (y_rows, y.dtype) && x_first + cols <= x_cols && y_first + cols <= y_cols,
        "columns of {:?} from {x_first} to {:?} from {y_first}",
        x.shape,
        y.shape
    );
    let numbers = [cols, x_cols, x_first, y_cols, y_first];
    let of_vec4s = numbers.iter().all(|n| n.is_multiple_of(4));
    let [vec4, scalar] =
        of_type(x.dtype, [[&COPY_COLUMNS, &COPY_COLUMNS_SCALAR], [&COPY_COLUMNS_HALF, &COPY_COLUMNS_HALF_SCALAR]]);
    let (kernel, width) = if of_vec4s { (vec4, 4) } else { (scalar, 1) };
    let [cols, x_cols, x_first, y_cols, y_first] = numbers.map(|n| (n / width) as f64);
    let constants = [
        ("ROWS", rows as f64),
        ("COLS", cols),
        ("X_COLS", x_cols),
        ("X_FIRST", x_first),
        ("Y_COLS", y_cols),
        ("Y_FIRST", y_first),
    ];
    rec.dispatch(kernel, &[x, y], &constants, grid((rows * cols as usize).div_ceil(REAL_LANES)));
}

fn sides(tensor: &Tensor) -> [usize; 2] {
    let [rows, cols] = tensor.shape[..] else { panic!("expected a matrix, got {:?}", tensor.shape) };
    [rows, cols]
}
