//! Mesa 22.3's llvmpipe silently ends all loops of an invocation after 65 535 iterations in total. These tests count
//! the iterations for the plans of the presets and for larger sizes.

use std::collections::HashMap;

use multinorm::config::{RunConfig, RunDefaults, optimizer_names};
use multinorm::gpu::{Class, DType, DispatchInfo, Profile, Recorder};
use multinorm::kernels::attention::{self, Cache, Shape};
use multinorm::kernels::{Output, matmul, norms, scaled};
use multinorm::reference;
use multinorm::train::record_training;

use crate::support::{Case, Form, assert_close, web_profile};

const GRANTED: u64 = 65_535;

/// An upper bound on the iterations of all loops in the busiest lane.
///
/// Loops of at most 8 iterations with a count known at compile time are unrolled and do not count. The products confirm
/// this: otherwise their 8×8 sums would end far below the depths that were measured. All other loops count.
fn rounds(info: &DispatchInfo) -> u64 {
    let constants: HashMap<&str, f64> = info.constants.iter().copied().collect();
    let c = |name: &str| {
        let value = constants.get(name);
        *value.unwrap_or_else(|| panic!("{} has no {name}: {:?}", info.kernel.name, info.constants)) as u64
    };
    let or = |name: &str, value: u64| constants.get(name).map_or(value, |&value| value as u64);
    // Iterations for `n` items divided among the lanes of the workgroup.
    let share = |n: u64| n.div_ceil(c("WG"));
    // Iterations of workgroup_sum and similar functions.
    let reduction = || u64::from(c("WG").ilog2());
    let lane_each = |heads: u64| {
        let vectors = 2 * (c("HEAD_DIM") / 4);
        heads * (1 + c("SEQ").div_ceil(4) * (1 + vectors)) + vectors
    };
    let team = |heads: u64| {
        let of_sum = if info.kernel.libraries.contains(&"team_shared") {
            c("BATCH").div_ceil(c("LANES")) * c("LANES")
        } else {
            0
        };
        let tiles = c("SEQ").div_ceil(c("TEAMS"));
        heads * (1 + tiles + tiles * c("TEAMS").div_ceil(c("BATCH")) * (1 + of_sum)) + of_sum
    };
    let heads_of_key = || c("HEADS") / c("KV_HEADS");
    let exponentials = || c("COLS").div_ceil(16 * c("WG")) * (1 + 16 + 32);
    let per_lane = || share(c("COLS"));
    // The inner dimension of a tiled product, 16 at a time.
    let depths = || {
        let part = or("K_PART", c("K"));
        part.div_ceil(16) * if info.kernel.libraries.contains(&"depths_looped") { 17 } else { 1 }
    };
    match info.kernel.file {
        "add_rms_norm" | "rms_norm" => 2 * share(c("COLS")) + reduction(),
        "apollo_factors" => 2 * share(c("CHANNELS")) + reduction(),
        "attention" | "attention_backward_query" => lane_each(1),
        "attention_backward_key_value" => lane_each(heads_of_key()),
        "attention_cached" => {
            let [positions, head] = [c("POSITIONS"), c("HEAD_DIM")];
            share(positions) * (2 + head) + share(head) * (1 + positions) + 2 * reduction()
        }
        "attention_delta" => c("HEAD_DIM"),
        "attention_lanes" => c("SEQ").div_ceil(8) * (1 + 2 * (1 + 4 + 4)),
        "attention_lanes_backward_query" => c("SEQ").div_ceil(8) * (1 + 8),
        "attention_lanes_backward_key_value" => heads_of_key() * (1 + c("SEQ").div_ceil(8) * (1 + 8)),
        "attention_tiled" | "attention_tiled_backward_query" => team(1),
        "attention_tiled_backward_key_value" => team(heads_of_key()),
        "change_gate" => share(c("BLOCKS")) + share(3 * c("DISPATCHES")) + reduction(),
        "change_partial" => share(c("BLOCK")) + reduction(),
        "column_sum" => c("ROWS").div_ceil(c("WG") / c("ACROSS")) + reduction(),
        "cross_entropy" => exponentials() + 2 * reduction(),
        "cross_entropy_backward" => 2 * exponentials() + share(c("COLS")) + 16 + 3 * reduction(),
        "cross_entropy_sum" => share(c("ROWS")) + reduction(),
        "drop_rows" => 2 * share(c("ROWS")) + reduction(),
        "eliminate" => c("ROWS").div_ceil(64),
        "embedding_backward" => {
            // All places are one id's.
            let [places, shares] = [info.shapes[0][0] as u64, c("WG") / c("ACROSS")];
            c("COLS").div_ceil(c("ACROSS")) * (1 + places.div_ceil(shares) + shares)
        }
        "factored_columns" | "h_fac_columns" => c("BLOCKS"),
        "factored_rows" => c("BLOCK") * (1 + per_lane() + reduction()) + 2 * per_lane(),
        "factored_scalings" => 2 * share(c("ROWS")) + share(c("COLS")) + reduction(),
        "gradient_check" | "gradient_norms" => share(c("PARTIALS")) + c("PARTIALS") + reduction(),
        "gradient_statistics" => 2 * share(c("N_PARAMETERS")) + 2 * reduction(),
        "gram_registers" => c("K") / 4,
        "gram_tile" | "matmul_tile" | "matmul_tile_unaligned" => depths(),
        "h_fac_rows" => c("BLOCK") * (1 + per_lane() + 2 * reduction()) + 2 * per_lane(),
        "interval_gate" => (3 * c("DISPATCHES")).div_ceil(64),
        "jacobi_rotate" => 2,
        "jacobi_turns" => share(c("ROWS").div_ceil(2)),
        "matmul_nn_registers" | "matmul_nt_registers" => c("K") / 4,
        "matmul_shuffled" => c("K") / 8 * (1 + c("ROWS") / 8 + c("ROWS")) + c("ROWS"),
        "matmul_strided" | "matmul_tn_registers" => c("K"),
        "matvec" => share(c("K")) + reduction(),
        "loss_baseline" | "score_step" => c("SAMPLES"),
        "perturb_low_rank" => c("RANK"),
        "project_scores" => {
            let sum = share(c("LEN")) + reduction();
            2 * share(c("LEN")) + reduction() + sum + 21 * (1 + sum)
        }
        "racs_columns" => share(c("ROWS")) + c("BLOCKS") + reduction(),
        "racs_norm" => 2 * share(c("COLS")) + 2 * reduction(),
        "racs_rows" => c("BLOCK") * (1 + 2 * per_lane() + reduction()) + 2 * per_lane(),
        "rms_norm_backward" => c("BLOCK") * (1 + 2 * share(c("COLS")) + reduction()) + share(c("COLS")),
        "row_norms" => 2 * share(c("COLS")) + 2 * reduction(),
        "scale_columns" => c("BLOCKS").div_ceil(or("SLICES", 1)) + or("SLICES", 1),
        "scale_rows" => c("BLOCK") * (1 + 3 * per_lane() + 2 * reduction()) + 2 * per_lane(),
        "select_basis" => c("ROWS") + 3 * share(c("COLS")) + 2 * reduction(),
        "squared_norm" => 2 * share(c("BLOCK")) + c("PARTIALS").div_ceil(c("BLOCKS") * c("WG")) + 2 * reduction(),
        "standardize" => 3 * share(c("COLS")) + 3 * reduction(),
        "subspace_moments" => share(c("RANK")) + 2 * reduction(),
        "sum_parts" => c("PARTS"),
        "unit_rows" => 3 * share(c("COLS")) + 2 * reduction(),
        "whole_factor" => 2 * share(c("BLOCKS")) + 2 * reduction(),
        "whole_partial" => 2 * share(c("BLOCK")) + 2 * reduction(),
        file => {
            let source = info.kernel.source();
            let code = source.lines().filter_map(|line| line.split("//").next());
            let loops =
                code.filter(|line| ["for (", "while ", "loop {"].iter().any(|word| line.contains(word))).count();
            assert_eq!(loops, 0, "shaders/{file}.wgsl has loops: how many rounds does a lane make?");
            0
        }
    }
}

