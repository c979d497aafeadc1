//! Gram–Schmidt orthonormalization.

/// Orthonormalizes rows of `len` numbers by Gram–Schmidt, applied twice, which is enough (Kahan; Parlett, "The
/// Symmetric Eigenvalue Problem", section 6.9).
pub fn orthonormalize(rows: &mut [f64], len: usize) {
    for row in 0..rows.len() / len {
        let (before, rest) = rows.split_at_mut(row * len);
        let own = &mut rest[..len];
        for _ in 0..2 {
            for other in before.chunks(len) {
                let along: f64 = own.iter().zip(other).map(|(a, b)| a * b).sum();
                own.iter_mut().zip(other).for_each(|(a, b)| *a -= along * b);
            }
            let norm = own.iter().map(|x| x * x).sum::<f64>().sqrt();
            own.iter_mut().for_each(|x| *x /= norm);
        }
    }
}
