//! Adapters in tensor-train form (Yang et al. 2024, arXiv 2406.18060, section 4.1): x + s·(relu(x·D + d)·U + u), where D and U
//! are tensor trains (Oseledets 2011, doi 10.1137/090752286).

/// A core `[r, n, r']`, row-major.
#[derive(Clone, Debug)]
pub struct Core {
    /// r, n and r'.
    pub shape: [usize; 3],
    /// The values.
    pub values: Vec<f64>,
}

/// A linear layer whose matrix is a train of cores, and its bias.
#[derive(Clone, Debug)]
pub struct Layer {
    /// The first half is for the input, the second for the output.
    pub cores: Vec<Core>,
    /// `[out]`.
    pub bias: Vec<f64>,
}

/// Down to the bottleneck and up again.
#[derive(Clone, Debug)]
pub struct Adapter {
    /// From `[C]` to the bottleneck.
    pub down: Layer,
    /// From the bottleneck to `[C]`.
    pub up: Layer,
    /// s.
    pub scale: f64,
}

impl Layer {
    /// W `[in, out]`: W(i, j) = G₁(i₁)·…·G_d(j_d), element by element, for the digits of i and j.
    pub fn matrix(&self) -> Vec<f64> {
        let half = self.cores.len() / 2;
        let width = |cores: &[Core]| cores.iter().map(|core| core.shape[1]).product::<usize>();
        let (inputs, outputs) = (width(&self.cores[..half]), width(&self.cores[half..]));
        let mut w = Vec::with_capacity(inputs * outputs);
        for at in 0..inputs * outputs {
            // The digits of `at`, the last core's first.
            let (mut rest, mut digits) = (at, vec![0; self.cores.len()]);
            for (digit, core) in digits.iter_mut().zip(&self.cores).rev() {
                (*digit, rest) = (rest % core.shape[1], rest / core.shape[1]);
            }
            let mut row = vec![1.0];
            for (core, digit) in self.cores.iter().zip(digits) {
                let [before, n, after] = core.shape;
                let value = |k: usize, l: usize| core.values[(k * n + digit) * after + l];
                row = (0..after).map(|l| (0..before).map(|k| row[k] * value(k, l)).sum()).collect();
            }
            w.push(row[0]);
        }
        w
    }

    /// x·W + b for x `[N, in]`.
    fn forward(&self, x: &[f64]) -> Vec<f64> {
        let (w, out) = (self.matrix(), self.bias.len());
        let inputs = w.len() / out;
        let of = |row: &[f64], j: usize| (0..inputs).map(|i| row[i] * w[i * out + j]).sum::<f64>() + self.bias[j];
        x.chunks(inputs).flat_map(|row| (0..out).map(move |j| (row, j))).map(|(row, j)| of(row, j)).collect()
    }
}

impl Adapter {
    /// x + s·up(relu(down(x))) for x `[N, C]`.
    pub fn forward(&self, x: &[f64]) -> Vec<f64> {
        let inner: Vec<f64> = self.down.forward(x).into_iter().map(|h| h.max(0.0)).collect();
        x.iter().zip(self.up.forward(&inner)).map(|(x, u)| x + self.scale * u).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_of_rank_1_is_a_kronecker_product() {
        let core =
            |n: usize, first: f64| Core { shape: [1, n, 1], values: (0..n).map(|at| first + at as f64).collect() };
        let layer =
            Layer { cores: vec![core(2, 1.0), core(3, 2.0), core(2, -1.0), core(1, 3.0)], bias: vec![0.5, -1.0] };
        // In: (1, 2) ⊗ (2, 3, 4); out: (−1, 0) ⊗ (3).
        let want: Vec<f64> = [2.0, 3.0, 4.0, 4.0, 6.0, 8.0].iter().flat_map(|x| [-3.0 * x, 0.0]).collect();
        assert_eq!(layer.matrix(), want);
        assert_eq!(layer.forward(&[1.0, 0.0, 0.0, 0.0, 0.0, 1.0]), [-29.5, -1.0]);
    }

    #[test]
    fn an_adapter_adds_to_what_it_is_given() {
        let layer = |value: f64, bias: f64| Layer {
            cores: vec![Core { shape: [1, 1, 1], values: vec![value] }, Core { shape: [1, 1, 1], values: vec![1.0] }],
            bias: vec![bias],
        };
        let adapter = Adapter { down: layer(2.0, 1.0), up: layer(3.0, -1.0), scale: 0.5 };
        // relu(2x + 1) is 5 and 0; times 3, minus 1, halved: 7 and −0.5.
        assert_eq!(adapter.forward(&[2.0, -3.0]), [9.0, -3.5]);
    }
}
