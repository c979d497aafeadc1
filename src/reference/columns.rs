//! A matrix whose columns are consecutive columns of another.

/// `part[n, j] = whole[n, first + j]`: whole is `[N, m]`, part is `[N, p]`.
pub fn take(whole: &[f64], m: usize, first: usize, p: usize) -> Vec<f64> {
    assert!(whole.len().is_multiple_of(m) && first + p <= m, "columns {first} to {} of {m}", first + p);
    whole.chunks_exact(m).flat_map(|row| &row[first..first + p]).copied().collect()
}

/// whole `[N, m]` with `whole[n, first + j] = part[n, j]`: part is `[N, p]`.
pub fn put(whole: &[f64], m: usize, first: usize, part: &[f64], p: usize) -> Vec<f64> {
    assert!(whole.len() / m == part.len() / p && first + p <= m, "columns {first} to {} of {m}", first + p);
    let mut whole = whole.to_vec();
    for (row, part) in whole.chunks_exact_mut(m).zip(part.chunks_exact(p)) {
        row[first..first + p].copy_from_slice(part);
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_is_what_is_taken() {
        let whole = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(take(&whole, 3, 1, 2), [2.0, 3.0, 5.0, 6.0]);
        assert_eq!(put(&whole, 3, 1, &[7.0, 8.0], 1), [1.0, 7.0, 3.0, 4.0, 8.0, 6.0]);
    }
}
