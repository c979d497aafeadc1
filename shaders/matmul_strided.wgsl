// y (+)= factor a b for any strides of a and b: layouts and odd sizes that the vec4 forms do not support. 8x8 of y per
// lane.
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
    a_m: u32,  // stride in a from one row of y to the next
    a_k: u32,  // stride in a along the inner dimension
    b_n: u32,
    b_k: u32,
}
@group(0) @binding(0) var<storage, read>       a:      array<TypeA>;   // [matrices], M by K each
@group(0) @binding(1) var<storage, read>       b:      array<TypeB>;   // [matrices], K by N each
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

// Workgroups: [blocks of 64 columns, blocks of 8 rows, matrices].
@compute @workgroup_size(8)
fn matmul_strided(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = group.x * 64u + lane;  // and every 8th after it
    var acc: array<array<f32, 8>, 8>;
    var a_at: array<u32, 8>;
    var b_at: array<u32, 8>;
    let first = group.z * params.k;
    let a_first = first * (params.m - params.a_k);
    let b_first = first * (params.n - params.b_k);
    for (var i = 0u; i < 8u; i++) {
        a_at[i] = a_first + min(row + i, params.m - 1u) * params.a_m;
        b_at[i] = b_first + min(col + 8u * i, params.n - 1u) * params.b_n;
    }
    for (var k = first; k < first + params.k; k++) {
        var b_k: array<f32, 8>;
        for (var j = 0u; j < 8u; j++) { b_k[j] = f32(b[b_at[j] + k * params.b_k]); }
        for (var i = 0u; i < 8u; i++) {
            let a_k = f32(a[a_at[i] + k * params.a_k]);
            for (var j = 0u; j < 8u; j++) { acc[i][j] = fma(a_k, b_k[j], acc[i][j]); }
        }
    }
    let scale = factor[0];
    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 8u; j++) {
            if (row + i < params.m && col + 8u * j < params.n) {
                let at = (group.z * params.m + row + i) * params.n + col + 8u * j;
                y[at] = stored(select(0.0, Real(y[at]), ACCUMULATE) + scale * acc[i][j]);
            }
        }
    }
}
