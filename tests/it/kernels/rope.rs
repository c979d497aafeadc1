use multinorm::config::rotary_frequencies;
use multinorm::gpu::{DType, Gpu};
use multinorm::kernels::rope::{RopeTables, Rotation, rope};
use multinorm::reference;

use crate::support::{Case, assert_close_in, devices_and_types};

const THETA: f64 = 10_000.0;
/// For two products and a sum, with tables rounded to f32; the worst seen is 2.9e-7.
const TOLERANCE: f64 = 1e-6;

/// Rotates random queries and keys in place and compares each with `want`, which gets their values and number of heads.
fn check(
    (gpu, dtype): (&'static Gpu, DType),
    [batch, seq, heads, kv_heads, head_dim]: [usize; 5],
    start: u32,
    turn: Rotation,
    want: impl Fn(&[f64], usize) -> Vec<f64>,
) {
    let mut case = Case::on(gpu);
    let (q, q_values) = case.random_in(dtype, &[batch * seq, heads * head_dim], 1);
    let (k, k_values) = case.random_in(dtype, &[batch * seq, kv_heads * head_dim], 2);
    let tables = RopeTables::new(&mut case.rec, start as usize + seq, rotary_frequencies(head_dim, THETA, None));
    rope(&mut case.rec, [(&q, heads), (&k, kv_heads)], &tables, seq, turn);
    let done = case.allocate();
    let (cos, sin) = tables.values();
    done.write(&tables.cos, &cos);
    done.write(&tables.sin, &sin);
    done.write(&tables.start, &[start]);
    done.run();
    let what = format!("{dtype:?} {turn:?} B{batch} T{seq} H{heads} {kv_heads} D{head_dim} from {start}");
    assert_close_in(dtype, format!("{what} q"), &done.read(&q), &want(&q_values, heads), TOLERANCE);
    assert_close_in(dtype, format!("{what} k"), &done.read(&k), &want(&k_values, kv_heads), TOLERANCE);
}

#[test]
fn both_turns_agree_with_the_reference() {
    for device in devices_and_types() {
        // Two sequences: positions start over in the second.
        let shapes = [[1, 1, 1, 1, 2], [2, 1, 3, 1, 6], [2, 7, 6, 3, 6], [2, 65, 4, 2, 32], [1, 130, 1, 1, 80]];
        for shape in shapes.into_iter().chain([[3, 5, 6, 2, 8]]) {
            let [_, seq, .., head_dim] = shape;
            let forward = |x: &[f64], heads| reference::rope::forward(x, seq, heads, head_dim, THETA);
            check(device, shape, 0, Rotation::Forward, forward);
            let backward = |dy: &[f64], heads| reference::rope::backward(dy, seq, heads, head_dim, THETA);
            check(device, shape, 0, Rotation::Backward, backward);
        }
    }
}

#[test]
fn a_later_start_turns_as_the_later_rows_of_a_sequence() {
    let start = 13_usize;
    for device in devices_and_types() {
        for (seq, head_dim) in [(1, 6), (5, 6), (5, 8)] {
            check(device, [1, seq, 3, 1, head_dim], start as u32, Rotation::Forward, |x, heads| {
                let mut whole = vec![0.0; start * heads * head_dim];
                let before = whole.len();
                whole.extend(x);
                reference::rope::forward(&whole, start + seq, heads, head_dim, THETA)[before..].to_vec()
            });
        }
    }
}
