use multinorm::gpu::Form;
use multinorm::kernels::rope::{RopeTables, Turn, rope};
use multinorm::reference;

use crate::support::{Case, FORMS, assert_close};

const THETA: f64 = 10_000.0;
/// Two products and a sum, of tables rounded to f32; the worst seen is 2.9e-7.
const TOLERANCE: f64 = 1e-6;

/// Turns random rows in place and compares them with `want`, which gets their values.
fn check(
    form: Form,
    [batch, seq, heads, head_dim]: [usize; 4],
    start: u32,
    turn: Turn,
    want: impl Fn(&[f64]) -> Vec<f64>,
) {
    let mut case = Case::new(form);
    let (x, x_values) = case.random(&[batch * seq, heads * head_dim], 1);
    let tables = RopeTables::new(&mut case.rec, start as usize + seq, head_dim, THETA);
    rope(&mut case.rec, &x, &tables, heads, seq, turn);
    let done = case.allocate();
    let (cos, sin) = tables.values();
    done.write(&tables.cos, &cos);
    done.write(&tables.sin, &sin);
    done.write(&tables.start, &[start]);
    done.run();
    let what = format!("{form:?} {turn:?} B{batch} T{seq} H{heads} D{head_dim} from {start}");
    assert_close(what, &done.read(&x), &want(&x_values), TOLERANCE);
}

#[test]
fn both_turns_agree_with_the_reference() {
    for form in FORMS {
        // Two sequences: the position of the second starts again.
        for shape in [[1, 1, 1, 2], [2, 1, 3, 6], [2, 7, 3, 6], [2, 65, 2, 32], [1, 130, 1, 80]] {
            let [_, seq, heads, head_dim] = shape;
            let forward = |x: &[f64]| reference::rope::forward(x, seq, heads, head_dim, THETA);
            check(form, shape, 0, Turn::Forward, forward);
            let backward = |dy: &[f64]| reference::rope::backward(dy, seq, heads, head_dim, THETA);
            check(form, shape, 0, Turn::Backward, backward);
        }
    }
}

#[test]
fn a_later_start_turns_as_the_later_rows_of_a_sequence() {
    let (start, heads, head_dim) = (13_usize, 3, 6);
    for form in FORMS {
        for seq in [1, 5] {
            check(form, [1, seq, heads, head_dim], start as u32, Turn::Forward, |x| {
                let mut whole = vec![0.0; start * heads * head_dim];
                let before = whole.len();
                whole.extend(x);
                reference::rope::forward(&whole, start + seq, heads, head_dim, THETA)[before..].to_vec()
            });
        }
    }
}
