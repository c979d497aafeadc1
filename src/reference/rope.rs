//! (x₁, x₂) → (x₁·cos − x₂·sin, x₂·cos + x₁·sin): rotary positions (Su et al. 2021, arXiv 2104.09864, equation 34).
//!
//! The pairs have Hugging Face's half-split layout: channel i rotates with channel i + D/2, by position·theta^(−2i/D).
//! (Meta's original checkpoints pair neighbours 2i, 2i+1; the two differ by a permutation of the rows of Wq and Wk.)

/// Scalings for contexts longer than those of the original training.
#[derive(Clone, Copy, Debug)]
pub enum Scaling {
    /// Every frequency unchanged.
    None,
    /// Every frequency divided by this.
    Linear(f64),
    /// LLaMA 3.1's: a wavelength longer than `original / low` is multiplied by `factor`, one shorter than `original /
    /// high` stays, and in between the result is interpolated linearly in the frequency.
    Llama3 {
        /// Divisor of low frequencies.
        factor: f64,
        /// `low_freq_factor`.
        low: f64,
        /// `high_freq_factor`.
        high: f64,
        /// `original_max_position_embeddings`.
        original: f64,
    },
}

/// theta^(−2i/D), scaled: radians per position, `[D/2]`.
pub fn frequencies(head_dim: usize, theta: f64, scaling: Scaling) -> Vec<f64> {
    assert_eq!(head_dim % 2, 0, "rope: head_dim {head_dim} is odd");
    let plain = (0..head_dim / 2).map(|i| theta.powf(-2.0 * i as f64 / head_dim as f64));
    let scaled = |frequency: f64| match scaling {
        Scaling::None => frequency,
        Scaling::Linear(factor) => frequency / factor,
        Scaling::Llama3 { factor, low, high, original } => {
            let wavelength = 2.0 * std::f64::consts::PI / frequency;
            if wavelength > original / low {
                frequency / factor
            } else if wavelength < original / high {
                frequency
            } else {
                let smooth = (original / wavelength - low) / (high - low);
                (1.0 - smooth) * frequency / factor + smooth * frequency
            }
        }
    };
    plain.map(scaled).collect()
}

/// cos and sin of position·theta^(−2i/D), each `[T, D/2]`.
pub fn tables(seq: usize, frequencies: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let angles = (0..seq).flat_map(|position| frequencies.iter().map(move |frequency| position as f64 * frequency));
    angles.map(|angle| (angle.cos(), angle.sin())).unzip()
}

/// Rotates every pair of every head by +position·theta^(−2i/D): x and the result are `[N, H·D]`, position = row mod T.
pub fn forward(x: &[f64], seq: usize, heads: usize, head_dim: usize, theta: f64) -> Vec<f64> {
    turned(x, seq, heads, &frequencies(head_dim, theta, Scaling::None))
}

/// Like [`forward`], with given frequencies `[D/2]`.
pub fn turned(x: &[f64], seq: usize, heads: usize, frequencies: &[f64]) -> Vec<f64> {
    let (cos, sin) = tables(seq, frequencies);
    let head_dim = 2 * frequencies.len();
    rotate(x, seq, heads, head_dim, &cos, &sin)
}

/// Rotates every pair back: dx from dy, both `[N, H·D]`. A rotation is orthogonal: its backward pass is the opposite
/// angle.
pub fn backward(dy: &[f64], seq: usize, heads: usize, head_dim: usize, theta: f64) -> Vec<f64> {
    turned_back(dy, seq, heads, &frequencies(head_dim, theta, Scaling::None))
}

/// Like [`backward`], with given frequencies `[D/2]`.
pub fn turned_back(dy: &[f64], seq: usize, heads: usize, frequencies: &[f64]) -> Vec<f64> {
    let (cos, mut sin) = tables(seq, frequencies);
    let head_dim = 2 * frequencies.len();
    sin.iter_mut().for_each(|sin| *sin = -*sin);
    rotate(dy, seq, heads, head_dim, &cos, &sin)
}