fn assert_granted(what: &str, recorder: &Recorder) {
    for info in recorder.infos() {
        let n = rounds(&info);
        let (name, shapes) = (info.kernel.name, info.shapes_in_words());
        assert!(n <= GRANTED, "{what}: {n} rounds of {name} {shapes} with {:?}", info.constants);
    }
}

/// Software adapters without subgroup operations and with them.
fn profiles() -> [Profile; 2] {
    let plain = web_profile(Form::Software);
    let large = Profile { max_binding_bytes: 1 << 30, max_buffer_bytes: 1 << 30, ..plain.clone() };
    [plain, Profile { subgroup_lanes: Some(8), min_subgroup_lanes: Some(8), ..large }]
}

#[test]
fn no_loop_of_a_preset_is_cut_short_on_a_software_adapter() {
    for preset in ["tiny", "9m", "20m", "60m", "130m", "350m", "1b"] {
        for name in optimizer_names() {
            // Use a GPU's lengths and batches: a software adapter may be given as much.
            for defaults in [RunDefaults::Software, RunDefaults::Gpu] {
                let sets = [format!("model.preset={preset}"), format!("optimizer.name={name}")];
                let config = RunConfig::load(None, &sets, defaults).unwrap();
                for profile in profiles() {
                    let recorded = record_training(&config, &profile).unwrap();
                    assert_granted(&format!("{preset}, {name}"), &recorded.recorder);
                }
            }
        }
    }
}

