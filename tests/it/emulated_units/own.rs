//! Tests the emulation itself, on kernels written for this purpose.

use half::f16;
use multinorm::gpu::{Kernel, Need};

use super::lowering::lowered;
use super::{case, run};
use crate::support::{assert_close, random, widen};

/// Uses of matrices beyond a plain product: operands that outlive the memory they were loaded from, sums in arrays and
/// passed to functions, scores that go through workgroup memory and come back as an operand.
const ATTENTION: &str = "
// y = (before - SCALE relu(q kT) v)T: a subgroup makes 16 columns of y.
enable f16;
enable wgpu_cooperative_matrix;
override SCALE: f32;
@group(0) @binding(0) var<storage, read>       q:      array<vec4<f32>>;  // [32, 32]
@group(0) @binding(1) var<storage, read>       k:      array<f16>;        // [32, 32]
@group(0) @binding(2) var<storage, read>       v:      array<vec4<f16>>;  // [32, 32]
@group(0) @binding(3) var<storage, read>       before: array<vec4<f32>>;  // [32, 32]
@group(0) @binding(4) var<storage, read_write> y:      array<f32>;        // [32, 32]
const PITCH: u32 = 10u;
var<workgroup> staged: array<vec4<f16>, 32u * PITCH>;
var<workgroup> strip: array<f32, 32 * 36>;
var<workgroup> shares: array<f16, 1280>;  // [32, 40]

@compute @workgroup_size(64)
fn attention(@builtin(local_invocation_index) lane: u32) {
    let rows = lane / 32u * 16u;
    for (var i = lane; i < 256u; i += 64u) { staged[i / 8u * PITCH + i % 8u] = vec4<f16>(q[i]); }
    workgroupBarrier();
    var held: array<coop_mat16x16<f16, A>, 2>;
    for (var depth = 0u; depth < 2u; depth++) {
        held[depth] = coopLoadT<coop_mat16x16<f16, A>>(&staged[rows * PITCH + 4u * depth], PITCH);
    }
    workgroupBarrier();
    for (var i = lane; i < 256u; i += 64u) { staged[i / 8u * PITCH + i % 8u] = v[i]; }
    for (var key = 0u; key < 2u; key++) {
        coopStoreT(SCALE * scores(held, 16u * key), &strip[rows * 36u + 16u * key], 36u);
    }
    workgroupBarrier();
    for (var i = lane; i < 1024u; i += 64u) {
        shares[i / 32u * 40u + i % 32u] = f16(max(strip[i / 32u * 36u + i % 32u], 0.0));
    }
    workgroupBarrier();
    var sums: array<array<coop_mat16x16<f32, C>, 2>, 2>;
    for (var half = 0u; half < 2u; half++) {
        for (var col = 0u; col < 2u; col++) {
            sums[half][col] = coop_mat16x16<f32, C>();
            let share = coopLoadT<coop_mat16x16<f16, A>>(&shares[rows * 40u + 16u * half], 40u);
            let value = coopLoadT<coop_mat16x16<f16, B>>(&staged[16u * half * PITCH + 4u * col], PITCH);
            sums[half][col] = coopMultiplyAdd(share, value, sums[half][col]);
        }
    }
    for (var col = 0u; col < 2u; col++) {
        let sum = sums[0][col] + sums[1][col];
        let total = coopLoadT<coop_mat16x16<f32, C>>(&before[(rows * 32u + 16u * col) / 4u], 8u) - sum;
        coopStore(total, &y[16u * col * 32u + rows], 32u);
    }
}

fn scores(queries: array<coop_mat16x16<f16, A>, 2>, key: u32) -> coop_mat16x16<f32, C> {
    var held = queries;
    var sum = coop_mat16x16<f32, C>();
    for (var depth = 0u; depth < 2u; depth++) {
        sum = coopMultiplyAdd(held[depth], coopLoad<coop_mat16x16<f16, B>>(&k[key * 32u + 16u * depth], 32u), sum);
    }
    return sum;
}
";

