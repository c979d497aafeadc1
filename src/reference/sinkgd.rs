//! W ← W − lr·α·SR-Sinkhorn(G, L): SinkGD (Scetbon, Ma, Gong & Meeds 2025, arXiv 2502.06742, Algorithms 3 and 4).
//!
//! No state, no momentum, no epsilon, no weight decay. The paper uses L = 5 and α = 0.05 on the linear layers.
//!
//! Convergence: after each pass X⊙X is exactly the Sinkhorn–Knopp iterate of G⊙G with row sums n and column sums m, so
//! X = diag(r)·G·diag(c) with positive r and c. Signs and zeros never change, and rescaling rows or columns of G does
//! not change the limit. A rank-1 G without zeros gives sign(G) in one iteration.
//!
//! Limits: after finitely many
//! iterations only the columns are exact, the operator norm is not bounded, and if G⊙G has no support (a zero block too
//! large) X oscillates forever.

use super::passes;

/// SR-Sinkhorn: repeats rows to √n, then columns to √m, `iterations` times (Algorithm 3): g and the result are m×n.
pub fn sr_sinkhorn(g: &[f64], m: usize, n: usize, iterations: usize) -> Vec<f64> {
    assert_eq!(g.len(), m * n, "sr_sinkhorn: g wants m·n = {m}·{n}");
    (0..iterations).fold(g.to_vec(), |x, _| passes::column(&passes::row(&x, m, n), m, n))
}

/// w ← w − lr·scale·SR-Sinkhorn(g) (Algorithm 4): w and g are m×n; `scale` is the paper's α.
pub fn step(w: &mut [f64], g: &[f64], m: usize, n: usize, iterations: usize, lr: f64, scale: f64) {
    assert_eq!(w.len(), m * n, "sinkgd: w wants m·n = {m}·{n}");
    for (w, x) in w.iter_mut().zip(sr_sinkhorn(g, m, n, iterations)) {
        *w -= lr * scale * x;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, random};
    use super::*;

    const G: [f64; 6] = [3.0, -1.0, 0.5, 0.1, 0.2, -4.0]; // 2×3, slow to converge

    /// To the four decimals printed.
    #[track_caller]
    fn assert_printed(x: &[f64], printed: &[f64]) {
        let rounded: Vec<f64> = x.iter().map(|x| (x * 1e4).round() / 1e4).collect();
        assert_eq!(rounded, printed);
    }

    /// An m×n matrix without zeros, with rows and columns of very different magnitude.
    fn uneven(m: usize, n: usize) -> Vec<f64> {
        let (g, rows, columns) = (random(m * n, 1), random(m, 2), random(n, 3));
        (0..m * n).map(|at| g[at] * (2.0 * rows[at / n] + 2.0 * columns[at % n]).exp()).collect()
    }

    #[test]
    fn the_worked_example() {
        assert_printed(&passes::row(&G, 2, 3), &[1.623, -0.541, 0.2705, 0.0432, 0.0865, -1.7294]);
        assert_printed(&sr_sinkhorn(&G, 2, 3, 1), &[1.4137, -1.3965, 0.2186, 0.0377, 0.2232, -1.3972]);
        assert_printed(&sr_sinkhorn(&G, 2, 3, 5), &[1.4088, -1.2523, 0.0673, 0.1232, 0.6570, -1.4126]);
        assert_printed(&sr_sinkhorn(&G, 2, 3, 1000), &[1.3967, -1.0237, 0.0371, 0.2219, 0.9758, -1.4137]);
    }

    #[test]
    fn every_pass_ends_on_one_sphere_and_the_last_on_exact_columns() {
        let [m, n] = [5, 8];
        let mut x = uneven(m, n);
        for iteration in 0..4 {
            for pass in [passes::row, passes::column] {
                x = pass(&x, m, n);
                let frobenius = x.iter().map(|x| x * x).sum::<f64>().sqrt();
                assert_close("frobenius/√(mn)", &[frobenius / ((m * n) as f64).sqrt()], &[1.0], 1e-14);
            }
            assert_eq!(x, sr_sinkhorn(&uneven(m, n), m, n, iteration + 1), "rows first, columns last");
        }
        assert_close("column norms", &passes::column_norms(&x, m, n), &[5f64.sqrt(); 8], 1e-14);
    }

    #[test]
    fn signs_and_zeros_are_kept() {
        let [m, n] = [4, 6];
        let mut g = uneven(m, n);
        (0..n).for_each(|j| g[2 * n + j] = 0.0); // a whole row
        (0..m).for_each(|i| g[i * n + 4] = 0.0); // a whole column
        g[1] = 0.0;
        let x = sr_sinkhorn(&g, m, n, 5);
        for (g, x) in g.iter().zip(&x) {
            assert!(x.is_finite() && (*g == 0.0) == (*x == 0.0) && g * x >= 0.0, "{g} became {x}");
        }
        // The paper's step would put NaN into a zero row's weights; here they do not change.
        let mut w = vec![1.0; m * n];
        step(&mut w, &g, m, n, 5, 0.02, 0.05);
        assert_eq!(w[2 * n..3 * n], [1.0; 6]);
    }

    #[test]
    fn the_limit_ignores_positive_scales_of_rows_and_columns() {
        let [m, n] = [5, 7];
        let g = random(m * n, 4);
        let (rows, columns) = (random(m, 5), random(n, 6));
        let scaled: Vec<f64> = (0..m * n).map(|at| g[at] * (rows[at / n] + columns[at % n]).exp()).collect();
        let limit = sr_sinkhorn(&g, m, n, 300);
        assert_close("limit", &sr_sinkhorn(&scaled, m, n, 300), &limit, 1e-12);
        assert_close("row norms", &passes::row_norms(&limit, m, n), &[7f64.sqrt(); 5], 1e-12);
    }

    #[test]
    fn rank_one_gives_the_sign_in_one_iteration() {
        let (u, v) = (random(4, 7), random(9, 8));
        let g: Vec<f64> = u.iter().flat_map(|u| v.iter().map(move |v| u * v)).collect();
        let sign: Vec<f64> = g.iter().map(|g| g.signum()).collect();
        assert_close("sign", &sr_sinkhorn(&g, 4, 9, 1), &sign, 1e-14);
    }

    #[test]
    fn a_step_moves_against_the_gradient_by_lr_times_scale() {
        let mut w = vec![1.0; 6];
        step(&mut w, &G, 2, 3, 5, 0.2, 0.5);
        let expected: Vec<f64> = sr_sinkhorn(&G, 2, 3, 5).iter().map(|x| 1.0 - 0.1 * x).collect();
        assert_close("w", &w, &expected, 1e-15);
    }
}
