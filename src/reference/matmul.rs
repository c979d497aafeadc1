//! y = x·wᵀ and the two products of its backward pass: dx = dy·w, dw = dyᵀ·x.
//!
//! The names tell which operand is read transposed (n: as stored, t: transposed). A linear layer with an m×n weight
//! uses [`nt`] forward, [`nn`] for dx and [`tn`] for dw.

/// y = x·wᵀ: x is `[m, k]`, w is `[n, k]`, y is `[m, n]`.
pub fn nt(x: &[f64], w: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    assert_eq!(x.len(), m * k, "nt: x wants m·k = {m}·{k}");
    assert_eq!(w.len(), n * k, "nt: w wants n·k = {n}·{k}");
    nn(x, &transpose(w, n, k), [m, n, k])
}

/// y = g·w: g is `[m, k]`, w is `[k, n]`, y is `[m, n]`.
pub fn nn(g: &[f64], w: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    assert_eq!(g.len(), m * k, "nn: g wants m·k = {m}·{k}");
    assert_eq!(w.len(), k * n, "nn: w wants k·n = {k}·{n}");
    let mut y = vec![0.0; m * n];
    for i in 0..m {
        let y_row = &mut y[i * n..][..n];
        for p in 0..k {
            // The innermost loop runs along rows of y and w, so that the compiler can vectorize it without reordering a
            // sum.
            let scale = g[i * k + p];
            for (y, w) in y_row.iter_mut().zip(&w[p * n..][..n]) {
                *y += scale * w;
            }
        }
    }
    y
}

/// y = gᵀ·x: g is `[k, m]`, x is `[k, n]`, y is `[m, n]`.
pub fn tn(g: &[f64], x: &[f64], [m, n, k]: [usize; 3]) -> Vec<f64> {
    assert_eq!(g.len(), k * m, "tn: g wants k·m = {k}·{m}");
    assert_eq!(x.len(), k * n, "tn: x wants k·n = {k}·{n}");
    nn(&transpose(g, k, m), x, [m, n, k])
}

/// The `[cols, rows]` transpose of a `[rows, cols]` matrix.
fn transpose(x: &[f64], rows: usize, cols: usize) -> Vec<f64> {
    (0..cols).flat_map(|j| (0..rows).map(move |i| x[i * cols + j])).collect()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_gradient, dot, random};
    use super::*;

    #[test]
    fn products_of_a_worked_example() {
        let x = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // 2×3
        let w = [1.0, 0.0, -1.0, 2.0, 1.0, 0.0, 0.0, 3.0, 1.0, 1.0, 1.0, 1.0]; // 4×3
        let y = [-2.0, 4.0, 9.0, 6.0, -2.0, 13.0, 21.0, 15.0]; // 2×4, by hand
        assert_eq!(nt(&x, &w, [2, 4, 3]), y);
        assert_eq!(nn(&x, &transpose(&w, 4, 3), [2, 4, 3]), y);
        assert_eq!(tn(&transpose(&x, 2, 3), &transpose(&w, 4, 3), [2, 4, 3]), y);
    }

    #[test]
    fn nn_and_tn_are_the_backward_of_nt() {
        let [tokens, outputs, inputs] = [3, 5, 4];
        let (x, w, dy) = (random(12, 1), random(20, 2), random(15, 3));
        let dx = nn(&dy, &w, [tokens, inputs, outputs]);
        let dw = tn(&dy, &x, [outputs, inputs, tokens]);
        assert_gradient("dx", &dx, &x, |x| dot(&nt(x, &w, [tokens, outputs, inputs]), &dy));
        assert_gradient("dw", &dw, &w, |w| dot(&nt(&x, w, [tokens, outputs, inputs]), &dy));
    }

    #[test]
    #[should_panic(expected = "nt: w wants n·k = 4·3")]
    fn a_wrong_length_panics_with_both_sizes() {
        nt(&[0.0; 6], &[0.0; 8], [2, 4, 3]);
    }
}
