//! y = x / sqrt(mean(x²) + eps) ⊙ weight, along each row (Zhang & Sennrich 2019, arXiv 1910.07467, equation 4).

/// y = x·r ⊙ weight with r = 1/sqrt(mean(x²) + eps) of each row: x and y are `[rows, cols]`, weight is `[cols]`.
pub fn forward(x: &[f64], weight: &[f64], rows: usize, cols: usize, eps: f64) -> Vec<f64> {
    assert_eq!(x.len(), rows * cols, "rms_norm: x wants rows·cols = {rows}·{cols}");
    assert_eq!(weight.len(), cols, "rms_norm: weight wants cols");
    let mut y = Vec::with_capacity(x.len());
    for x_row in x.chunks_exact(cols) {
        let r = inverse_rms(x_row, eps);
        y.extend(x_row.iter().zip(weight).map(|(x, w)| x * r * w));
    }
    y
}

/// dx = r·(weight ⊙ dy) − x·r³/cols · Σ weight·dy·x along the row; dweight = Σ dy·x·r over the rows.
///
/// x, dy and dx are `[rows, cols]`; weight and dweight are `[cols]`. Returns (dx, dweight).
pub fn backward(x: &[f64], weight: &[f64], dy: &[f64], rows: usize, cols: usize, eps: f64) -> (Vec<f64>, Vec<f64>) {
    assert_eq!(x.len(), rows * cols, "rms_norm: x wants rows·cols = {rows}·{cols}");
    assert_eq!(weight.len(), cols, "rms_norm: weight wants cols");
    assert_eq!(dy.len(), rows * cols, "rms_norm: dy wants rows·cols = {rows}·{cols}");
    let mut dx = Vec::with_capacity(x.len());
    let mut dweight = vec![0.0; cols];
    for (x_row, dy_row) in x.chunks_exact(cols).zip(dy.chunks_exact(cols)) {
        let r = inverse_rms(x_row, eps);
        let inner: f64 = (0..cols).map(|j| weight[j] * dy_row[j] * x_row[j]).sum();
        let pull = inner * r.powi(3) / cols as f64;
        for j in 0..cols {
            dx.push(r * weight[j] * dy_row[j] - x_row[j] * pull);
            dweight[j] += dy_row[j] * x_row[j] * r;
        }
    }
    (dx, dweight)
}

/// r = 1/sqrt(mean(x²) + eps).
fn inverse_rms(x_row: &[f64], eps: f64) -> f64 {
    let mean_square = x_row.iter().map(|x| x * x).sum::<f64>() / x_row.len() as f64;
    1.0 / (mean_square + eps).sqrt()
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, dot, random};
    use super::*;

    // A large eps: with 1e-5 a missing eps almost passes.
    const EPS: f64 = 0.1;

    #[test]
    fn a_worked_row() {
        // mean(3², 1², 2²) = 14/3; with eps 1/3 the root is sqrt(5).
        let y = forward(&[3.0, -1.0, 2.0], &[1.0, 10.0, -1.0], 1, 3, 1.0 / 3.0);
        let root = 5f64.sqrt();
        assert_close("y", &y, &[3.0 / root, -10.0 / root, -2.0 / root], 1e-15);
    }

    #[test]
    fn gradients_equal_central_differences() {
        let [rows, cols] = [3, 5];
        let (x, weight, dy) = (random(15, 1), random(5, 2), random(15, 3));
        let (dx, dweight) = backward(&x, &weight, &dy, rows, cols, EPS);
        assert_gradient("dx", &dx, &x, |x| dot(&forward(x, &weight, rows, cols, EPS), &dy));
        assert_gradient("dweight", &dweight, &weight, |w| dot(&forward(&x, w, rows, cols, EPS), &dy));
    }
}