/// Copies a matrix from x `[16, 20]` to y `[16, 20]`.
const COPY: &str = "
enable f16;
enable wgpu_cooperative_matrix;
override FROM: u32;
override TO: u32;
override STRIDE: u32;
@group(0) @binding(0) var<storage, read>       x: array<f32>;
@group(0) @binding(1) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(32)
fn copy(@builtin(local_invocation_index) lane: u32) {
    let matrix = coopLoadT<coop_mat16x16<f32, C>>(&x[FROM], STRIDE);
    coopStoreT(matrix, &y[TO], STRIDE);
}
";

fn kernel(name: &'static str, text: &'static str) -> &'static Kernel {
    let mut kernel = Kernel::new(name, text);
    kernel.needs = &[Need::F16, Need::MatrixUnits, Need::Subgroups(32)];
    Box::leak(Box::new(kernel))
}

#[test]
fn operands_are_kept_and_sums_pass_through_memory() {
    let mut case = case();
    // Small integers, so that every product and sum is exact.
    let whole = |seed| random(32 * 32, seed).into_iter().map(|x| x.round()).collect::<Vec<f32>>();
    let halves = |values: &[f32]| values.iter().map(|&x| f16::from_f32(x)).collect::<Vec<_>>();
    let [q, k, v, before] = [1, 2, 3, 4].map(whole);
    let shape = [32, 32];
    let inputs = [case.input(&shape, &q), case.input(&shape, &halves(&k)), case.input(&shape, &halves(&v))];
    let [before_tensor, y] = [case.input(&shape, &before), case.output(&shape)];
    let [q_tensor, k_tensor, v_tensor] = &inputs;
    let bindings = [q_tensor, k_tensor, v_tensor, &before_tensor, &y];
    case.rec.dispatch(kernel("attention", ATTENTION), &bindings, &[("SCALE", 0.5)], [1, 1, 1]);
    let [q, k, v, before] = [q, k, v, before].map(|values| widen(&values));
    let at = |matrix: &[f64], row: usize, col: usize| matrix[32 * row + col];
    let share = |row, key| (0.5 * (0..32).map(|i| at(&q, row, i) * at(&k, key, i)).sum::<f64>()).max(0.0);
    let total = |row, col| at(&before, row, col) - (0..32).map(|key| share(row, key) * at(&v, key, col)).sum::<f64>();
    let want: Vec<f64> = (0..32 * 32).map(|i| total(i % 32, i / 32)).collect();
    assert_close("emulated attention", &run(case).read(&y), &want, 0.0);
}

#[test]
fn a_matrix_that_leaves_its_array_or_vulkans_alignment_is_no_number() {
    for (from, to, stride, is_copied) in [
        (0, 0, 20, true),
        (4, 0, 20, true),
        (0, 4, 20, true),
        (64, 64, 16, true),
        (8, 0, 20, false),
        (0, 8, 20, false),
        (2, 0, 20, false),
        (0, 2, 20, false),
        (0, 0, 18, false),
    ] {
        let mut case = case();
        let (x, values) = case.random(&[16, 20], 1);
        let y = case.output(&[16, 20]);
        let constants = [("FROM", from), ("TO", to), ("STRIDE", stride)].map(|(name, n)| (name, n as f64));
        case.rec.dispatch(kernel("copy", COPY), &[&x, &y], &constants, [1, 1, 1]);
        let found = run(case).read(&y);
        for (row, col) in (0..16).flat_map(|row| (0..16).map(move |col| (row, col))) {
            let Some(&found) = found.get(to + row * stride + col) else { continue };
            let is_same = f64::from(found) == values[(from + row * stride + col).min(319)];
            assert_eq!((is_same, found.is_nan()), (is_copied, !is_copied), "{from} to {to} by {stride}: {row}, {col}");
        }
    }
}

