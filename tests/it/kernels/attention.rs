use std::sync::LazyLock;

use multinorm::config::rotary_frequencies;
use multinorm::gpu::{DType, Gpu, Tensor};
use multinorm::kernels::attention::{self, Cache, Shape};
use multinorm::kernels::rope::{RopeTables, Rotation, rope};
use multinorm::reference;

use crate::support::{
    Case, Done, FORMS, Form, assert_close, assert_close_in, full_gpu, full_software_gpu, gpu, own_gpu, random, widen,
};

/// For the softmax of scores that differ by a few units; the worst seen is 8.4e-6.
const TOLERANCE: f64 = 3e-5;
/// For differences of such values; the worst seen is 1.7e-5.
const GRADIENT_TOLERANCE: f64 = 6e-5;
/// The same if the output was rounded to 11 bits before the gradient reads it; the worst seen is 5.4e-3.
const HALF_GRADIENT_TOLERANCE: f64 = 1e-2;
/// For the output, for dq and dk, and for dv on matrix units, where softmax weights and score gradients are rounded to
/// 11 bits; the worst seen, emulated, are 5.9e-4, 5.4e-3 and 1.6e-3.
const UNITS_TOLERANCES: [f64; 3] = [1e-3, 1e-2, 3e-3];
/// For output and gradients over thousands of keys, where most numbers and so the root mean square are near zero; the
/// worst seen are 2.2e-5 and 2.3e-4.
const LONG_TOLERANCES: [f64; 2] = [1e-4, 1e-3];

fn reference_shape(shape: Shape) -> reference::attention::Shape {
    let Shape { batch, seq, heads, kv_heads, head_dim } = shape;
    reference::attention::Shape { batch, seq, heads, kv_heads, head_dim }
}

/// Queries large enough that the running maximum of a row changes and a few keys dominate.
fn queries(len: usize) -> Vec<f32> {
    random(len, 1).iter().map(|x| 3.0 * x).collect()
}

/// A device for each variant: one lane per query, a team using workgroup memory, a team using subgroup operations.
fn devices() -> [&'static Gpu; 4] {
    let full = full_gpu();
    assert!(full.profile.min_subgroup_lanes >= Some(8), "the tests of attention want an adapter with subgroups of 8");
    // On a GPU only the backward pass uses shuffles.
    [gpu(Form::Software), gpu(Form::Gpu), full, full_software_gpu()]
}

/// A device with half precision whose teams sum in workgroup memory.
fn without_subgroups(software: bool) -> &'static Gpu {
    static PLAIN: LazyLock<[Gpu; 2]> = LazyLock::new(|| {
        [Form::Gpu, Form::Software].map(|form| {
            let mut gpu = own_gpu(form);
            (gpu.profile.min_subgroup_lanes, gpu.profile.subgroup_lanes) = (None, None);
            gpu
        })
    });
    &PLAIN[usize::from(software)]
}

/// The devices whose teams work on tiles.
fn team_devices() -> [&'static Gpu; 3] {
    let [_, shared, backward, shuffled] = devices();
    [shared, backward, shuffled]
}

fn check(gpu: &'static Gpu, shape: Shape) {
    check_in(DType::F32, gpu, shape);
}

fn check_in(dtype: DType, gpu: &'static Gpu, shape: Shape) {
    let mut case = Case::on(gpu);
    let both = BothPasses::record(&mut case, dtype, shape);
    both.check(&case.run());
}

/// Forward and backward pass on random numbers, as recorded for the case's profile.
pub struct BothPasses {
    dtype: DType,
    shape: Shape,
    variant: attention::Variant,
    /// The values of q, k, v and dout.
    inputs: [Vec<f64>; 4],
    /// out, log-sum-exp, dq, dk and dv.
    outputs: [Tensor; 5],
}