#[test]
fn what_is_larger_than_a_preset_is_done_by_other_lanes_or_in_parts() {
    for profile in profiles() {
        let mut rec = Recorder::new(&profile);
        rec.begin("large");
        let tensor = |rec: &mut Recorder, shape: &[usize]| rec.persistent(Class::Scratch, DType::F32, "any", shape);
        // A vocabulary of 128 256 or 100 277 entries.
        for (vocab, width) in [(128_256, 4096), (100_277, 2048), (50_257, 1600)] {
            let table = tensor(&mut rec, &[vocab, width]);
            let mut x = scaled::Scaled::new(&table);
            scaled::scale_rows_and_columns(&mut rec, &mut x, true, true);
            scaled::scale_whole(&mut rec, &mut x, scaled::WholeNorm::Frobenius, 1.0);
            norms::GradientNorms::new(&mut rec, 1, false).measure(&mut rec, 0, &table);
            let [logits, hidden] = [[16, vocab], [16, width]].map(|shape| tensor(&mut rec, &shape));
            matmul::nn(&mut rec, &logits, &table, &hidden, Output::Write);
        }
        for tokens in [65_535, 65_536, 70_000, 200_001] {
            let [dy, x, dw] = [[tokens, 62], [tokens, 36], [62, 36]].map(|shape| tensor(&mut rec, &shape));
            matmul::tn(&mut rec, &dy, &x, &dw, Output::Accumulate);
        }
        for positions in [4096, 32_768] {
            let shape = Shape { batch: 1, seq: 1, heads: 8, kv_heads: 2, head_dim: 128 };
            let [k, v] = [(); 2].map(|()| tensor(&mut rec, &[positions, 256]));
            let [q, out] = [(); 2].map(|()| tensor(&mut rec, &[1, 1024]));
            let start = rec.persistent(Class::Scratch, DType::U32, "start", &[1]);
            attention::attention_cached(&mut rec, &q, &Cache { k, v }, &start, &out, shape);
        }
        assert_granted("large", &rec);
    }
}

