//! The spectral pass: Newton–Schulz steps X ← (aI + bA + cA²)·X with A = X·Xᵀ, on the smaller side.

use super::scaled::{Scaled, WholeNorm, whole_factor};
use super::{WORKGROUP_SIZE, check_rounds, flag, matmul};
use crate::gpu::{Class, DType, Recorder, Tensor, grid, kernels};

kernels! {
    WIDEN = "widen";
    NARROW = "narrow";
    GRAM_REGISTERS = "gram_registers";
    GRAM_TILE = "gram_tile" + "tile" + "depths_straight" + "tile_64";
}

/// y = scale · p(X/‖X‖_F) for each matrix X of a batch, where p chains the steps' polynomials (a, b, c); y has X's
/// shape.
///
/// It works on a copy of X that is no taller than wide and padded to multiples of 4; zeros stay zero. A is symmetric,
/// so only half of it is computed. Each step is two such products (one if c is 0) and one product of the copy's size,
/// batched over all matrices.
pub fn newton_schulz(rec: &mut Recorder, x: &Scaled, y: &Tensor, steps: &[[f64; 3]], scale: f64) {
    let ([rows, cols], matrices) = (x.shape(), x.n_matrices());
    assert_eq!(y.shape, x.base.shape, "newton_schulz");
    let tall = rows > cols;
    let [m, n] = [rows.min(cols), rows.max(cols)].map(|extent| extent.next_multiple_of(4));
    let mut room =
        |name, shape: [usize; 2]| rec.transient(Class::Scratch, DType::F32, name, &[&[matrices], &shape[..]].concat());
    let mut wide = [0, 1].map(|_| room("Newton-Schulz iterate", [m, n]));
    let [gram, factor] = ["gram matrix", "Newton-Schulz factor"].map(|name| room(name, [m, m]));

    let norm = whole_factor(rec, x, WholeNorm::Frobenius, 1.0);
    let [has_rows, has_cols] = x.flags();
    let shape = [
        ("MATRICES", matrices as f64),
        ("ROWS", rows as f64),
        ("COLS", cols as f64),
        ("WIDE_ROWS", m as f64),
        ("WIDE_COLS", n as f64),
        flag("TALL", tall),
    ];
    let constants = [&shape[..], &[has_rows, has_cols, x.sign_flag()]].concat();
    let [base, r, c] = x.bindings();
    rec.dispatch(&WIDEN, &[base, r, c, &norm, &wide[0]], &constants, grid(wide[0].len().div_ceil(WORKGROUP_SIZE)));
    for &[a, b, c] in steps {
        if c == 0.0 {
            symmetric_product(rec, &wide[0], &gram, &factor, [b, 0.0, a]);
        } else {
            // z is not read if its factor is 0.
            symmetric_product(rec, &wide[0], &factor, &gram, [1.0, 0.0, 0.0]);
            symmetric_product(rec, &gram, &gram, &factor, [c, b, a]);
        }
        matmul::nn_of_each(rec, &factor, &wide[0], &wide[1]);
        wide.swap(0, 1);
    }
    let constants = [&shape[..], &[("SCALE", scale)]].concat();
    rec.dispatch(&NARROW, &[&wide[0], y], &constants, grid(y.len().div_ceil(WORKGROUP_SIZE)));
}

/// y = α·x·xᵀ + β·z + γ·I for x `[m, k]` and symmetric z and y `[m, m]`, or for each matrix stacked in
/// three-dimensional tensors; k is a multiple of 4. Computes only half of y.
pub fn symmetric_product(rec: &mut Recorder, x: &Tensor, z: &Tensor, y: &Tensor, [alpha, beta, gamma]: [f64; 3]) {
    let ([matrices, m, k], square) = (matmul::matrices(x), |of: &Tensor| matmul::matrices(of));
    assert_eq!((square(z), square(y)), ([matrices, m, m], [matrices, m, m]), "symmetric product of {:?}", x.shape);
    assert!(k.is_multiple_of(4), "symmetric product of {:?}: vec4s span the columns", x.shape);
    let mut constants = vec![("M", m as f64), ("K", k as f64), ("ALPHA", alpha), ("BETA", beta), ("GAMMA", gamma)];
    constants.push(flag("HAS_Z", beta != 0.0));
    let (kernel, [rows, cols]) = if rec.profile.software { (&GRAM_REGISTERS, [8, 64]) } else { (&GRAM_TILE, [64, 64]) };
    if !rec.profile.software {
        constants.extend([("N", m as f64), ("A_BY_DEPTH", 1.0), ("B_BY_DEPTH", 1.0)]);
    }
    let what = || format!("a spectral pass over {k} columns");
    check_rounds(rec, k / 4, what, "another pass for so large a matrix");
    let groups = [m.div_ceil(cols), m.div_ceil(rows), matrices].map(|n| n as u32);
    rec.dispatch(kernel, &[x, z, y], &constants, groups);
    let flops = [matrices, m, m + 1, k].map(|n| n as u64).iter().product();
    rec.flops(flops);
    rec.chose(format!("symmetric product {m}x{m}x{k} of {matrices}"), kernel.name.into(), flops);
}