impl BothPasses {
    pub fn record(case: &mut Case, dtype: DType, shape: Shape) -> Self {
        let n = shape.batch * shape.seq;
        let (q_shape, kv_shape) = ([n, shape.heads * shape.head_dim], [n, shape.kv_heads * shape.head_dim]);
        let (q, q_values) = case.numbers(dtype, &q_shape, &queries(q_shape[0] * q_shape[1]));
        let (k, k_values) = case.random_in(dtype, &kv_shape, 2);
        let (v, v_values) = case.random_in(dtype, &kv_shape, 3);
        let (dout, dout_values) = case.random_in(dtype, &q_shape, 4);
        let (out, lse) = (case.output_in(dtype, &q_shape), case.output(&[n, shape.heads]));
        let [dq, dk, dv] = [q_shape, kv_shape, kv_shape].map(|shape| case.output_in(dtype, &shape));
        attention::attention(&mut case.rec, [&q, &k, &v], &out, &lse, shape);
        attention::attention_backward(&mut case.rec, [&q, &k, &v], &out, &lse, &dout, [&dq, &dk, &dv], shape);
        let variant = attention::select(&case.rec.profile, &shape, dtype);
        let inputs = [q_values, k_values, v_values, dout_values];
        Self { dtype, shape, variant, inputs, outputs: [out, lse, dq, dk, dv] }
    }

    pub fn check(&self, done: &Done) {
        let [of_output, of_scores, of_values] = match (self.variant, self.dtype) {
            (attention::Variant::Units, _) => UNITS_TOLERANCES,
            // A score's gradient reads the stored, rounded output, so it inherits that rounding, weighted by dout.
            (_, DType::F16) => [TOLERANCE, HALF_GRADIENT_TOLERANCE, GRADIENT_TOLERANCE],
            _ => [TOLERANCE, GRADIENT_TOLERANCE, GRADIENT_TOLERANCE],
        };
        let Self { dtype, shape, variant, inputs: [q, k, v, dout], outputs } = self;
        let [out, lse, dq, dk, dv] = outputs.each_ref().map(|tensor| done.read(tensor));
        let sizes = reference_shape(*shape);
        let what = |name: &str| format!("{dtype:?} {variant:?} {name} {shape:?}");
        let (want_out, want_lse) = reference::attention::forward(q, k, v, sizes);
        assert_close_in(*dtype, what("out"), &out, &want_out, of_output);
        assert_close(what("log-sum-exp"), &lse, &want_lse, TOLERANCE);
        let want = reference::attention::backward(q, k, v, dout, sizes);
        // With a single key the score's gradient is zero, except for rounding in the two sums of dout·v.
        if shape.seq > 1 {
            assert_close_in(*dtype, what("dq"), &dq, &want.0, of_scores);
            assert_close_in(*dtype, what("dk"), &dk, &want.1, of_scores);
        } else {
            let rounding = if *dtype == DType::F16 { 1e-2 } else { 1e-5 } * shape.head_dim as f32;
            assert!(dq.iter().chain(&dk).all(|x| x.abs() < rounding), "{}", what("dq, dk"));
        }
        assert_close_in(*dtype, what("dv"), &dv, &want.2, of_values);
    }
}

#[test]
fn four_queries_per_lane_give_the_bits_of_a_team() {
    let mut team = own_gpu(Form::Software);
    team.profile.subgroup_lanes = None;
    let team: &'static Gpu = Box::leak(Box::new(team));
    for dtype in [DType::F32, DType::F16] {
        for (seq, heads, kv_heads, head_dim) in [(1, 1, 1, 4), (37, 4, 2, 16), (70, 6, 2, 24), (45, 2, 1, 32)] {
            let shape = Shape { batch: 2, seq, heads, kv_heads, head_dim };
            let [lanes, team] = [full_software_gpu(), team].map(|gpu| {
                let mut case = Case::on(gpu);
                let both = BothPasses::record(&mut case, dtype, shape);
                let done = case.run();
                both.check(&done);
                (both.variant, both.outputs.map(|tensor| done.read(&tensor)))
            });
            assert!(matches!(lanes.0, attention::Variant::FourPerLane { .. }), "{shape:?}");
            assert!(matches!(team.0, attention::Variant::TeamShuffled { .. }), "{shape:?}");
            for (name, (lanes, team)) in ["out", "lse", "dq", "dk", "dv"].iter().zip(lanes.1.iter().zip(&team.1)) {
                assert!(lanes == team, "{dtype:?} {name} {shape:?}");
            }
        }
    }
}

