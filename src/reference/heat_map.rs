//! A matrix as a picture.

/// The share of `limit` times the root mean square that each of `height`·`width` pixels shows, −1 to 1: of x (m×n) the
/// element of largest magnitude under the pixel; of two as large the first, row after row.
pub fn shares(x: &[f64], [m, n]: [usize; 2], [height, width]: [usize; 2], limit: f64) -> Vec<f64> {
    let rms = (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
    let span = |pixel: usize, pixels: usize, len: usize| {
        let first = pixel * len / pixels;
        first..((pixel + 1) * len).div_ceil(pixels).max(first + 1)
    };
    let of = |at: usize| {
        let (p, q) = (at / width, at % width);
        let elements = span(p, height, m).flat_map(|row| span(q, width, n).map(move |col| x[row * n + col]));
        elements.fold(0.0_f64, |largest, x| if x.abs() > largest.abs() { x } else { largest })
    };
    (0..height * width).map(|at| if rms > 0.0 { (of(at) / (limit * rms)).clamp(-1.0, 1.0) } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::shares;

    #[test]
    fn small_matrices_are_spread_and_large_ones_show_their_extremes() {
        let x = [2.0, -2.0];
        assert_eq!(shares(&x, [1, 2], [2, 4], 2.0), [0.5, 0.5, -0.5, -0.5, 0.5, 0.5, -0.5, -0.5]);
        assert_eq!(shares(&[1.0, -3.0, 0.5, 1.0], [2, 2], [1, 1], 1.0), [-1.0]);
        assert_eq!(shares(&[0.0; 4], [2, 2], [1, 2], 1.0), [0.0, 0.0]);
    }
}
