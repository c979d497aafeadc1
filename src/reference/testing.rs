//! Test helpers for this module: random slices and central differences.

/// `len` numbers in [-1, 1), reproducible from the seed on every machine (splitmix64).
pub fn random(len: usize, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    };
    (0..len).map(|_| (next() >> 11) as f64 / (1u64 << 52) as f64 - 1.0).collect()
}

/// Σ a·b. With random b this is the loss of the gradient tests: a plain mean hides errors that cancel between rows.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "dot");
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Asserts that every `actual` is within `tolerance` of `expected`, relative to the largest magnitude expected (or to
/// 1e-3 if that is larger, so that a nearly zero gradient is not compared digit by digit).
#[track_caller]
pub fn assert_close(what: &str, actual: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(actual.len(), expected.len(), "{what}: lengths");
    let scale = expected.iter().fold(1e-3f64, |max, x| max.max(x.abs()));
    for (i, (a, e)) in actual.iter().zip(expected).enumerate() {
        let close = (a - e).abs() <= tolerance * scale;
        assert!(close, "{what}[{i}]: got {a:.12e}, expected {e:.12e}, scale {scale:.3e}");
    }
}

/// Asserts that `gradient` equals the central differences of `loss` at `x`, to 1e-7 of its largest entry.
#[track_caller]
pub fn assert_gradient(what: &str, gradient: &[f64], x: &[f64], loss: impl Fn(&[f64]) -> f64) {
    const STEP: f64 = 1e-5;
    let mut x = x.to_vec();
    let numeric: Vec<f64> = (0..x.len())
        .map(|i| {
            let center = x[i];
            x[i] = center + STEP;
            let above = loss(&x);
            x[i] = center - STEP;
            let below = loss(&x);
            x[i] = center;
            (above - below) / (2.0 * STEP)
        })
        .collect();
    assert_close(what, gradient, &numeric, 1e-7);
}
