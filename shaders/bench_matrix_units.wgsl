// y = ROUNDS a b for 16x16 matrices in f16, summed in f32, operands in registers: peak rate of matrix units.
// A subgroup has eight independent sums, of two a and four b.
override ROUNDS: u32;
@group(0) @binding(0) var<storage, read>       a: array<f16>;  // [2, 16, 16]
@group(0) @binding(1) var<storage, read>       b: array<f16>;  // [4, 16, 16]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [subgroups, 2, 4, 16, 16]

@compute @workgroup_size(128)
fn bench_matrix_units(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let a0 = coopLoadT<coop_mat16x16<f16, A>>(&a[0], 16u);
    let a1 = coopLoadT<coop_mat16x16<f16, A>>(&a[256], 16u);
    let b0 = coopLoadT<coop_mat16x16<f16, B>>(&b[0], 16u);
    let b1 = coopLoadT<coop_mat16x16<f16, B>>(&b[256], 16u);
    let b2 = coopLoadT<coop_mat16x16<f16, B>>(&b[512], 16u);
    let b3 = coopLoadT<coop_mat16x16<f16, B>>(&b[768], 16u);
    var s0 = coop_mat16x16<f32, C>();
    var s1 = coop_mat16x16<f32, C>();
    var s2 = coop_mat16x16<f32, C>();
    var s3 = coop_mat16x16<f32, C>();
    var s4 = coop_mat16x16<f32, C>();
    var s5 = coop_mat16x16<f32, C>();
    var s6 = coop_mat16x16<f32, C>();
    var s7 = coop_mat16x16<f32, C>();
    for (var round = 0u; round < ROUNDS; round++) {
        s0 = coopMultiplyAdd(a0, b0, s0);
        s1 = coopMultiplyAdd(a0, b1, s1);
        s2 = coopMultiplyAdd(a0, b2, s2);
        s3 = coopMultiplyAdd(a0, b3, s3);
        s4 = coopMultiplyAdd(a1, b0, s4);
        s5 = coopMultiplyAdd(a1, b1, s5);
        s6 = coopMultiplyAdd(a1, b2, s6);
        s7 = coopMultiplyAdd(a1, b3, s7);
    }
    let at = (group.x * 4u + lane / 32u) * 2048u;
    coopStoreT(s0, &y[at], 16u);
    coopStoreT(s1, &y[at + 256u], 16u);
    coopStoreT(s2, &y[at + 512u], 16u);
    coopStoreT(s3, &y[at + 768u], 16u);
    coopStoreT(s4, &y[at + 1024u], 16u);
    coopStoreT(s5, &y[at + 1280u], 16u);
    coopStoreT(s6, &y[at + 1536u], 16u);
    coopStoreT(s7, &y[at + 1792u], 16u);
}
