//! out = softmax(causal(q·kᵀ/√D))·v: attention (Vaswani et al. 2017, arXiv 1706.03762, equation 1) with grouped queries
//! (Ainslie et al. 2023, arXiv 2305.13245): query head h reads key-value head h / (H/KV), as Hugging Face repeats them.

/// The sizes of one attention: N = batch·seq tokens, q is `[N, H·D]`, k and v are `[N, KV·D]`.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// B.
    pub batch: usize,
    /// T.
    pub seq: usize,
    /// H, a multiple of `kv_heads`.
    pub heads: usize,
    /// KV.
    pub kv_heads: usize,
    /// D.
    pub head_dim: usize,
}

/// `out[t] = Σ_{s≤t} p[t,s]·v[s]`, `p[t] = softmax over s≤t of q[t]·k[s]/√D`, within each sequence and head.
///
/// q and out are `[N, H·D]`; k and v are `[N, KV·D]`; logsumexp, of the scaled scores, is `[N, H]`.
/// Returns (out, logsumexp).
pub fn forward(q: &[f64], k: &[f64], v: &[f64], shape: Shape) -> (Vec<f64>, Vec<f64>) {
    shape.check(q, k, v);
    let mut out = vec![0.0; q.len()];
    let mut logsumexp = vec![0.0; shape.tokens() * shape.heads];
    for query in shape.queries() {
        let (row, lse) = forward_query(q, k, v, shape, query);
        out[shape.q_range(query)].copy_from_slice(&row);
        logsumexp[query.row * shape.heads + query.head] = lse;
    }
    (out, logsumexp)
}

/// The part of [`forward`] for one row of `[N, …]` in one head: D numbers and the logsumexp.
pub fn forward_row(q: &[f64], k: &[f64], v: &[f64], shape: Shape, row: usize, head: usize) -> (Vec<f64>, f64) {
    shape.check(q, k, v);
    forward_query(q, k, v, shape, shape.query(row, head))
}

fn forward_query(q: &[f64], k: &[f64], v: &[f64], shape: Shape, query: Query) -> (Vec<f64>, f64) {
    let (p, lse) = probabilities(q, k, shape, query);
    let mut out = vec![0.0; shape.head_dim];
    for (s, p) in p.iter().enumerate() {
        add_scaled(&mut out, *p, &v[shape.kv_range(query, s)]);
    }
    (out, lse)
}

/// `dv[s] += p[t,s]·dout[t]`; `dq[t] += ds·k[s]/√D` and `dk[s] += ds·q[t]/√D` with the gradient of the scaled score
/// `ds = p[t,s]·(dout[t]·v[s] − Σ_u p[t,u]·dout[t]·v[u])`.
///
/// q, dout and dq are `[N, H·D]`; k, v, dk and dv are `[N, KV·D]`, summed over the query heads of a group.
/// Returns (dq, dk, dv).
pub fn backward(q: &[f64], k: &[f64], v: &[f64], dout: &[f64], shape: Shape) -> (Vec<f64>, Vec<f64>, Vec<f64>) {
    shape.check(q, k, v);
    assert_eq!(dout.len(), q.len(), "attention: dout and q");
    let (mut dq, mut dk, mut dv) = (vec![0.0; q.len()], vec![0.0; k.len()], vec![0.0; v.len()]);
    for query in shape.queries() {
        let at_q = shape.q_range(query);
        if dout[at_q.clone()].iter().all(|dout| *dout == 0.0) {
            continue;
        }
        let (p, _) = probabilities(q, k, shape, query);
        let dp: Vec<f64> = (0..p.len()).map(|s| dot(&dout[at_q.clone()], &v[shape.kv_range(query, s)])).collect();
        let mean_dp = dot(&p, &dp);
        for s in 0..p.len() {
            let at_kv = shape.kv_range(query, s);
            let dscore = p[s] * (dp[s] - mean_dp) * shape.scale();
            add_scaled(&mut dv[at_kv.clone()], p[s], &dout[at_q.clone()]);
            add_scaled(&mut dq[at_q.clone()], dscore, &k[at_kv.clone()]);
            add_scaled(&mut dk[at_kv], dscore, &q[at_q.clone()]);
        }
    }
    (dq, dk, dv)
}

/// One token's query in one head: `row` of `[N, …]` is position `position` of the sequence that begins at `first_row`.
#[derive(Clone, Copy)]
struct Query {
    row: usize,
    first_row: usize,
    position: usize,
    head: usize,
}

impl Shape {
    fn tokens(self) -> usize {
        self.batch * self.seq
    }

    /// 1/√D.
    fn scale(self) -> f64 {
        1.0 / (self.head_dim as f64).sqrt()
    }

    fn queries(self) -> impl Iterator<Item = Query> {
        (0..self.tokens()).flat_map(move |row| (0..self.heads).map(move |head| self.query(row, head)))
    }

