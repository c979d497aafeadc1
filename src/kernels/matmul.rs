//! Matrix products in the three layouts that training needs, in two forms chosen by the adapter.

use super::{LANES, Output, reduction_lanes};
use crate::gpu::{Form, Recorder, Tensor, grid, kernels};

kernels! {
    MATMUL_NT_REGISTERS = "matmul_nt_registers";
    MATMUL_NN_REGISTERS = "matmul_nn_registers";
    MATMUL_TN_REGISTERS = "matmul_tn_registers";
    MATMUL_NT_TILED = "matmul_nt_tiled" + "tile";
    MATMUL_NN_TILED = "matmul_nn_tiled" + "tile";
    MATMUL_TN_TILED = "matmul_tn_tiled" + "tile";
    MATMUL_STRIDED = "matmul_strided";
    MATVEC = "matvec" + "reduce";
}

/// Which operand is transposed.
#[derive(Clone, Copy)]
enum Layout {
    Nt,
    Nn,
    Tn,
}

/// y (+)= x·wᵀ for x `[M, K]`, w `[N, K]`, y `[M, N]`: a linear layer's forward pass.
pub fn nt(rec: &mut Recorder, x: &Tensor, w: &Tensor, y: &Tensor, output: Output) {
    let ([m, k], [n, k_of_w]) = (matrix(x), matrix(w));
    assert_eq!(k, k_of_w, "matmul nt: x {:?}, w {:?}", x.shape, w.shape);
    if m == 1 {
        return matvec(rec, x, w, y, output);
    }
    product(rec, Layout::Nt, x, w, y, [m, n, k], output);
}

/// y (+)= g·w for g `[M, K]`, w `[K, N]`, y `[M, N]`: the gradient of a linear layer's input.
pub fn nn(rec: &mut Recorder, g: &Tensor, w: &Tensor, y: &Tensor, output: Output) {
    let ([m, k], [k_of_w, n]) = (matrix(g), matrix(w));
    assert_eq!(k, k_of_w, "matmul nn: g {:?}, w {:?}", g.shape, w.shape);
    product(rec, Layout::Nn, g, w, y, [m, n, k], output);
}

/// y (+)= gᵀ·x for g `[K, M]`, x `[K, N]`, y `[M, N]`: the gradient of a linear layer's weight.
pub fn tn(rec: &mut Recorder, g: &Tensor, x: &Tensor, y: &Tensor, output: Output) {
    let ([k, m], [k_of_x, n]) = (matrix(g), matrix(x));
    assert_eq!(k, k_of_x, "matmul tn: g {:?}, x {:?}", g.shape, x.shape);
    product(rec, Layout::Tn, g, x, y, [m, n, k], output);
}

/// y (+)= w·x for w `[N, K]` and one row x `[1, K]`: a linear layer while generating.
fn matvec(rec: &mut Recorder, x: &Tensor, w: &Tensor, y: &Tensor, output: Output) {
    let [n, k] = matrix(w);
    assert_eq!(y.len(), n, "matvec: w {:?}, y {:?}", w.shape, y.shape);
    let lanes = reduction_lanes(&rec.profile).min(LANES) as f64;
    let constants = [("N", n as f64), ("K", k as f64), ("WG", lanes), output.constant()];
    rec.dispatch(&MATVEC, &[x, w, y], &constants, grid(n));
    rec.flops(2 * (n * k) as u64);
}

fn product(rec: &mut Recorder, layout: Layout, a: &Tensor, b: &Tensor, y: &Tensor, mnk: [usize; 3], output: Output) {
    let [m, n, k] = mnk;
    assert_eq!(matrix(y), [m, n], "product of {:?} and {:?} into {:?}", a.shape, b.shape, y.shape);
    let mut constants = vec![("M", m as f64), ("N", n as f64), ("K", k as f64), output.constant()];
    // A vec4 spans the contiguous dimension of each operand.
    let aligned = match layout {
        Layout::Nt => k % 4 == 0,
        Layout::Nn => k % 4 == 0 && n % 4 == 0,
        Layout::Tn => m % 4 == 0 && n % 4 == 0,
    };
    let columns = n.div_ceil(64) as u32;
    if !aligned {
        let (a_m, a_k, b_n, b_k) = match layout {
            Layout::Nt => (k, 1, k, 1),
            Layout::Nn => (k, 1, 1, n),
            Layout::Tn => (1, m, 1, n),
        };
        constants.extend([("A_M", a_m as f64), ("A_K", a_k as f64), ("B_N", b_n as f64), ("B_K", b_k as f64)]);
        rec.dispatch(&MATMUL_STRIDED, &[a, b, y], &constants, [columns, m.div_ceil(8) as u32, 1]);
        rec.flops(2 * (m * n * k) as u64);
        return;
    }
    let (kernel, rows) = match (rec.profile.form, layout) {
        (Form::Registers, Layout::Nt) => (&MATMUL_NT_REGISTERS, m.div_ceil(8)),
        (Form::Registers, Layout::Nn) => (&MATMUL_NN_REGISTERS, m.div_ceil(8)),
        (Form::Registers, Layout::Tn) => (&MATMUL_TN_REGISTERS, m.div_ceil(8)),
        (Form::WorkgroupTiles, Layout::Nt) => (&MATMUL_NT_TILED, m.div_ceil(64)),
        (Form::WorkgroupTiles, Layout::Nn) => (&MATMUL_NN_TILED, m.div_ceil(64)),
        (Form::WorkgroupTiles, Layout::Tn) => (&MATMUL_TN_TILED, m.div_ceil(64)),
    };
    rec.dispatch(kernel, &[a, b, y], &constants, [columns, rows as u32, 1]);
    rec.flops(2 * (m * n * k) as u64);
}

fn matrix(tensor: &Tensor) -> [usize; 2] {
    let [rows, cols] = tensor.shape[..] else { panic!("a matrix is wanted, got {:?}", tensor.shape) };
    [rows, cols]
}