// At and below the 32 and 64 numbers that fit in registers.
#[test]
fn head_sizes_agree_with_the_reference_a_lane_each() {
    for head_dim in [4, 32, 36, 64] {
        check(gpu(Form::Software), Shape { batch: 2, seq: 9, heads: 4, kv_heads: 2, head_dim });
    }
}

#[test]
fn half_precision_agrees_with_the_reference() {
    for gpu in [full_gpu(), full_software_gpu()] {
        for (seq, heads, kv_heads, head_dim) in [(1, 2, 1, 8), (37, 4, 2, 20), (70, 6, 1, 64), (33, 2, 2, 128)] {
            check_in(DType::F16, gpu, Shape { batch: 2, seq, heads, kv_heads, head_dim });
        }
    }
    // Without subgroup operations, as in a browser.
    for software in [false, true] {
        let shared = without_subgroups(software);
        check_in(DType::F16, shared, Shape { batch: 2, seq: 37, heads: 4, kv_heads: 2, head_dim: 64 });
    }
}

// Teams of 1, 2, 4, 8 and 16 lanes with 1 to 4 vec4s each; 20, 36 and 80 leave some lanes empty.
#[test]
fn head_sizes_agree_with_the_reference_in_teams() {
    for gpu in team_devices() {
        for head_dim in [4, 12, 20, 32, 36, 48, 64, 80, 96, 128, 256] {
            check(gpu, Shape { batch: 2, seq: 37, heads: 4, kv_heads: 2, head_dim });
        }
    }
}

#[test]
fn sequence_lengths_and_groupings_agree_with_the_reference_a_lane_each() {
    // Below, at and above the four keys per iteration and the 8 lanes of a workgroup.
    for seq in [1, 2, 7, 8, 65] {
        for kv_heads in [4, 1] {
            check(gpu(Form::Software), Shape { batch: 2, seq, heads: 4, kv_heads, head_dim: 8 });
        }
    }
}

#[test]
fn sequence_lengths_and_groupings_agree_with_the_reference_in_teams() {
    for gpu in team_devices() {
        // At 64 numbers per head, a workgroup has 64 queries or 32 keys, and stages 16 vectors at a time.
        for (seq, head_dim) in [(1, 64), (7, 64), (16, 64), (33, 64), (70, 64), (257, 64), (63, 8), (130, 8), (70, 128)]
        {
            check(gpu, Shape { batch: 3, seq, heads: 4, kv_heads: 2, head_dim });
        }
        check(gpu, Shape { batch: 1, seq: 70, heads: 6, kv_heads: 1, head_dim: 32 });
    }
}

#[test]
fn one_head_alone_and_three_groups_of_two_agree_with_the_reference() {
    for gpu in devices() {
        check(gpu, Shape { batch: 3, seq: 17, heads: 1, kv_heads: 1, head_dim: 8 });
        check(gpu, Shape { batch: 1, seq: 66, heads: 6, kv_heads: 3, head_dim: 12 });
    }
}

// The longest supported sequence. llvmpipe ends an invocation's loops after 65,535 iterations, losing later keys.
#[test]
fn four_thousand_tokens_agree_with_the_reference() {
    let [lane_each, shared, _, shuffled] = devices();
    check_few_rows(lane_each, Shape { batch: 1, seq: 4096, heads: 1, kv_heads: 1, head_dim: 64 });
    for gpu in [shared, shuffled] {
        check_few_rows(gpu, Shape { batch: 1, seq: 4096, heads: 1, kv_heads: 1, head_dim: 128 });
    }
}