    fn query(self, row: usize, head: usize) -> Query {
        let position = row % self.seq;
        Query { row, first_row: row - position, position, head }
    }

    /// The range of the query in `[N, H·D]`.
    fn q_range(self, query: Query) -> std::ops::Range<usize> {
        let start = (query.row * self.heads + query.head) * self.head_dim;
        start..start + self.head_dim
    }

    /// The range of the key or value at position `s` in `[N, KV·D]`, for this query's sequence and head.
    fn kv_range(self, query: Query, s: usize) -> std::ops::Range<usize> {
        let kv_head = query.head / (self.heads / self.kv_heads);
        let start = ((query.first_row + s) * self.kv_heads + kv_head) * self.head_dim;
        start..start + self.head_dim
    }

    fn check(self, q: &[f64], k: &[f64], v: &[f64]) {
        assert_eq!(self.heads % self.kv_heads, 0, "attention: {} heads over {} groups", self.heads, self.kv_heads);
        assert_eq!(q.len(), self.tokens() * self.heads * self.head_dim, "attention: q wants N·H·D of {self:?}");
        assert_eq!(k.len(), self.tokens() * self.kv_heads * self.head_dim, "attention: k wants N·KV·D of {self:?}");
        assert_eq!(v.len(), self.tokens() * self.kv_heads * self.head_dim, "attention: v wants N·KV·D of {self:?}");
    }
}

/// softmax over the positions up to the query's own, and its logsumexp.
fn probabilities(q: &[f64], k: &[f64], shape: Shape, query: Query) -> (Vec<f64>, f64) {
    let q = &q[shape.q_range(query)];
    let scores: Vec<f64> = (0..=query.position).map(|s| dot(q, &k[shape.kv_range(query, s)]) * shape.scale()).collect();
    let max = scores.iter().fold(f64::NEG_INFINITY, |max, score| max.max(*score));
    let lse = max + scores.iter().map(|score| (score - max).exp()).sum::<f64>().ln();
    (scores.iter().map(|score| (score - lse).exp()).collect(), lse)
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// y += scale·x.
fn add_scaled(y: &mut [f64], scale: f64, x: &[f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += scale * x;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_close, assert_gradient, dot, random};
    use super::*;

    const SHAPE: Shape = Shape { batch: 2, seq: 5, heads: 6, kv_heads: 2, head_dim: 3 };
    const Q: usize = 10 * 6 * 3;
    const KV: usize = 10 * 2 * 3;

    #[test]
    fn a_worked_example() {
        // One head of D = 4 (scale 1/2); the second query has odds 1:3 between the two keys.
        let shape = Shape { batch: 1, seq: 2, heads: 1, kv_heads: 1, head_dim: 4 };
        let q = [9.0, 9.0, 9.0, 9.0, 2.0, 0.0, 0.0, 0.0];
        let k = [0.0, 1.0, 0.0, 0.0, 3f64.ln(), 0.0, 0.0, 0.0];
        let v = [1.0, 2.0, 3.0, 4.0, 5.0, -2.0, 3.0, 0.0];
        let (out, lse) = forward(&q, &k, &v, shape);
        assert_close("out", &out, &[1.0, 2.0, 3.0, 4.0, 4.0, -1.0, 3.0, 1.0], 1e-15);
        assert_close("logsumexp", &lse, &[4.5, 4f64.ln()], 1e-15);
    }

    #[test]
    fn without_scores_each_head_averages_the_past_of_its_group() {
        let v = random(KV, 1);
        let (out, lse) = forward(&[0.0; Q], &random(KV, 2), &v, SHAPE);
        for row in 0..10 {
            let position = row % 5;
            for head in 0..6 {
                let group = if head < 3 { 0 } else { 1 };
                let average: Vec<f64> = (0..3)
                    .map(|d| (row - position..=row).map(|s| v[s * 6 + group * 3 + d]).sum::<f64>())
                    .map(|sum| sum / (position + 1) as f64)
                    .collect();
                assert_close("out", &out[(row * 6 + head) * 3..][..3], &average, 1e-14);
                assert_close("logsumexp", &[lse[row * 6 + head]], &[((position + 1) as f64).ln()], 1e-14);
            }
        }
    }

    #[test]
    fn gradients_equal_central_differences() {
        let (q, k, v, dout) = (random(Q, 1), random(KV, 2), random(KV, 3), random(Q, 4));
        let (dq, dk, dv) = backward(&q, &k, &v, &dout, SHAPE);
        assert_gradient("dq", &dq, &q, |q| dot(&forward(q, &k, &v, SHAPE).0, &dout));
        assert_gradient("dk", &dk, &k, |k| dot(&forward(&q, k, &v, SHAPE).0, &dout));
        assert_gradient("dv", &dv, &v, |v| dot(&forward(&q, &k, v, SHAPE).0, &dout));
    }
}
