// y (+)= factor g w: an 8x8 block of y per lane, no workgroup memory; K and N are multiples of 4.
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
}
@group(0) @binding(0) var<storage, read>       g:      array<TypeA>;   // [matrices, M, K]
@group(0) @binding(1) var<storage, read>       w:      array<TypeB>;   // [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

// Workgroups: [blocks of 64 columns, blocks of 8 rows, matrices].
@compute @workgroup_size(8)
fn matmul_nn_registers(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = (group.x * 8u + lane) * 8u;
    var acc: array<array<f32, 8>, 8>;
    let left = min(col, params.n - 4u) / 4u;
    let right = min(col + 4u, params.n - 4u) / 4u;
    var g_at: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) { g_at[i] = (group.z * (params.m - 1u) + min(row + i, params.m - 1u)) * (params.k / 4u); }
    let pitch = params.k / 4u;
    let first = group.z * pitch;  // in w's rows, in fours
    for (var k = first; k < first + pitch; k++) {
        var b: array<array<f32, 8>, 4>;
        for (var s = 0u; s < 4u; s++) {
            let w_at = (4u * k + s) * (params.n / 4u);
            let b0 = vec4<f32>(w[w_at + left]);
            let b1 = vec4<f32>(w[w_at + right]);
            b[s] = array(b0.x, b0.y, b0.z, b0.w, b1.x, b1.y, b1.z, b1.w);
        }
        for (var i = 0u; i < 8u; i++) {
            let a = vec4<f32>(g[g_at[i] + k]);
            for (var j = 0u; j < 8u; j++) {
                acc[i][j] = fma(a.w, b[3][j], fma(a.z, b[2][j], fma(a.y, b[1][j], fma(a.x, b[0][j], acc[i][j]))));
            }
        }
    }
    let scale = factor[0];
    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 8u; j++) {
            if (row + i < params.m && col + j < params.n) {
                let at = (group.z * params.m + row + i) * params.n + col + j;
                y[at] = stored(select(0.0, Real(y[at]), ACCUMULATE) + scale * acc[i][j]);
            }
        }
    }
}