/// A sequence for which the full reference would take a minute: only a few queries get a gradient, and the reference
/// computes only those.
fn check_few_rows(gpu: &'static Gpu, shape: Shape) {
    let Shape { seq, heads, kv_heads, head_dim, .. } = shape;
    let (q_shape, kv_shape) = ([seq, heads * head_dim], [seq, kv_heads * head_dim]);
    let rows: Vec<usize> = [0, 1, 31, seq / 2].into_iter().chain(seq - 36..seq).collect();
    let mut dout_values = vec![0.0; q_shape[0] * q_shape[1]];
    for &row in &rows {
        dout_values[row * q_shape[1]..][..q_shape[1]].copy_from_slice(&random(q_shape[1], 4 + row as u64));
    }
    let q_values = queries(q_shape[0] * q_shape[1]);
    let mut case = Case::on(gpu);
    let (q, dout) = (case.input(&q_shape, &q_values), case.input(&q_shape, &dout_values));
    let ((k, k_values), (v, v_values)) = (case.random(&kv_shape, 2), case.random(&kv_shape, 3));
    let (out, lse) = (case.output(&q_shape), case.output(&[seq, heads]));
    let [dq, dk, dv] = [q_shape, kv_shape, kv_shape].map(|shape| case.output(&shape));
    attention::attention(&mut case.rec, [&q, &k, &v], &out, &lse, shape);
    attention::attention_backward(&mut case.rec, [&q, &k, &v], &out, &lse, &dout, [&dq, &dk, &dv], shape);
    let done = case.run();

    let (q_values, sizes) = (widen(&q_values), reference_shape(shape));
    let what = |name: &str| format!("{:?} {name} {shape:?}", attention::select(&gpu.profile, &shape, DType::F32));
    let (out, lse) = (done.read(&out), done.read(&lse));
    let (mut got_out, mut got_lse, mut want_out, mut want_lse) = (vec![], vec![], vec![], vec![]);
    for (row, head) in rows.iter().flat_map(|&row| (0..heads).map(move |head| (row, head))) {
        let at = row * heads + head;
        got_out.extend(&out[at * head_dim..][..head_dim]);
        got_lse.push(lse[at]);
        let (row_out, row_lse) = reference::attention::forward_row(&q_values, &k_values, &v_values, sizes, row, head);
        want_out.extend(row_out);
        want_lse.push(row_lse);
    }
    assert_close(what("out"), &got_out, &want_out, LONG_TOLERANCES[0]);
    assert_close(what("log-sum-exp"), &got_lse, &want_lse, TOLERANCE);
    let want = reference::attention::backward(&q_values, &k_values, &v_values, &widen(&dout_values), sizes);
    for (name, got, want) in [("dq", &dq, &want.0), ("dk", &dk, &want.1), ("dv", &dv, &want.2)] {
        assert_close(what(name), &done.read(got), want, LONG_TOLERANCES[1]);
    }
}

#[test]
fn scores_beyond_the_exponential_stay_finite() {
    // q·k/√D goes up to some hundreds: exp would overflow if the maximum were not subtracted.
    let shape = Shape { batch: 1, seq: 21, heads: 2, kv_heads: 1, head_dim: 8 };
    let [q_len, kv_len] = [shape.heads, shape.kv_heads].map(|heads| shape.seq * heads * shape.head_dim);
    let q_values: Vec<f32> = random(q_len, 1).iter().map(|x| 60.0 * x).collect();
    for gpu in devices() {
        let mut case = Case::on(gpu);
        let q = case.input(&[21, 16], &q_values);
        let ((k, k_values), (v, v_values)) = (case.random(&[21, 8], 2), case.random(&[21, 8], 3));
        assert_eq!(k_values.len(), kv_len);
        let (out, lse) = (case.output(&[21, 16]), case.output(&[21, 2]));
        attention::attention(&mut case.rec, [&q, &k, &v], &out, &lse, shape);
        let done = case.run();
        let want = reference::attention::forward(&widen(&q_values), &k_values, &v_values, reference_shape(shape));
        let variant = attention::select(&gpu.profile, &shape, DType::F32);
        // A score of 200 has an error of 2e-5 in f32, and so do the weights.
        assert_close(format!("{variant:?} out"), &done.read(&out), &want.0, 2e-4);
        assert_close(format!("{variant:?} log-sum-exp"), &done.read(&lse), &want.1, 2e-6);
    }
}

