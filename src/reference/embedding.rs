//! `y[n] = table[ids[n]]`: one row of the table for each token.

/// `y[n] = table[ids[n]]`: ids is `[N]`, table is `[V, C]`, y is `[N, C]`.
pub fn forward(ids: &[u32], table: &[f64], cols: usize) -> Vec<f64> {
    assert_eq!(table.len() % cols, 0, "embedding: table of {} wants a multiple of C = {cols}", table.len());
    let vocab = table.len() / cols;
    ids.iter().flat_map(|&id| row(id, vocab, cols).map(|at| table[at])).collect()
}

/// `dtable[v] = Σ dy[n] over ids[n] = v`: ids is `[N]`, dy is `[N, C]`, dtable is `[V, C]`.
pub fn backward(ids: &[u32], dy: &[f64], vocab: usize, cols: usize) -> Vec<f64> {
    assert_eq!(dy.len(), ids.len() * cols, "embedding: dy wants N·C = {}·{cols}", ids.len());
    let mut dtable = vec![0.0; vocab * cols];
    for (&id, dy_row) in ids.iter().zip(dy.chunks_exact(cols)) {
        for (dtable, dy) in dtable[row(id, vocab, cols)].iter_mut().zip(dy_row) {
            *dtable += dy;
        }
    }
    dtable
}

/// The range of `id`'s row in the table.
fn row(id: u32, vocab: usize, cols: usize) -> std::ops::Range<usize> {
    let id = id as usize;
    assert!(id < vocab, "embedding: token id {id} in a vocabulary of {vocab}");
    id * cols..(id + 1) * cols
}

#[cfg(test)]
mod tests {
    use super::super::testing::{assert_gradient, dot, random};
    use super::*;

    #[test]
    fn rows_are_picked_in_order() {
        let table = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        assert_eq!(forward(&[2, 0, 2], &table, 2), [5.0, 6.0, 1.0, 2.0, 5.0, 6.0]);
    }

    #[test]
    fn gradient_equals_central_differences() {
        let [vocab, cols] = [5, 3];
        let ids = [4, 1, 4, 0]; // one id twice, so its row sums two gradients; 2 and 3 never
        let (table, dy) = (random(vocab * cols, 1), random(ids.len() * cols, 2));
        let dtable = backward(&ids, &dy, vocab, cols);
        assert_gradient("dtable", &dtable, &table, |table| dot(&forward(&ids, table, cols), &dy));
    }

    #[test]
    #[should_panic(expected = "token id 3 in a vocabulary of 3")]
    fn an_id_beyond_the_table_panics() {
        forward(&[3], &[0.0; 6], 2);
    }
}
