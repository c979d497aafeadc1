// y (+)= factor x wT: an 8x8 block of y per lane, no workgroup memory; K is a multiple of 4.
// The lanes of a workgroup are adjacent along N and share their rows of x.
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
}
@group(0) @binding(0) var<storage, read>       x:      array<TypeA>;   // [matrices, M, K]
@group(0) @binding(1) var<storage, read>       w:      array<TypeB>;   // [matrices, N, K]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

// Workgroups: [blocks of 64 columns, blocks of 8 rows, matrices].
@compute @workgroup_size(8)
fn matmul_nt_registers(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = (group.x * 8u + lane) * 8u;
    var acc: array<array<f32, 8>, 8>;
    var x_at: array<u32, 8>;
    var w_at: array<u32, 8>;
    // K in fours, counted through all matrices: Mesa recompiled the kernel at every dispatch if only a uniform
    // determined the trip count of this loop.
    let pitch = params.k / 4u;
    let first = group.z * params.m * pitch;
    for (var i = 0u; i < 8u; i++) {
        x_at[i] = min(row + i, params.m - 1u) * pitch;
        w_at[i] = (group.z * params.n + min(col + i, params.n - 1u)) * pitch - first;
    }
    for (var k = first; k < first + pitch; k++) {
        var b: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) { b[j] = vec4<f32>(w[w_at[j] + k]); }
        for (var i = 0u; i < 8u; i++) {
            let a = vec4<f32>(x[x_at[i] + k]);
            for (var j = 0u; j < 8u; j++) {
                acc[i][j] = fma(a.w, b[j].w, fma(a.z, b[j].z, fma(a.y, b[j].y, fma(a.x, b[j].x, acc[i][j]))));
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