/// Compares token-by-token attention over a cache, with rotary positions, with the rows of the full sequence.
#[test]
fn a_cache_gives_the_rows_of_the_whole_sequence() {
    const THETA: f64 = 10_000.0;
    for form in FORMS {
        // More positions than lanes, and a cache larger than needed.
        for (heads, kv_heads, head_dim, seq) in [(4, 2, 6, 9), (4, 1, 32, 5), (2, 2, 80, 3), (4, 4, 2, 140)] {
            let shape = Shape { batch: 1, seq, heads, kv_heads, head_dim };
            let (q_cols, kv_cols, positions) = (heads * head_dim, kv_heads * head_dim, seq + 3);
            let mut case = Case::new(form);
            let [q, k, v] = [q_cols, kv_cols, kv_cols].map(|cols| case.output(&[1, cols]));
            // Unfilled cache entries are NaN and must not be read.
            let cache = Cache { k: case.output(&[positions, kv_cols]), v: case.output(&[positions, kv_cols]) };
            let out = case.output(&[1, q_cols]);
            let tables = RopeTables::new(&mut case.rec, positions, rotary_frequencies(head_dim, THETA, None));
            rope(&mut case.rec, [(&q, heads), (&k, kv_heads)], &tables, 1, Rotation::Forward);
            attention::cache_append(&mut case.rec, &k, &tables.start, &cache.k);
            attention::cache_append(&mut case.rec, &v, &tables.start, &cache.v);
            attention::attention_cached(&mut case.rec, &q, &cache, &tables.start, &out, shape);
            let done = case.allocate();
            let (cos, sin) = tables.values();
            done.write(&tables.cos, &cos);
            done.write(&tables.sin, &sin);

            let [q_values, k_values, v_values] =
                [queries(seq * q_cols), random(seq * kv_cols, 2), random(seq * kv_cols, 3)];
            let turned_q = reference::rope::forward(&widen(&q_values), seq, heads, head_dim, THETA);
            let turned_k = reference::rope::forward(&widen(&k_values), seq, kv_heads, head_dim, THETA);
            let (want, _) =
                reference::attention::forward(&turned_q, &turned_k, &widen(&v_values), reference_shape(shape));
            for at in 0..seq {
                done.write(&tables.start, &[at as u32]);
                done.write(&q, &q_values[at * q_cols..][..q_cols]);
                done.write(&k, &k_values[at * kv_cols..][..kv_cols]);
                done.write(&v, &v_values[at * kv_cols..][..kv_cols]);
                done.run();
                let what = format!("{form:?} token {at} of {shape:?}");
                assert_close(what, &done.read(&out), &want[at * q_cols..][..q_cols], TOLERANCE);
            }
        }
    }
}

#[test]
#[should_panic(expected = "head_dim 260 is above 256")]
fn a_head_beyond_the_registers_panics() {
    check(gpu(FORMS[0]), Shape { batch: 1, seq: 1, heads: 1, kv_heads: 1, head_dim: 260 });
}

#[test]
#[should_panic(expected = "is no multiple of 4")]
fn a_head_of_an_odd_size_panics() {
    check(gpu(FORMS[0]), Shape { batch: 1, seq: 1, heads: 1, kv_heads: 1, head_dim: 6 });
}