#[test]
fn what_no_loop_can_finish_is_refused() {
    for profile in profiles() {
        for (kv_heads, seq, fits) in [(32, 1024, true), (1, 1024, true), (1, 4096, false)] {
            let mut rec = Recorder::new(&profile);
            rec.begin("attention");
            let shape = Shape { batch: 1, seq, heads: 32, kv_heads, head_dim: 64 };
            let rows = |rec: &mut Recorder, heads: usize| {
                rec.persistent(Class::Scratch, DType::F32, "any", &[seq, heads * shape.head_dim])
            };
            let [q, out, dout, dq] = [(); 4].map(|()| rows(&mut rec, shape.heads));
            let [k, v, dk, dv] = [(); 4].map(|()| rows(&mut rec, kv_heads));
            let lse = rec.persistent(Class::Scratch, DType::F32, "any", &[seq, shape.heads]);
            attention::attention(&mut rec, [&q, &k, &v], &out, &lse, shape);
            assert!(rec.check_limits().is_ok(), "forward, {kv_heads} key heads, {seq} tokens");
            attention::attention_backward(&mut rec, [&q, &k, &v], &out, &lse, &dout, [&dq, &dk, &dv], shape);
            assert_eq!(rec.check_limits().is_ok(), fits, "{kv_heads} key heads, {seq} tokens");
        }
        let mut rec = Recorder::new(&profile);
        rec.begin("product");
        let tensor = |rec: &mut Recorder, shape: &[usize]| rec.persistent(Class::Scratch, DType::F32, "any", shape);
        let [dy, x, dw] = [[70_000, 8], [70_000, 7], [8, 7]].map(|shape| tensor(&mut rec, &shape));
        matmul::tn(&mut rec, &dy, &x, &dw, Output::Write);
        let message = rec.check_limits().unwrap_err().to_string();
        assert!(message.contains("70000") && message.contains("micro_batch_size"), "{message}");
    }
}

#[test]
fn more_depths_than_a_loop_has_rounds_are_all_summed() {
    // dW = dyᵀ·x over 70 000 tokens: a single loop over them would leave out 4465. With rows of 8 numbers, and of 7.
    let (n, k) = (8, 70_000);
    for m in [8, 7] {
        let mut case = Case::new(Form::Software);
        let (a, a_values) = case.random(&[k, m], 1);
        let (b, b_values) = case.random(&[k, n], 2);
        let y = case.output(&[m, n]);
        matmul::tn(&mut case.rec, &a, &b, &y, Output::Write);
        let want = reference::matmul::tn(&a_values, &b_values, [m, n, k]);
        // f32 rounding puts such sums off by at most √k·2⁻²⁴ of their size, 1.6e-5; truncation, by a quarter.
        assert_close(format!("m = {m}"), &case.run().read(&y), &want, 1e-4);
    }
}

#[test]
fn norms_of_many_numbers_hold_all_of_them() {
    // Numbers so small that a second pass rescales them: 39 063 iterations per pass for each of eight lanes.
    let values: Vec<f32> = (0..20_000_000).map(|at| 1e-25 * (at % 7) as f32).collect();
    let mut case = Case::new(Form::Software);
    let gradient = case.input(&[values.len()], &values);
    let statistics = case.input(&[4], &[1.0f32; 4]);
    norms::gradient_statistics(&mut case.rec, &[gradient], &statistics, 0.0);
    let want = values.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let got = case.run().read(&statistics)[norms::Statistics::NORM];
    assert_close("norm", &[got], &[want], 1e-4);
}

#[test]
fn a_token_sees_all_of_a_long_cache() {
    // 66 568 iterations for each of eight lanes.
    let (positions, head_dim) = (4096, 64);
    let mut case = Case::new(Form::Software);
    let shape = Shape { batch: 1, seq: 1, heads: 1, kv_heads: 1, head_dim };
    let (q, q_values) = case.random(&[1, head_dim], 1);
    let [(k, k_values), (v, v_values)] = [2, 3].map(|seed| case.random(&[positions, head_dim], seed));
    let start = case.input(&[1], &[positions as u32 - 1]);
    let out = case.output(&[1, head_dim]);
    attention::attention_cached(&mut case.rec, &q, &Cache { k, v }, &start, &out, shape);
    let dot = |key: &[f64]| key.iter().zip(&q_values).map(|(k, q)| k * q).sum::<f64>();
    let weights: Vec<f64> = k_values.chunks(head_dim).map(|key| (dot(key) / (head_dim as f64).sqrt()).exp()).collect();
    let total: f64 = weights.iter().sum();
    let of_values =
        |d: usize| weights.iter().zip(v_values.chunks(head_dim)).map(|(w, v)| w * v[d]).sum::<f64>() / total;
    let want: Vec<f64> = (0..head_dim).map(of_values).collect();
    assert_close("a long cache", &case.run().read(&out), &want, 1e-4);
}
