// y = a b for any strides of a and b: the layouts and odd sizes that the vec4 forms do not take. 8x8 of y a lane.
override M: u32;
override N: u32;
override K: u32;
override A_M: u32;  // step in a from one row of y to the next
override A_K: u32;  // step in a along the inner dimension
override B_N: u32;
override B_K: u32;
override ACCUMULATE: bool = false;
@group(0) @binding(0) var<storage, read>       a: array<f32>;  // M by K
@group(0) @binding(1) var<storage, read>       b: array<f32>;  // K by N
@group(0) @binding(2) var<storage, read_write> y: array<f32>;  // [M, N]

@compute @workgroup_size(8)
fn matmul_strided(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = group.x * 64u + lane;  // and every 8th after it
    var acc: array<array<f32, 8>, 8>;
    var a_at: array<u32, 8>;
    var b_at: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) {
        a_at[i] = min(row + i, M - 1u) * A_M;
        b_at[i] = min(col + 8u * i, N - 1u) * B_N;
    }
    for (var k = 0u; k < K; k++) {
        var b_k: array<f32, 8>;
        for (var j = 0u; j < 8u; j++) { b_k[j] = b[b_at[j] + k * B_K]; }
        for (var i = 0u; i < 8u; i++) {
            let a_k = a[a_at[i] + k * A_K];
            for (var j = 0u; j < 8u; j++) { acc[i][j] = fma(a_k, b_k[j], acc[i][j]); }
        }
    }
    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 8u; j++) {
            if (row + i < M && col + 8u * j < N) {
                let at = (row + i) * N + col + 8u * j;
                y[at] = select(0.0, y[at], ACCUMULATE) + acc[i][j];
            }
        }
    }
}