fn rotate(x: &[f64], seq: usize, heads: usize, head_dim: usize, cos: &[f64], sin: &[f64]) -> Vec<f64> {
    let width = heads * head_dim;
    assert_eq!(x.len() % (seq * width), 0, "rope: x of {} wants a multiple of T·H·D = {seq}·{width}", x.len());
    let half = head_dim / 2;
    let mut y = vec![0.0; x.len()];
    for (row, (x_row, y_row)) in x.chunks_exact(width).zip(y.chunks_exact_mut(width)).enumerate() {
        let position = row % seq;
        for (x_head, y_head) in x_row.chunks_exact(head_dim).zip(y_row.chunks_exact_mut(head_dim)) {
            for i in 0..half {
                let (cos, sin) = (cos[position * half + i], sin[position * half + i]);
                y_head[i] = x_head[i] * cos - x_head[i + half] * sin;
                y_head[i + half] = x_head[i + half] * cos + x_head[i] * sin;
            }
        }
    }
    y
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, dot, random};
    use super::*;

    const SEQ: usize = 3;
    const HEADS: usize = 2;
    const HEAD_DIM: usize = 6;
    const THETA: f64 = 50.0;

    #[test]
    fn a_unit_vector_turns_with_its_other_half() {
        // Position 1 of the second sequence, channel 1 of 4: angle 1·100^(−2/4) = 0.1, and the partner is channel 3.
        let mut x = vec![0.0; 2 * 3 * 4];
        x[4 * 4 + 1] = 1.0;
        let y = forward(&x, 3, 1, 4, 100.0);
        assert_close("y", &y[4 * 4..5 * 4], &[0.0, 0.1f64.cos(), 0.0, 0.1f64.sin()], 1e-15);
    }

    #[test]
    fn scaled_frequencies() {
        let plain = frequencies(8, 10_000.0, Scaling::None);
        assert_close("plain", &plain, &[1.0, 0.1, 0.01, 0.001], 1e-15);
        assert_close("linear", &frequencies(8, 10_000.0, Scaling::Linear(4.0)), &[0.25, 0.025, 0.0025, 0.00025], 1e-15);
        // 100 positions: 15.9, 1.59, 0.159 and 0.0159 turns; the second is a fifth of the way from 1 to 4 turns.
        let llama3 = Scaling::Llama3 { factor: 2.0, low: 1.0, high: 4.0, original: 100.0 };
        let smooth = (10.0 / std::f64::consts::TAU - 1.0) / 3.0;
        let second = 0.1 * (0.5 + 0.5 * smooth);
        assert_close("llama3", &frequencies(8, 10_000.0, llama3), &[1.0, second, 0.005, 0.0005], 1e-15);
    }

    #[test]
    fn scores_depend_on_the_distance_alone() {
        let (q, k) = (random(HEAD_DIM, 1), random(HEAD_DIM, 2));
        let turned = |x: &[f64]| forward(&x.repeat(5), 5, 1, HEAD_DIM, THETA);
        let (q, k) = (turned(&q), turned(&k));
        let score = |i: usize, j: usize| dot(&q[i * HEAD_DIM..][..HEAD_DIM], &k[j * HEAD_DIM..][..HEAD_DIM]);
        assert_close("score", &[score(4, 3), score(3, 2)], &[score(1, 0); 2], 1e-13);
        assert!((score(4, 2) - score(1, 0)).abs() > 1e-3, "the distance matters");
    }

    #[test]
    fn gradient_equals_central_differences() {
        let len = 2 * SEQ * HEADS * HEAD_DIM; // two sequences: the position starts again
        let (x, dy) = (random(len, 1), random(len, 2));
        let dx = backward(&dy, SEQ, HEADS, HEAD_DIM, THETA);
        assert_gradient("dx", &dx, &x, |x| dot(&forward(x, SEQ, HEADS, HEAD_DIM, THETA), &dy));
    }
}
