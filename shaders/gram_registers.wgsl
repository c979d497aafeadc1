// y = ALPHA x xT + BETA z + GAMMA I for symmetric z: the lower triangle is computed and mirrored.
// An 8x8 block of y per lane, no workgroup memory; K is a multiple of 4.
override HAS_Z: bool;  // else BETA is 0, and z is not read
struct Params {
    m: u32,
    k: u32,
    alpha: f32,
    beta: f32,
    gamma: f32,
}
@group(0) @binding(0) var<storage, read>       x: array<vec4<f32>>;  // [matrices, M, K]
@group(0) @binding(1) var<storage, read>       z: array<f32>;        // [matrices, M, M]
@group(0) @binding(2) var<storage, read_write> y: array<f32>;        // [matrices, M, M]
@group(0) @binding(3) var<uniform>             params: Params;

// Workgroups: [blocks of 64 columns, blocks of 8 rows, matrices].
@compute @workgroup_size(8)
fn gram_registers(@builtin(workgroup_id) group: vec3<u32>, @builtin(local_invocation_index) lane: u32) {
    let row = group.y * 8u;
    let col = (group.x * 8u + lane) * 8u;
    if (group.x * 64u > row + 7u) { return; }  // the whole workgroup is above the diagonal
    let first = group.z * params.m;
    var acc: array<array<f32, 8>, 8>;
    var row_at: array<u32, 8>;
    var col_at: array<u32, 8>;
    for (var i = 0u; i < 8u; i++) {
        row_at[i] = min(row + i, params.m - 1u) * (params.k / 4u);
        col_at[i] = min(col + i, params.m - 1u) * (params.k / 4u);
    }
    let begin = first * (params.k / 4u);
    for (var k = begin; k < begin + params.k / 4u; k++) {
        var b: array<vec4<f32>, 8>;
        for (var j = 0u; j < 8u; j++) { b[j] = x[col_at[j] + k]; }
        for (var i = 0u; i < 8u; i++) {
            let a = x[row_at[i] + k];
            for (var j = 0u; j < 8u; j++) {
                acc[i][j] = fma(a.w, b[j].w, fma(a.z, b[j].z, fma(a.y, b[j].y, fma(a.x, b[j].x, acc[i][j]))));
            }
        }
    }
    for (var i = 0u; i < 8u; i++) {
        for (var j = 0u; j < 8u; j++) {
            if (row + i < params.m && col + j <= row + i) {
                var value = params.alpha * acc[i][j];
                if (HAS_Z) { value = fma(params.beta, z[(first + row + i) * params.m + col + j], value); }
                if (col + j == row + i) { value += params.gamma; }
                y[(first + row + i) * params.m + col + j] = value;
                y[(first + col + j) * params.m + row + i] = value;
            }
        }
    }
}