#[test]
fn what_is_not_understood_is_refused_with_its_line() {
    const BEGIN: &str = "@group(0) @binding(0) var<storage, read_write> x: array<f32>;
var<workgroup> rows: array<array<f32, 16>, 16>;
@compute @workgroup_size(32)
fn any(@builtin(local_invocation_index) lane: u32) {
";
    for (statement, why) in [
        ("let m = coop_mat8x8<f32, C>();", "coop_mat8x8: there is no emulation of it"),
        ("let m = coop_mat16x16<f16, C>();", "an operand is of f16, a sum of f32"),
        ("let m = coopLoad<coop_mat16x16<f16, A>>(&x[0], 16u);", "x is no array of f16"),
        ("let m = coopLoad<coop_mat16x16<f32, C>>(place, 16u);", "a matrix lies at &ARRAY[INDEX]"),
        ("let m = coopLoad<coop_mat16x16<f32, C>>(&rows[0][0], 16u);", "of one index"),
        ("coopStore(m, &rows[0], 16u);", "rows is no array of f16, f32"),
        ("coopStore(m);", "a store has two or three arguments"),
        ("let sum = subgroupAdd(x[lane]);", "subgroupAdd: there is no emulation of it"),
    ] {
        let text = format!("{BEGIN}    {statement}\n}}");
        let panic = std::panic::catch_unwind(|| lowered("any", &text)).expect_err(statement);
        let message = *panic.downcast::<String>().expect("a message");
        assert!(message.starts_with("any, line 5, ") && message.contains(why), "{message}");
        assert!(message.ends_with(statement), "{message}");
    }
}

#[test]
fn an_operand_is_kept_where_its_memory_may_be_written_before_its_last_use() {
    const BEGIN: &str = "@group(0) @binding(0) var<storage, read> given: array<f16>;
var<workgroup> shared: array<f16, 256>;
fn wait() { workgroupBarrier(); }
@compute @workgroup_size(32)
fn any(@builtin(local_invocation_index) lane: u32) {
";
    const LOAD: &str = "let a = coopLoad<coop_mat16x16<f16, A>>(&shared[0]);";
    for (statements, is_kept) in [
        ("LOAD y = coopMultiplyAdd(a, b, y); workgroupBarrier();", false),
        ("LOAD workgroupBarrier(); y = coopMultiplyAdd(a, b, y);", true),
        ("LOAD wait(); y = coopMultiplyAdd(a, b, y);", true),
        ("LOAD for (;;) { y = coopMultiplyAdd(a, b, y); } wait();", false),
        ("LOAD for (;;) { y = coopMultiplyAdd(a, b, y); wait(); }", true),
        ("for (;;) { LOAD y = coopMultiplyAdd(a, b, y); wait(); } let a = 1; wait(); let c = a;", false),
        ("LOAD let other = a;", true),
        ("var a = zero; if (c) { ASSIGN } else { ASSIGN } y = coopMultiplyAdd(a, b, y); wait();", false),
        ("var a = zero; if (c) { ASSIGN } wait(); y = coopMultiplyAdd(a, b, y);", true),
        ("var a = zero; for (;;) { ASSIGN y = coopMultiplyAdd(a, b, y); } wait();", false),
        ("var a = zero; for (;;) { ASSIGN wait(); } y = coopMultiplyAdd(a, b, y);", true),
        ("var a = zero; ASSIGN let other = a;", true),
        ("ASSIGN y = coopMultiplyAdd(a, b, y);", true),
        ("y = coopMultiplyAdd(coopLoad<coop_mat16x16<f16, A>>(&shared[0], 16u), b, y); wait();", false),
        ("held[0] = coopLoad<coop_mat16x16<f16, A>>(&shared[0], 16u);", true),
        ("held[0] = coopLoad<coop_mat16x16<f16, A>>(&given[0], 16u);", false),
    ] {
        let text =
            lowered("any", &format!("{BEGIN}{}\n}}", statements.replace("LOAD", LOAD).replace("ASSIGN", &LOAD[4..])));
        assert_eq!(text.contains("struct EmulatedA"), is_kept, "{statements}");
        assert_ne!(text.contains("alias EmulatedA"), is_kept, "{statements}");
    }
}
