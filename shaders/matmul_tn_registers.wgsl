// y (+)= factor gT x: an 8x8 block of y per lane, no workgroup memory; M and N are multiples of 4.
override ACCUMULATE: bool = false;
struct Params {
    m: u32,
    n: u32,
    k: u32,
}
@group(0) @binding(0) var<storage, read>       g:      array<TypeA>;   // [matrices, K, M]
@group(0) @binding(1) var<storage, read>       x:      array<TypeB>;   // [matrices, K, N]
@group(0) @binding(2) var<storage, read_write> y:      array<Stored>;  // [matrices, M, N]
@group(0) @binding(3) var<storage, read>       factor: array<f32>;     // [1]
@group(0) @binding(4) var<uniform>             params: Params;

// Workgroups: [blocks of 64 columns, blocks of 8 rows, matrices].
@compute @workgroup_size(8)
fn matmul_tn_registers(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = (group.x * 8u + lane) * 8u;
    var acc_left: array<vec4<f32>, 8>;
    var acc_right: array<vec4<f32>, 8>;
    let top = min(row, params.m - 4u) / 4u;
    let bottom = min(row + 4u, params.m - 4u) / 4u;
    let left = min(col, params.n - 4u) / 4u;
    let right = min(col + 4u, params.n - 4u) / 4u;
    let first = group.z * params.k;
    for (var k = first; k < first + params.k; k++) {
        let a0 = vec4<f32>(g[k * (params.m / 4u) + top]);
        let a1 = vec4<f32>(g[k * (params.m / 4u) + bottom]);
        let b0 = vec4<f32>(x[k * (params.n / 4u) + left]);
        let b1 = vec4<f32>(x[k * (params.n / 4u) + right]);
        let a = array(a0.x, a0.y, a0.z, a0.w, a1.x, a1.y, a1.z, a1.w);
        for (var i = 0u; i < 8u; i++) {
            acc_left[i] = fma(vec4(a[i]), b0, acc_left[i]);
            acc_right[i] = fma(vec4(a[i]), b1, acc_right[i]);
        }
    }
    let scale = factor[0];
    for (var i = 0u; i < 8u; i++) {
        if (row + i < params.m) {
            let at = ((group.z * params.m + row + i) * params.n + col) / 4u;
            if (col < params.n) { y[at] = stored(select(Real(), Real(y[at]), ACCUMULATE) + scale * acc_left[i]); }
            if (col + 4u < params.n) {
                y[at + 1u] = stored(select(Real(), Real(y[at + 1u]), ACCUMULATE) + scale * acc_right[i]);
            }
        }
    }
}
